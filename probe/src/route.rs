//! How a sandbox gets to its host: what OpenShell's Docker driver would resolve from the same engine answers.
//!
//! Pure. The rules are the driver's own (`docker_gateway_route`, `docker_bridge_gateway_ip` and `docker_extra_hosts` of
//! `crates/openshell-driver-docker` in NVIDIA/OpenShell), so that what is dialled here is what a sandbox dials.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::engine::{EngineInfo, NetworkFacts};

/// The name that a sandbox dials.
pub const OPENSHELL_ALIAS: &str = "host.openshell.internal";
/// The second name that OpenShell injects, Docker's own.
pub const DOCKER_ALIAS: &str = "host.docker.internal";
/// The network that OpenShell's Docker driver creates.
pub const DEFAULT_NETWORK: &str = "openshell-docker";

/// How a sandbox gets to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Route {
    /// Through an address of the host itself, by default the gateway address of the sandbox network's bridge.
    BridgeGateway {
        /// The address that the aliases resolve to and that the gateway listens on.
        address: Ipv4Addr,
    },
    /// Through the engine's `host-gateway`: the engine lives in a virtual machine, and what lies between it and the
    /// host cannot be seen from here.
    HostGateway,
}

impl Route {
    /// The route that OpenShell would use. `override_ip` is its setting `host_gateway_ip`.
    ///
    /// # Errors
    /// When the network is no bridge network with an IPv4 gateway. The driver refuses to start there, even where the
    /// address is then not used, and so does this.
    pub fn resolve(
        info: &EngineInfo,
        network: &NetworkFacts,
        override_ip: Option<Ipv4Addr>,
    ) -> Result<Self, RouteError> {
        let gateway = bridge_gateway(network)?;
        if let Some(address) = override_ip {
            return Ok(Self::BridgeGateway { address });
        }
        if uses_host_gateway(info) {
            return Ok(Self::HostGateway);
        }
        Ok(Self::BridgeGateway { address: gateway })
    }

    /// The `/etc/hosts` entries of a sandbox, in the engine's form `name:address`.
    #[must_use]
    pub fn extra_hosts(self) -> Vec<String> {
        let address = match self {
            Self::BridgeGateway { address } => address.to_string(),
            Self::HostGateway => "host-gateway".to_owned(),
        };
        vec![format!("{DOCKER_ALIAS}:{address}"), format!("{OPENSHELL_ALIAS}:{address}")]
    }

    /// The address that the alias must resolve to, where the engine does not choose it.
    #[must_use]
    pub fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::BridgeGateway { address } => Some(address),
            Self::HostGateway => None,
        }
    }
}

/// The first IPAM entry whose gateway is IPv4. An entry without a gateway is passed over, one with a gateway that is no
/// address is an error.
///
/// # Errors
/// See [`RouteError`].
pub fn bridge_gateway(network: &NetworkFacts) -> Result<Ipv4Addr, RouteError> {
    if network.driver != "bridge" {
        return Err(RouteError::NotABridge { driver: network.driver.clone() });
    }
    for entry in &network.ipam {
        let Some(gateway) = entry.gateway.as_deref() else { continue };
        match gateway.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => return Ok(address),
            Ok(IpAddr::V6(_)) => {}
            Err(_) => return Err(RouteError::InvalidGateway { gateway: gateway.to_owned() }),
        }
    }
    Err(RouteError::NoIpv4Gateway)
}

/// Whether the engine runs in a virtual machine whose bridge addresses are not the host's.
fn uses_host_gateway(info: &EngineInfo) -> bool {
    if cfg!(target_os = "macos") || info.operating_system.to_ascii_lowercase().contains("docker desktop") {
        return true;
    }
    let name = info.name.to_ascii_lowercase();
    if ["colima", "lima-", "rancher-desktop", "orbstack"].iter().any(|prefix| name.starts_with(prefix)) {
        return true;
    }
    let prefixes = ["com.docker.desktop.", "dev.rancherdesktop.", "dev.orbstack."];
    info.labels.iter().any(|label| prefixes.iter().any(|prefix| label.starts_with(prefix)))
}

