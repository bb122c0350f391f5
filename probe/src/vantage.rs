//! Where a dial starts.

pub(crate) mod container;
pub(crate) mod host;
pub(crate) mod netns;
mod protocol;
pub(crate) mod seat;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

pub use netns::VantageError;
pub use protocol::{DialerOutput, Marked, Neighbour, ProtocolError, Resolution};
use serde::{Deserialize, Serialize};

use crate::evidence::Trouble;
use crate::target::Protocol;

/// How a sandbox's place is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// By a container on the sandbox network.
    #[default]
    Container,
    /// By a network namespace of this process's that has a port on the network's bridge. It takes root and the engine's own
    /// host, no image and no container; and it cannot see whether the alias resolves in a container.
    Netns,
}

/// Where the dials started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Vantage {
    /// In a container on the sandbox network, also where it came to no dial.
    #[default]
    Container,
    /// In a network namespace with a port on the network's bridge. The alias was not resolved: what it resolves to is
    /// OpenShell's own entry in a container's hosts file.
    Netns {
        /// The address in the sandboxes' subnet that was dialled from.
        address: Ipv4Addr,
        /// The bridge.
        interface: String,
        /// Microseconds until the address could be dialled from: the namespace, its port on the bridge, asking who has the
        /// address.
        setup_us: u64,
        /// Microseconds for all dials and greetings at once.
        dial_us: u64,
        /// Microseconds until the port was gone; 0 where it was not waited for.
        removal_us: u64,
    },
}

/// What dials from a sandbox's place gave.
#[derive(Debug)]
pub(crate) struct Dialled<T> {
    /// What the dialer said.
    pub(crate) output: Result<DialerOutput, Trouble>,
    /// What was looked at while it held its connections.
    pub(crate) after: T,
    /// What could not be removed, in words.
    pub(crate) left: Option<String>,
    /// Where they started.
    pub(crate) from: Vantage,
}

/// The dialer's command line. `total` is the time for everything.
pub(crate) fn arguments(
    alias: &str,
    timeout: Duration,
    total: Duration,
    ports: &[(u16, Protocol)],
    hellos: &BTreeMap<u16, Vec<u8>>,
) -> Vec<String> {
    let mut arguments = vec![alias.to_owned()];
    let times = [container::RESOLVE_TIMEOUT, timeout, total];
    arguments.extend(times.iter().map(|time| time.as_millis().to_string()));
    arguments.extend(ports.iter().map(|(port, protocol)| {
        let mut argument = format!("{port}:{}", protocol.word());
        if let Some(hello) = hellos.get(port) {
            argument.push(':');
            argument.extend(hello.iter().map(|byte| format!("{byte:02x}")));
        }
        argument
    }));
    arguments
}
