//! What a twin is to be, and what is to be dialled in it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Failure;

mod check;

/// As many trials as a plan may have, over all its stages.
pub const MOST_TRIALS: usize = 512;

/// As many bytes as one text of rules may have.
pub const MOST_TEXT: usize = 8 * 1024 * 1024;

/// A twin and its trials.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The captured rules.
    pub rules: Rules,
    /// What restores them.
    pub programs: Programs,
    /// The bridge of the sandboxes.
    pub bridge: Bridge,
    /// The sandbox's own addresses, each in a subnet of the bridge's.
    pub sandbox: Vec<IpAddr>,
    /// The machine's other links.
    pub links: Vec<Link>,
    /// What is set in the twin's kernel, as far as it can be.
    pub sysctls: Vec<Sysctl>,
    /// What is tried, in this order.
    pub stages: Vec<Stage>,
}

/// Rules in the forms that the tools take.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// For `iptables-nft-restore`.
    pub ipv4: Option<String>,
    /// For `ip6tables-nft-restore`.
    pub ipv6: Option<String>,
    /// For `nft -j`.
    pub nft: Option<serde_json::Value>,
    /// For `ipset restore`.
    pub ipset: Option<String>,
}

/// Where the tools are, as absolute paths.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Programs {
    /// `iptables-nft-restore`.
    pub ipv4: Option<PathBuf>,
    /// `ip6tables-nft-restore`.
    pub ipv6: Option<PathBuf>,
    /// `nft`.
    pub nft: Option<PathBuf>,
    /// `ipset`.
    pub ipset: Option<PathBuf>,
}

/// An address with the length of its subnet's prefix.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length of the prefix.
    pub prefix: u8,
}

/// The bridge of the sandboxes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// The machine's addresses on it.
    pub addresses: Vec<Address>,
}

/// Another link of the machine's, with a neighbour behind it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The machine's addresses on it. IPv6's link-local ones are the kernel's own and are left out.
    pub addresses: Vec<Address>,
    /// Subnets that lie behind its neighbour.
    #[serde(default)]
    pub behind: Vec<Address>,
    /// Whether the default routes lead there. One link at most.
    #[serde(default)]
    pub uplink: bool,
}

/// A setting of the kernel's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// Its path below `/proc/sys`, such as `net/ipv4/conf/all/rp_filter`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Changes and what is dialled after them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What the answer calls it.
    pub name: String,
    /// What is changed before: texts for `--noflush`, or commands of nft.
    #[serde(default)]
    pub change: Rules,
    /// What takes the change back. Without it the captured rules are restored from the beginning.
    #[serde(default)]
    pub undo: Option<Rules>,
    /// What is dialled.
    pub trials: Vec<Trial>,
}

/// One connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Who dials.
    pub from: Origin,
    /// What is dialled.
    pub to: SocketAddr,
    /// How many bytes are sent once the connection stands; with 0 it is ended instead.
    #[serde(default = "one")]
    pub data: u16,
}

fn one() -> u16 {
    1
}

/// Who dials.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Origin {
    /// The sandbox, by its own address.
    Sandbox,
    /// Somebody on the bridge under another address, which need not be of its subnet.
    Bridge {
        /// The address.
        address: IpAddr,
    },
    /// A neighbour behind a link.
    Lan {
        /// The link.
        link: String,
        /// The neighbour's address; without it, one of the link's subnet.
        address: Option<IpAddr>,
    },
    /// Somebody beyond the default route.
    Wan {
        /// The address; without it, one that documentation uses.
        address: Option<IpAddr>,
    },
    /// The host itself.
    Host,
}

impl Plan {
    /// Says what is wrong with it, before anything is made of it.
    ///
    /// # Errors
    /// [`Failure::BadPlan`], or [`Failure::NoProgram`] when rules have nothing that restores them.
    pub fn check(&self) -> Result<(), Failure> {
        check::check(self)
    }

    /// All trials of all stages.
    pub(super) fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.stages.iter().flat_map(|stage| &stage.trials)
    }

    /// The link with the default routes.
    pub(super) fn uplink(&self) -> Option<&Link> {
        self.links.iter().find(|link| link.uplink)
    }
}

impl Rules {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Programs {
    /// The tools of this machine, from the folders where systems have them. `PATH` is not asked: it is the caller's.
    #[must_use]
    pub fn find() -> Self {
        let find = crate::programs::find;
        Self {
            ipv4: find("iptables-nft-restore"),
            ipv6: find("ip6tables-nft-restore"),
            nft: find("nft"),
            ipset: find("ipset"),
        }
    }
}

impl Address {
    /// Whether another address is of the same subnet.
    #[must_use]
    pub fn covers(&self, other: IpAddr) -> bool {
        let same = |mine: u128, its: u128, bits: u32| {
            let left = bits.saturating_sub(u32::from(self.prefix));
            mine.checked_shr(left) == its.checked_shr(left)
        };
        match (self.ip, other) {
            (IpAddr::V4(mine), IpAddr::V4(its)) => same(mine.to_bits().into(), its.to_bits().into(), 32),
            (IpAddr::V6(mine), IpAddr::V6(its)) => same(mine.to_bits(), its.to_bits(), 128),
            _ => false,
        }
    }

    pub(super) fn pair(&self) -> (IpAddr, u8) {
        (self.ip, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_covers_its_own_addresses_only() {
        let address = |ip: &str, prefix| Address { ip: ip.parse().unwrap(), prefix };
        let covers = |it: Address, other: &str| it.covers(other.parse().unwrap());
        assert!(covers(address("172.18.0.1", 16), "172.18.255.9"));
        assert!(!covers(address("172.18.0.1", 16), "172.19.0.1"));
        assert!(!covers(address("172.18.0.1", 16), "fd00::1"));
        assert!(covers(address("0.0.0.0", 0), "9.9.9.9"));
        assert!(covers(address("::", 0), "fd00::1"));
        assert!(covers(address("fd00::1", 64), "fd00::2:1"));
        assert!(!covers(address("fd00::1", 128), "fd00::2"));
    }
}
