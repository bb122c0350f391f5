//! What can happen in a scenario.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

use crate::service::Behaviour;
use crate::vm::Forwarder;

/// One thing that happens.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A network is created. Without any key it is OpenShell's own.
    Network(NetworkEvent),
    /// The network of that name is removed.
    RemoveNetwork(String),
    /// The gateway starts.
    Gateway(GatewayEvent),
    /// The Ollama proxy starts.
    Proxy(ProxyEvent),
    /// Another service starts, a process of its own.
    Service(ServiceEvent),
    /// Another service starts in a container.
    Container(ContainerEvent),
    /// A service ends: `gateway`, `proxy`, or a name.
    Stop(String),
    /// A service is stopped by SIGSTOP: the kernel goes on accepting for it, and nobody answers.
    Freeze(String),
    /// A service is stopped by SIGSTOP, and its accept queues are filled.
    FillQueue(String),
    /// A firewall is put in force, and proven.
    Posture(PostureEvent),
    /// `sh -ec` in the host, with `$NETWORK`, `$SUBNET`, `$GATEWAY` and `$BRIDGE`. It must end with 0.
    Run(String),
    /// A control port is dialled from the bridge: what the firewall does is as said here.
    Control(Control),
    /// Something happens to the engine.
    Engine(EngineEvent),
    /// A relay takes the engine's place and disturbs a call from now on.
    Relay(RelayEvent),
    /// The engine's host asks another resolver, and so do the sandboxes that are created from now on.
    Resolver(ResolverEvent),
    /// A name server starts on the engine's host.
    NameServer(NameServerEvent),
    /// Connections of sandboxes are carried to the user's machine, or are no more. They are from the start.
    Forwarder(Forwarder),
    /// Something happens as soon as the next check has made its container.
    DuringCheck(During),
    /// The probe, and the oracle, are run now too; expectations name this with `at`.
    Check(String),
}

impl Event {
    /// What is going on while it happens, in a few words.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Self::Network(_) => "create a network",
            Self::RemoveNetwork(_) => "remove a network",
            Self::Gateway(_) => "start the gateway",
            Self::Proxy(_) => "start the Ollama proxy",
            Self::Service(_) => "start a service",
            Self::Container(_) => "start a container",
            Self::Stop(_) => "stop a service",
            Self::Freeze(_) => "freeze a service",
            Self::FillQueue(_) => "fill a service's queue",
            Self::Posture(_) => "put the firewall in force",
            Self::Run(_) => "run a command",
            Self::Control(_) => "try the control port",
            Self::Engine(_) => "disturb the engine",
            Self::Relay(_) => "put a relay before the engine",
            Self::Resolver(_) => "change the resolver",
            Self::NameServer(_) => "start a name server",
            Self::Forwarder(_) => "change the forwarder",
            Self::DuringCheck(_) | Self::Check(_) => "leave out a check",
        }
    }
}

/// A network. All keys are optional.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NetworkEvent {
    /// Its name, `openshell-docker` unless said.
    pub name: Option<String>,
    /// Its subnet in CIDR notation, from the engine's pool unless said.
    pub subnet: Option<String>,
    /// The bridge's address, the first of `subnet` unless said.
    pub gateway: Option<IpAddr>,
    /// Its driver, `bridge` unless said.
    pub driver: Option<String>,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// All entries of its IPAM configuration, word for word, instead of `subnet` and `gateway`.
    pub ipam: Vec<IpamEvent>,
    /// Without a way out.
    pub internal: bool,
    /// Its driver's options.
    pub options: BTreeMap<String, String>,
    /// Names the subnet only, so that the engine does not say the gateway afterwards.
    pub bare_ipam: bool,
}

/// An entry of an IPAM configuration.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IpamEvent {
    /// The subnet.
    pub subnet: String,
    /// The bridge's address in it.
    pub gateway: Option<String>,
}

/// A gateway.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct GatewayEvent {
    /// One or two addresses. Unless said, 127.0.0.1, and `bridge` where there is no virtual machine.
    pub bind: Option<Vec<Address>>,
    /// Its port.
    pub port: u16,
    /// What it speaks.
    pub mode: Mode,
    /// How it comes to be running.
    pub lifecycle: Lifecycle,
}

impl Default for GatewayEvent {
    fn default() -> Self {
        Self {
            bind: None,
            port: crate::service::Gateway::PORT,
            mode: Mode::Plain,
            lifecycle: Lifecycle::StandIn,
        }
    }
}

/// An address to listen on: an IP address, or `bridge` for the gateway address of the network as it is now.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(with = "String"))]
#[serde(try_from = "String")]
pub enum Address {
    /// The gateway address of the network.
    Bridge,
    /// That address.
    Ip(IpAddr),
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "bridge" {
            return Ok(Self::Bridge);
        }
        let ip = text.parse().map_err(|_| format!("{text:?} is neither an IP address nor \"bridge\""))?;
        Ok(Self::Ip(ip))
    }
}

/// What a gateway speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// HTTP/2 without TLS.
    #[default]
    Plain,
    /// TLS.
    Tls,
}

