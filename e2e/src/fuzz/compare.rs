//! Three answers about one dial: what the rules say, what the kernel says, and what the one who dialled saw.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::Result;
use nftrace::{Kind, Verdict};
use nix::errno::Errno;
use ruleset::{
    Backend, Effect, Family, Flow, LocalAddress, Outcome, Packet, Place, RejectWith, Ruleset, Step, Walk,
    World,
};

use super::lane::{Dialled, Experience, Lane};
use super::{BRIDGE, Case, LAN, LAN6, LINK, PORT, SERVED, Tool, VETH};

/// Targets after which the rules' own prediction is not exact.
const CHANGES_TTL: [&str; 2] = ["-j TTL", "-j HL"];

/// How the three agree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Agreement {
    /// All say the same, and what.
    Same(String),
    /// The rules alone do not say it.
    Undetermined(String),
    /// They differ, and how.
    Different(String),
}

/// A rule or a policy: table, chain, number.
type Spot = (String, String, Option<usize>);

/// Compares them for rules that are loaded in the lane, as `saved` has them.
pub(super) fn compare(lane: &Lane, case: &Case, saved: &str, dialled: &Dialled) -> Result<Agreement> {
    let mut rules = Ruleset::default();
    match case.tool {
        Tool::Iptables => rules.add_save(Backend::Nft, case.family, saved.as_bytes())?,
        Tool::Nft => rules.add_nft_json(saved.as_bytes())?,
    }
    rules.add_ipsets(lane.ipsets.as_bytes())?;
    let walk = predict(&rules, dialled, lane.bridge_nf)?;
    let mut handles = Handles { lane, known: HashMap::new() };
    if let Outcome::Undetermined { why, .. } = &walk.outcome {
        return Ok(Agreement::Undetermined(why.clone()));
    }
    let mut said = String::new();
    let end = End::of(&walk);
    let numbers = [
        (Packet::Syn, 0),
        (Packet::SynAck, 0),
        (Packet::Ack, 1),
        (Packet::Data, 2),
        (Packet::AnswerAck, 1),
        (Packet::Answer, 2),
    ];
    // Where nothing listens, another packet answers.
    let numbers = if end == End::Closed { &numbers[..1] } else { &numbers };
    for (packet, events) in numbers.iter().copied() {
        let Some(predicted) = walk.packets.iter().find(|it| it.packet == packet) else { continue };
        let trace = match (packet, end) {
            (packet, End::Neighbour(to)) if packet.is_answer() => {
                dialled.passed.find(|flow| flow.source == to)
            }
            // The socket may have seen another address, and answers that. The port is this dial's alone.
            (packet, _) if packet.is_answer() => {
                dialled.sent.find(|flow| flow.destination.port() == dialled.source.port())
            }
            _ => dialled.received.find(|flow| flow.source == dialled.source),
        };
        let Some(trace) = trace else {
            let _ = writeln!(said, "{packet}: predicted, and not seen by the kernel");
            continue;
        };
        let traced = handles.spots(trace.events_of(events))?;
        let expected: Vec<_> = predicted
            .steps
            .iter()
            .filter(|it| it.effect != Effect::Undetermined && !nftrace::is_own(&it.place.table))
            .map(spot)
            .collect();
        if parts_at_an_assumption(&walk, &expected, &traced) {
            return Ok(Agreement::Undetermined("what a rule remembers of other packets".to_owned()));
        }
        // What a changed time to live leads to is followed both ways, and the steps are those of one.
        if traced != expected && !CHANGES_TTL.iter().any(|it| case.text.contains(it)) {
            let _ = writeln!(said, "{packet}: predicted {expected:?}\n{packet}: traced    {traced:?}");
        }
    }
    // A rate that is exhausted by one packet is no more than that packet's: what comes after it has another fate, and rules
    // say nothing of how many come.
    if walk.assumptions.is_empty() && !fits(case.family, &walk, end, dialled.experience) {
        let _ = writeln!(said, "predicted {}, and it was {:?}", walk.outcome, dialled.experience);
    }
    if said.is_empty() {
        return Ok(Agreement::Same(outcome(&walk, end)));
    }
    Ok(Agreement::Different(format!(
        "seed {}, bridge_nf {}\n{said}\n{walk}\n\n{}",
        case.seed, lane.bridge_nf, case.text
    )))
}

