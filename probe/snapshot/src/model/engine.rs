//! The engine and its networks.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::text::{Interface, Name, Net, Version, Word};

/// A container engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Engine {
    /// Its release.
    pub version: Option<Version>,
    /// Where it runs.
    pub system: EngineSystem,
    /// Such as `x86_64`.
    pub architecture: Option<Word>,
}

/// Where an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EngineSystem {
    /// In Docker Desktop's virtual machine.
    DockerDesktop,
    /// On a system that it does not name as a product.
    Other,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Network {
    /// Its name: the sandboxes' and the engine's own are carried, of the others there is only a number.
    pub name: Name,
    /// What it is to the check.
    pub role: Role,
    /// Its driver.
    pub driver: Word,
    /// Its bridge, if it has one.
    pub bridge: Option<Interface>,
    /// Its address pools.
    pub pools: Vec<Pool>,
    /// Its options.
    pub options: Vec<NetworkOption>,
    /// Whether its containers have no default route.
    pub internal: bool,
}

/// What a network is to the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sandboxes join it.
    Sandboxes,
    /// Another one.
    Other,
}

/// An address pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pool {
    /// Its addresses.
    pub subnet: Option<Net>,
    /// The address that the bridge has.
    pub gateway: Option<IpAddr>,
}

/// An option of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NetworkOption {
    /// `com.docker.network.bridge.enable_icc`
    Icc(bool),
    /// `com.docker.network.bridge.enable_ip_masquerade`
    Masquerade(bool),
    /// `com.docker.network.bridge.name`
    BridgeName(Interface),
    /// `com.docker.network.driver.mtu`
    Mtu(u32),
    /// `com.docker.network.bridge.gateway_mode_ipv4`
    GatewayModeIpv4(Word),
    /// `com.docker.network.bridge.gateway_mode_ipv6`
    GatewayModeIpv6(Word),
    /// `com.docker.network.bridge.host_binding_ipv4`
    HostBindingIpv4(IpAddr),
}
