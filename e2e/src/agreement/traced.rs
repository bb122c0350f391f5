//! A dial like a sandbox's, and what the kernel says about its packets and those of the answer.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use harness::trace::Decided;
use harness::{Host, NetworkInfo};
use netns::Vantage;
use nftrace::{Packets, Place};
use probe::Decided as Explained;

/// How long an answer is waited for: an open path answers within 1 ms, and the first SYN is repeated after 1 s.
const PATIENCE: Duration = Duration::from_millis(600);

/// What is sent on a connection that stands: longer than any handshake's packet.
const DATA: [u8; 200] = [b'-'; 200];

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

/// Dials from a place of its own on the network's bridge.
pub(super) fn dial(host: &Host, network: &NetworkInfo, to: SocketAddr) -> Result<Traced> {
    let vantage = host.vantage(network)?;
    let port = Place::Device(vantage.port().to_owned());
    let mut received = host.trace_packets(&port, &[to.port()], Packets::All)?;
    let mut sent = host.trace_packets(&Place::Sent, &[], Packets::All)?;
    let (source, outcome) = talk(&vantage, to)?;
    let of_ours = |flow: &Decided| source.is_none_or(|source| flow.flow().destination == source);
    let (received, sent) = (received.drain()?, sent.drain()?);
    let answers = sent.iter().filter(|flow| flow.flow().source.port() == to.port() && of_ours(flow));
    let drop = |answer: bool| move |flow: &Decided| Some(Dropped { answer, spot: Spot::of_drop(flow)? });
    let first = received.iter().find_map(drop(false));
    Ok(Traced { outcome, dropped: first.or_else(|| answers.into_iter().find_map(drop(true))) })
}

/// Connects, and says something where that works.
fn talk(vantage: &Vantage, to: SocketAddr) -> Result<(Option<SocketAddr>, Result<(), ErrorKind>)> {
    let talked = vantage.namespace().run(|| {
        let mut stream = match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => return Ok((None, Err(error.kind()))),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&DATA)?;
        // Whether anything comes back is not the question: what was sent has been handled by then.
        let _ = stream.read(&mut [0]);
        Ok::<_, std::io::Error>((Some(stream.local_addr()?), Ok(())))
    });
    Ok(talked??)
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
