//! What decides whether a host's sandboxes reach it, in one file: made on a user's machine, read anywhere.
//!
//! ```text
//!  a host ─► Carrier: allow list, mapped addresses ─► Snapshot ─► to_bytes ─► FILE ─► read_file ─► Snapshot ─► walk
//!            (rules as typed values, never as text)                           │
//!                                                       nothing in it is believed: limits, types, validation
//! ```
//!
//! The file is JSON in gzip; its schema is [`SCHEMA`], and `docs/snapshot.md` says what is in it and what never is.
//!
//! # For a replay
//!
//! A [`Snapshot`] that was read is validated: its names are harmless, its chains end, its numbers belong together. Rules are
//! written for a host by [`ruleset::Ruleset::restore_text`], [`ruleset::Ruleset::nft_json`] and
//! [`ruleset::Ruleset::ipset_text`] of [`Snapshot::rules`], from typed values alone, and these say what they leave out.
//! [`Snapshot::networks`], [`Snapshot::links`], [`Snapshot::addresses`], [`Snapshot::routes`] and [`Snapshot::sysctls`] say
//! what the host is to be, [`Snapshot::listeners`] what listens, and [`Check::targets`](crate::Check) what was found there.
//!
//! ```
//! use snapshot::{Snapshot, read};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let snapshot = read(&include_bytes!("../tests/corpus/ufw-default-deny.snapshot")[..])?;
//! for target in &snapshot.check.targets {
//!     let walk = snapshot.walk(target).ok_or("its rules are not in it")?;
//!     assert_eq!(walk.outcome.to_string(), "dropped by ip filter INPUT policy DROP");
//!     assert_eq!(Snapshot::agrees(target, &walk), Some(true));
//! }
//! assert!(read(&b"anything else"[..]).is_err());
//! # Ok(())
//! # }
//! ```

mod carry;
mod judge;
mod kinds;
pub mod limits;
mod mapping;
mod model;
mod names;
mod read;
mod scan;
#[cfg(test)]
mod schema;
mod show;
mod spell;
mod text;
mod validate;
mod write;

pub use carry::{Carrier, same_place};
pub use kinds::KINDS;
pub use mapping::Mapping;
pub use model::{
    Address, Check, Decided, Dialled, Direction, Engine, EngineSystem, FirewallD, LeftOut, Link, LinkKind,
    Listener, Network, NetworkOption, NotCarried, Owner, Path, PolicyRule, Pool, PortRange, Privilege, Role,
    Route, RouteKind, SCHEMA_VERSION, Snapshot, Sysctl, SysctlKey, System, Target, Tool, Ufw, UfwAction,
    UfwRule, What, Why, Zone,
};
pub use names::Names;
pub use read::{ReadError, read, read_file, read_json};
pub use show::{rules_text, show};
pub use text::{BadText, Interface, Mac, Name, Net, Ports, Version, Word};
pub use write::{WriteError, to_bytes, to_json};

/// The JSON schema of [`Snapshot`], as committed.
pub const SCHEMA: &str = include_str!("../schema/snapshot.v1.json");
