//! Whether this process stands in the network namespace of the engine's host.
//!
//! What is seen from the host counts only there. An engine may be reached over TCP, from a container with its socket
//! mounted, or from inside a network namespace, and a third party may then own the very address in question.

use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use serde::{Deserialize, Serialize};

use crate::engine::NetworkFacts;
use crate::route::{Route, bridge_gateway};

/// Where this process stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "place", rename_all = "snake_case")]
pub enum Standpoint {
    /// In the engine's host namespace: this network's own bridge is here and has its gateway address.
    EngineHost {
        /// The bridge.
        interface: String,
        /// Its index.
        index: u32,
    },
    /// Somewhere else, or it cannot be told.
    Elsewhere {
        /// What is missing.
        reason: String,
    },
}

/// An IPv4 address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalAddress {
    pub(crate) interface: String,
    pub(crate) index: u32,
    pub(crate) address: Ipv4Addr,
}

impl Standpoint {
    /// Where this process stands towards `network`, whose sandboxes use `route`.
    #[must_use]
    pub fn find(network: &NetworkFacts, route: Route) -> Self {
        match local_addresses() {
            Ok(addresses) => {
                let bridge = if_nametoindex(network.bridge_name().as_str()).ok();
                Self::judge(network, route, bridge, &addresses)
            }
            Err(errno) => {
                Self::Elsewhere { reason: format!("the interfaces here could not be listed: {errno}") }
            }
        }
    }

    /// `bridge` is the index of an interface of the bridge's name.
    fn judge(network: &NetworkFacts, route: Route, bridge: Option<u32>, addresses: &[LocalAddress]) -> Self {
        let elsewhere = |reason: String| Self::Elsewhere { reason };
        let Route::BridgeGateway { address: target } = route else {
            return elsewhere("the engine runs in a virtual machine".to_owned());
        };
        let Ok(gateway) = bridge_gateway(network) else {
            return elsewhere("the network has no IPv4 gateway".to_owned());
        };
        let name = network.bridge_name();
        let own = addresses.iter().find(|local| local.interface == name && local.address == gateway);
        let Some(own) = own else {
            // One that is named after the network's id is this network's, also when it has lost its address. A name that
            // somebody chose may be on another machine too.
            return match bridge.filter(|_| !network.has_chosen_bridge_name() && target == gateway) {
                Some(index) => Self::EngineHost { interface: name, index },
                None => elsewhere(format!("the network's bridge {name} with {gateway} is not here")),
            };
        };
        // OpenShell's `host_gateway_ip` may name an address that is not the bridge's, or not of this host at all.
        if !addresses.iter().any(|local| local.address == target) {
            return elsewhere(format!("{target} is no address of this host"));
        }
        Self::EngineHost { interface: own.interface.clone(), index: own.index }
    }
}

fn local_addresses() -> nix::Result<Vec<LocalAddress>> {
    let addresses = getifaddrs()?.filter_map(|entry| {
        let address = entry.address?.as_sockaddr_in()?.ip();
        let index = if_nametoindex(entry.interface_name.as_str()).ok()?;
        Some(LocalAddress { interface: entry.interface_name, index, address })
    });
    Ok(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::IpamEntry;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

    fn network() -> NetworkFacts {
        NetworkFacts {
            id: "0123456789abcdef".to_owned(),
            driver: "bridge".to_owned(),
            ipam: vec![IpamEntry {
                subnet: Some("172.18.0.0/16".to_owned()),
                gateway: Some(GATEWAY.to_string()),
            }],
            ..NetworkFacts::default()
        }
    }

    fn local(interface: &str, address: Ipv4Addr) -> LocalAddress {
        LocalAddress { interface: interface.to_owned(), index: 7, address }
    }

    #[test]
    fn only_the_networks_own_bridge_with_its_gateway_address_proves_the_place() {
        let route = Route::BridgeGateway { address: GATEWAY };
        let judge = |addresses: &[LocalAddress]| Standpoint::judge(&network(), route, None, addresses);
        let here = Standpoint::EngineHost { interface: "br-0123456789ab".to_owned(), index: 7 };
        assert_eq!(judge(&[local("br-0123456789ab", GATEWAY)]), here);
        for strangers in [
            &[][..],
            &[local("br-ffffffffffff", GATEWAY)],
            &[local("eth0", GATEWAY)],
            &[local("br-0123456789ab", Ipv4Addr::new(172, 19, 0, 1))],
        ] {
            assert!(matches!(judge(strangers), Standpoint::Elsewhere { .. }), "{strangers:?}");
        }
    }

    #[test]
    fn a_bridge_may_have_a_name_of_its_own() {
        let mut network = network();
        network.options.insert("com.docker.network.bridge.name".to_owned(), "br0".to_owned());
        let route = Route::BridgeGateway { address: GATEWAY };
        let standpoint = Standpoint::judge(&network, route, None, &[local("br0", GATEWAY)]);
        assert!(matches!(standpoint, Standpoint::EngineHost { .. }));
    }

    #[test]
    fn a_bridge_that_is_named_after_the_network_needs_no_address() {
        let route = Route::BridgeGateway { address: GATEWAY };
        let here = Standpoint::judge(&network(), route, Some(7), &[]);
        assert!(matches!(here, Standpoint::EngineHost { index: 7, .. }));
        let mut chosen = network();
        chosen.options.insert("com.docker.network.bridge.name".to_owned(), "br0".to_owned());
        assert!(matches!(Standpoint::judge(&chosen, route, Some(7), &[]), Standpoint::Elsewhere { .. }));
    }

    #[test]
    fn a_virtual_machine_or_a_foreign_target_is_elsewhere() {
        let bridge = [local("br-0123456789ab", GATEWAY)];
        assert!(matches!(
            Standpoint::judge(&network(), Route::HostGateway, Some(7), &bridge),
            Standpoint::Elsewhere { .. }
        ));
        let foreign = Route::BridgeGateway { address: Ipv4Addr::new(172, 18, 0, 5) };
        assert!(matches!(
            Standpoint::judge(&network(), foreign, Some(7), &bridge),
            Standpoint::Elsewhere { .. }
        ));
    }
}
