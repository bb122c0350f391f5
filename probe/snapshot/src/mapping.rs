//! Addresses replaced by others, so that what rules do to them stays the same and what they were is not told.
//!
//! Two addresses that share their first *n* bits are mapped to two that share their first *n* bits, and no more: so a network
//! stays a network, of the same length, and what is in it stays in it. Each bit is turned or not by a keyed digest of the bits
//! before it (the scheme of Crypto-PAn, J. Xu et al., 2002, with SHA-256). The key is random and is nowhere written down.
//!
//! What matters stays: networks that are kept, bit by bit. Before the end of a kept network nothing is turned either, so that
//! nothing is mapped into it, and a private address stays a private one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha2::{Digest as _, Sha256};

use crate::text::{Mac, Net};

/// Networks that mean the same everywhere (RFC 6890), and docker0's default.
const KEPT: [&str; 7] =
    ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "172.17.0.0/16", "::/127", "ff00::/8"];
/// Networks whose own bits stay, and whose addresses do not: private ones, shared ones, and IPv6's kinds.
const CLASSES: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fe80::/10",
    "fc00::/7",
    "2000::/3",
    "::ffff:0.0.0.0/96",
];

/// A mapping of addresses.
pub struct Mapping {
    key: Option<[u8; 32]>,
    kept: Vec<Span>,
    classes: Vec<Span>,
    digests: RefCell<HashMap<(bool, u8, u128), [u8; 32]>>,
}

/// A network as numbers.
#[derive(Clone, Copy)]
struct Span {
    v6: bool,
    base: u128,
    length: u32,
}

impl Span {
    fn of(net: Net) -> Self {
        let (base, v6) = number(net.address());
        Self { v6, base, length: net.length().into() }
    }

    /// Whether this bit, after these ones, is within the network's own bits, or within the network.
    fn holds(self, v6: bool, before: u128, length: u32) -> (bool, bool) {
        if self.v6 != v6 {
            return (false, false);
        }
        let bits = width(v6);
        if self.length > length {
            return (shifted(self.base, bits - length) == before, false);
        }
        (false, shifted(self.base, bits - self.length) == shifted(before, length - self.length))
    }
}

impl Mapping {
    /// A mapping by `key` that keeps `kept` besides what is always kept.
    #[must_use]
    pub fn new(key: [u8; 32], kept: &[Net]) -> Self {
        let always = KEPT.iter().filter_map(|net| Net::parse(net));
        let classes = CLASSES.iter().filter_map(|net| Net::parse(net)).map(Span::of).collect();
        Self {
            key: Some(key),
            kept: always.chain(kept.iter().copied()).map(Span::of).collect(),
            classes,
            digests: RefCell::default(),
        }
    }

    /// The mapping of every address to itself.
    #[must_use]
    pub fn identity() -> Self {
        Self { key: None, kept: Vec::new(), classes: Vec::new(), digests: RefCell::default() }
    }

