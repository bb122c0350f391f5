//! The modules of the kernel that rules of iptables need.
//!
//! The kernel loads them by itself when a rule asks, for the whole machine and for good. A host never makes it do so.

use std::collections::BTreeSet;

use ruleset::{Action, Backend, Condition, Part, Ruleset, TableFamily};

/// The modules by their names, of those parts that a host has not in any case.
pub(super) fn modules(rules: &Ruleset) -> Vec<&'static str> {
    let mut needed = BTreeSet::new();
    for table in &rules.tables {
        if table.family == TableFamily::Bridge && table.backend == Backend::Native {
            needed.insert("nf_tables_bridge");
        }
        if table.backend == Backend::Legacy {
            needed.extend(legacy(table.family, &table.name));
        }
        if table.backend == Backend::Native {
            continue;
        }
        for part in table.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.parts) {
            needed.extend(match part {
                Part::Ask(condition) => of_condition(condition),
                Part::Do(action) => of_action(action),
            });
        }
    }
    if !rules.ipsets.is_empty() {
        needed.insert("ip_set");
    }
    needed.into_iter().collect()
}

fn legacy(family: TableFamily, name: &str) -> Option<&'static str> {
    Some(match (family, name) {
        (TableFamily::Ip, "filter") => "iptable_filter",
        (TableFamily::Ip, "nat") => "iptable_nat",
        (TableFamily::Ip, "mangle") => "iptable_mangle",
        (TableFamily::Ip, "raw") => "iptable_raw",
        (TableFamily::Ip, "security") => "iptable_security",
        (TableFamily::Ip6, "filter") => "ip6table_filter",
        (TableFamily::Ip6, "nat") => "ip6table_nat",
        (TableFamily::Ip6, "mangle") => "ip6table_mangle",
        (TableFamily::Ip6, "raw") => "ip6table_raw",
        (TableFamily::Ip6, "security") => "ip6table_security",
        _ => return None,
    })
}

fn of_condition(condition: &Condition) -> Option<&'static str> {
    Some(match condition {
        Condition::EitherPort { .. } => "xt_multiport",
        Condition::Conntrack(_) => "xt_conntrack",
        Condition::Limit(_) => "xt_limit",
        Condition::Recent(_) => "xt_recent",
        Condition::AddressType(_) => "xt_addrtype",
        Condition::IpSet { .. } => "xt_set",
        Condition::Physdev(_) => "xt_physdev",
        _ => return None,
    })
}

fn of_action(action: &Action) -> Option<&'static str> {
    Some(match action {
        Action::Log(None) => "xt_LOG",
        Action::Log(Some(_)) => "xt_NFLOG",
        Action::Trace => "xt_TRACE",
        Action::NoTrack => "xt_CT",
        Action::SetMark(_) => "xt_mark",
        Action::SetCtMark(_) | Action::SaveMark { .. } | Action::RestoreMark { .. } => "xt_connmark",
        Action::ChangeIpSet { .. } => "xt_set",
        Action::Dnat(_) | Action::Snat(_) => "xt_nat",
        Action::Redirect(_) => "xt_REDIRECT",
        Action::Masquerade => "xt_MASQUERADE",
        _ => return None,
    })
}
