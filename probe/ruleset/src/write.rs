//! The rules written for a replay, from typed values only: no captured text comes into what is written.
//!
//! Names are written if they consist of harmless characters; a rule with another name, or with a part that is not
//! understood, is left out, and said to be.

mod json;
mod json_value;
mod name;
pub mod pieces;
mod save;
mod save_match;
mod save_target;

use serde::{Deserialize, Serialize};

use crate::place::{Backend, Place, TableFamily};

/// Text for `iptables-nft-restore` or `ip6tables-nft-restore`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WrittenText {
    /// The text.
    pub text: String,
    /// The rules that are not in it.
    pub not_written: Vec<Place>,
    /// Where each rule of it was captured.
    pub chains: Vec<ChainPlaces>,
}

/// Commands for `nft -j -f -`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WrittenJson {
    /// The commands.
    pub json: serde_json::Value,
    /// The rules that are not among them.
    pub not_written: Vec<Place>,
    /// Where each rule of them was captured.
    pub chains: Vec<ChainPlaces>,
}

/// How the tables of the old backend are called that are written as nft's own.
pub(crate) const LEGACY: &str = "legacy-";

/// Where the rules of a written chain were captured, in order: the first is rule 1 of the written chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainPlaces {
    /// Who holds the captured table.
    pub backend: Backend,
    /// The table's family.
    pub family: TableFamily,
    /// The written table's name.
    pub table: String,
    /// The chain's name.
    pub chain: String,
    /// The place of each written rule.
    pub rules: Vec<Place>,
}

impl ChainPlaces {
    /// The captured table's name, which is another one where both backends have such a table.
    pub fn captured_table(&self) -> &str {
        match self.backend {
            Backend::Legacy => self.table.strip_prefix(LEGACY).unwrap_or(&self.table),
            _ => &self.table,
        }
    }
}
