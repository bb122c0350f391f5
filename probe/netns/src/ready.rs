//! When a new interface really carries what is sent.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, State};
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;

use crate::links::{connect, link, netlink};
use crate::namespace::Error;

/// How long an interface may take until it carries; measured: 20 ms, 1 s where links change all the time.
const DEADLINE: Duration = Duration::from_secs(5);

/// Waits for interfaces. A bridge too: one that had no port before has no carrier, and until the kernel has noticed (at most
/// once a second) what the host sends through it is lost, its ARP replies first.
pub(crate) async fn wait_until_up(names: &[&str]) -> Result<(), Error> {
    let handle = connect()?;
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for name in names {
        while !is_up(&link(&handle, name).await?) {
            late(start, name)?;
            tick.tick().await;
        }
    }
    Ok(())
}

/// The kernel's messages about links, from now on.
pub(crate) struct News {
    messages: BoxStream<'static, ()>,
    reader: JoinHandle<()>,
}

impl News {
    /// Of this thread's network namespace.
    pub(crate) fn listen() -> Result<Self, Error> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .map_err(|source| Error::Kernel { step: "listen for news of links", source })?;
        Ok(Self { messages: messages.map(drop).boxed(), reader: tokio::spawn(connection) })
    }

    /// Like [`wait_until_up`], looking again when there is something new. `handle` is of the same namespace.
    pub(crate) async fn wait_until_up(&mut self, handle: &Handle, links: &[u32]) -> Result<(), Error> {
        for index in links {
            let up = async {
                loop {
                    let found = handle.link().get().match_index(*index).execute().try_next().await;
                    match found.map_err(netlink("see an interface"))? {
                        Some(link) if is_up(&link) => return Ok(()),
                        _ => {}
                    }
                    if self.messages.next().await.is_none() {
                        return Err(not_up(&index.to_string()));
                    }
                }
            };
            tokio::time::timeout(DEADLINE, up).await.map_err(|_| not_up(&index.to_string()))??;
        }
        Ok(())
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Waits for addresses of IPv6, which the kernel puts to work a little after it has taken them, also without looking for
/// duplicates: until it has a route to one and listens to the group in which it is asked for, a neighbour asks in vain and
/// asks again only after a second. (`addrconf_dad_begin` in Linux's `net/ipv6/addrconf.c`.)
pub(crate) async fn wait_until_heard(addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), Error> {
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for address in addresses {
        let IpAddr::V6(address) = address else { continue };
        while !is_heard(address) {
            late(start, &address.to_string())?;
            tick.tick().await;
        }
    }
    Ok(())
}

fn late(start: Instant, name: &str) -> Result<(), Error> {
    if start.elapsed() > DEADLINE { Err(not_up(name)) } else { Ok(()) }
}

fn not_up(name: &str) -> Error {
    Error::NotUp { name: name.to_owned(), milliseconds: DEADLINE.as_millis() }
}

fn is_up(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|it| matches!(it, LinkAttribute::OperState(State::Up)))
}

/// By the tables of the calling thread's network namespace.
fn is_heard(address: Ipv6Addr) -> bool {
    let table = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let (Ok(routes), Ok(groups)) = (table("ipv6_route"), table("igmp6")) else { return true };
    let route = format!("{:032x} 80 ", address.to_bits());
    let group = format!("{:032x}", solicited_group(address).to_bits());
    routes.lines().any(|line| line.starts_with(&route)) && groups.contains(&group)
}

/// The group in which a neighbour asks for an address (RFC 4291, 2.7.1).
fn solicited_group(address: Ipv6Addr) -> Ipv6Addr {
    let prefix = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(prefix | (address.to_bits() & 0xff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_an_address_has_its_last_24_bits() {
        let group = solicited_group("4037::1:800:200e:8c6c".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ff0e:8c6c");
    }
}
