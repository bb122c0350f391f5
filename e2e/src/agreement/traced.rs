//! A dial like a sandbox's, and what the kernel says about its packets and those of the answer.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use harness::trace::Decided;
use harness::{Host, NetworkInfo};
use nftrace::{Packets, Place};
use probe::Decided as Explained;

/// How long an answer is waited for: an open path answers within 1 ms, and the first SYN is repeated after 1 s.
const PATIENCE: Duration = Duration::from_millis(600);

/// What is sent on a connection that stands: longer than any handshake's packet, and a question that services of HTTP answer,
/// whose answers rules can drop too.
const DATA: [u8; 200] = data();

const fn data() -> [u8; 200] {
    let (head, end) = (b"GET / HTTP/1.1\r\nHost: sandbox\r\nX-Long: ", b"\r\n\r\n");
    let mut data = [b'-'; 200];
    data.split_at_mut(head.len()).0.copy_from_slice(head);
    data.split_at_mut(200 - end.len()).1.copy_from_slice(end);
    data
}

/// A rule or a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spot {
    /// The table's family, as `nft` writes it.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's number in its chain, from 1; `None` is the policy.
    pub rule: Option<usize>,
}

/// Where the kernel dropped or refused a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// It was one of the host's own, which would have answered.
    pub answer: bool,
    /// Where.
    pub spot: Spot,
}

/// What came of a dial.
#[derive(Clone, Debug)]
pub struct Traced {
    /// How the handshake ended for the one who dialled.
    pub outcome: Result<(), ErrorKind>,
    /// The first packet that was dropped; none where nf_tables let all of them pass.
    pub dropped: Option<Dropped>,
}

/// Dials ports of an address, all at once, from one place on the network's bridge.
pub(super) fn dial(
    host: &Host,
    network: &NetworkInfo,
    address: IpAddr,
    ports: &[u16],
) -> Result<Vec<Traced>> {
    let vantage = host.vantage(network)?;
    let place = Place::Device(vantage.port().to_owned());
    let mut received = host.trace_packets(&place, ports, Packets::All)?;
    let mut sent = host.trace_packets(&Place::Sent, &[], Packets::All)?;
    let outcomes = vantage.namespace().run(|| talk_to_all(address, ports))?;
    let (received, sent) = (received.drain()?, sent.drain()?);
    let drop = |answer: bool| move |flow: &Decided| Some(Dropped { answer, spot: Spot::of_drop(flow)? });
    let traced = |(port, outcome): (&u16, io::Result<()>)| {
        let asked = received.iter().filter(|flow| flow.flow().destination.port() == *port);
        let source = asked.clone().map(|flow| flow.flow().source).next();
        // Answers go to where the question came from, and to nobody else whom the host may be speaking to.
        let answers = sent.iter().filter(|flow| Some(flow.flow().destination) == source);
        let dropped = asked.clone().find_map(drop(false)).or_else(|| answers.clone().find_map(drop(true)));
        Traced { outcome: outcome.map_err(|error| error.kind()), dropped }
    };
    Ok(ports.iter().zip(outcomes).map(traced).collect())
}

/// In the namespace of the calling thread, which threads of its own inherit.
fn talk_to_all(address: IpAddr, ports: &[u16]) -> Vec<io::Result<()>> {
    let gone = |_| Err(io::Error::other("the dial ended early"));
    std::thread::scope(|scope| {
        let talks: Vec<_> =
            ports.iter().map(|port| scope.spawn(move || talk(SocketAddr::new(address, *port)))).collect();
        talks.into_iter().map(|talk| talk.join().unwrap_or_else(gone)).collect()
    })
}

/// Connects, and says something where that works.
fn talk(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&DATA)?;
    // Whether anything comes back is not the question: what was sent has been handled by then.
    let _ = stream.read(&mut [0]);
    Ok(())
}

impl Spot {
    fn of_drop(flow: &Decided) -> Option<Self> {
        let decision = flow.decision.as_ref().filter(|_| flow.is_dropped())?;
        Some(Self {
            family: decision.family.to_string(),
            table: decision.table.clone(),
            chain: decision.chain.clone(),
            rule: flow.position,
        })
    }

    /// Where an explanation says it was.
    #[must_use]
    pub fn of_explained(decided: &Explained) -> Self {
        Self {
            family: decided.family.clone(),
            table: decided.table.clone(),
            chain: decided.chain.clone(),
            rule: decided.rule,
        }
    }
}

/// As a user would find it: `ip filter INPUT rule 1`.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, rule } = self;
        match rule {
            Some(rule) => write!(f, "{family} {table} {chain} rule {rule}"),
            None => write!(f, "{family} {table} {chain} policy"),
        }
    }
}