/// Why a network gives sandboxes no way to their host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// OpenShell accepts bridge networks only.
    #[error("the network uses the driver '{driver}', OpenShell needs a bridge network")]
    NotABridge {
        /// The driver that the engine names.
        driver: String,
    },
    /// No IPAM entry has an IPv4 gateway, for example on a network with IPv6 only.
    #[error("the network has no IPv4 gateway address")]
    NoIpv4Gateway,
    /// An IPAM entry has a gateway that is no IP address.
    #[error("the network's gateway '{gateway}' is no IP address")]
    InvalidGateway {
        /// What the engine said.
        gateway: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::IpamEntry;

    fn info(operating_system: &str, name: &str, labels: &[&str]) -> EngineInfo {
        EngineInfo {
            operating_system: operating_system.to_owned(),
            name: name.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..EngineInfo::default()
        }
    }

    fn network(gateways: &[Option<&str>]) -> NetworkFacts {
        NetworkFacts {
            driver: "bridge".to_owned(),
            ipam: gateways
                .iter()
                .map(|gateway| IpamEntry { subnet: None, gateway: gateway.map(str::to_owned) })
                .collect(),
            ..NetworkFacts::default()
        }
    }

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

    #[test]
    fn engines_in_a_virtual_machine_use_the_host_gateway() {
        let table = [
            (info("Ubuntu 24.04 LTS", "brev-host", &[]), false),
            (info("Debian GNU/Linux 13 (trixie)", "my-colima", &["com.example.docker.desktop=1"]), false),
            (info("Docker Desktop", "docker-desktop", &[]), true),
            (info("DOCKER DESKTOP 4.30", "", &[]), true),
            (info("Ubuntu 24.04 LTS", "colima", &[]), true),
            (info("Ubuntu 24.04 LTS", "Colima-work", &[]), true),
            (info("Alpine Linux v3.20", "lima-rancher-desktop", &[]), true),
            (info("Alpine Linux v3.20", "lima", &[]), false),
            (info("Alpine Linux v3.20", "rancher-desktop", &[]), true),
            (info("OrbStack", "orbstack", &[]), true),
            (info("Ubuntu", "host", &["com.docker.desktop.address=unix:///x"]), true),
            (info("Ubuntu", "host", &["dev.rancherdesktop.profile=x"]), true),
            (info("Ubuntu", "host", &["dev.orbstack.machine_type=docker"]), true),
            (info("Ubuntu", "host", &["x=dev.orbstack."]), false),
        ];
        for (info, host_gateway) in table {
            let route = Route::resolve(&info, &network(&[Some("172.18.0.1")]), None).unwrap();
            assert_eq!(route == Route::HostGateway, host_gateway, "{info:?}");
        }
    }

    #[test]
    fn first_ipv4_gateway_wins_and_entries_without_one_are_passed_over() {
        let linux = info("Ubuntu", "host", &[]);
        for gateways in [
            &[Some("172.18.0.1")][..],
            &[None, Some("172.18.0.1")],
            &[Some("fd00::1"), Some("172.18.0.1")],
            &[Some("172.18.0.1"), Some("172.30.0.1")],
            &[Some("172.18.0.1"), Some("rubbish")],
        ] {
            let route = Route::resolve(&linux, &network(gateways), None);
            assert_eq!(route, Ok(Route::BridgeGateway { address: GATEWAY }), "{gateways:?}");
        }
    }

    #[test]
    fn networks_without_an_ipv4_gateway_are_refused() {
        let linux = info("Ubuntu", "host", &[]);
        let resolve = |facts: &NetworkFacts| Route::resolve(&linux, facts, None).unwrap_err();
        assert_eq!(resolve(&network(&[])), RouteError::NoIpv4Gateway);
        assert_eq!(resolve(&network(&[None])), RouteError::NoIpv4Gateway);
        assert_eq!(resolve(&network(&[Some("fd00::1")])), RouteError::NoIpv4Gateway);
        let rubbish = RouteError::InvalidGateway { gateway: "172.18.0.1/16".to_owned() };
        assert_eq!(resolve(&network(&[Some("172.18.0.1/16"), Some("172.18.0.1")])), rubbish);
        let overlay = NetworkFacts { driver: "overlay".to_owned(), ..network(&[Some("172.18.0.1")]) };
        assert_eq!(resolve(&overlay), RouteError::NotABridge { driver: "overlay".to_owned() });
    }

    #[test]
    fn the_override_outranks_everything_but_a_broken_network() {
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let desktop = info("Docker Desktop", "docker-desktop", &[]);
        let route = Route::resolve(&desktop, &network(&[Some("172.18.0.1")]), Some(address));
        assert_eq!(route, Ok(Route::BridgeGateway { address }));
        assert_eq!(Route::resolve(&desktop, &network(&[]), Some(address)), Err(RouteError::NoIpv4Gateway));
    }

    #[test]
    fn both_aliases_are_injected() {
        assert_eq!(
            Route::BridgeGateway { address: GATEWAY }.extra_hosts(),
            ["host.docker.internal:172.18.0.1", "host.openshell.internal:172.18.0.1"]
        );
        assert_eq!(
            Route::HostGateway.extra_hosts(),
            ["host.docker.internal:host-gateway", "host.openshell.internal:host-gateway"]
        );
    }
}
