//! Which rule of a host's firewall decided: exact, from the kernel's own trace, and without asking any tool.
//!
//! There are two ways to the truth about a host:
//!
//! - [`Host::trace_dial`] dials a port from a place of its own on the network's bridge, and says what decided about that
//!   dial. It takes some milliseconds, and a drop as long as one waits for it.
//! - [`Host::trace`] watches what others dial, such as the container of a check, which is gone before its interface could be
//!   named: [`Place::Bridges`] picks packets on every port of every bridge, also on those that come later. The kernel keeps
//!   the mark of a packet on its way from the bridge to the host's own IPv4 and IPv6 (measured with Linux 6.18), so chains of
//!   all families are seen. With `bridge-nf-call-iptables` too, since it is before that.
//!
//! **The legacy tables of iptables are no nf_tables.** A drop by one of them leaves a flow without a decision, or with one
//! that accepts; the dial then says what the trace cannot.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use netns::{Namespace, Vantage};
use nftrace::{Decision, Flow, Packets, Place, Trace, Tracer, Verdict};

use crate::engine::NetworkInfo;
use crate::host::Host;

/// A dial that is not answered within it is not answered: the first SYN is repeated after 1 s.
const PATIENCE: Duration = Duration::from_millis(600);

/// Why nothing could be traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The host's namespace could not be entered, or no vantage be made.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// The kernel did not trace.
    #[error(transparent)]
    Trace(#[from] nftrace::Error),
    /// No packet of a dial came to the place where packets are picked.
    #[error("nothing of a dial to {destination} came to the host")]
    NothingCame {
        /// Where it was to go.
        destination: SocketAddr,
    },
}

/// A running trace in a host. It ends when this is dropped, and its table with it.
#[derive(Debug)]
pub struct HostTrace {
    namespace: Namespace,
    tracer: Tracer,
}

/// What decided about one flow.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The flow, with all that was said about it.
    pub trace: Trace,
    /// What decided; none when no chain of nf_tables met it.
    pub decision: Option<Decision>,
    /// The place of the deciding rule in its chain, counted from 1: the rule's `-A` line of that chain in what
    /// `iptables-save` prints. None for a policy, and for a rule that is gone by now.
    pub position: Option<usize>,
}

/// A dial and what decided about it.
#[derive(Clone, Debug)]
pub struct TracedDial {
    /// How it ended for the one who dialled.
    pub outcome: Result<(), io::ErrorKind>,
    /// What decided about its first packet, or of all packets when those were traced.
    pub decided: Decided,
}

impl Host {
    /// Traces the first packet of every TCP connection that comes to `place` for one of `ports`, or for any when there are
    /// none.
    ///
    /// # Errors
    /// When there is no such place, or the kernel refuses.
    pub fn trace(&self, place: &Place, ports: &[u16]) -> Result<HostTrace, TraceError> {
        self.trace_packets(place, ports, Packets::First)
    }

    /// The same with any packets. Many packets take many events, so name the ports.
    ///
    /// # Errors
    /// When there is no such place, or the kernel refuses.
    pub fn trace_packets(
        &self,
        place: &Place,
        ports: &[u16],
        packets: Packets,
    ) -> Result<HostTrace, TraceError> {
        let tracer = self.network_namespace().run(|| Tracer::at(place, ports, packets))??;
        Ok(HostTrace { namespace: self.network_namespace().try_clone()?, tracer })
    }

    /// Dials a port of the host as a sandbox of that network would, and says what decided about the first packet.
    ///
    /// # Errors
    /// When it could not be dialled or traced.
    pub fn trace_dial(&self, network: &NetworkInfo, port: u16) -> Result<TracedDial, TraceError> {
        let vantage = self.vantage(network)?;
        self.trace_dial_from(&vantage, SocketAddr::new(network.gateway.into(), port))
    }

    /// Dials anything from a vantage on one of the host's bridges, and says what decided about the first packet.
    ///
    /// # Errors
    /// When it could not be dialled or traced.
    pub fn trace_dial_from(
        &self,
        vantage: &Vantage,
        destination: SocketAddr,
    ) -> Result<TracedDial, TraceError> {
        let place = Place::Device(vantage.port().to_owned());
        let mut trace = self.trace(&place, &[destination.port()])?;
        let dial = || TcpStream::connect_timeout(&destination, PATIENCE);
        let outcome = vantage.namespace().run(dial)?.map(drop).map_err(|error| error.kind());
        let mut flows = trace.drain()?;
        match flows.pop() {
            Some(decided) => Ok(TracedDial { outcome, decided }),
            None => Err(TraceError::NothingCame { destination }),
        }
    }
}

impl HostTrace {
    /// What decided about every flow that came since it was asked last. The kernel speaks of a packet while it handles it,
    /// so after a dial has come to an end everything about it is there.
    ///
    /// # Errors
    /// When events were lost, or the rules could not be read.
    pub fn drain(&mut self) -> Result<Vec<Decided>, TraceError> {
        let traces = self.tracer.drain()?;
        let decided = || traces.iter().map(Decided::of).collect();
        self.namespace.run(decided)?
    }
}

impl Decided {
    /// In the namespace of the rules.
    fn of(trace: &Trace) -> Result<Self, TraceError> {
        let decision = trace.decision();
        let position = match &decision {
            Some(Decision { family, table, chain, rule: Some(handle), .. }) => {
                nftrace::position(*family, table, chain, *handle)?
            }
            _ => None,
        };
        Ok(Self { trace: trace.clone(), decision, position })
    }

    /// From where to where.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        self.trace.flow()
    }

    /// Whether nf_tables dropped or refused it.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.decision.as_ref().is_some_and(|it| it.verdict == Verdict::Drop)
    }
}

/// The deciding place and its word: `ip filter ufw-user-input rule 1: drop`.
impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.decision, self.position) {
            (Some(Decision { family, table, chain, verdict, .. }), Some(position)) => {
                write!(f, "{family} {table} {chain} rule {position}: {verdict}")
            }
            (Some(decision), None) => decision.fmt(f),
            (None, _) => f.write_str("nothing decided by nf_tables"),
        }
    }
}
