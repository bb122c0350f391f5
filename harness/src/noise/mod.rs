//! Noise: TCP in a host that has nothing to do with what is looked at, as every busy host has it.
//!
//! ```text
//!   the host ── noise0, a bridge, 198.18.0.1 ──── veth ──── 198.18.0.2, a namespace of its own ── the neighbour
//!       │                                                                                             │
//!       └─ each has a port that is open, one that is closed and one with a full accept queue ─────────┘
//!          and each dials those of the other, a hundred times a second and more: opened, refused, no answer
//! ```
//!
//! No rule of the host's firewall is added or changed: what gets no answer is dropped by the kernel, before a queue that is
//! full. So the host's own counters (of listeners, resets, time-outs, repeated SYNs) move as they do under real noise, and
//! what the firewall does with a stranger's packets it does with these. The kernel's counters of the neighbour's namespace,
//! in which there is nothing else, say how many packets there were.

mod traffic;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netns::{Namespace, Vantage};
use tokio::time::interval;

use crate::background::Background;
use crate::host::{ExecError, Host};
use traffic::{Counts, Ports, Side};

/// What is the least that counts as noise, in packets a second; with no firewall there are 2,600.
const MINIMUM: u32 = 1000;

/// The bridge that the noise has for itself.
const BRIDGE: &str = "noise0";

/// The neighbour's end of it.
const PORT: &str = "noise1";

/// Addresses for measurements between devices (RFC 2544, RFC 6890), which no engine gives to a network.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PREFIX: u8 = 24;

/// The first port above those that the kernel gives to connections (32768 to 60999).
const FIRST_PORT: u16 = 61000;

/// How long it is measured at least: a check that ends at once would leave a number that says nothing.
const WINDOW: Duration = Duration::from_millis(300);

/// How many packets have to have been there before it counts as begun, and how long that may take.
const BEGUN: u64 = 30;
const BEGIN_DEADLINE: Duration = Duration::from_secs(5);

/// How much noise there has to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Noise {
    minimum: u32,
}

impl Default for Noise {
    fn default() -> Self {
        Self { minimum: MINIMUM }
    }
}

/// How much there was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Measure {
    /// Packets of TCP, both ways.
    pub packets_per_second: u32,
    /// Connections that came to be.
    pub opened: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that had no answer.
    pub unanswered: u64,
    /// How long it was measured.
    pub elapsed: Duration,
}

/// Why there is no noise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The host did not get its interface, or kept it.
    #[error("noise: {0}")]
    Interface(#[from] ExecError),
    /// The neighbour could not be made, or not entered.
    #[error("noise: {0}")]
    Neighbour(#[from] netns::Error),
    /// A socket was refused.
    #[error("noise: {what}: {source}")]
    Socket {
        /// What was tried, as a lowercase fragment.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel's counters could not be read.
    #[error("noise: read the counters of TCP: {0}")]
    Counters(String),
    /// There was less of it than there has to be.
    #[error(
        "noise: {} packets/s and not {minimum}: {} opened, {} refused, {} without an answer in {:?}",
        .measure.packets_per_second, .measure.opened, .measure.refused, .measure.unanswered, .measure.elapsed
    )]
    TooLittle {
        /// What was measured.
        measure: Measure,
        /// What there has to be.
        minimum: u32,
    },
}

/// Noise that is being made. Dropping it ends it, and leaves the host its interface; [`stop`](Self::stop) does not.
#[derive(Debug)]
pub struct Running {
    // In the order in which they end.
    _sides: [Background; 2],
    neighbour: Vantage,
    counts: Arc<Counts>,
    minimum: u32,
    begun: Instant,
    packets: u64,
}

impl Noise {
    /// So many packets a second instead of 1000 have to be there. It does not make more of them.
    #[must_use]
    pub fn at_least(mut self, packets_per_second: u32) -> Self {
        self.minimum = packets_per_second;
        self
    }

