//! Rules, as what is fed to the tools that restore them.

use ruleset::{Backend, ChainPlaces, Family, Place, Ruleset, Table, pieces};
use serde_json::json;
use snapshot::{Decided, Snapshot};

use super::Left;

/// The most rules that are named one by one.
const MOST_NAMED: usize = 20;

/// Who is fed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Tool {
    /// `ipset restore`
    IpSet,
    /// `nft -j -f -`
    Nft,
    /// The `restore` of iptables that is named so.
    Restore(&'static str),
}

/// Text for a tool's standard input.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Feed {
    pub(in super::super) tool: Tool,
    /// Not the first of its tables: what is there stays.
    pub(in super::super) more: bool,
    pub(in super::super) text: String,
    /// What it is of, in words.
    pub(in super::super) what: String,
}

/// All rules, in the order in which they are restored.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct RulesPlan {
    /// Nothing where the snapshot has no rules: those of the engine stay then.
    pub(in super::super) feeds: Vec<Feed>,
    places: Vec<ChainPlaces>,
}

impl RulesPlan {
    /// Where a rule of the replayed host was captured: a rule that is not written moves those after it.
    pub(in super::super) fn captured(&self, decided: &Decided) -> Decided {
        let backend = |backend: Backend| match backend {
            Backend::Legacy => "legacy",
            Backend::Nft => "nft",
            Backend::Native => "native",
        };
        let same = |chain: &&ChainPlaces| {
            backend(chain.backend) == decided.backend.as_str()
                && chain.family.name() == decided.family.as_str()
                && chain.table == decided.table.as_str()
                && chain.chain == decided.chain.as_str()
        };
        let place = self.places.iter().find(same).zip(decided.rule);
        let place = place.and_then(|(chain, number)| chain.rules.get(number.checked_sub(1)?));
        let rule = place.map_or(decided.rule, |place| place.rule);
        Decided { rule, ..decided.clone() }
    }
}

/// The kernel asks the table first that came last where two have one priority, and the capture has the tables in the order in
/// which the evaluation takes them to have come.
pub(super) fn rules(snapshot: &Snapshot, left: &mut Left) -> RulesPlan {
    let Some(rules) = &snapshot.rules else { return RulesPlan::default() };
    let mut plan = RulesPlan::default();
    let flush = json!({"nftables": [{"flush": {"ruleset": null}}]}).to_string();
    plan.feeds.push(Feed {
        tool: Tool::Nft,
        more: false,
        text: flush,
        what: "the engine's own rules".to_owned(),
    });
    let sets = rules.ipset_text();
    if !sets.is_empty() {
        plan.feeds.push(Feed {
            tool: Tool::IpSet,
            more: false,
            text: sets,
            what: "sets of ipset".to_owned(),
        });
    }
    for set in rules.ipsets.iter().filter(|set| !set.known) {
        left.push(format!("set {} of ipset", set.name), "a set of its kind is not carried");
    }
    let mut not_written = Vec::new();
    for backend in order(rules) {
        let own = |table: &&Table| table.backend == backend;
        let part = Ruleset {
            tables: rules.tables.iter().filter(own).cloned().collect(),
            ipsets: rules.ipsets.clone(),
        };
        match backend {
            Backend::Native => native(&part, &mut plan, &mut not_written),
            Backend::Nft => {
                saved(&part, Family::Ip, "iptables-nft-restore", &mut plan, &mut not_written);
                saved(&part, Family::Ip6, "ip6tables-nft-restore", &mut plan, &mut not_written);
            }
            Backend::Legacy => {
                saved(&part, Family::Ip, "iptables-legacy-restore", &mut plan, &mut not_written);
                saved(&part, Family::Ip6, "ip6tables-legacy-restore", &mut plan, &mut not_written);
            }
        }
    }
    unwritten(snapshot, &not_written, left);
    plan
}

/// The backends, the one first whose table comes first.
fn order(rules: &Ruleset) -> Vec<Backend> {
    let mut order = Vec::new();
    for table in &rules.tables {
        if !order.contains(&table.backend) {
            order.push(table.backend);
        }
    }
    order
}

fn native(part: &Ruleset, plan: &mut RulesPlan, not_written: &mut Vec<Place>) {
    let written = part.nft_json();
    for (at, piece) in pieces::of_document(&written.json).into_iter().enumerate() {
        let (text, what) = (piece.to_string(), "tables of nft's own".to_owned());
        plan.feeds.push(Feed { tool: Tool::Nft, more: at > 0, text, what });
    }
    not_written.extend(written.not_written);
    plan.places.extend(written.chains);
}

fn saved(
    part: &Ruleset,
    family: Family,
    tool: &'static str,
    plan: &mut RulesPlan,
    not_written: &mut Vec<Place>,
) {
    let written = part.restore_text(family);
    if written.text.is_empty() {
        return;
    }
    // The old tools hand a table over as a whole.
    let whole = tool.contains("legacy");
    let pieces = if whole { vec![written.text] } else { pieces::of_restore(&written.text, pieces::MOST / 2) };
    for (at, text) in pieces.into_iter().enumerate() {
        let what = format!("tables of {}", tool.trim_end_matches("-restore"));
        plan.feeds.push(Feed { tool: Tool::Restore(tool), more: at > 0, text, what });
    }
    not_written.extend(written.not_written);
    plan.places.extend(written.chains);
}

/// Rules with a part that is not carried.
fn unwritten(snapshot: &Snapshot, places: &[Place], left: &mut Left) {
    for place in places.iter().take(MOST_NAMED) {
        let kinds: Vec<&str> = snapshot
            .not_carried
            .iter()
            .filter(|part| {
                (part.backend, part.family) == (place.backend, place.family)
                    && part.table.as_str() == place.table
                    && part.chain.as_str() == place.chain
                    && Some(part.rule) == place.rule
            })
            .map(|part| part.kind.as_str())
            .collect();
        let number = place.rule.unwrap_or(0);
        let what = format!("{} {} {} rule {number}", place.family, place.table, place.chain);
        let why = if kinds.is_empty() { "a part".to_owned() } else { kinds.join(", ") };
        left.push(what, format!("{why} of it is not carried"));
    }
    if places.len() > MOST_NAMED {
        left.push(format!("{} further rules", places.len() - MOST_NAMED), "parts of them are not carried");
    }
}
