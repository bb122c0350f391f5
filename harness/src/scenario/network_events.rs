//! Networks that come and go.

use std::net::{IpAddr, Ipv4Addr};

use bollard::models::{Ipam, IpamConfig};

use super::events::{EventError, Stage};
use super::format::NetworkEvent;
use crate::engine::{EngineError, Network};

impl Stage<'_> {
    pub(super) async fn create_network(&mut self, event: &NetworkEvent) -> Result<(), EventError> {
        let network = network(event)?;
        let name = event.name.as_deref().unwrap_or(probe::DEFAULT_NETWORK);
        let engine = self.machine.engine()?;
        let info = match engine.create_network(&network).await {
            Ok(info) => Some(info),
            // It is there, and without an IPv4 gateway: the very thing that some scenarios are about.
            Err(EngineError::Unexpected { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        // Another network is what is meant only as long as there is none of the name.
        let known = self.network.as_ref().is_some_and(|known| known.name == probe::DEFAULT_NETWORK);
        if name == probe::DEFAULT_NETWORK || !known {
            self.network = info;
        }
        Ok(())
    }

    pub(super) async fn remove_network(&mut self, name: &str) -> Result<(), EventError> {
        self.machine.engine()?.remove_network(name).await?;
        if self.network.as_ref().is_some_and(|known| known.name == name) {
            self.network = None;
        }
        Ok(())
    }

    /// What the engine says of `openshell-docker` now, after somebody else may have made it.
    pub(super) async fn look_at_network(&mut self) -> Result<(), EventError> {
        self.network = self.machine.engine()?.find_network(probe::DEFAULT_NETWORK).await?;
        Ok(())
    }
}

fn network(event: &NetworkEvent) -> Result<Network, EventError> {
    let mut network = Network::openshell_docker();
    if let Some(name) = &event.name {
        network = network.name(name);
    }
    for (name, value) in &event.options {
        network = network.option(name, value);
    }
    let ipam = ipam(event)?;
    let (driver, ipv6, internal) = (event.driver.clone(), event.ipv6, event.internal);
    Ok(network.deviate(|request| {
        if driver.is_some() {
            request.driver = driver;
        }
        if ipv6 {
            request.enable_ipv6 = Some(true);
        }
        if internal {
            request.internal = Some(true);
        }
        if !ipam.is_empty() {
            request.ipam = Some(Ipam { config: Some(ipam), ..Ipam::default() });
        }
    }))
}

fn ipam(event: &NetworkEvent) -> Result<Vec<IpamConfig>, EventError> {
    let wrong = |message: &str| EventError::Wrong(message.to_owned());
    let entry = |subnet: &str, gateway: Option<String>| IpamConfig {
        subnet: Some(subnet.to_owned()),
        gateway,
        ..IpamConfig::default()
    };
    if !event.ipam.is_empty() {
        if event.subnet.is_some() || event.gateway.is_some() || event.bare_ipam {
            return Err(wrong("ipam is all of the configuration: not with subnet, gateway or bare_ipam"));
        }
        return Ok(event.ipam.iter().map(|one| entry(&one.subnet, one.gateway.clone())).collect());
    }
    let Some(subnet) = &event.subnet else {
        if event.gateway.is_some() || event.bare_ipam {
            return Err(wrong("gateway and bare_ipam need a subnet"));
        }
        return Ok(Vec::new());
    };
    let gateway = match event.gateway {
        _ if event.bare_ipam => None,
        Some(gateway) => Some(gateway),
        None => Some(first(subnet).ok_or_else(|| wrong("the subnet is not like 172.30.0.0/16"))?),
    };
    Ok(vec![entry(subnet, gateway.map(|gateway| gateway.to_string()))])
}

/// The first address of a subnet, which engines give to the bridge.
fn first(subnet: &str) -> Option<IpAddr> {
    let (address, _) = subnet.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    Some(Ipv4Addr::from_bits(address.to_bits() + 1).into())
}