    /// Begins to make it, on none of the ports that are `taken`, and returns when it is there. It ends by itself after two
    /// minutes.
    ///
    /// # Errors
    /// When the host makes noise already, or the kernel refuses something.
    pub async fn start(&self, host: &Host, taken: &[u16]) -> Result<Running, NoiseError> {
        host.add_interface(BRIDGE, HOST, PREFIX).await?;
        let neighbour = join(host.own_network_namespace()?).await?;
        let counts = Arc::new(Counts::default());
        let ports = Ports::above(FIRST_PORT, taken);
        let side = |namespace: Namespace, own, peer| -> Result<Background, NoiseError> {
            let side = Side::listen(&namespace, own, peer, ports)?;
            let counts = Arc::clone(&counts);
            Ok(Background::start(namespace, async move || side.make_noise(&counts).await)?)
        };
        let sides = [
            side(host.own_network_namespace()?, HOST, NEIGHBOUR)?,
            side(neighbour.namespace().try_clone()?, NEIGHBOUR, HOST)?,
        ];
        let mut running = Running {
            _sides: sides,
            neighbour,
            counts,
            minimum: self.minimum,
            begun: Instant::now(),
            packets: 0,
        };
        running.wait(|packets, elapsed| packets >= BEGUN || elapsed > BEGIN_DEADLINE).await?;
        running.counts.clear();
        running.packets = packets(running.neighbour.namespace())?;
        running.begun = Instant::now();
        Ok(running)
    }
}

impl Running {
    /// Measures it, ends it, and takes the interface back.
    ///
    /// # Errors
    /// When there was too little of it.
    pub async fn stop(self, host: &Host) -> Result<Measure, NoiseError> {
        self.wait(|_, elapsed| elapsed >= WINDOW).await?;
        let (packets, elapsed) = (packets(self.neighbour.namespace())? - self.packets, self.begun.elapsed());
        let (opened, refused, unanswered) = self.counts.read();
        let packets_per_second = (packets as f64 / elapsed.as_secs_f64()) as u32;
        let measure = Measure { packets_per_second, opened, refused, unanswered, elapsed };
        let minimum = self.minimum;
        // It waits for the threads of both sides.
        drop(self);
        host.command("ip").args(["link", "delete", BRIDGE]).run().await?;
        if packets_per_second < minimum {
            return Err(NoiseError::TooLittle { measure, minimum });
        }
        Ok(measure)
    }

    /// Until the number of packets and the time since it was begun are right.
    async fn wait(&self, right: impl Fn(u64, Duration) -> bool) -> Result<(), NoiseError> {
        let mut tick = interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            if right(packets(self.neighbour.namespace())?, self.begun.elapsed()) {
                return Ok(());
            }
        }
    }
}

/// The neighbour. It takes up to a second until its bridge is up, in which others go on.
async fn join(host: Namespace) -> Result<Vantage, netns::Error> {
    let joined =
        tokio::task::spawn_blocking(move || Vantage::on_bridge(&host, BRIDGE, PORT, NEIGHBOUR, PREFIX, HOST));
    joined.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// How many packets of TCP a namespace has received and sent.
fn packets(namespace: &Namespace) -> Result<u64, NoiseError> {
    let read = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))?;
    count(&read.map_err(|error| NoiseError::Counters(error.to_string()))?)
}

/// From two lines, one with the names and one with the numbers.
fn count(snmp: &str) -> Result<u64, NoiseError> {
    let missing = || NoiseError::Counters("they lack InSegs, OutSegs or RetransSegs".to_owned());
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next().ok_or_else(missing)?, lines.next().ok_or_else(missing)?);
    let of = |name: &str| {
        let found = names.split(' ').zip(numbers.split(' ')).find(|(known, _)| *known == name);
        found.and_then(|(_, number)| number.parse::<u64>().ok()).ok_or_else(missing)
    };
    // The kernel counts what it repeats apart.
    Ok(of("InSegs")? + of("OutSegs")? + of("RetransSegs")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_sent_and_repeated_packets_are_counted() {
        let snmp = "Ip: Forwarding InReceives\nIp: 1 99\n\
            Tcp: RtoAlgorithm MaxConn InSegs OutSegs RetransSegs InErrs\nTcp: 1 -1 300 20 1 7\n";
        assert_eq!(count(snmp).unwrap(), 321);
        assert!(count("Udp: InDatagrams\nUdp: 1\n").is_err());
        assert!(count("Tcp: InSegs OutSegs\nTcp: 1 2\n").is_err());
    }
}
