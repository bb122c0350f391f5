//! What was captured: tables, chains, rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::condition::Condition;
use crate::expression::Element;
use crate::ipset::IpSet;
use crate::place::{Backend, Family, Place, TableFamily};
use crate::{ParseError, ipset, nft, save};

/// All rules of a host that were captured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ruleset {
    /// The tables of all backends, in the order in which they were added.
    pub tables: Vec<Table>,
    /// The sets of `ipset`, which iptables rules read.
    pub ipsets: Vec<IpSet>,
}

impl Ruleset {
    /// Adds what `iptables-save` or `ip6tables-save` printed, with or without `-c`.
    ///
    /// A rule that is not wholly understood keeps its text and has an unknown part.
    ///
    /// # Errors
    /// A line that no save has; [`ParseError::NotASave`] for [`Backend::Native`].
    pub fn add_save(&mut self, backend: Backend, family: Family, text: &[u8]) -> Result<(), ParseError> {
        let tables = save::parse(backend, family, text)?;
        if backend == Backend::Nft {
            let same =
                |own: &Table| tables.iter().any(|new| new.family == own.family && new.name == own.name);
            self.tables.retain(|own| own.backend != Backend::Native || !same(own));
        }
        self.tables.extend(tables);
        Ok(())
    }

    /// Adds the native tables that `nft -j list ruleset` printed, or `nft -j list table` one of them.
    ///
    /// Tables that [`Ruleset::add_save`] has read as iptables-nft's, before or after, are left out here: nft shows their
    /// matches without contents. So are those that were added before.
    ///
    /// # Errors
    /// Text that is no such document.
    pub fn add_nft_json(&mut self, text: &[u8]) -> Result<(), ParseError> {
        let tables = nft::parse(text)?;
        for table in tables {
            let known = |own: &Table| {
                own.backend != Backend::Legacy && own.family == table.family && own.name == table.name
            };
            if !self.tables.iter().any(known) {
                self.tables.push(table);
            }
        }
        Ok(())
    }

    /// Adds what `ipset save` printed.
    ///
    /// # Errors
    /// A line that no such save has.
    pub fn add_ipsets(&mut self, text: &[u8]) -> Result<(), ParseError> {
        self.ipsets.extend(ipset::parse(text)?);
        Ok(())
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Table {
    /// Its family.
    pub family: TableFamily,
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub backend: Backend,
    /// Whether it is dormant: its base chains are not called.
    pub dormant: bool,
    /// Its chains, in the order of the capture.
    pub chains: Vec<Chain>,
    /// nft's named sets.
    pub sets: BTreeMap<String, NamedSet>,
    /// nft's named maps.
    pub maps: BTreeMap<String, NamedMap>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where the kernel calls it; `None` for a chain that only rules call.
    pub base: Option<Base>,
    /// What passed a base chain to its policy, where the capture says it.
    pub counters: Option<Counters>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Base {
    /// The place in a packet's way.
    pub hook: Hook,
    /// Lower ones come first.
    pub priority: i32,
    /// What becomes of a packet that no rule decided.
    pub policy: Policy,
    /// What the chain may do.
    pub kind: Kind,
    /// The interfaces of an ingress or egress chain.
    pub devices: Vec<String>,
}

/// A place in a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// An interface has received it.
    Ingress,
    /// Before it is routed.
    Prerouting,
    /// For this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After it is routed.
    Postrouting,
    /// An interface is about to send it.
    Egress,
}

impl Hook {
    /// As nft spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let all = [
            Self::Ingress,
            Self::Prerouting,
            Self::Input,
            Self::Forward,
            Self::Output,
            Self::Postrouting,
            Self::Egress,
        ];
        all.into_iter().find(|hook| hook.name() == name)
    }
}

/// What becomes of a packet that no rule of a base chain decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Decide about packets.
    Filter,
    /// Translate addresses: sees a connection's first packet only.
    Nat,
    /// Change what routing reads.
    Route,
}

impl Kind {
    /// As nft spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rule {
    /// As its tool prints it, without chain and counters, and safe to print. A copy from typed values may have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Its number in its chain, from 1.
    pub number: usize,
    /// Its handle, where the capture says it.
    pub handle: Option<u64>,
    /// What matched it, where the capture says it.
    pub counters: Option<Counters>,
    /// What it asks and does, in order.
    pub parts: Vec<Part>,
}

impl Rule {
    /// Whether some part of the rule is not understood.
    pub fn has_unknown_part(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Ask(condition) => condition.is_unknown(),
            Part::Do(action) => action.is_unknown(),
        })
    }
}

/// One step of a rule: nft mixes questions and deeds, iptables ends with its one deed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Goes on with the next part if the packet is so.
    Ask(Condition),
    /// Does something to the packet.
    Do(Action),
}

/// What passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// A named set of nft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NamedSet {
    /// The kinds of its key's components.
    pub kinds: Vec<crate::expression::DataKind>,
    /// Whether elements may be intervals.
    pub interval: bool,
    /// Whether rules add to it, or its elements end by themselves.
    pub dynamic: bool,
    /// Its elements; `None` when they are not understood.
    pub elements: Option<Vec<Element>>,
}

/// A named map of nft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NamedMap {
    /// The kinds of its key's components.
    pub kinds: Vec<crate::expression::DataKind>,
    /// Whether keys may be intervals.
    pub interval: bool,
    /// What each key leads to, if the map is one of verdicts that are understood.
    pub verdicts: Option<Vec<(Element, Action)>>,
}

impl Table {
    pub(crate) fn rule_place(&self, chain: &Chain, rule: &Rule) -> Place {
        Place {
            backend: self.backend,
            family: self.family,
            table: self.name.clone(),
            chain: chain.name.clone(),
            rule: Some(rule.number),
            handle: rule.handle,
            text: rule.text.clone(),
        }
    }

    pub(crate) fn policy_place(&self, chain: &Chain) -> Place {
        let policy = chain.base.as_ref().map_or(Policy::Accept, |base| base.policy);
        let text = match (self.backend, policy) {
            (Backend::Native, Policy::Accept) => "policy accept",
            (Backend::Native, Policy::Drop) => "policy drop",
            (_, Policy::Accept) => "policy ACCEPT",
            (_, Policy::Drop) => "policy DROP",
        };
        Place {
            backend: self.backend,
            family: self.family,
            table: self.name.clone(),
            chain: chain.name.clone(),
            rule: None,
            handle: None,
            text: text.into(),
        }
    }
}
