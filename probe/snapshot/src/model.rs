//! What is in a snapshot.
//!
//! Every text is of a type that says which characters it may have, and every field is one that somebody decided to carry:
//! there is no place for a command line, a proxy, a comment or a host's name.

mod check;
mod engine;
mod firewall;
mod host;

use ruleset::{Backend, Ruleset, TableFamily};
use serde::{Deserialize, Serialize};

pub use check::{Check, Decided, Dialled, Path, Target};
pub use engine::{Engine, EngineSystem, Network, NetworkOption, Pool, Role};
pub use firewall::{Direction, FirewallD, PortRange, Ufw, UfwAction, UfwRule, Zone};
pub use host::{
    Address, Link, LinkKind, Listener, Owner, PolicyRule, Privilege, Route, RouteKind, Sysctl, SysctlKey,
    System, Tool,
};

use crate::text::Name;

/// Major and minor version of the format. Within a major version fields are only added.
pub const SCHEMA_VERSION: &str = "1.0";

/// What decides a host's verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema: String,
    /// The system and its tools.
    pub system: System,
    /// The engine; `None` where none answered.
    pub engine: Option<Engine>,
    /// The engine's networks, the sandboxes' first.
    pub networks: Vec<Network>,
    /// The interfaces.
    pub links: Vec<Link>,
    /// The addresses of the interfaces.
    pub addresses: Vec<Address>,
    /// The routes of all tables but `local`, which the kernel makes of the addresses.
    pub routes: Vec<Route>,
    /// The rules of policy routing.
    pub policy_rules: Vec<PolicyRule>,
    /// Settings of the kernel on the path.
    pub sysctls: Vec<Sysctl>,
    /// The rules of all backends, and the sets of `ipset`; `None` where they were not read. A rule has no text here, its
    /// parts say it; the reader writes the text anew.
    #[cfg_attr(test, schemars(schema_with = "crate::schema::ruleset"))]
    pub rules: Option<Ruleset>,
    /// Parts of rules that are not carried, each with its place and kind: the rule has an unknown part there.
    pub not_carried: Vec<NotCarried>,
    /// UFW's settings; `None` where it is not there.
    pub ufw: Option<Ufw>,
    /// firewalld's settings; `None` where it does not run.
    pub firewalld: Option<FirewallD>,
    /// The listening TCP sockets; `None` where they were not read.
    pub listeners: Option<Vec<Listener>>,
    /// What a check found.
    pub check: Check,
    /// What is not in here, and why.
    pub left_out: Vec<LeftOut>,
}

/// A part of a rule that is not carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotCarried {
    /// Who holds the table.
    #[cfg_attr(test, schemars(with = "crate::schema::Backend"))]
    pub backend: Backend,
    /// The table's family.
    #[cfg_attr(test, schemars(with = "crate::schema::TableFamily"))]
    pub family: TableFamily,
    /// The table.
    pub table: Name,
    /// The chain.
    pub chain: Name,
    /// The rule's number in its chain, from 1.
    pub rule: usize,
    /// What it is: a word of [`KINDS`](crate::KINDS).
    pub kind: String,
}

/// Something that is not in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// What.
    pub what: What,
    /// Why.
    pub why: Why,
    /// How many, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// What may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The rules of all backends.
    Rules,
    /// What one of the programs that print rules would have said.
    SomeRules,
    /// Parts of rules; [`Snapshot::not_carried`] has them.
    PartsOfRules,
    /// Names of chains, sets, tables or networks: `renamed-1` stands for the first.
    Names,
    /// Interfaces and addresses.
    Links,
    /// Routes.
    Routes,
    /// Rules of policy routing.
    PolicyRules,
    /// UFW's settings.
    Ufw,
    /// Rules that users gave to UFW.
    UfwRules,
    /// firewalld's settings.
    FirewallD,
    /// firewalld's rich rules.
    RichRules,
    /// Sources of firewalld's zones that are no networks.
    ZoneSources,
    /// The engine's networks besides the sandboxes'.
    Networks,
    /// Options of networks.
    NetworkOptions,
    /// The listening sockets.
    Listeners,
}

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// Reading it takes root.
    NeedsRoot,
    /// It could not be read.
    Unreadable,
    /// The program that shows it is not here.
    NoProgram,
    /// It is not on the allow list.
    NotAllowed,
    /// It changed while it was read.
    Changing,
    /// There is more than a snapshot may have.
    TooMuch,
}
