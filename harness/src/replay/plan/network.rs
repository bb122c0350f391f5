//! The engine's networks.

use std::net::IpAddr;

use snapshot::{Net, Network, NetworkOption, Pool, Role, Snapshot};

use super::Left;

/// The most networks that are made; an engine has 30 of its default pool.
const MOST: usize = 32;

/// The engine's own bridge, and the subnet that it has unless told otherwise.
pub(super) const DOCKER0: &str = "docker0";
const DOCKER0_SUBNET: &str = "172.17.0.0/16";

/// The networks that every engine has.
const OWN: [&str; 3] = ["bridge", "host", "none"];

/// The modes of a gateway that an engine knows.
const MODES: [&str; 4] = ["nat", "nat-unprotected", "routed", "isolated"];

/// A bridge network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct NetworkPlan {
    pub(in super::super) name: String,
    /// Whether sandboxes join it.
    pub(in super::super) sandboxes: bool,
    pub(in super::super) bridge: Option<String>,
    /// Subnets, each with the bridge's address where the engine said one.
    pub(in super::super) pools: Vec<(Net, Option<IpAddr>)>,
    /// Options of the engine's, by their whole names.
    pub(in super::super) options: Vec<(&'static str, String)>,
    pub(in super::super) internal: bool,
}

impl NetworkPlan {
    /// Whether it has IPv6.
    pub(in super::super) fn v6(&self) -> bool {
        self.pools.iter().any(|(subnet, _)| subnet.address().is_ipv6())
    }
}

/// The networks besides the engine's own.
pub(super) fn networks(snapshot: &Snapshot, left: &mut Left) -> Vec<NetworkPlan> {
    let mut plans = Vec::new();
    for network in &snapshot.networks {
        if network.role == Role::Other && OWN.contains(&network.name.as_str()) {
            continue;
        }
        let what = format!("network {}", network.name);
        if network.driver.as_str() != "bridge" {
            left.push(what, format!("its driver is {}", network.driver));
        } else if plans.len() == MOST {
            left.push(what, format!("{MOST} networks are made at most"));
        } else {
            plans.push(plan(network, left));
        }
    }
    plans
}

fn plan(network: &Network, left: &mut Left) -> NetworkPlan {
    let pool = |pool: &Pool| Some((pool.subnet?, pool.gateway));
    let mut pools: Vec<(Net, Option<IpAddr>)> = network.pools.iter().filter_map(pool).collect();
    // An engine takes one of each family.
    for v6 in [false, true] {
        let mut seen = false;
        pools.retain(|(subnet, _)| {
            let own = subnet.address().is_ipv6() == v6;
            let again = own && seen;
            seen |= own;
            if again {
                left.push(
                    format!("subnet {subnet} of network {}", network.name),
                    "it has another one before it",
                );
            }
            !again
        });
    }
    let bridge = network.bridge.as_ref().map(ToString::to_string);
    let named = bridge.iter().map(|name| ("com.docker.network.bridge.name", name.clone()));
    NetworkPlan {
        name: network.name.to_string(),
        sandboxes: network.role == Role::Sandboxes,
        pools,
        options: named.clone().chain(network.options.iter().filter_map(option)).collect(),
        internal: network.internal,
        bridge,
    }
}

fn option(option: &NetworkOption) -> Option<(&'static str, String)> {
    let mode = |name, mode: &snapshot::Word| {
        let known = MODES.into_iter().find(|known| *known == mode.as_str())?;
        Some((name, known.to_owned()))
    };
    match option {
        NetworkOption::Icc(on) => Some(("com.docker.network.bridge.enable_icc", on.to_string())),
        NetworkOption::Masquerade(on) => {
            Some(("com.docker.network.bridge.enable_ip_masquerade", on.to_string()))
        }
        // The bridge has its name in any case.
        NetworkOption::BridgeName(_) => None,
        NetworkOption::Mtu(mtu) => Some(("com.docker.network.driver.mtu", mtu.to_string())),
        NetworkOption::GatewayModeIpv4(word) => mode("com.docker.network.bridge.gateway_mode_ipv4", word),
        NetworkOption::GatewayModeIpv6(word) => mode("com.docker.network.bridge.gateway_mode_ipv6", word),
        NetworkOption::HostBindingIpv4(address) => {
            Some(("com.docker.network.bridge.host_binding_ipv4", address.to_string()))
        }
    }
}

/// What dockerd is told so that its own bridge is the captured one.
pub(super) fn engine_arguments(snapshot: &Snapshot, left: &mut Left) -> Vec<String> {
    let Some(own) =
        snapshot.networks.iter().find(|it| it.role == Role::Other && it.name.as_str() == "bridge")
    else {
        return Vec::new();
    };
    if own.bridge.as_ref().is_some_and(|name| name.as_str() != DOCKER0) {
        left.push("the name of the engine's own bridge", "it is docker0 here");
    }
    let v4 = own.pools.iter().find_map(|pool| pool.subnet.filter(|net| net.address().is_ipv4()));
    let gateway = own.pools.iter().find_map(|pool| pool.gateway.filter(IpAddr::is_ipv4));
    match (v4, gateway) {
        (Some(subnet), _) if subnet.to_string() == DOCKER0_SUBNET => Vec::new(),
        (Some(subnet), Some(gateway)) => vec![format!("--bip={gateway}/{}", subnet.length())],
        _ => Vec::new(),
    }
}
