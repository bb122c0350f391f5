//! The text of a rule, written from its parts.
//!
//! Rules of iptables are in the words of `iptables-save`, others are close to nft's. It is for people: a replay writes rules
//! by [`ruleset::Ruleset::restore_text`] and [`ruleset::Ruleset::nft_json`].

use std::net::{Ipv4Addr, Ipv6Addr};

use ruleset::{
    Action, Backend, Condition, DataKind, Datum, Element, Expression, Field, NatTarget, Operator, Part,
    Right, Rule, Ruleset, VerdictMap,
};
use serde::Serialize;

/// The most characters of a rule's text.
const MOST: usize = 400;

/// Gives every rule its text.
pub(crate) fn write_texts(rules: &mut Ruleset) {
    let words: Vec<_> = rules
        .tables
        .iter()
        .map(|table| (table.backend != Backend::Native).then(|| rules.words_of(table)))
        .collect();
    for (table, words) in rules.tables.iter_mut().zip(words) {
        for (chain_at, chain) in table.chains.iter_mut().enumerate() {
            for (at, rule) in chain.rules.iter_mut().enumerate() {
                let known = words.as_ref().and_then(|chains| chains[chain_at][at].as_deref());
                rule.text = cut(known.map_or_else(|| spelled(rule), as_listed));
            }
        }
    }
}

