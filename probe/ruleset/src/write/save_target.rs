//! Actions as targets of iptables.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{name, save_match};
use crate::action::{Action, NatTarget, RejectWith};
use crate::expression::{Expression, Field};
use crate::model::Ruleset;

/// The words of an action, if iptables can say it.
pub(super) fn words(rules: &Ruleset, chains: &HashSet<&str>, action: &Action) -> Option<Vec<String>> {
    let target = |words: &[&str]| {
        let all = std::iter::once("-j").chain(words.iter().copied());
        Some(all.map(str::to_owned).collect::<Vec<_>>())
    };
    let chain = |name: &str| chains.contains(name).then(|| name.to_owned());
    match action {
        Action::Accept => target(&["ACCEPT"]),
        Action::Drop => target(&["DROP"]),
        Action::Return => target(&["RETURN"]),
        Action::Jump(name) => target(&[&chain(name)?]),
        Action::Goto(name) => Some(vec!["-g".to_owned(), chain(name)?]),
        Action::Reject(with) => target(&["REJECT", "--reject-with", reject(*with)?]),
        Action::Log(None) => target(&["LOG"]),
        Action::Log(Some(group)) => target(&["NFLOG", "--nflog-group", &group.to_string()]),
        // Without the target, the rule does what it does to a verdict: nothing.
        Action::Harmless(_) | Action::Counter | Action::Trace | Action::Continue => Some(Vec::new()),
        Action::NoTrack => target(&["CT", "--notrack"]),
        Action::SetMark(value) => target(&["MARK", "--set-xmark", &xmark(value, Field::Mark)?]),
        Action::SetCtMark(value) => target(&["CONNMARK", "--set-xmark", &xmark(value, Field::CtMark)?]),
        Action::SaveMark { packet, connection } => {
            target(&["CONNMARK", "--save-mark", "--nfmask", &hex(*packet), "--ctmask", &hex(*connection)])
        }
        Action::RestoreMark { packet, connection } => {
            target(&["CONNMARK", "--restore-mark", "--nfmask", &hex(*packet), "--ctmask", &hex(*connection)])
        }
        Action::ChangeIpSet { name, add, sides } => {
            let known = rules.ipsets.iter().any(|set| set.name == *name && set.known);
            let name = name::identifier(name).filter(|_| known)?;
            target(&["SET", if *add { "--add-set" } else { "--del-set" }, name, &save_match::sides(sides)])
        }
        Action::Dnat(to) => target(&["DNAT", "--to-destination", &translation(to)?]),
        Action::Snat(to) => target(&["SNAT", "--to-source", &translation(to)?]),
        Action::Redirect(NatTarget { addresses: None, ports: None }) => target(&["REDIRECT"]),
        Action::Redirect(NatTarget { addresses: None, ports: Some((first, last)) }) => {
            target(&["REDIRECT", "--to-ports", &span(first, last)])
        }
        Action::Masquerade => target(&["MASQUERADE"]),
        Action::Redirect(_)
        | Action::VerdictMap { .. }
        | Action::ChangeSet(_)
        | Action::ChangeTtl
        | Action::Handover(_)
        | Action::Unknown(_) => None,
    }
}

fn reject(with: RejectWith) -> Option<&'static str> {
    Some(match with {
        RejectWith::TcpReset => "tcp-reset",
        RejectWith::Icmp(code) => match code {
            0 => "icmp-net-unreachable",
            1 => "icmp-host-unreachable",
            2 => "icmp-proto-unreachable",
            3 => "icmp-port-unreachable",
            9 => "icmp-net-prohibited",
            10 => "icmp-host-prohibited",
            13 => "icmp-admin-prohibited",
            _ => return None,
        },
        RejectWith::Icmp6(code) => match code {
            0 => "icmp6-no-route",
            1 => "icmp6-adm-prohibited",
            3 => "icmp6-addr-unreachable",
            4 => "icmp6-port-unreachable",
            5 => "icmp6-policy-fail",
            6 => "icmp6-reject-route",
            _ => return None,
        },
        RejectWith::Icmpx(_) => return None,
    })
}

/// `(mark & keep) ^ turn`, as iptables says it: what is turned, and what is not kept.
fn xmark(value: &Expression, field: Field) -> Option<String> {
    let Expression::Xor(kept, turn) = value else { return None };
    let Expression::And(inner, keep) = kept.as_ref() else { return None };
    let mask = 0xffff_ffff & !keep;
    (**inner == Expression::Field(field)).then(|| format!("{turn:#x}/{mask:#x}"))
}

fn hex(mask: u32) -> String {
    format!("{mask:#x}")
}

fn span<T: std::fmt::Display + PartialEq>(first: &T, last: &T) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn translation(to: &NatTarget) -> Option<String> {
    let ports = to.ports.map(|(first, last)| format!(":{}", span(&first, &last))).unwrap_or_default();
    let addresses = match to.addresses {
        None => String::new(),
        Some((first @ IpAddr::V6(_), last)) if to.ports.is_some() => format!("[{}]", span(&first, &last)),
        Some((first, last)) => span(&first, &last),
    };
    (!addresses.is_empty() || !ports.is_empty()).then(|| addresses + &ports)
}
