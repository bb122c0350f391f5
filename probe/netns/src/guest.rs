//! A thread that becomes a guest of a bridge, as a container's processes are.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::net::Ipv4Addr;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::InfoBridgePort;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::{Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth};
use tokio::runtime::Runtime;

use crate::arp::Arp;
use crate::bridge::BridgeSeen;
use crate::links::{address, connect, index, netlink, pair, route, up};
use crate::namespace::{Error, Namespace};
use crate::ready::News;
use crate::vantage::everywhere;

/// The guest's only interface beside loopback, named as a container's.
const OWN_INTERFACE: &str = "eth0";

/// The calling thread's place on a bridge: a network namespace of its own, joined to the bridge by a veth pair, as a container
/// has it. It takes CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW.
///
/// The thread stays in that namespace, so it should be one that was made for this. Nothing but the thread and its sockets
/// hold the namespace: it ends with the process, however that ends, and the pair with it. Dropping this removes the pair at
/// once, and what the bridge's host has learned of the guest's address.
///
/// What is made is what libnetwork makes for a container: a pair of which one end is a port of the bridge with the settings
/// of the other ports (hairpin mode, isolation, learning, flooding), the bridge's MTU on both ends, and no IPv6.
pub struct Guest {
    runtime: Runtime,
    host: Handle,
    own: Handle,
    bridge: BridgeSeen,
    port: u32,
    interface: u32,
    hardware: [u8; 6],
    addresses: Vec<Ipv4Addr>,
    /// Where it has asked who has an address.
    arp: Option<Arp>,
    // It is the thread that is in the namespace.
    _thread: PhantomData<*const ()>,
}

