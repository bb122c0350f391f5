//! What rules ask about the host itself.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use ruleset::{Flow, LocalAddress, World};

use crate::return_path::ReturnPath;

/// This host, for a connection that comes in by its bridge.
pub(super) fn world(flow: &Flow, way_back: Option<&ReturnPath>) -> World {
    let through = way_back.and_then(|path| path.interface.clone());
    let version =
        if flow.destination.is_ipv4() { "bridge-nf-call-iptables" } else { "bridge-nf-call-ip6tables" };
    World {
        addresses: addresses(),
        way_back: through.unwrap_or_else(|| flow.input.clone()),
        bridge: true,
        uplink: super::uplink::uplink(),
        forwards: forwards(flow),
        route_localnet: route_localnet(&flow.input),
        // The file is there only while the module is.
        bridge_nf_call: is_set(&format!("net/bridge/{version}")),
    }
}

/// Whether this host passes on what comes in by the flow's interface.
fn forwards(flow: &Flow) -> bool {
    let version = if flow.destination.is_ipv4() { "ipv4" } else { "ipv6" };
    is_set(&format!("net/{version}/conf/{}/forwarding", flow.input))
}

/// The kernel's own question (`IN_DEV_ROUTE_LOCALNET`): of all interfaces, or of this one.
fn route_localnet(input: &str) -> bool {
    ["all", input].iter().any(|name| is_set(&format!("net/ipv4/conf/{name}/route_localnet")))
}

fn is_set(path: &str) -> bool {
    setting(path).is_some_and(|value| value == "1")
}

fn addresses() -> Vec<LocalAddress> {
    let Ok(entries) = getifaddrs() else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let address = ip(entry.address.as_ref()?)?;
            let prefix = entry.netmask.as_ref().and_then(ip).map_or(0, ones);
            Some(LocalAddress { interface: entry.interface_name, address, prefix })
        })
        .collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

fn ones(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => u32::from(mask).count_ones(),
        IpAddr::V6(mask) => u128::from(mask).count_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

fn setting(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().to_owned())
}
