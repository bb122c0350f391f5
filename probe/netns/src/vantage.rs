//! A place on a bridge to dial from, as a sandbox container has it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, State};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};

use crate::namespace::{Error, Namespace};

/// How long the bridge may take until its new port forwards; measured: 20 ms, 1 s where links change all the time.
const UP_DEADLINE: Duration = Duration::from_secs(5);

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
        let namespace = Namespace::create()?;
        host.block_on(async || attach(bridge, port, &namespace).await)??;
        namespace.block_on(async || furnish(port, address, prefix, gateway).await)??;
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

fn netlink(step: &'static str) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |source| Error::Netlink { step, source }
}

fn connect() -> Result<Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|source| Error::Kernel { step: "open a netlink socket", source })?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn link(handle: &Handle, name: &str) -> Result<LinkMessage, Error> {
    let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    found.ok().flatten().ok_or_else(|| Error::NoInterface { name: name.to_owned() })
}

async fn attach(bridge: &str, port: &str, namespace: &Namespace) -> Result<(), Error> {
    let handle = connect()?;
    let bridge = link(&handle, bridge).await?.header.index;
    handle
        .link()
        .add(LinkVeth::new(port, &inner_of(port)).up().build())
        .execute()
        .await
        .map_err(netlink("make a veth pair"))?;
    let inner = link(&handle, &inner_of(port)).await?.header.index;
    let outer = link(&handle, port).await?.header.index;
    handle
        .link()
        .set(LinkUnspec::new_with_index(inner).setns_by_fd(namespace.as_fd().as_raw_fd()).build())
        .execute()
        .await
        .map_err(netlink("move a veth end into its namespace"))?;
    handle
        .link()
        .set(LinkUnspec::new_with_index(outer).controller(bridge).up().build())
        .execute()
        .await
        .map_err(netlink("join a veth end to the bridge"))
}

async fn furnish(port: &str, address: Ipv4Addr, prefix: u8, gateway: Ipv4Addr) -> Result<(), Error> {
    let handle = connect()?;
    let index = link(&handle, &inner_of(port)).await?.header.index;
    handle
        .address()
        .add(index, IpAddr::V4(address), prefix)
        .execute()
        .await
        .map_err(netlink("give the vantage its address"))?;
    handle
        .link()
        .set(LinkUnspec::new_with_index(index).up().build())
        .execute()
        .await
        .map_err(netlink("set the vantage's interface up"))?;
    let route = rtnetlink::RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    handle.route().add(route).execute().await.map_err(netlink("give the vantage its default route"))
}

/// The bridge too: one that had no port before has no carrier, and until the kernel has noticed (at most once a second)
/// what the host sends through it is lost, its ARP replies first.
async fn wait_until_up(names: &[&str]) -> Result<(), Error> {
    let handle = connect()?;
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for name in names {
        while !is_up(&link(&handle, name).await?) {
            if start.elapsed() > UP_DEADLINE {
                let milliseconds = UP_DEADLINE.as_millis();
                return Err(Error::NotUp { name: (*name).to_owned(), milliseconds });
            }
            tick.tick().await;
        }
    }
    Ok(())
}

fn is_up(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|it| matches!(it, LinkAttribute::OperState(State::Up)))
}
