//! A bridge as it is seen before something joins it.

use std::fs;

use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use crate::links::netlink;
use crate::namespace::Error;

/// The bridge, and what its ports have in common.
pub(crate) struct BridgeSeen {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    /// Nobody has set it down.
    pub(crate) is_up: bool,
    /// Every port's other end is a network namespace of this kernel, so that nobody on the link answers late.
    pub(crate) all_here: bool,
    /// The settings of a container's port that a new port does not have by itself.
    pub(crate) unusual: Vec<InfoBridgePort>,
}

impl BridgeSeen {
    /// Looks at it, in the network namespace of the handle and the calling thread.
    pub(crate) async fn look(handle: &Handle, name: &str) -> Result<Self, Error> {
        let mut links = handle.link().get().execute();
        let mut all = Vec::new();
        while let Some(link) = links.try_next().await.map_err(netlink("list the interfaces"))? {
            all.push(link);
        }
        let is_it = |link: &&LinkMessage| {
            let named = |it: &LinkAttribute| matches!(it, LinkAttribute::IfName(own) if own == name);
            link.attributes.iter().any(named) && kind(link) == Some(&InfoKind::Bridge)
        };
        let bridge = all.iter().find(is_it).ok_or_else(|| Error::NoInterface { name: name.to_owned() })?;
        let index = bridge.header.index;
        let mtu = bridge.attributes.iter().find_map(|it| match it {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        let ports: Vec<&LinkMessage> =
            all.iter().filter(|it| it.attributes.contains(&LinkAttribute::Controller(index))).collect();
        let is_pair = |port: &&&LinkMessage| kind(port) == Some(&InfoKind::Veth);
        let unusual = match ports.iter().find(is_pair) {
            Some(port) => settings(port).into_iter().filter(is_unusual).collect(),
            None if routes_localnet(name) => vec![InfoBridgePort::HairpinMode(true)],
            None => Vec::new(),
        };
        let is_up = bridge.header.flags.contains(LinkFlags::Up);
        let all_here = ports.iter().all(|it| is_pair(&it));
        Ok(Self { index, mtu: mtu.unwrap_or(1500), is_up, all_here, unusual })
    }
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    infos(link).find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

fn settings(port: &LinkMessage) -> Vec<InfoBridgePort> {
    let data = infos(port).find_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => Some(data.clone()),
        _ => None,
    });
    data.unwrap_or_default()
}

fn infos(link: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    link.attributes.iter().flat_map(|it| match it {
        LinkAttribute::LinkInfo(infos) => infos.as_slice(),
        _ => &[],
    })
}

/// What a new port has is the kernel's default (`new_nbp` in Linux's `net/bridge/br_if.c`).
fn is_unusual(setting: &InfoBridgePort) -> bool {
    matches!(
        setting,
        InfoBridgePort::HairpinMode(true)
            | InfoBridgePort::Isolated(true)
            | InfoBridgePort::Learning(false)
            | InfoBridgePort::UnicastFlood(false)
            | InfoBridgePort::MulticastFlood(false)
            | InfoBridgePort::BroadcastFlood(false)
            | InfoBridgePort::NeighSupress(true)
    )
}

/// Without a container to look at: an engine without its userland proxy sets this for the bridge, and hairpin mode for ports
/// (`setupLoopbackAddressesRouting` and `CreateEndpoint` of libnetwork's bridge driver).
fn routes_localnet(bridge: &str) -> bool {
    let setting = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"));
    setting.is_ok_and(|it| it.trim() == "1")
}
