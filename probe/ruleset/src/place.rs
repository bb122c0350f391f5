//! Where a rule or a policy stands, in the words of the field.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The IP version that `iptables-save` or `ip6tables-save` speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

/// The family of a table, as nft names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TableFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Frames that pass a bridge.
    Bridge,
    /// One interface, before everything else.
    Netdev,
    /// ARP, which no TCP connection passes.
    Arp,
}

impl TableFamily {
    /// As nft spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Arp => "arp",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let all = [Self::Ip, Self::Ip6, Self::Inet, Self::Bridge, Self::Netdev, Self::Arp];
        all.into_iter().find(|family| family.name() == name)
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Family> for TableFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ip => Self::Ip,
            Family::Ip6 => Self::Ip6,
        }
    }
}

/// Who holds a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The old x_tables, read by `iptables-legacy-save`.
    Legacy,
    /// nf_tables as `iptables-nft` uses it, read by `iptables-nft-save`.
    Nft,
    /// nf_tables as `nft` uses it, read by `nft -j list ruleset`.
    Native,
}

/// A rule, or the policy of a base chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Place {
    /// Who holds the table.
    pub backend: Backend,
    /// The table's family.
    pub family: TableFamily,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub chain: String,
    /// The rule's number in its chain, from 1; `None` is the base chain's policy.
    pub rule: Option<usize>,
    /// The rule's handle, where the source says it.
    pub handle: Option<u64>,
    /// The rule as its tool prints it, without chain and counters; `policy DROP` for a policy.
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.family, self.table, self.chain)?;
        match self.rule {
            Some(number) => write!(f, "rule {number}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}