impl Guest {
    /// Makes the calling thread a guest of `bridge`, which is in the network namespace that the thread is in so far. `port` names
    /// the bridge's end of the pair (15 bytes at most), `hardware` is the guest's own address on the link.
    ///
    /// It returns when the port forwards: what meets a port before that is lost, and looks like a firewall's drop for a second.
    ///
    /// # Errors
    /// When there is no such bridge or the kernel refuses a step.
    pub fn join(bridge: &str, port: &str, hardware: [u8; 6]) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Kernel { step: "start a runtime", source })?;
        let (host, seen, mut news) = runtime.block_on(async {
            let host = connect()?;
            let seen = BridgeSeen::look(&host, bridge).await?;
            Ok::<_, Error>((host, seen, News::listen()?))
        })?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(Error::kernel("make a network namespace"))?;
        let namespace = Namespace::current()?;
        // A network without IPv6 gives its containers none. Where this kernel has none either, there is no such setting.
        let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let step = "set the loopback interface up";
        crate::sys::bring_loopback_up().map_err(|source| Error::Kernel { step, source })?;
        let own = runtime.block_on(async { connect() })?;
        let outer = LinkMessageBuilder::<LinkVeth>::new(port, "").mtu(seen.mtu).address(above(hardware));
        let inner = LinkUnspec::new_with_name(OWN_INTERFACE).mtu(seen.mtu).address(hardware.to_vec());
        let request = pair(outer, inner, &namespace, Some(seen.index));
        let port_index = runtime.block_on(async {
            host.link().add(request).execute().await.map_err(netlink("join the bridge"))?;
            index(&host, port).await
        })?;
        // From here on the pair is removed whatever happens.
        let mut guest = Self {
            runtime,
            host,
            own,
            bridge: seen,
            port: port_index,
            interface: 0,
            hardware,
            addresses: Vec::new(),
            arp: None,
            _thread: PhantomData,
        };
        guest.interface =
            if_nametoindex(OWN_INTERFACE).map_err(Error::kernel("find the guest's interface"))?;
        guest.runtime.block_on(async {
            settings(&guest.host, guest.port, &guest.bridge.unusual).await?;
            // Not in the first request: the kernel sets the ends up before it ties them to each other.
            up(&guest.own, guest.interface).await?;
            let mut links = vec![guest.port];
            // One that somebody has set down never comes up, and that is for the dial to feel.
            links.extend(guest.bridge.is_up.then_some(guest.bridge.index));
            news.wait_until_up(&guest.host, &links).await
        })?;
        Ok(guest)
    }

    /// The index of the bridge's end of the pair, in the bridge's namespace. See [`remove_port`].
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Whether nobody on the link answers for `address`, by an address probe of RFC 5227. Where all ports of the bridge are
    /// pairs on this machine, their kernel answers while the question is sent, and 1 ms of silence is enough; elsewhere it
    /// takes 0.2 s.
    ///
    /// # Errors
    /// When the kernel gives no packet socket.
    pub fn is_free(&mut self, address: Ipv4Addr) -> Result<bool, Error> {
        let failed =
            |source: io::Error| Error::Kernel { step: "ask on the bridge who has an address", source };
        let arp = match &mut self.arp {
            Some(arp) => arp,
            none => none.insert(Arp::on(self.interface, self.hardware).map_err(failed)?),
        };
        arp.is_free(address, self.bridge.all_here).map_err(failed)
    }

    /// Gives the guest its address, and the default route through `gateway` if there is one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn settle(&mut self, ip: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> Result<(), Error> {
        self.addresses.push(ip);
        // The kernel lets go of a packet socket when no CPU can hand it anything more (`packet_release`, 10 ms and more), and nobody
        // has to wait for that. Without a thread it is this one.
        if let Some(arp) = self.arp.take() {
            drop(std::thread::Builder::new().name("arp".to_owned()).spawn(move || drop(arp)));
        }
        self.runtime.block_on(async {
            address(&self.own, self.interface, ip.into(), prefix).await?;
            match gateway {
                Some(gateway) => {
                    let gateway = gateway.into();
                    route(&self.own, everywhere(gateway), Some(gateway), Some(self.interface)).await
                }
                None => Ok(()),
            }
        })
    }

    /// Removes the pair, and what the host has learned of the guest's addresses.
    ///
    /// # Errors
    /// When the kernel refuses. Then the pair ends with the thread.
    pub fn leave(mut self) -> Result<(), Error> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), Error> {
        let port = std::mem::take(&mut self.port);
        if port == 0 {
            return Ok(());
        }
        self.runtime.block_on(async {
            let removed = delete(&self.host, port).await;
            for address in &self.addresses {
                forget(&self.host, self.bridge.index, *address).await;
            }
            removed
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Where it fails, the pair ends with the thread.
        let _ = self.remove();
    }
}

/// Removes a guest's pair while its thread is busy, from the namespace that the bridge is in. One that is gone is no error.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove_port(port: u32) -> Result<(), Error> {
    delete(&connect()?, port).await
}

async fn delete(host: &Handle, port: u32) -> Result<(), Error> {
    match host.link().del(port).execute().await {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(()),
        other => other.map_err(netlink("remove the port of the bridge")),
    }
}

/// Removes the entry that the host's ARP table may have: a container that gets the address later has other hardware.
async fn forget(host: &Handle, bridge: u32, address: Ipv4Addr) {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = bridge;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
    // The host may never have heard of it.
    let _ = host.neighbours().del(message).execute().await;
}

/// What the other ports have otherwise than a new one.
async fn settings(host: &Handle, port: u32, unusual: &[InfoBridgePort]) -> Result<(), Error> {
    if unusual.is_empty() {
        return Ok(());
    }
    let link = LinkBridgePort::new(port);
    let link = unusual.iter().cloned().fold(link, LinkMessageBuilder::<LinkBridgePort>::append_info_data);
    host.link()
        .set_port(link.build())
        .execute()
        .await
        .map_err(netlink("set the port of the bridge up as others"))
}

/// An address for the bridge's end that is above others: a bridge whose address nobody has set takes the lowest of its ports',
/// and it should keep its own.
fn above(hardware: [u8; 6]) -> Vec<u8> {
    [&[0xfe], &hardware[1..]].concat()
}
