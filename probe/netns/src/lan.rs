//! A bridge, and a network behind an interface.

use std::net::IpAddr;

use rtnetlink::LinkBridge;

use crate::links::{address, connect, index, netlink, route, up, veth};
use crate::namespace::{Error, Namespace};
use crate::ready::{wait_until_heard, wait_until_up};
use crate::vantage::everywhere;

/// Makes a bridge with those addresses in `host`. It carries nothing until it has a port, such as a
/// [`Vantage`](crate::Vantage).
///
/// # Errors
/// When the kernel refuses a step.
pub fn make_bridge(host: &Namespace, name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), Error> {
    host.block_on(async || {
        let handle = connect()?;
        handle
            .link()
            .add(LinkBridge::new(name).up().build())
            .execute()
            .await
            .map_err(netlink("make a bridge"))?;
        let bridge = index(&handle, name).await?;
        for (ip, prefix) in addresses {
            address(&handle, bridge, *ip, *prefix).await?;
        }
        wait_until_heard(addresses.iter().map(|it| it.0)).await
    })?
}

/// What lies behind one interface of a host: a neighbour with any addresses, which is also the way to everywhere else.
/// Dropping it removes the interface.
#[derive(Debug)]
pub struct Lan {
    namespace: Namespace,
    link: String,
}

/// The interface and its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct LanPlan<'plan> {
    /// The host's interface (15 bytes at most).
    pub link: &'plan str,
    /// The neighbour's end of the pair, which is in the host's namespace for a moment.
    pub inner: &'plan str,
    /// The host's addresses on it, with their prefixes.
    pub host: &'plan [(IpAddr, u8)],
    /// The neighbour's addresses: each is reached through the interface.
    pub neighbours: &'plan [IpAddr],
    /// Subnets that the host reaches through the neighbour's first address of the family.
    pub behind: &'plan [(IpAddr, u8)],
    /// Whether the host's default routes lead there.
    pub default_route: bool,
}

impl Lan {
    /// Makes the interface in `host`, and a neighbour who reaches all of the host's addresses through it.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn behind(host: &Namespace, plan: &LanPlan<'_>) -> Result<Self, Error> {
        let namespace = Namespace::create()?;
        host.block_on(async || veth(plan.link, plan.inner, &namespace, None).await)??;
        namespace.block_on(async || furnish(plan).await)??;
        host.block_on(async || {
            furnish_host(plan).await?;
            wait_until_up(&[plan.link]).await?;
            wait_until_heard(plan.host.iter().map(|it| it.0)).await
        })??;
        Ok(Self { namespace, link: plan.link.to_owned() })
    }

    /// The namespace to dial from.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The host's interface.
    #[must_use]
    pub fn link(&self) -> &str {
        &self.link
    }
}

async fn furnish_host(plan: &LanPlan<'_>) -> Result<(), Error> {
    let handle = connect()?;
    let link = index(&handle, plan.link).await?;
    for (ip, prefix) in plan.host {
        address(&handle, link, *ip, *prefix).await?;
    }
    for neighbour in plan.neighbours {
        // Whether or not the interface's subnet has it.
        route(&handle, alone(*neighbour), None, Some(link)).await?;
    }
    let through = |ip: IpAddr| plan.neighbours.iter().find(|it| it.is_ipv4() == ip.is_ipv4()).copied();
    for (ip, prefix) in plan.behind {
        if let Some(gateway) = through(*ip) {
            route(&handle, (*ip, *prefix), Some(gateway), Some(link)).await?;
        }
    }
    if plan.default_route {
        for gateway in first_of_each_family(plan.neighbours) {
            route(&handle, everywhere(gateway), Some(gateway), Some(link)).await?;
        }
    }
    Ok(())
}

async fn furnish(plan: &LanPlan<'_>) -> Result<(), Error> {
    let handle = connect()?;
    let inner = index(&handle, plan.inner).await?;
    for neighbour in plan.neighbours {
        let (ip, prefix) = alone(*neighbour);
        address(&handle, inner, ip, prefix).await?;
    }
    up(&handle, inner).await?;
    for (ip, _) in plan.host {
        route(&handle, alone(*ip), None, Some(inner)).await?;
    }
    for host in first_of_each_family(&plan.host.iter().map(|it| it.0).collect::<Vec<_>>()) {
        route(&handle, everywhere(host), Some(host), Some(inner)).await?;
    }
    wait_until_up(&[plan.inner]).await?;
    wait_until_heard(plan.neighbours.iter().copied()).await
}

/// The subnet that has this address only.
fn alone(ip: IpAddr) -> (IpAddr, u8) {
    (ip, if ip.is_ipv4() { 32 } else { 128 })
}

fn first_of_each_family(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let v4 = addresses.iter().find(|it| it.is_ipv4());
    let v6 = addresses.iter().find(|it| it.is_ipv6());
    v4.into_iter().chain(v6).copied()
}
