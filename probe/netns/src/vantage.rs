//! A place on a bridge to dial from, as a sandbox container has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::links::{address, connect, index, route, up, veth};
use crate::namespace::{Error, Namespace};
use crate::ready::{wait_until_heard, wait_until_up};

/// A network namespace joined to a bridge by a veth pair. Dropping it removes the pair with it.
#[derive(Debug)]
pub struct Vantage {
    namespace: Namespace,
    port: String,
}

impl Vantage {
    /// Joins a new namespace to `bridge`, which lies in `host`, under `address`/`prefix` with a default route through
    /// `gateway`. `port` names the bridge's end of the pair (14 bytes at most).
    ///
    /// It returns when the port is up: a SYN or an ARP request that meets a port which does not forward yet is lost and
    /// looks like a firewall's drop for a second.
    ///
    /// # Errors
    /// When there is no such bridge or the kernel refuses a step.
    pub fn on_bridge(
        host: &Namespace,
        bridge: &str,
        port: &str,
        address: Ipv4Addr,
        prefix: u8,
        gateway: Ipv4Addr,
    ) -> Result<Self, Error> {
        Self::with_addresses(host, bridge, port, &[(address.into(), prefix)], &[gateway.into()])
    }

    /// The same with any addresses, of IPv4 and IPv6, and with a default route through each gateway.
    ///
    /// # Errors
    /// When there is no such bridge or the kernel refuses a step.
    pub fn with_addresses(
        host: &Namespace,
        bridge: &str,
        port: &str,
        addresses: &[(IpAddr, u8)],
        gateways: &[IpAddr],
    ) -> Result<Self, Error> {
        let namespace = Namespace::create()?;
        let inner = inner_of(port);
        host.block_on(async || veth(port, &inner, &namespace, Some(bridge)).await)??;
        namespace.block_on(async || furnish(&inner, addresses, gateways).await)??;
        host.block_on(async || wait_until_up(&[port, bridge]).await)??;
        Ok(Self { namespace, port: port.to_owned() })
    }

    /// The namespace to dial from.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The name of the bridge's end, which is an interface of the host's.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }
}

/// The name of the pair's inner end, which is in the host's namespace for a moment beside those of other vantages.
fn inner_of(port: &str) -> String {
    format!("{port}p")
}

async fn furnish(inner: &str, addresses: &[(IpAddr, u8)], gateways: &[IpAddr]) -> Result<(), Error> {
    let handle = connect()?;
    let interface = index(&handle, inner).await?;
    for (ip, prefix) in addresses {
        address(&handle, interface, *ip, *prefix).await?;
    }
    up(&handle, interface).await?;
    for gateway in gateways {
        route(&handle, everywhere(*gateway), Some(*gateway), Some(interface)).await?;
    }
    wait_until_heard(addresses.iter().map(|it| it.0)).await
}

/// The default route's destination in that family.
pub(crate) fn everywhere(family_of: IpAddr) -> (IpAddr, u8) {
    match family_of {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}
