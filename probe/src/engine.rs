//! The container engine behind one trait, so that the probe can be tested and rehearsed without one.
//!
//! Every call ends: it answers, or fails with an [`EngineError`] that says which call, to whom, and why.

mod docker;
mod dry_run;
mod endpoint;
mod error;
mod ping;

use std::collections::BTreeMap;
use std::future::Future;

pub use docker::DockerEngine;
pub use dry_run::DryRun;
pub use endpoint::{ChosenBy, Discovery, Endpoint, Environment, discover};
pub use error::{EngineError, EngineTrouble};
use serde::{Deserialize, Serialize};

/// What the probe asks of an engine.
pub trait Engine: Sync {
    /// Whether changes are only written down. Then nothing else is changed or dialled either.
    fn is_rehearsal(&self) -> bool {
        false
    }
    /// What the engine is.
    fn info(&self) -> impl Future<Output = Result<EngineInfo, EngineError>> + Send;
    /// A network by name, `None` when the engine has none.
    fn network(&self, name: &str) -> impl Future<Output = Result<Option<NetworkFacts>, EngineError>> + Send;
    /// Who is on a network, by id, and from where its addresses are given out.
    fn residents(&self, network: &str) -> impl Future<Output = Result<Residents, EngineError>> + Send;
    /// An image by id, `None` when the engine has none.
    fn image(&self, id: &str) -> impl Future<Output = Result<Option<ImageFacts>, EngineError>> + Send;
    /// Loads an archive of images.
    fn load_image(&self, archive: &'static [u8]) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// Creates a container and returns its id.
    fn create(&self, spec: &ContainerSpec) -> impl Future<Output = Result<String, EngineError>> + Send;
    /// Starts a created container and returns what it writes to standard output until a line equals `last_line`, or
    /// the output ends.
    fn run(&self, id: &str, last_line: &str) -> impl Future<Output = Result<Spoken, EngineError>> + Send;
    /// The names of the running containers that the host's TCP `port` is published for, but those of the network with the
    /// id `besides`: from its own network the engine's rule does not take a packet to a container.
    fn publishers(
        &self,
        port: u16,
        besides: &str,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;
    /// Waits until the engine has removed a container that ends by itself, by id; `false` when it takes too long.
    fn gone(&self, id: &str) -> impl Future<Output = bool> + Send;
    /// Removes a container, running or not, by id or name, and returns when it is gone. A container that is already
    /// gone is no error.
    fn remove(&self, id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// The containers, in any state, that carry the label `key` with the value `value`.
    fn labelled(
        &self,
        key: &str,
        value: &str,
    ) -> impl Future<Output = Result<Vec<LabelledContainer>, EngineError>> + Send;
    /// The ids of the images that carry the label `key` with the value `value`.
    fn labelled_images(
        &self,
        key: &str,
        value: &str,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;
    /// Removes an image by id; `false` when a container still uses it.
    fn remove_image(&self, id: &str) -> impl Future<Output = Result<bool, EngineError>> + Send;
}

/// What a container wrote, and its standard input, which ends when this is dropped.
pub struct Spoken {
    /// The text.
    pub text: String,
    /// Held open.
    pub input: Box<dyn std::any::Any + Send>,
}

/// What an engine says of itself, reduced to what decides something here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EngineInfo {
    /// Release, for example `26.1.5`.
    pub version: String,
    /// For example `Ubuntu 22.04.4 LTS` or `Docker Desktop`.
    pub operating_system: String,
    /// The host name of the engine's machine.
    pub name: String,
    /// The daemon's labels, `key=value`.
    pub labels: Vec<String>,
    /// For example `x86_64` or `aarch64`.
    pub architecture: String,
    /// Containers may be given a memory limit.
    pub memory_limit: bool,
    /// Containers may be given a limit of processes.
    pub pids_limit: bool,
}

/// A network as the engine describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetworkFacts {
    /// The full id.
    pub id: String,
    /// The name it was asked for.
    pub name: String,
    /// For example `bridge`.
    pub driver: String,
    /// Address pools in the engine's order.
    pub ipam: Vec<IpamEntry>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Created with `--internal`: containers have no default route.
    pub internal: bool,
}

impl NetworkFacts {
    /// The name of the bridge interface on the engine's host: Docker's option for it, or `br-` and the first 12
    /// characters of the id.
    #[must_use]
    pub fn bridge_name(&self) -> String {
        match self.options.get("com.docker.network.bridge.name") {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("br-{}", self.id.get(..12).unwrap_or(&self.id)),
        }
    }

    /// Whether somebody chose the bridge's name; otherwise it tells the network.
    #[must_use]
    pub fn has_chosen_bridge_name(&self) -> bool {
        self.options.get("com.docker.network.bridge.name").is_some_and(|name| !name.is_empty())
    }

    /// The subnet of the IPAM entry with this gateway.
    #[must_use]
    pub fn subnet_of(&self, gateway: std::net::Ipv4Addr) -> Option<&str> {
        let text = gateway.to_string();
        let entry = self.ipam.iter().find(|entry| entry.gateway.as_deref() == Some(&text))?;
        entry.subnet.as_deref()
    }
}

/// One address pool of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IpamEntry {
    /// CIDR.
    pub subnet: Option<String>,
    /// The address that the bridge has, as text: it need not be one.
    pub gateway: Option<String>,
}

/// The addresses of a network that are not to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residents {
    /// Those of running containers, and those that the network's maker reserved.
    pub taken: Vec<std::net::Ipv4Addr>,
    /// The part of the subnet that containers get theirs from, as CIDR; `None` is all of it.
    pub range: Option<String>,
}

/// An image as the engine describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `sha256:…`.
    pub id: String,
    /// For example `amd64`.
    pub architecture: String,
    /// The digests of its uncompressed layers.
    pub layers: Vec<String>,
}

/// A container that carries a label of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelledContainer {
    /// The full id.
    pub id: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
}

/// The container that dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Its name, chosen before the engine knows it, so that it can be removed even if the answer is lost.
    pub name: String,
    /// The image id, never a name.
    pub image: String,
    /// The arguments after the image's entry point.
    pub arguments: Vec<String>,
    /// The id of the network to join.
    pub network: String,
    /// `name:address` entries for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// In bytes, where the engine can limit it.
    pub memory: Option<i64>,
    /// Processes, where the engine can limit them.
    pub pids: Option<i64>,
}
