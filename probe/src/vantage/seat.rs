//! Which address a dial without a container may take.

use std::net::Ipv4Addr;

use crate::engine::{NetworkFacts, Residents};

/// As many as are ever asked for.
const MOST: usize = 64;

/// How many addresses at the beginning of a pool are looked at first: rules for a part of the subnet are most likely for the
/// part that has the sandboxes, and an engine gives addresses out from the beginning.
const NEAR: u64 = 254;

/// Addresses that nobody is known to have, the best first, with the subnet's prefix length. Those from the end of the
/// beginning: in the sandboxes' neighbourhood, and the last that the engine would give to a container meanwhile. `others` are
/// somebody's as well.
pub(crate) fn candidates(
    network: &NetworkFacts,
    gateway: Ipv4Addr,
    residents: &Residents,
    others: &[Ipv4Addr],
) -> (Vec<Ipv4Addr>, u8) {
    let Some((subnet, prefix)) = network.subnet_of(gateway).and_then(pool) else { return (Vec::new(), 0) };
    // A range that is not of the subnet is another pool's.
    let inside = |range: &(Ipv4Addr, u8)| range.1 >= prefix && masked(range.0, prefix) == subnet;
    let range = residents.range.as_deref().and_then(pool).filter(inside).unwrap_or((subnet, prefix));
    let all = hosts(range);
    let near = all.start..all.end.min(all.start + NEAR);
    let far = near.end..all.end;
    let free = |address: &Ipv4Addr| {
        *address != gateway && !residents.taken.contains(address) && !others.contains(address)
    };
    let found = near.rev().chain(far).filter_map(|it| u32::try_from(it).ok()).map(Ipv4Addr::from_bits);
    (found.filter(free).take(MOST).collect(), prefix)
}

/// `172.18.0.0/16`, with the bits beyond the prefix taken off.
fn pool(cidr: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = cidr.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some((masked(address.parse().ok()?, prefix), prefix))
}

fn masked(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// Without the pool's own address and its broadcast, where there are any.
fn hosts((first, prefix): (Ipv4Addr, u8)) -> std::ops::Range<u64> {
    let first = u64::from(first.to_bits());
    let size = 1_u64 << (32 - u32::from(prefix));
    if size > 2 { first + 1..first + size - 1 } else { first..first + size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::IpamEntry;

    fn chosen(subnet: &str, gateway: &str, range: Option<&str>, taken: &[&str]) -> Vec<String> {
        let network = NetworkFacts {
            driver: "bridge".to_owned(),
            ipam: vec![IpamEntry { subnet: Some(subnet.to_owned()), gateway: Some(gateway.to_owned()) }],
            ..NetworkFacts::default()
        };
        let taken = taken.iter().map(|it| it.parse().unwrap()).collect();
        let residents = Residents { taken, range: range.map(str::to_owned) };
        let gateway = gateway.parse().unwrap();
        let (found, _) = candidates(&network, gateway, &residents, &["172.18.0.251".parse().unwrap()]);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_last_free_address_near_the_sandboxes_comes_first() {
        let free = chosen("172.18.0.0/16", "172.18.0.1", None, &["172.18.0.253"]);
        assert_eq!(free[..3], ["172.18.0.254", "172.18.0.252", "172.18.0.250"]);
        assert_eq!(free.len(), MOST);
        assert_eq!(chosen("10.0.0.0/8", "10.0.0.1", None, &[])[0], "10.0.0.254");
    }

    #[test]
    fn a_pool_is_not_left_and_its_ends_are_nobodys() {
        assert_eq!(chosen("172.18.0.0/30", "172.18.0.1", None, &[]), ["172.18.0.2"]);
        assert!(chosen("172.18.0.0/30", "172.18.0.1", None, &["172.18.0.2"]).is_empty());
        assert_eq!(chosen("172.18.0.0/31", "172.18.0.1", None, &[]), ["172.18.0.0"]);
        assert!(chosen("172.18.0.1/32", "172.18.0.1", None, &[]).is_empty());
        assert!(chosen("fd00::/64", "172.18.0.1", None, &[]).is_empty());
    }

    #[test]
    fn the_engines_range_is_kept_to_where_it_is_of_this_subnet() {
        let first = |range| chosen("172.18.0.0/16", "172.18.0.1", Some(range), &[])[0].clone();
        assert_eq!(first("172.18.5.0/24"), "172.18.5.254");
        assert_eq!(first("172.18.5.128/29"), "172.18.5.134");
        assert_eq!(first("10.0.0.0/24"), "172.18.0.254");
        assert_eq!(first("rubbish"), "172.18.0.254");
    }
}
