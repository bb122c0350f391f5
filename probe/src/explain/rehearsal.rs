//! The captured rules in a twin: whether the kernel decides as the evaluation says, and what a candidate opens.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ruleset::{ChainPlaces, Family, Flow, Place, Ruleset, World};

use super::candidate::Candidate;
use super::uplink;
use crate::twin::{
    self, Address, Answer, Bridge, Decision, Link, Origin, Outcome, Plan, Programs, Rules, Stage, Sysctl,
    Trial, TrialAnswer,
};

/// A twin takes 0.7 s, and each candidate half a second more.
const BUDGET: Duration = Duration::from_secs(15);
/// The link for controls where the machine has no default route: a network that documentation uses (RFC 5737).
const CONTROL_LINK: (&str, Ipv4Addr) = ("control0", Ipv4Addr::new(192, 0, 2, 1));
/// IPv6 addresses for controls where the machine has none there: networks that documentation uses (RFC 3849).
const CONTROL_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0x19, 0, 0, 0, 0, 1)];
/// Somebody on the bridge who is not of its subnet (RFC 5737).
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// Rules to be tried.
pub(super) struct Rehearsal<'a> {
    plan: Plan,
    chains: Vec<ChainPlaces>,
    pub(super) left_out: Vec<Place>,
    flows: &'a [Flow],
    control: Ipv4Addr,
    link: String,
    /// The host's IPv6 addresses on the bridge and on the link, and whether each is made up.
    v6: Vec<(Ipv6Addr, bool)>,
    /// A sandbox's address, for somebody at the link.
    spoofed: Option<IpAddr>,
}

/// What a stage showed about one flow.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) reached: bool,
    pub(super) not_tried: Option<String>,
    /// What decided, and where that was captured; a rule that cannot be told has no place.
    pub(super) decided: Option<(Decision, Option<Place>)>,
    /// What else was reached, in words.
    pub(super) also: Vec<String>,
    /// The same without what this host has no address for.
    pub(super) also_here: Vec<String>,
    /// Whether somebody at another interface with a sandbox's address was let in.
    pub(super) spoofed: Option<String>,
    /// How many other things were tried.
    pub(super) controls: usize,
}

impl<'a> Rehearsal<'a> {
    /// Of these rules, for flows from one sandbox by one bridge. `None` without a flow.
    pub(super) fn new(rules: &Ruleset, world: &World, flows: &'a [Flow]) -> Option<Self> {
        let first = flows.first()?;
        let [v4, v6] = [Family::Ip, Family::Ip6].map(|family| rules.restore_text(family));
        let native = rules.nft_json();
        let chains = [v4.chains, v6.chains, native.chains].concat();
        let left_out = [v4.not_written, v6.not_written, native.not_written].concat();
        let some = |text: String| (!text.trim().is_empty()).then_some(text);
        let ipsets = if rules.ipsets.is_empty() { None } else { some(rules.ipset_text()) };
        let has_native = native.json["nftables"].as_array().is_some_and(|it| !it.is_empty());
        let own = |name: &str| {
            let of = world.addresses.iter().filter(|it| it.interface == name && !is_link_local(it.address));
            of.map(|it| Address { ip: it.address, prefix: it.prefix }).collect::<Vec<_>>()
        };
        let link = uplink::uplink().filter(|name| own(name).iter().any(|it| it.ip.is_ipv4()));
        let (link, addresses) = match link {
            Some(name) => (name.clone(), own(&name)),
            None => (CONTROL_LINK.0.to_owned(), vec![Address { ip: CONTROL_LINK.1.into(), prefix: 24 }]),
        };
        let control = addresses.iter().find_map(|it| match it.ip {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })?;
        let bridge = Bridge { name: first.input.clone(), addresses: own(&first.input) };
        let (mut bridge, mut addresses) = (bridge, addresses);
        let mut sandbox = vec![first.source.ip()];
        let spoofed = spoofed(&bridge, &link, &sandbox);
        let mut addresses6 = Vec::new();
        if has_ipv6() {
            for (own, made_up) in [&mut bridge.addresses, &mut addresses].into_iter().zip(CONTROL_V6) {
                addresses6.push(ipv6(own, made_up));
            }
            let mine = bridge.addresses.iter().find_map(|it| match it.ip {
                IpAddr::V6(v6) if it.prefix <= 120 => Some(v6),
                _ => None,
            });
            sandbox.extend(mine.map(|it| IpAddr::V6((it.to_bits() ^ 0x5a).into())));
        }
        let mut links = vec![Link { name: link.clone(), addresses, behind: Vec::new(), uplink: true }];
        // An alias may lead to an address of yet another link (`--host-gateway-ip`).
        for flow in flows {
            let at = world.addresses.iter().find(|it| it.address == flow.destination.ip());
            let Some(name) = at.map(|it| it.interface.clone()) else { continue };
            if name != "lo" && name != first.input && links.iter().all(|it| it.name != name) {
                links.push(Link { addresses: own(&name), name, ..Link::default() });
            }
        }
        let plan = Plan {
            rules: Rules {
                ipv4: some(v4.text),
                ipv6: some(v6.text),
                nft: has_native.then_some(native.json),
                ipset: ipsets,
            },
            programs: Programs::find(),
            bridge,
            sandbox,
            links,
            sysctls: sysctls(&first.input),
            stages: vec![Stage { name: "as captured".to_owned(), ..Stage::default() }],
        };
        let mut rehearsal = Self { plan, chains, left_out, flows, control, link, v6: addresses6, spoofed };
        for at in 0..flows.len() {
            let trials = rehearsal.trials(at);
            rehearsal.plan.stages[0].trials.extend(trials);
        }
        Some(rehearsal)
    }

