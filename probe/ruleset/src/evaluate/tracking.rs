//! Whether conntrack is there at all.
//!
//! The kernel registers it in a network namespace for an IP version when the first rule comes that needs it
//! (`nf_ct_netns_get`), and nat asks its chains about tracked packets only. So nat chains without any such rule beside them are
//! never called.

use crate::action::Action;
use crate::condition::Condition;
use crate::expression::{Expression, Field};
use crate::model::{Part, Ruleset, Table};
use crate::place::TableFamily;

/// Whether a rule brings conntrack in for that version. What is not understood may.
pub(super) fn is_there(rules: &Ruleset, version: TableFamily) -> bool {
    let concerns = |table: &&Table| {
        table.family == version || matches!(table.family, TableFamily::Inet | TableFamily::Bridge)
    };
    rules.tables.iter().filter(concerns).any(|table| {
        let parts = table.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.parts);
        parts.into_iter().any(|part| match part {
            Part::Ask(condition) => asks(condition),
            Part::Do(action) => does(action, version),
        })
    })
}

fn asks(condition: &Condition) -> bool {
    match condition {
        Condition::Conntrack(_) | Condition::Unknown(_) => true,
        Condition::Compare { left, .. } => reads(left),
        _ => false,
    }
}

fn does(action: &Action, version: TableFamily) -> bool {
    match action {
        Action::SetCtMark(_)
        | Action::SaveMark { .. }
        | Action::RestoreMark { .. }
        | Action::Redirect(_)
        | Action::Masquerade
        | Action::Unknown(_) => true,
        // An address says for which version it is. What exempts packets from conntrack does without it.
        Action::Dnat(target) | Action::Snat(target) => {
            target.addresses.is_none_or(|(first, _)| first.is_ipv4() == (version == TableFamily::Ip))
        }
        Action::SetMark(value) => reads(value),
        Action::VerdictMap { key, .. } => reads(key),
        Action::Harmless(what) => what.starts_with("ct "),
        _ => false,
    }
}

fn reads(expression: &Expression) -> bool {
    match expression {
        Expression::Field(field) => {
            matches!(field, Field::CtState | Field::CtStatus | Field::CtDirection | Field::CtMark)
        }
        Expression::And(inner, _) | Expression::Or(inner, _) | Expression::Xor(inner, _) => reads(inner),
        Expression::Concat(parts) => parts.iter().any(reads),
        Expression::Unknown(_) => true,
        Expression::Value(_) => false,
    }
}