    /// An address.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> IpAddr {
        // The same address in another notation.
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            let IpAddr::V4(v4) = self.address(IpAddr::V4(v4)) else { return address };
            return IpAddr::V6(v4.to_ipv6_mapped());
        }
        let (value, v6) = number(address);
        of_number(self.number(value, v6), v6)
    }

    /// A network: bits that do not name it are 0 in what comes back.
    #[must_use]
    pub fn net(&self, net: Net) -> Net {
        let (value, v6) = number(self.address(net.address()));
        let rest = width(v6) - u32::from(net.length());
        let base = shifted(value, rest).checked_shl(rest).unwrap_or(0);
        // One address of a network keeps its own bits.
        Net::new(of_number(base, v6), net.length()).unwrap_or(net)
    }

    /// An address and the length of its network, both as they are.
    #[must_use]
    pub fn within(&self, net: Net) -> Net {
        Net::new(self.address(net.address()), net.length()).unwrap_or(net)
    }

    /// The networks that hold the addresses from `first` to `last` and no others, mapped; `None` where they are not of one
    /// family, or not in order.
    #[must_use]
    pub fn range(&self, first: IpAddr, last: IpAddr) -> Option<Vec<Net>> {
        let ((first, v6), (last, other)) = (number(first), number(last));
        if v6 != other || first > last {
            return None;
        }
        let networks = networks(first, last, width(v6));
        let whole =
            |(base, length): &(u128, u32)| Net::new(of_number(*base, v6), u8::try_from(*length).ok()?);
        let networks: Option<Vec<Net>> = networks.iter().map(whole).collect();
        Some(networks?.into_iter().map(|net| self.net(net)).collect())
    }

    /// A hardware address: a group's stays one, and what comes back is nobody's (bit "locally administered").
    #[must_use]
    pub fn mac(&self, mac: Mac) -> Mac {
        let Some(key) = self.key.filter(|_| mac.0 != [0; 6] && mac.0 != [0xff; 6]) else { return mac };
        let digest = Sha256::new().chain_update(key).chain_update(b"mac").chain_update(mac.0).finalize();
        let mut mapped = [0; 6];
        mapped.copy_from_slice(&digest[..6]);
        mapped[0] = (mapped[0] & 0xfc) | 2 | (mac.0[0] & 1);
        Mac(mapped)
    }

    fn number(&self, value: u128, v6: bool) -> u128 {
        let Some(key) = self.key else { return value };
        let bits = width(v6);
        let mut turned = 0;
        for length in 0..bits {
            let before = shifted(value, bits - length);
            let kept = self.kept.iter().any(|span| {
                let (own, within) = span.holds(v6, before, length);
                own || within
            });
            let class = || self.classes.iter().any(|span| span.holds(v6, before, length).0);
            let turn = !kept && !class() && self.turns(&key, v6, before, length);
            turned = (turned << 1) | u128::from(turn);
        }
        value ^ turned
    }

    /// Whether the bit after `before` is turned: one digest answers for the tree of eight bits below a whole byte.
    fn turns(&self, key: &[u8; 32], v6: bool, before: u128, length: u32) -> bool {
        let (bytes, rest) = (length / 8, length % 8);
        let whole = shifted(before, rest);
        let byte = u8::try_from(bytes).unwrap_or(u8::MAX);
        let mut digests = self.digests.borrow_mut();
        let digest = digests.entry((v6, byte, whole)).or_insert_with(|| {
            let head = [u8::from(v6), byte];
            Sha256::new()
                .chain_update(key)
                .chain_update(head)
                .chain_update(whole.to_be_bytes())
                .finalize()
                .into()
        });
        // The tree's root is 1, the children of n are 2n and 2n + 1.
        let node = (1_usize << rest) | usize::try_from(before & ((1 << rest) - 1)).unwrap_or(0);
        digest[node / 8] >> (node % 8) & 1 == 1
    }
}

/// The networks that hold the numbers from `first` to `last`.
fn networks(first: u128, last: u128, bits: u32) -> Vec<(u128, u32)> {
    let mut found = Vec::new();
    let mut next = first;
    loop {
        // The largest block that begins here and does not end after the last.
        let aligned = next.trailing_zeros().min(bits);
        let mut size = aligned;
        while size > 0 && ones(size) > last - next {
            size -= 1;
        }
        found.push((next, bits - size));
        match next.checked_add(ones(size)).filter(|end| *end < last) {
            Some(end) => next = end + 1,
            None => return found,
        }
    }
}

fn ones(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX >> (128 - bits.min(128)) }
}

fn shifted(value: u128, by: u32) -> u128 {
    value.checked_shr(by).unwrap_or(0)
}

fn width(v6: bool) -> u32 {
    if v6 { 128 } else { 32 }
}

pub(crate) fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), false),
        IpAddr::V6(address) => (u128::from(address), true),
    }
}