    /// One more stage, in which a candidate is to open a flow.
    pub(super) fn add(&mut self, flow: usize, candidate: &Candidate) {
        let trials = self.trials(flow);
        let name = candidate.commands.first().cloned().unwrap_or_default();
        let name = name.chars().take(200).collect();
        let (change, undo) = (candidate.change.clone(), candidate.back.clone());
        self.plan.stages.push(Stage { name, change, undo, trials });
    }

    pub(super) async fn run(&self, program: Option<&Path>) -> Result<Answer, twin::TwinError> {
        twin::run(&self.plan, program, BUDGET).await
    }

    /// What a stage showed about a flow whose trials begin there.
    pub(super) fn shown(&self, answer: &Answer, stage: usize, flow: usize) -> Option<Shown> {
        let answers = &answer.stages.get(stage)?.trials;
        let width = self.trials(flow).len();
        let begin = if stage == 0 { flow * width } else { 0 };
        let mine: &[TrialAnswer] = answers.get(begin..begin + width)?;
        let (wanted, controls) = mine.split_first()?;
        let decided = wanted.decision.clone().map(|decision| {
            let place = self.captured(&decision);
            (decision, place)
        });
        let not_tried = match &wanted.outcome {
            Outcome::NotTried { why } => Some(why.clone()),
            _ => None,
        };
        let (spoofed, controls) = controls.split_at(usize::from(self.spoofed.is_some()));
        let reached = |answers: &'_ [TrialAnswer]| -> Vec<Trial> {
            let reached = answers.iter().filter(|it| it.outcome == Outcome::Reached);
            reached.map(|it| it.trial.clone()).collect()
        };
        let also = reached(controls);
        let made_up =
            |trial: &Trial| self.v6.iter().any(|(address, made_up)| *made_up && trial.to.ip() == *address);
        Some(Shown {
            reached: wanted.outcome == Outcome::Reached,
            not_tried,
            decided,
            also_here: also.iter().filter(|trial| !made_up(trial)).map(words).collect(),
            also: also.iter().map(words).collect(),
            spoofed: reached(spoofed).first().map(|_| self.link.clone()),
            controls: controls.len(),
        })
    }

    /// Where the twin's rule was captured.
    fn captured(&self, decision: &Decision) -> Option<Place> {
        let step = &decision.step;
        let chain = self
            .chains
            .iter()
            .find(|it| it.family.name() == step.family && it.table == step.table && it.chain == step.chain)?;
        match step.position {
            Some(position) => chain.rules.get(position.checked_sub(1)?).cloned(),
            None => Some(Place {
                backend: chain.backend,
                family: chain.family,
                table: chain.captured_table().to_owned(),
                chain: chain.chain.clone(),
                rule: None,
                handle: None,
                text: String::new(),
            }),
        }
    }

    /// The flow itself, and what is to stay as it is.
    fn trials(&self, flow: usize) -> Vec<Trial> {
        let Flow { destination, data, .. } = self.flows[flow];
        let (host, port) = (destination.ip(), destination.port());
        let there = SocketAddr::new(self.control.into(), port);
        let trial = |from, to| Trial { from, to, data };
        let lan = |to| trial(Origin::Lan { link: self.link.clone(), address: None }, to);
        let mut trials = vec![trial(Origin::Sandbox, destination)];
        // The host answers it by the bridge, so that nobody gets far with it: it is no control, only told.
        trials.extend(self.spoofed.map(|address| {
            trial(Origin::Lan { link: self.link.clone(), address: Some(address) }, destination)
        }));
        trials.extend([
            trial(Origin::Sandbox, SocketAddr::new(host, other(port, self.flows))),
            trial(Origin::Sandbox, there),
            trial(Origin::Bridge { address: STRANGER }, destination),
            lan(destination),
            lan(there),
            trial(Origin::Wan { address: None }, there),
        ]);
        if let [(bridge, _), (link, _)] = self.v6[..] {
            let [bridge, link] = [bridge, link].map(|it| SocketAddr::new(it.into(), port));
            trials.extend([
                trial(Origin::Sandbox, bridge),
                lan(link),
                trial(Origin::Wan { address: None }, link),
            ]);
        }
        trials
    }
}