/// How a gateway comes to be running.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It is simply there.
    #[default]
    StandIn,
    /// An onboarding has started it; it makes the network itself.
    Fresh,
    /// A second onboarding has found it by the records of the first.
    Reused,
    /// A second onboarding has found it without records.
    Adopted,
    /// A service manager has started it, and an onboarding has restarted it there.
    ManagedService,
}

/// The Ollama proxy.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ProxyEvent {
    /// Its address.
    pub bind: Address,
    /// Its port.
    pub port: u16,
}

impl Default for ProxyEvent {
    fn default() -> Self {
        Self { bind: Address::Ip(Ipv4Addr::UNSPECIFIED.into()), port: crate::service::OllamaProxy::PORT }
    }
}

/// Another service.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceEvent {
    /// The name by which later events mean it.
    pub name: String,
    /// What it does.
    pub kind: Behaviour,
    /// Its addresses, `["0.0.0.0"]` unless said.
    #[serde(default = "wildcard")]
    pub bind: Vec<Address>,
    /// Its port.
    pub port: u16,
    /// The user that it runs as; root unless said.
    pub user: Option<u32>,
}

fn wildcard() -> Vec<Address> {
    vec![Address::Ip(Ipv4Addr::UNSPECIFIED.into())]
}

/// Another service in a container.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ContainerEvent {
    /// Its name.
    pub name: String,
    /// The network that it joins.
    pub network: String,
    /// The published port, `HOST:CONTAINER` or `ADDRESS:HOST:CONTAINER`. Unless said nothing is published.
    pub publish: Option<String>,
    /// The port that it listens on, that of `publish` unless said.
    pub port: Option<u16>,
    /// Its address in the network, the engine's choice unless said.
    pub ip: Option<Ipv4Addr>,
    /// What it does.
    pub kind: Behaviour,
}

/// A firewall in a given state.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PostureEvent {
    /// None.
    Open,
    /// UFW with its packages' defaults.
    UfwDefaultDeny,
    /// The same with 22 and 2222 allowed, as on machines of Brev's.
    UfwBrev,
    /// UFW that rejects what it does not allow.
    UfwDefaultReject,
    /// A table of nftables' own whose chain drops by policy and accepts `lo`.
    NftDrop,
    /// firewalld with its packages' defaults.
    Firewalld,
    /// `iptables -P INPUT DROP`, and nothing else.
    InputPolicyDrop,
    /// `iptables -I INPUT -s <subnet> -p tcp --dport <port> -j DROP`, one for each.
    DropPorts(Vec<u16>),
}

/// What the control port shows.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// A port that no rule mentions is dropped or refused.
    Blocked,
    /// A port that no rule mentions is reached.
    Open,
    /// This port is dropped or refused.
    BlockedPort(u16),
    /// This port is reached.
    OpenPort(u16),
}

/// What happens to the engine.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EngineEvent {
    /// It is killed.
    Kill,
    /// It is stopped by SIGSTOP: the kernel goes on accepting for it.
    Freeze,
    /// It is ended and started again.
    Restart,
    /// The probe runs as a user who may not open its socket.
    DenyPermission,
}

/// What happens while a check runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum During {
    /// The engine is ended and started again.
    EngineRestart,
    /// The engine is killed.
    EngineKill,
    /// The engine is stopped by SIGSTOP.
    EngineFreeze,
    /// A command line, as in the event `run`.
    Run(String),
}

/// A call of the engine's that is disturbed, by a relay before its socket.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RelayEvent {
    /// Which one.
    pub call: EngineCall,
    /// What happens to it.
    pub then: Disturbance,
}

/// `POST /images/load`: a method and a path without the API's version, in which one `*` stands for anything.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(with = "String"))]
#[serde(try_from = "String")]
pub struct EngineCall {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

impl TryFrom<String> for EngineCall {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once(' ').filter(|(method, path)| {
            let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
            is_method && path.starts_with('/') && !path.contains(' ') && path.matches('*').count() <= 1
        });
        let (method, path) = parts.ok_or_else(|| {
            format!("{text:?} is no call like \"GET /info\" or \"POST /containers/*/start\"")
        })?;
        Ok(Self { method: method.to_owned(), path: path.to_owned() })
    }
}

/// What happens to a call.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// The engine never sees it, and it is answered with status 500 and this message.
    Fail(String),
    /// The engine sees it so many milliseconds later.
    DelayMs(u64),
    /// The engine never sees it, and its connection ends without an answer.
    Cut,
    /// The engine never sees it, and no answer comes.
    Hang,
    /// The engine's answer has these values instead: tables are merged key by key, everything else is replaced.
    Alter(serde_json::Map<String, serde_json::Value>),
}

/// A resolver.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResolverEvent {
    /// Whom `/etc/resolv.conf` names.
    pub nameserver: IpAddr,
}

/// A name server. Its address becomes one of the engine's host, so that no question leaves it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NameServerEvent {
    /// Its address, which is also the name by which later events mean it.
    pub address: Ipv4Addr,
    /// The names that it knows, each with its address. Any other does not exist.
    #[serde(default)]
    pub records: BTreeMap<String, Address>,
    /// Whether it never answers.
    #[serde(default)]
    pub silent: bool,
}
