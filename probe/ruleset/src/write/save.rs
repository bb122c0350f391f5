//! Tables of iptables as text for `iptables-nft-restore`.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::{ChainPlaces, LEGACY, WrittenText, name, save_match, save_target};
use crate::model::{Chain, Part, Policy, Rule, Ruleset, Table};
use crate::place::{Backend, Family, TableFamily};

/// The tables that iptables has.
const TABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

impl Ruleset {
    /// The tables of iptables, of both backends, as one text for `iptables-nft-restore` (or `ip6tables-nft-restore`).
    ///
    /// If both backends have rules in a table of the same name, only iptables-nft's are written: one text cannot hold two
    /// such tables. Those of the old backend are in [`Ruleset::nft_json`] then. `ipset` sets that the rules read have to be there before ([`Ruleset::ipset_text`]).
    pub fn restore_text(&self, family: Family) -> WrittenText {
        let mut written = WrittenText::default();
        for name in TABLES {
            let of = |backend| {
                let family = TableFamily::from(family);
                move |table: &&Table| table.backend == backend && table.family == family && table.name == name
            };
            let nft = self.tables.iter().find(of(Backend::Nft));
            let legacy = self.tables.iter().find(of(Backend::Legacy));
            let table = match (nft, legacy) {
                (Some(nft), Some(legacy)) if is_empty(nft) => Some(legacy),
                (Some(nft), _) => Some(nft),
                (None, legacy) => legacy,
            };
            if let Some(table) = table {
                self.write_table(family, table, &mut written);
            }
        }
        written
    }

    /// The name of the table that holds the rules of one of the old backend in [`Ruleset::nft_json`]. `None` where iptables-nft has
    /// no rules in a table of the same name.
    pub fn written_beside(&self, table: &str, family: TableFamily) -> Option<String> {
        let of = |backend| {
            let same =
                move |it: &&Table| (it.backend, it.family, it.name.as_str()) == (backend, family, table);
            self.tables.iter().find(same).filter(|it| !is_empty(it))
        };
        (of(Backend::Nft).is_some() && of(Backend::Legacy).is_some()).then(|| format!("{LEGACY}{table}"))
    }

    /// The rules of a table of iptables, chain by chain, in the words of `iptables-save` and from typed values only; `None`
    /// for a rule with a part that is not understood.
    pub fn words_of(&self, table: &Table) -> Vec<Vec<Option<String>>> {
        let family = if table.family == TableFamily::Ip6 { Family::Ip6 } else { Family::Ip };
        let chains: HashSet<&str> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
        let words = |rule: &Rule| Some(self.words(family, &chains, rule)?.trim_start().to_owned());
        table.chains.iter().map(|chain| chain.rules.iter().map(words).collect()).collect()
    }

    fn write_table(&self, family: Family, table: &Table, written: &mut WrittenText) {
        let named = |chain: &&Chain| name::identifier(&chain.name).is_some();
        let chains: HashSet<&str> =
            table.chains.iter().filter(named).map(|chain| chain.name.as_str()).collect();
        let _ = writeln!(written.text, "*{}", table.name);
        for chain in table.chains.iter().filter(named) {
            let policy = match &chain.base {
                None => "-",
                Some(base) if base.policy == Policy::Drop => "DROP",
                Some(_) => "ACCEPT",
            };
            let _ = writeln!(written.text, ":{} {policy} [0:0]", chain.name);
        }
        for chain in &table.chains {
            let mut places = Vec::new();
            for rule in &chain.rules {
                let place = table.rule_place(chain, rule);
                let words = if chains.contains(chain.name.as_str()) {
                    self.words(family, &chains, rule)
                } else {
                    None
                };
                match words {
                    Some(words) => {
                        let _ = writeln!(written.text, "-A {}{words}", chain.name);
                        places.push(place);
                    }
                    None => written.not_written.push(place),
                }
            }
            written.chains.push(ChainPlaces {
                backend: table.backend,
                family: table.family,
                table: table.name.clone(),
                chain: chain.name.clone(),
                rules: places,
            });
        }
        written.text.push_str("COMMIT\n");
    }

    /// A rule's options, each after a space.
    fn words(&self, family: Family, chains: &HashSet<&str>, rule: &Rule) -> Option<String> {
        let mut words = String::new();
        for part in &rule.parts {
            let part = match part {
                Part::Ask(condition) => save_match::words(self, family, condition)?,
                Part::Do(action) => save_target::words(self, chains, action)?,
            };
            for word in part {
                words.push(' ');
                words.push_str(&word);
            }
        }
        Some(words)
    }
}

fn is_empty(table: &Table) -> bool {
    table.chains.iter().all(|chain| chain.rules.is_empty() && !drops(chain))
}

fn drops(chain: &Chain) -> bool {
    chain.base.as_ref().is_some_and(|base| base.policy == Policy::Drop)
}
