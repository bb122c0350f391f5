//! The form of a scenario file, version 1. `docs/scenarios.md` says what every key means.

mod events;

use probe::{Cause, Identity, PortSpec, Verdict};
use serde::Deserialize;

use crate::vm::Persona;

pub use events::{
    Address, ContainerEvent, Control, Disturbance, During, EngineCall, EngineEvent, Event, GatewayEvent,
    IpamEvent, Lifecycle, Mode, NameServerEvent, NetworkEvent, PostureEvent, ProxyEvent, RelayEvent,
    ResolverEvent, ServiceEvent,
};

/// The version of the form.
pub const VERSION: u32 = 1;

/// The JSON schema of [`Scenario`], as committed.
pub const SCHEMA: &str = include_str!("../../schema/scenario.v1.json");

/// One known way to fail, or to look as if failing: what is done to a host, and what must come out of it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The version of the form: 1.
    pub version: u32,
    /// What the scenario is, in a few words.
    pub title: String,
    /// Where it comes from: issues and pull requests (`NVIDIA/NemoClaw#3439`), or `derived`.
    pub source: Vec<String>,
    /// What it stands for. Two files of one class need `beside`.
    pub class: Class,
    /// Why there is a second file of the class.
    pub beside: Option<String>,
    /// An `ok` scenario, by a path relative to this file, whose events differ from this one's in one line.
    pub control: Option<String>,
    /// What the host pretends to be. Where that has a virtual machine, there are two hosts.
    #[serde(default)]
    pub persona: Persona,
    /// Further arguments of `openshell-probe check`. The targets come from the expectations.
    #[serde(default)]
    pub check: Vec<String>,
    /// What the kernel or the image must have. Without it the scenario is skipped, with the reason.
    #[serde(default)]
    pub skip_unless: Vec<Capability>,
    /// What happens, in this order.
    pub events: Vec<Event>,
    /// The host is that of a snapshot, and nothing happens to it.
    pub replay: Option<SnapshotSource>,
    /// How the oracle is run.
    #[serde(default)]
    pub oracle: OracleSettings,
    /// What must come out of it, a target each.
    pub expect: Vec<Expect>,
}

/// Cause, route, firewall and lifecycle: what makes one way to fail differ from another.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// The cause of one of the expectations, or its verdict where that has no cause.
    pub cause: String,
    /// How the sandbox gets to its host.
    pub route: RouteClass,
    /// Which firewall is in force.
    pub firewall: FirewallClass,
    /// How the gateway, the network or the firewall came to be as they are: `fresh`, `reused`, `network_recreated` and so on.
    pub lifecycle: String,
}

/// How the sandbox gets to its host.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RouteClass {
    /// By the address of the network's bridge.
    BridgeGateway,
    /// By the engine's `host-gateway`.
    HostGateway,
    /// By the address of OpenShell's setting `host_gateway_ip`.
    HostGatewayIp,
    /// Not at all: there is no usable network or engine.
    None,
}

/// Which firewall is in force.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FirewallClass {
    /// None, or one that is no part of the matter.
    None,
    /// UFW.
    Ufw,
    /// Rules by `iptables`.
    Iptables,
    /// Rules by `nft`.
    Nft,
    /// firewalld.
    Firewalld,
}

/// What a scenario may need of the kernel or of the host's image.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Bridged packets can be sent through iptables.
    BrNetfilter,
    /// IPv6.
    Ipv6,
    /// Links of the kind macvlan.
    Macvlan,
    /// Links of the kind ipvlan.
    Ipvlan,
    /// The match `recent`, which `ufw limit` uses.
    XtRecent,
    /// Tables of nft that look at bridged packets.
    NftBridge,
    /// Traffic control with BPF programs.
    TrafficControl,
    /// Policies of IPsec.
    Ipsec,
    /// firewalld in the image.
    Firewalld,
}

/// How the oracle is run.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct OracleSettings {
    /// A factor on the waiting times of OpenShell's supervisor between its attempts, 1 for the real ones.
    pub scale: f64,
    /// The name that the sandbox dials, `host.openshell.internal` unless said. It has to find any other one by its resolver.
    pub alias: Option<String>,
}

impl Default for OracleSettings {
    fn default() -> Self {
        Self { scale: 0.02, alias: None }
    }
}

/// A snapshot that is the scenario's host.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotSource {
    /// The file, by its path from this file's folder: below it, and no link.
    pub snapshot: String,
}

/// What must come out of it for one target.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The target as the probe's `--port` has it: `8080=gateway`.
    pub target: TargetSpec,
    /// Names it with `--optional-port` instead: it is skipped when nothing listens.
    #[serde(default)]
    pub optional: bool,
    /// The probe's verdict.
    #[cfg_attr(test, schemars(schema_with = "schema::verdict"))]
    pub verdict: Verdict,
    /// The probe's cause. `ok` and `network_not_found` have none.
    #[cfg_attr(test, schemars(schema_with = "schema::cause"))]
    pub cause: Option<Cause>,
    /// What vouches for the service, as the probe's report has it; not looked at unless said.
    #[cfg_attr(test, schemars(schema_with = "schema::identity"))]
    pub identity: Option<Identity>,
    /// What a real sandbox experiences. May be missing only where the verdict is `probe_unavailable`.
    pub oracle: Option<Experience>,
    /// What a real sandbox calls there. Unless said: `grpc` or `grpc-tls` for a target labelled `gateway`, as that gateway
    /// speaks, and `http` for others but services of the kind `grpc`.
    pub call: Option<Call>,
    /// The command that opens the path.
    #[serde(default)]
    pub remedy: RemedyExpect,
    /// Words that the summary or the hints must have.
    #[serde(default)]
    pub says: Vec<String>,
    /// Words that neither may have, in any case of letters.
    #[serde(default)]
    pub silent_on: Vec<String>,
    /// Which `check` event it is about; the check after all events unless said.
    pub at: Option<String>,
}

/// What the remedy must be.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RemedyExpect {
    /// Words that its command must have.
    pub contains: Vec<String>,
    /// Words that its command must not have.
    pub lacks: Vec<String>,
    /// There must be none.
    pub none: bool,
}

/// What a real sandbox experiences.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Experience {
    /// It reaches the right service and has its answer.
    Reached,
    /// It does not reach anything.
    NotReached,
    /// It reaches another service.
    OtherService,
    /// There is no network that it could join.
    NetworkMissing,
}

impl Experience {
    /// The word in files and in the oracle's answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::NotReached => "not_reached",
            Self::OtherService => "other_service",
            Self::NetworkMissing => "network_missing",
        }
    }
}

/// What a real sandbox calls at a target.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// The gateway's health.
    Grpc,
    /// The same over TLS.
    GrpcTls,
    /// `GET /api/tags`.
    Http,
}

impl Call {
    /// The word on the oracle's command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcTls => "grpc-tls",
            Self::Http => "http",
        }
    }
}

/// A target as the probe's `--port` has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(with = "String"))]
#[serde(try_from = "String")]
pub struct TargetSpec {
    /// The argument, word for word.
    pub argument: String,
    /// Its port.
    pub port: u16,
    /// Its label.
    pub label: String,
}

impl TryFrom<String> for TargetSpec {
    type Error = probe::TargetError;

    fn try_from(argument: String) -> Result<Self, Self::Error> {
        let PortSpec { port, label, .. } = argument.parse()?;
        Ok(Self { argument, port, label: label.unwrap_or_else(|| "service".to_owned()) })
    }
}

#[cfg(test)]
mod schema;