/// Whether the two are the same up to a rule with an assumption: another packet may have used its rate up, such as a SYN that is
/// repeated on a busy machine.
fn parts_at_an_assumption(walk: &Walk, expected: &[Spot], traced: &[Spot]) -> bool {
    let same = expected.iter().zip(traced).take_while(|(one, other)| one == other).count();
    let parting = [expected.get(same), traced.get(same)];
    let assumed = walk.assumptions.iter().map(|it| place(&it.place));
    assumed.into_iter().any(|place| parting.contains(&Some(&place)))
}

/// What the rules lead to, in words that many cases have in common.
fn outcome(walk: &Walk, end: End) -> String {
    let at = walk.packets.iter().find(|packet| packet.outcome == walk.outcome).map(|it| it.packet);
    let whose = at.map_or_else(String::new, |packet| packet.to_string());
    match (&walk.outcome, end) {
        (Outcome::Open, _) => "open".to_owned(),
        (Outcome::Redirected { .. }, End::Host(_)) => "sent on to another socket of the host".to_owned(),
        (Outcome::Redirected { .. }, End::Neighbour(_)) => "sent on to a neighbour".to_owned(),
        (Outcome::Redirected { .. }, _) => "sent on to where nobody listens".to_owned(),
        (Outcome::Rejected { .. }, _) => format!("{whose} rejected"),
        _ => format!("{whose} dropped"),
    }
}

fn predict(rules: &Ruleset, dialled: &Dialled, bridge_nf: bool) -> Result<Walk> {
    let own = if dialled.source.is_ipv4() { "10.99.0.1" } else { "fd99::1" };
    let destination = SocketAddr::new(own.parse()?, PORT.parse()?);
    let mut flow = Flow::new(BRIDGE, dialled.source, destination);
    flow.port = Some(VETH.to_owned());
    let (prefix, lan) = if dialled.source.is_ipv4() { (24, LAN) } else { (64, LAN6) };
    let mut world = World::new(&flow, prefix);
    world.addresses.push(LocalAddress { interface: LINK.to_owned(), address: lan[0].parse()?, prefix });
    world.bridge_nf_call = bridge_nf;
    // A service answers with its own address, so where the connection ends says how long the answer is.
    let here = match End::of(&rules.connect(&flow, &world)) {
        End::Host(to) if to.port() == 0 => destination,
        End::Host(to) | End::Neighbour(to) => to,
        End::Closed | End::Nobody => destination,
    };
    flow.answer = Some(u16::try_from(format!("{here}\n").len())?);
    Ok(rules.connect(&flow, &world))
}

fn spot(step: &Step) -> Spot {
    place(&step.place)
}

fn place(place: &Place) -> Spot {
    (place.table.clone(), place.chain.clone(), place.rule)
}

/// Who the connection gets to, if no rule stops it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// A service of the host.
    Host(SocketAddr),
    /// A service of the neighbour.
    Neighbour(SocketAddr),
    /// A port without a service.
    Closed,
    /// Nobody.
    Nobody,
}

impl End {
    fn of(walk: &Walk) -> Self {
        let redirects = walk.packets.iter().flat_map(|packet| &packet.steps);
        let mut to = redirects.filter_map(|step| match step.effect {
            Effect::Redirect(to) => Some(to),
            _ => None,
        });
        // The last one, since an address is translated once, and to itself perhaps before.
        let Some(to) = to.next_back() else { return Self::Host(SocketAddr::from(([0, 0, 0, 0], 0))) };
        let is = |address: &str| address.parse() == Ok(to.ip());
        if !SERVED.contains(&to.port().to_string().as_str()) {
            Self::Closed
        } else if [LAN[1], LAN6[1]].into_iter().any(is) {
            Self::Neighbour(to)
        } else if is("127.0.0.1") {
            Self::Nobody
        } else {
            Self::Host(to)
        }
    }
}

