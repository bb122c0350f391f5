//! Everything that was observed, as it goes to the verdict and into the report.

use serde::{Deserialize, Serialize};

use crate::dial::Dial;
use crate::drops::Drops;
use crate::engine::{Endpoint, EngineError, EngineInfo, EngineTrouble, NetworkFacts};
use crate::identity::IdentityEvidence;
use crate::image::ImageError;
use crate::listeners::{HostSide, Listener};
use crate::return_path::ReturnPath;
use crate::route::{Route, RouteError};
use crate::standpoint::Standpoint;
use crate::target::{Protocol, Target};
use crate::vantage::{Neighbour, ProtocolError, Resolution, Vantage, VantageError};

/// Everything that was observed. What is `None` was not reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The engine that was asked.
    pub endpoint: Option<Endpoint>,
    /// What it says of itself.
    pub engine: Option<EngineInfo>,
    /// The sandbox network.
    pub network: Option<NetworkFacts>,
    /// How sandboxes get to their host.
    pub route: Option<Route>,
    /// Where this process stands.
    pub standpoint: Option<Standpoint>,
    /// Where the dials started. Since 1.5.
    #[serde(default)]
    pub vantage: Vantage,
    /// What the alias resolved to in the container; from a network namespace, what OpenShell says that it does.
    pub resolution: Option<Resolution>,
    /// The container's next hop towards the target.
    pub next_hop: Option<Neighbour>,
    /// What dropped packets meanwhile besides rules, where this process stands on the engine's host. Since 1.6.
    #[serde(default)]
    pub drops: Option<Drops>,
    /// The targets, in the order they were named.
    pub ports: Vec<PortEvidence>,
    /// What kept the probe from looking further.
    #[serde(skip)]
    pub trouble: Option<Trouble>,
}

/// What was observed of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PortEvidence {
    /// The target.
    pub target: Target,
    /// The dial from the sandbox's place, `None` when the port was not dialled.
    pub sandbox: Option<Dial>,
    /// The host's own dial to the same address, which only corroborates.
    pub host: Option<Dial>,
    /// Nothing listened, and the probe did for the time of the dial.
    #[serde(default)]
    pub stand_in: bool,
    /// What this host has of the sandbox's connection; `None` where it was not looked for.
    #[serde(default)]
    pub host_side: Option<HostSide>,
    /// This host's way back to the container, for the answers of this port.
    #[serde(default)]
    pub return_path: Option<ReturnPath>,
    /// Containers that the engine says the port is published for, where the connection does not end here.
    #[serde(default)]
    pub published_by: Vec<String>,
    /// What is known of who is behind the port. Since 1.3.
    #[serde(default)]
    pub identity: IdentityEvidence,
    /// The listeners of the port before the dials, `None` when the table could not be read.
    pub listeners_before: Option<Vec<Listener>>,
    /// The listeners of the port after the dials.
    pub listeners_after: Option<Vec<Listener>>,
}

impl PortEvidence {
    /// What is spoken to the target: to a stand-in nothing, because it answers nothing.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        if self.stand_in { Protocol::Tcp } else { self.target.protocol }
    }

    /// Whether the sandbox holds a connection that no socket of this host has: something took it elsewhere.
    #[must_use]
    pub fn ends_elsewhere(&self) -> bool {
        let held = self.sandbox.as_ref().is_some_and(|dial| dial.held.is_some());
        held && self.host_side == Some(HostSide::Absent)
    }
}

/// What kept the probe from looking.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The engine could not be reached, or failed a question.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine has no such network.
    #[error("the engine has no network '{name}'")]
    NetworkNotFound {
        /// Its name, safe to print.
        name: String,
    },
    /// The network gives sandboxes no way to their host.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The dialer's image is not to be had.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The engine failed to run the container.
    #[error(transparent)]
    Container(EngineError),
    /// A signal ended the check.
    #[error("the check was interrupted")]
    Interrupted,
    /// Nothing is to be looked at: on WSL, Ollama runs on Windows, and no proxy of this host stands before it.
    #[error("this is WSL, where sandboxes reach Ollama on Windows and not a proxy of this host")]
    Wsl,
    /// The container ran and its output tells nothing.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// There is no place on the network to dial from.
    #[error(transparent)]
    Vantage(#[from] VantageError),
}

impl Trouble {
    /// The engine's failure below it, if it is one.
    #[must_use]
    pub fn engine(&self) -> Option<&EngineTrouble> {
        match self {
            Self::Engine(error) | Self::Container(error) | Self::Image(ImageError::Engine(error)) => {
                Some(&error.trouble)
            }
            _ => None,
        }
    }
}