pub(crate) fn of_number(value: u128, v6: bool) -> IpAddr {
    if v6 {
        return IpAddr::V6(Ipv6Addr::from(value));
    }
    IpAddr::V4(Ipv4Addr::from(u32::try_from(value & 0xffff_ffff).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapping() -> Mapping {
        Mapping::new([7; 32], &[Net::parse("172.18.0.0/16").unwrap(), Net::parse("fd00:1::/64").unwrap()])
    }

    fn shared(one: u128, other: u128, bits: u32) -> u32 {
        (one ^ other).leading_zeros() - (128 - bits)
    }

    proptest! {
        #[test]
        fn as_many_first_bits_are_shared_after_as_before(one: u32, other: u32, common in 0_u32..32) {
            let other = (one & !(u32::MAX >> common)) | (other & (u32::MAX >> common));
            let mapping = mapping();
            let mapped = |value: u32| number(mapping.address(IpAddr::V4(value.into()))).0;
            prop_assert_eq!(
                shared(mapped(one), mapped(other), 32),
                shared(one.into(), other.into(), 32)
            );
        }

        #[test]
        fn the_same_holds_for_ipv6(one: u128, other: u128, common in 0_u32..128) {
            let other = (one & !(u128::MAX >> common)) | (other & (u128::MAX >> common));
            let mapping = mapping();
            let mapped = |value: u128| mapping.number(value, true);
            prop_assert_eq!(shared(mapped(one), mapped(other), 128), shared(one, other, 128));
        }

        #[test]
        fn a_range_is_the_same_addresses_as_its_networks(first: u32, size in 0_u32..70_000, probe: u32) {
            let last = first.saturating_add(size);
            let probe = if probe.is_multiple_of(2) { probe } else { first.saturating_add(probe % 80_000) };
            let mapping = mapping();
            let address = |value: u32| IpAddr::V4(value.into());
            let networks = mapping.range(address(first), address(last)).unwrap();
            let mapped = mapping.address(address(probe));
            let held = networks.iter().any(|net| mapping_holds(*net, mapped));
            prop_assert_eq!(held, (first..=last).contains(&probe));
        }
    }

    fn mapping_holds(net: Net, address: IpAddr) -> bool {
        let ((base, _), (value, v6)) = (number(net.address()), number(address));
        let rest = width(v6) - u32::from(net.length());
        shifted(base, rest) == shifted(value, rest)
    }

    #[test]
    fn what_matters_stays_and_the_rest_does_not() {
        let mapping = mapping();
        let same = [
            "0.0.0.0",
            "127.0.0.1",
            "127.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "172.17.0.1",
            "172.18.0.1",
            "172.18.255.255",
            "::",
            "::1",
            "ff02::1",
            "fd00:1::5",
            "::ffff:172.18.0.1",
        ];
        for address in same.map(|it| it.parse::<IpAddr>().unwrap()) {
            assert_eq!(mapping.address(address), address);
        }
        for other in [
            "203.0.113.7",
            "10.1.2.3",
            "192.168.7.9",
            "fe80::42:acff:fe11:2",
            "2001:db8::9",
            "::ffff:10.1.2.3",
        ] {
            let address: IpAddr = other.parse().unwrap();
            assert_ne!(mapping.address(address), address, "{other}");
        }
        let v4: IpAddr = mapping.address("10.1.2.3".parse().unwrap());
        assert!(v4.to_string().starts_with("10."), "private stays private: {v4}");
        assert_eq!(mapping.address("::ffff:10.1.2.3".parse().unwrap()).to_string(), format!("::ffff:{v4}"));
        assert_eq!(mapping.net(Net::parse("0.0.0.0/0").unwrap()).to_string(), "0.0.0.0/0");
        let mac = Mac::parse("02:42:ac:12:00:01").unwrap();
        assert_eq!(mapping.mac(mac), mapping.mac(mac));
        assert_ne!(mapping.mac(mac), mac);
    }

    #[test]
    fn another_key_is_another_mapping() {
        let address: IpAddr = "203.0.113.7".parse().unwrap();
        assert_ne!(Mapping::new([1; 32], &[]).address(address), Mapping::new([2; 32], &[]).address(address));
        assert_eq!(Mapping::identity().address(address), address);
    }
}