/// A rule as it is restored in the words in which it is listed: protocols by their names.
fn as_listed(words: &str) -> String {
    let mut text = words.to_owned();
    for (number, name) in [("1", "icmp"), ("6", "tcp"), ("17", "udp"), ("58", "ipv6-icmp")] {
        text = text.replace(&format!("-p {number} "), &format!("-p {name} "));
    }
    text
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn spelled(rule: &Rule) -> String {
    let parts = rule.parts.iter().map(|part| match part {
        Part::Ask(condition) => ask(condition),
        Part::Do(action) => deed(action),
    });
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn ask(condition: &Condition) -> String {
    match condition {
        Condition::Compare { left, operator, right } => {
            let operator = match operator {
                Operator::Equal => "",
                Operator::NotEqual => "!= ",
                Operator::AnyBit => "in ",
                Operator::Less => "< ",
                Operator::Greater => "> ",
                Operator::AtMost => "<= ",
                Operator::AtLeast => ">= ",
            };
            let right = match right {
                Right::Set(name) => format!("@{name}"),
                Right::Elements(elements) => list(&left.kinds(), elements),
            };
            format!("{} {operator}{right}", expression(left))
        }
        Condition::Unknown(kind) => format!("[not carried: {kind}]"),
        other => json(other),
    }
}

fn deed(action: &Action) -> String {
    match action {
        Action::Accept => "accept".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Return => "return".to_owned(),
        Action::Continue => "continue".to_owned(),
        Action::Reject(with) => format!("reject with {with}"),
        Action::Jump(chain) => format!("jump {chain}"),
        Action::Goto(chain) => format!("goto {chain}"),
        Action::Counter => String::new(),
        Action::Log(_) => "log".to_owned(),
        Action::Dnat(to) => format!("dnat to {}", target(to)),
        Action::Redirect(to) => format!("redirect to {}", target(to)),
        Action::Snat(to) => format!("snat to {}", target(to)),
        Action::Masquerade => "masquerade".to_owned(),
        Action::NoTrack => "notrack".to_owned(),
        Action::Unknown(kind) => format!("[not carried: {kind}]"),
        Action::VerdictMap { key, map } => {
            let map = match map {
                VerdictMap::Named(name) => format!("@{name}"),
                VerdictMap::Inline(pairs) => {
                    let kinds = key.kinds();
                    let pair = |(key, action): &(Element, Action)| {
                        format!("{} : {}", element(&kinds, key), deed(action))
                    };
                    format!("{{ {} }}", pairs.iter().take(20).map(pair).collect::<Vec<_>>().join(", "))
                }
            };
            format!("{} vmap {map}", expression(key))
        }
        other => json(other),
    }
}

fn target(to: &NatTarget) -> String {
    let addresses = to
        .addresses
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    let ports = to
        .ports
        .map(|(first, last)| if first == last { format!(":{first}") } else { format!(":{first}-{last}") });
    addresses.unwrap_or_default() + &ports.unwrap_or_default()
}

/// As it is in the file, for what has no better spelling.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn expression(it: &Expression) -> String {
    match it {
        Expression::Field(field) => self::field(*field),
        Expression::And(inner, bits) => format!("{} & {bits:#x}", expression(inner)),
        Expression::Or(inner, bits) => format!("{} | {bits:#x}", expression(inner)),
        Expression::Xor(inner, bits) => format!("{} ^ {bits:#x}", expression(inner)),
        Expression::Concat(parts) => parts.iter().map(expression).collect::<Vec<_>>().join(" . "),
        Expression::Value(value) => datum(DataKind::Number, value),
        Expression::Unknown(kind) => format!("[not carried: {kind}]"),
    }
}

fn field(field: Field) -> String {
    let known = match field {
        Field::Ip4Source => "ip saddr",
        Field::Ip4Destination => "ip daddr",
        Field::Ip6Source => "ip6 saddr",
        Field::Ip6Destination => "ip6 daddr",
        Field::TcpSource => "tcp sport",
        Field::TcpDestination => "tcp dport",
        Field::TcpFlags => "tcp flags",
        Field::UdpSource => "udp sport",
        Field::UdpDestination => "udp dport",
        Field::TransportSource => "th sport",
        Field::TransportDestination => "th dport",
        Field::L4Protocol => "meta l4proto",
        Field::NfProto => "meta nfproto",
        Field::InputName | Field::InputIndex => "iifname",
        Field::OutputName | Field::OutputIndex => "oifname",
        Field::Mark => "meta mark",
        Field::CtState => "ct state",
        Field::CtStatus => "ct status",
        Field::CtMark => "ct mark",
        other => return json(&other).trim_matches('"').replace('_', " "),
    };
    known.to_owned()
}

fn list(kinds: &[DataKind], elements: &[Element]) -> String {
    match elements {
        [one] => element(kinds, one),
        // More would be cut anyway.
        several => {
            format!(
                "{{ {} }}",
                several.iter().take(40).map(|it| element(kinds, it)).collect::<Vec<_>>().join(", ")
            )
        }
    }
}

fn element(kinds: &[DataKind], it: &Element) -> String {
    let kind = kinds.first().copied().unwrap_or(DataKind::Other);
    match it {
        Element::Any => "*".to_owned(),
        Element::One(value) => datum(kind, value),
        Element::Range(first, last) => format!("{}-{}", number(kind, *first), number(kind, *last)),
        Element::Prefix { base, length, .. } => format!("{}/{length}", number(kind, *base)),
        Element::Beginning(start) => format!("{start}*"),
        Element::Concat(parts) => {
            let kinds = kinds.iter().map(Some).chain(std::iter::repeat(None));
            let part = |(it, kind): (&Element, Option<&DataKind>)| {
                element(kind.map_or(&[], std::slice::from_ref), it)
            };
            parts.iter().zip(kinds).map(part).collect::<Vec<_>>().join(" . ")
        }
    }
}

fn datum(kind: DataKind, it: &Datum) -> String {
    match it {
        Datum::Number(value) => number(kind, *value),
        Datum::Name(name) => name.clone(),
        Datum::Concat(parts) => parts.iter().map(|part| datum(kind, part)).collect::<Vec<_>>().join(" . "),
    }
}

fn number(kind: DataKind, value: u128) -> String {
    match kind {
        DataKind::Ip4 => {
            u32::try_from(value).map_or_else(|_| value.to_string(), |it| Ipv4Addr::from(it).to_string())
        }
        DataKind::Ip6 => Ipv6Addr::from(value).to_string(),
        DataKind::Protocol => match value {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            other => other.to_string(),
        },
        DataKind::CtState => states(value),
        DataKind::Mark | DataKind::TcpFlags | DataKind::CtStatus => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

fn states(bits: u128) -> String {
    const NAMES: [(u128, &str); 5] =
        [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")];
    let known = NAMES.iter().fold(0, |all, (bit, _)| all | bit);
    if bits == 0 || bits & !known != 0 {
        return format!("{bits:#x}");
    }
    let set = NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    set.collect::<Vec<_>>().join(",")
}