/// Whether an experience is what the outcome leads to.
fn fits(family: Family, walk: &Walk, end: End, experience: Experience) -> bool {
    let last = walk.packets.last().map(|it| it.packet);
    let last = last.map(|packet| if packet == Packet::Ack { Packet::Data } else { packet });
    // Nothing listens, and what is predicted after the SYN does not come. The refusal is a packet of the host's, or one that it
    // passes on, and rules can drop it.
    if end == End::Closed && last != Some(Packet::Syn) {
        return matches!(experience, Experience::Silence)
            || experience == Experience::Told(Errno::ECONNREFUSED as i32);
    }
    match (&walk.outcome, last) {
        (Outcome::Open, _) => matches!(experience, Experience::Answered(at) if at.port().to_string() == PORT),
        (Outcome::Redirected { to, .. }, _) => match end {
            End::Host(_) | End::Neighbour(_) => experience == Experience::Answered(*to),
            End::Closed | End::Nobody => experience == Experience::Silence,
        },
        // Whoever refuses what the host says tells the host.
        (Outcome::Dropped(_), Some(Packet::Data | Packet::AnswerAck | Packet::Answer))
        | (Outcome::Rejected { .. }, Some(Packet::Answer)) => experience == Experience::Connected,
        // The service may have answered before its own kernel is told.
        (Outcome::Rejected { .. }, Some(Packet::AnswerAck)) => {
            matches!(experience, Experience::Connected | Experience::Answered(_))
        }
        // The connection stands for its kernel by then, so the refusal is a soft error. It waits at the socket, and a
        // connect that does not block asks there whether it went well.
        (Outcome::Rejected { with: RejectWith::TcpReset, .. }, Some(Packet::Data)) => {
            matches!(experience, Experience::Connected)
                || experience == Experience::Told(Errno::ECONNRESET as i32)
        }
        (Outcome::Rejected { with, .. }, Some(Packet::Data)) => {
            experience == Experience::Connected || is_told(family, with, experience)
        }
        // Whoever refuses the host's own answer tells the host.
        (Outcome::Dropped(_), _) | (Outcome::Rejected { .. }, Some(Packet::SynAck)) => {
            experience == Experience::Silence
        }
        // A refusal is a packet that the host sends, and rules for those can drop it.
        (Outcome::Rejected { with, .. }, _) => {
            experience == Experience::Silence || is_told(family, with, experience)
        }
        _ => false,
    }
}

fn is_told(family: Family, with: &RejectWith, experience: Experience) -> bool {
    told(family, with).is_some_and(|errno| experience == Experience::Told(errno as i32))
}

/// The error number of a socket that is told so (`icmp_err_convert` and `tab_unreach` of the kernel). What refuses for both
/// versions has numbers of its own (`enum nft_reject_inet_code`).
fn told(family: Family, with: &RejectWith) -> Option<Errno> {
    Some(match (with, family) {
        (RejectWith::TcpReset, _) => Errno::ECONNREFUSED,
        (RejectWith::Icmp(0 | 9) | RejectWith::Icmp6(0) | RejectWith::Icmpx(0), _) => Errno::ENETUNREACH,
        (RejectWith::Icmp(2), _) => Errno::ENOPROTOOPT,
        (RejectWith::Icmp(3) | RejectWith::Icmp6(4) | RejectWith::Icmpx(1), _) => Errno::ECONNREFUSED,
        (RejectWith::Icmp6(1 | 5 | 6), _) | (RejectWith::Icmpx(3), Family::Ip6) => Errno::EACCES,
        (RejectWith::Icmp(1 | 10 | 13) | RejectWith::Icmp6(3) | RejectWith::Icmpx(2 | 3), _) => {
            Errno::EHOSTUNREACH
        }
        _ => return None,
    })
}

/// The numbers of rules by chain, asked for once.
struct Handles<'lane> {
    lane: &'lane Lane,
    known: HashMap<(String, String), Vec<u64>>,
}

impl Handles<'_> {
    /// The rules that matched and the policies that decided.
    fn spots<'event>(&mut self, events: impl Iterator<Item = &'event nftrace::Event>) -> Result<Vec<Spot>> {
        let mut spots = Vec::new();
        for event in events {
            let number = match (event.kind, &event.verdict) {
                (Kind::Policy, _) => None,
                (_, Verdict::Break) => continue,
                (Kind::Rule { handle } | Kind::Return { handle: Some(handle) }, _) => {
                    Some(self.number(event, handle)?)
                }
                _ => continue,
            };
            spots.push((event.table.clone(), event.chain.clone(), number));
        }
        Ok(spots)
    }

    /// 0 for a rule that nobody knows.
    fn number(&mut self, event: &nftrace::Event, handle: u64) -> Result<usize> {
        let key = (event.table.clone(), event.chain.clone());
        if !self.known.contains_key(&key) {
            let handles = self.lane.handles(event.family, &event.table, &event.chain)?;
            self.known.insert(key.clone(), handles);
        }
        Ok(self.known[&key].iter().position(|it| *it == handle).map_or(0, |index| index + 1))
    }
}
