//! Interfaces, addresses and routes over netlink, in the network namespace of the calling thread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::namespace::{Error, Namespace};

/// What turns the kernel's refusal into an error.
pub(crate) fn netlink(step: &'static str) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |source| Error::Netlink { step, source }
}

/// A netlink socket in this namespace.
pub(crate) fn connect() -> Result<Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|source| Error::Kernel { step: "open a netlink socket", source })?;
    tokio::spawn(connection);
    Ok(handle)
}

pub(crate) async fn link(handle: &Handle, name: &str) -> Result<LinkMessage, Error> {
    let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    found.ok().flatten().ok_or_else(|| Error::NoInterface { name: name.to_owned() })
}

/// The number of an interface.
pub(crate) async fn index(handle: &Handle, name: &str) -> Result<u32, Error> {
    Ok(link(handle, name).await?.header.index)
}

/// A veth pair whose inner end is in another namespace; the outer one is a port of the bridge if there is one, and is up.
///
/// It is made in one step: nothing is left here of a process that ends in between.
pub(crate) async fn veth(
    outer: &str,
    inner: &str,
    namespace: &Namespace,
    bridge: Option<&str>,
) -> Result<(), Error> {
    let handle = connect()?;
    let bridge = match bridge {
        Some(bridge) => Some(index(&handle, bridge).await?),
        None => None,
    };
    let inner = LinkUnspec::new_with_name(inner);
    let pair = pair(LinkVeth::new(outer, ""), inner, namespace, bridge);
    handle.link().add(pair).execute().await.map_err(netlink("make a veth pair"))
}

/// The request for that, with what else is wanted of the two ends.
pub(crate) fn pair(
    outer: LinkMessageBuilder<LinkVeth>,
    inner: LinkMessageBuilder<LinkUnspec>,
    namespace: impl AsFd,
    bridge: Option<u32>,
) -> LinkMessage {
    let inner = inner.setns_by_fd(namespace.as_fd().as_raw_fd()).build();
    let outer = outer.set_info_data(InfoData::Veth(InfoVeth::Peer(inner))).up();
    match bridge {
        Some(bridge) => outer.controller(bridge).build(),
        None => outer.build(),
    }
}

pub(crate) async fn up(handle: &Handle, index: u32) -> Result<(), Error> {
    let link = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(link).execute().await.map_err(netlink("set an interface up"))
}

/// Gives an interface an address without looking for duplicates: nobody else has it. One of IPv6 works a little later; see
/// [`wait_until_heard`](crate::ready::wait_until_heard).
pub(crate) async fn address(handle: &Handle, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
    let mut request = handle.address().add(index, address, prefix);
    if address.is_ipv6() {
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    request.execute().await.map_err(netlink("give an interface its address"))
}

/// A route to a subnet out of an interface, through a gateway that is reached by it.
pub(crate) async fn route(
    handle: &Handle,
    to: (IpAddr, u8),
    through: Option<IpAddr>,
    interface: Option<u32>,
) -> Result<(), Error> {
    let bad = || Error::Kernel { step: "make a route", source: std::io::ErrorKind::InvalidInput.into() };
    let message = match (to, through) {
        ((IpAddr::V4(to), prefix), None) => v4(to, prefix, None, interface),
        ((IpAddr::V4(to), prefix), Some(IpAddr::V4(through))) => v4(to, prefix, Some(through), interface),
        ((IpAddr::V6(to), prefix), None) => v6(to, prefix, None, interface),
        ((IpAddr::V6(to), prefix), Some(IpAddr::V6(through))) => v6(to, prefix, Some(through), interface),
        _ => return Err(bad()),
    };
    handle.route().add(message).replace().execute().await.map_err(netlink("make a route"))
}

fn v4(to: Ipv4Addr, prefix: u8, through: Option<Ipv4Addr>, interface: Option<u32>) -> RouteMessage {
    let mut route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, prefix);
    if let Some(through) = through {
        route = route.gateway(through);
    } else {
        route = route.scope(RouteScope::Link);
    }
    if let Some(interface) = interface {
        route = route.output_interface(interface);
    }
    route.build()
}

fn v6(to: Ipv6Addr, prefix: u8, through: Option<Ipv6Addr>, interface: Option<u32>) -> RouteMessage {
    let mut route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, prefix);
    if let Some(through) = through {
        route = route.gateway(through);
    }
    if let Some(interface) = interface {
        route = route.output_interface(interface);
    }
    route.build()
}
