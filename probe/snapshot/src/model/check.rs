//! What a check found, reduced to what a replay is compared with.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::text::{Interface, Name, Word};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// What the check would have exited with.
    pub exit_code: u8,
    /// How sandboxes get to their host: `bridge_gateway` or `host_gateway`; `None` where it was not found out.
    pub route: Option<Word>,
    /// The address that sandboxes dial, where the route names it.
    pub dialled: Option<Ipv4Addr>,
    /// The sandboxes' bridge, where this is the engine's host.
    pub bridge: Option<Interface>,
    /// The answers, in the order the targets were named.
    pub targets: Vec<Target>,
}

/// The answer about one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Target {
    /// The TCP port.
    pub port: u16,
    /// What lives there, where it is one of OpenShell's: `gateway` or `ollama-proxy`. Another label is not carried.
    pub label: Option<Word>,
    /// Whether it must be there.
    pub required: bool,
    /// What is spoken there: `grpc`, `http`, `tcp`.
    pub protocol: Word,
    /// The verdict, as in the report.
    pub verdict: Word,
    /// The cause, as in the report.
    pub cause: Option<Word>,
    /// How far both may be trusted, as in the report.
    pub confidence: Word,
    /// How the dial from the sandbox's place ended; `None` where it was not dialled.
    pub dialled: Option<Dialled>,
    /// The connection that rules were asked about; `None` where they are of another machine.
    pub path: Option<Path>,
    /// The rule or policy that decided; `None` where none did, or none is certain.
    pub decided: Option<Decided>,
    /// Who says so: `static`, `twin`, `counters`.
    pub confirmed_by: Vec<Word>,
}

/// How a dial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Dialled {
    /// `connected`, `timed_out`, `refused`, …, as in the report.
    pub outcome: Word,
    /// Microseconds.
    pub elapsed_us: u64,
}

/// A connection, and what the host is to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Path {
    /// The interface that it comes in by.
    pub input: Interface,
    /// The sandbox's end.
    pub source: SocketAddr,
    /// The host's end.
    pub destination: SocketAddr,
    /// The interface that the host answers through; `None` where there is no way back, or none is known.
    pub way_back: Option<Interface>,
    /// Bytes of the first data that the sandbox sends.
    pub data: u16,
}

/// A rule or a policy that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Decided {
    /// Whose packet: `syn`, `syn_ack`, `ack`, `data`, `answer_ack` or `answer`.
    pub packet: Word,
    /// `legacy`, `nft` (iptables-nft) or `native`.
    pub backend: Word,
    /// The table's family.
    pub family: Word,
    /// The table.
    pub table: Name,
    /// The chain.
    pub chain: Name,
    /// The rule's number in its chain, from 1; `None` is the chain's policy.
    pub rule: Option<usize>,
}
