//! Firewall rules as they were captured: what they do to one TCP connection, and a safe copy of them for a replay.
//!
//! ```text
//!  iptables-save ─┐                     ┌─► connect(Flow, World) ─► Walk: each packet's steps, the deciding place last
//!  nft -j        ─┼─► Ruleset ──────────┼─► restore_text, nft_json ─► the same rules, written from typed values only
//!  ipset save    ─┘  (tables of all     └─► has_same_rules, counted_since ─► what changed, what counted
//!                      backends)
//! ```
//!
//! Nothing here reads a file, runs a program or asks the kernel. An answer is three-valued: what is not understood is
//! [`Outcome::Undetermined`], never a guess.
//!
//! ```
//! use ruleset::{Backend, Family, Flow, Outcome, Ruleset, World};
//!
//! let mut rules = Ruleset::default();
//! let text = b"*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
//! rules.add_save(Backend::Nft, Family::Ip, text)?;
//! let flow = Flow::new("br-sandbox", "172.18.0.2:40000".parse()?, "172.18.0.1:8080".parse()?);
//! let world = World::new(&flow, 16);
//! let walk = rules.connect(&flow, &world);
//! let Outcome::Dropped(place) = &walk.outcome else { panic!("{walk:?}") };
//! assert_eq!(place.to_string(), "ip filter INPUT policy DROP");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod action;
mod compare;
mod condition;
mod error;
mod evaluate;
mod expression;
mod ipset;
mod model;
mod names;
mod nft;
mod place;
mod print;
mod save;
mod walk;
mod wide;
mod world;
mod write;

pub use action::{Action, NatTarget, RejectWith, VerdictMap};
pub use condition::{
    AddressKind, AddressType, Condition, CtProperty, CtTest, Limit, Network, PhysdevProperty, PhysdevTest,
    Recent, RecentDeed, Right, Side, ct_state, ct_status,
};
pub use error::ParseError;
pub use expression::{DataKind, Datum, Element, Expression, Field, Operator};
pub use ipset::{Component, Entry, EntryValue, IpSet};
pub use model::{Base, Chain, Counters, Hook, Kind, NamedMap, NamedSet, Part, Policy, Rule, Ruleset, Table};
pub use place::{Backend, Family, Place, TableFamily};
pub use walk::{Assumption, Effect, Outcome, Packet, PacketWalk, Step, Walk};
pub use world::{Flow, LocalAddress, World};
pub use write::{ChainPlaces, WrittenJson, WrittenText, pieces};

use print::printable;

/// The JSON schema of [`Ruleset`], as committed.
pub const SCHEMA: &str = include_str!("../schema/ruleset.v1.json");

#[cfg(test)]
mod schema {
    use super::{Ruleset, SCHEMA};

    /// `OPENSHELL_UPDATE_SCHEMA=1 cargo test -p openshell-ruleset` writes the file anew.
    #[test]
    fn the_committed_schema_is_the_types() {
        let schema = schemars::schema_for!(Ruleset);
        let generated = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
        if std::env::var_os("OPENSHELL_UPDATE_SCHEMA").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/ruleset.v1.json");
            std::fs::write(file, &generated).expect("the checkout can be written");
        } else {
            assert_eq!(SCHEMA, generated, "set OPENSHELL_UPDATE_SCHEMA=1 to write it anew");
        }
    }
}