/// Whether this kernel has IPv6 and uses it.
fn has_ipv6() -> bool {
    let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    disabled.is_ok_and(|value| value.trim() == "0")
}

/// The first of these addresses that is one of IPv6, which may have to be made up.
fn ipv6(addresses: &mut Vec<Address>, made_up: Ipv6Addr) -> (Ipv6Addr, bool) {
    let known = addresses.iter().find_map(|it| match it.ip {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    });
    if let Some(known) = known {
        return (known, false);
    }
    addresses.push(Address { ip: made_up.into(), prefix: 64 });
    (made_up, true)
}

/// An address of the sandboxes' subnet that nobody has. `None` where the kernel lets none of them in by the link (strict
/// `rp_filter`): the twin's routes would.
fn spoofed(bridge: &Bridge, link: &str, sandbox: &[IpAddr]) -> Option<IpAddr> {
    let strict = |name: &str| {
        let value = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
        value.is_ok_and(|value| value.trim() == "1")
    };
    if strict("all") || strict(link) {
        return None;
    }
    let subnet = bridge.addresses.iter().find(|it| it.ip.is_ipv4() && it.prefix <= 28)?;
    let IpAddr::V4(own) = subnet.ip else { return None };
    let host = u32::MAX.checked_shr(subnet.prefix.into()).unwrap_or(0);
    let last = (own.to_bits() | host).saturating_sub(1);
    let free = |address: &IpAddr| *address != subnet.ip && !sandbox.contains(address);
    (0..4).map(|step| IpAddr::V4((last - step).into())).find(free)
}

/// A port that no flow is about.
fn other(port: u16, flows: &[Flow]) -> u16 {
    let taken = |port: u16| flows.iter().any(|flow| flow.destination.port() == port);
    (1..=u16::MAX).map(|step| port.wrapping_add(step)).find(|it| *it != 0 && !taken(*it)).unwrap_or(port)
}

fn words(trial: &Trial) -> String {
    let to = match trial.to {
        SocketAddr::V4(to) => to.to_string(),
        SocketAddr::V6(to) => format!("port {} over IPv6", to.port()),
    };
    match &trial.from {
        Origin::Sandbox => format!("{to} for sandboxes"),
        Origin::Bridge { .. } => format!("{to} for other addresses on the bridge"),
        Origin::Lan { .. } => format!("{to} for the local network"),
        Origin::Wan { .. } => format!("{to} for the rest of the world"),
        _ => to,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// What of this kernel's settings a packet's fate depends on.
fn sysctls(bridge: &str) -> Vec<Sysctl> {
    let names = [
        "net/ipv4/conf/all/rp_filter".to_owned(),
        format!("net/ipv4/conf/{bridge}/rp_filter"),
        "net/bridge/bridge-nf-call-iptables".to_owned(),
        "net/bridge/bridge-nf-call-ip6tables".to_owned(),
    ];
    let read = |name: String| {
        let value = fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_owned();
        Some(Sysctl { name, value })
    };
    names.into_iter().filter_map(read).collect()
}
