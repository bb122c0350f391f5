//! Rules, sets and maps as nft's JSON.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::name;
use crate::action::{Action, NatTarget, RejectWith, VerdictMap};
use crate::condition::{AddressKind, Condition, CtProperty, CtTest, Limit, Right, ct_state, ct_status};
use crate::expression::{DataKind, Datum, Element, Expression, Field, Operator};
use crate::model::{NamedMap, NamedSet, Part, Rule, Table};
use crate::place::TableFamily;

/// A rule's statements, if all can be written.
pub(super) fn rule(table: &Table, rule: &Rule) -> Option<Vec<Value>> {
    let statements: Option<Vec<_>> = rule
        .parts
        .iter()
        .map(|part| match part {
            Part::Ask(condition) => ask(table, condition),
            Part::Do(action) => act(table, action),
        })
        .collect();
    // What is written as nothing is marked by null.
    let mut statements: Vec<_> = statements?.into_iter().filter(|statement| !statement.is_null()).collect();
    if statements.is_empty() {
        // nft takes no rule without a statement, and without the rule the others would have other numbers.
        statements.push(json!({"counter": {"packets": 0, "bytes": 0}}));
    }
    Some(statements)
}

/// A named set.
pub(super) fn set(table: &Table, name: &str, set: &NamedSet) -> Option<Value> {
    let mut written = named(table, name, &set.kinds, set.interval)?;
    let elements: Option<Vec<_>> =
        set.elements.as_ref()?.iter().map(|one| element(&set.kinds, one)).collect();
    let elements = elements?;
    if !elements.is_empty() {
        written["elem"] = elements.into();
    }
    Some(written)
}

/// A named map of verdicts.
pub(super) fn map(table: &Table, name: &str, map: &NamedMap) -> Option<Value> {
    let mut written = named(table, name, &map.kinds, map.interval)?;
    written["map"] = "verdict".into();
    let pairs = pairs(table, &map.kinds, map.verdicts.as_ref()?)?;
    if !pairs.is_empty() {
        written["elem"] = pairs.into();
    }
    Some(written)
}

fn named(table: &Table, name: &str, kinds: &[DataKind], interval: bool) -> Option<Value> {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind_name(*kind)).collect::<Option<_>>()?;
    let kinds: Value = if let [one] = kinds.as_slice() { (*one).into() } else { kinds.into() };
    let mut written = json!({
        "family": table.family.name(), "table": table.name, "name": name::nft_identifier(name)?, "type": kinds,
    });
    if interval {
        written["flags"] = json!(["interval"]);
    }
    Some(written)
}

fn kind_name(kind: DataKind) -> Option<&'static str> {
    Some(match kind {
        DataKind::Ip4 => "ipv4_addr",
        DataKind::Ip6 => "ipv6_addr",
        DataKind::Port => "inet_service",
        DataKind::Protocol => "inet_proto",
        DataKind::Mark => "mark",
        DataKind::Interface => "ifname",
        DataKind::EtherType => "ether_type",
        DataKind::CtState => "ct_state",
        _ => return None,
    })
}

fn pairs(table: &Table, kinds: &[DataKind], entries: &[(Element, Action)]) -> Option<Vec<Value>> {
    entries.iter().map(|(key, action)| Some(json!([element(kinds, key)?, act(table, action)?]))).collect()
}

fn ask(table: &Table, condition: &Condition) -> Option<Value> {
    match condition {
        Condition::Compare { left, operator, right } => compare(table, left, *operator, right),
        // The only question of iptables' conntrack that nft has in the same words.
        Condition::Conntrack(tests) => match tests.as_slice() {
            [CtTest { negated: false, what: CtProperty::State(bits) }] if *bits < ct_state::SNAT => {
                let right = Right::Elements(vec![Element::One(Datum::Number((*bits).into()))]);
                compare(table, &Expression::Field(Field::CtState), Operator::AnyBit, &right)
            }
            _ => None,
        },
        Condition::Limit(limit) => rate(limit),
        Condition::Quota { over, bytes, used } => Some(json!({"quota": {
            "val": bytes, "val_unit": "bytes", "used": used, "used_unit": "bytes", "inv": over,
        }})),
        _ => None,
    }
}

fn rate(limit: &Limit) -> Option<Value> {
    let per = match limit.seconds {
        1 => "second",
        60 => "minute",
        3600 => "hour",
        86400 => "day",
        604_800 => "week",
        _ => return None,
    };
    let mut written = json!({"rate": limit.rate, "burst": limit.burst, "per": per, "inv": limit.over});
    if limit.bytes {
        written["rate_unit"] = "bytes".into();
        written["burst_unit"] = "bytes".into();
    }
    Some(json!({ "limit": written }))
}

fn compare(table: &Table, left: &Expression, operator: Operator, right: &Right) -> Option<Value> {
    let kinds = left.kinds();
    let operator = match operator {
        Operator::Equal => "==",
        Operator::NotEqual => "!=",
        Operator::AnyBit => "in",
        Operator::Less => "<",
        Operator::Greater => ">",
        Operator::AtMost => "<=",
        Operator::AtLeast => ">=",
    };
    let right = match right {
        Right::Set(name) => {
            let written = table.sets.get(name).and_then(|named| set(table, name, named));
            written.and_then(|_| name::nft_identifier(name)).map(|name| json!(format!("@{name}")))?
        }
        Right::Elements(elements) => match elements.as_slice() {
            [Element::Any] => return Some(Value::Null),
            // The names of several bits are a value, too.
            [Element::One(Datum::Number(bits))] if bit_names(&kinds).is_some() => {
                names_of(bit_names(&kinds)?, *bits)?
            }
            [one] => element(&kinds, one)?,
            several => {
                let several: Option<Vec<_>> = several.iter().map(|one| element(&kinds, one)).collect();
                json!({"set": several?})
            }
        },
    };
    Some(json!({"match": {"op": operator, "left": expression(left)?, "right": right}}))
}

fn bit_names(kinds: &[DataKind]) -> Option<&'static [(u32, &'static str)]> {
    match kinds {
        [DataKind::CtState] => Some(&STATES),
        [DataKind::CtStatus] => Some(&STATUS),
        _ => None,
    }
}

const STATES: [(u32, &str); 5] = [
    (ct_state::INVALID, "invalid"),
    (ct_state::ESTABLISHED, "established"),
    (ct_state::RELATED, "related"),
    (ct_state::NEW, "new"),
    (ct_state::UNTRACKED, "untracked"),
];
const STATUS: [(u32, &str); 6] = [
    (ct_status::EXPECTED, "expected"),
    (ct_status::SEEN_REPLY, "seen-reply"),
    (ct_status::ASSURED, "assured"),
    (ct_status::CONFIRMED, "confirmed"),
    (ct_status::SNAT, "snat"),
    (ct_status::DNAT, "dnat"),
];

fn names_of(names: &[(u32, &str)], bits: u128) -> Option<Value> {
    let set: Vec<&str> =
        names.iter().filter(|(bit, _)| bits & u128::from(*bit) != 0).map(|(_, name)| *name).collect();
    match set.as_slice() {
        [] => None,
        [one] => Some(json!(one)),
        several => Some(json!(several)),
    }
}

fn element(kinds: &[DataKind], element: &Element) -> Option<Value> {
    if let Element::Concat(parts) = element {
        let parts: Option<Vec<_>> = parts
            .iter()
            .zip(kinds)
            .map(|(part, kind)| self::element(std::slice::from_ref(kind), part))
            .collect();
        return Some(json!({"concat": parts?}));
    }
    let [kind] = kinds else { return (*element == Element::Any).then(|| json!("*")) };
    Some(match element {
        Element::Any => json!("*"),
        Element::One(Datum::Number(value)) => number(*kind, *value)?,
        Element::One(Datum::Name(text)) => json!(name::interface(text)?),
        Element::Range(first, last) => json!({"range": [number(*kind, *first)?, number(*kind, *last)?]}),
        Element::Prefix { base, length, .. } => {
            json!({"prefix": {"addr": number(*kind, *base)?, "len": length}})
        }
        Element::Beginning(start) => json!(format!("{}*", name::interface(start)?)),
        Element::One(Datum::Concat(_)) | Element::Concat(_) => return None,
    })
}

fn number(kind: DataKind, number: u128) -> Option<Value> {
    let word = |words: &[(u128, &str)]| {
        words.iter().find(|(value, _)| *value == number).map(|(_, word)| json!(word))
    };
    let plain = || u64::try_from(number).ok().map(|number| json!(number));
    match kind {
        DataKind::Ip4 => u32::try_from(number).ok().map(|number| json!(Ipv4Addr::from(number).to_string())),
        DataKind::Ip6 => Some(json!(Ipv6Addr::from(number).to_string())),
        DataKind::CtState => names_of(&STATES, number),
        DataKind::CtStatus => names_of(&STATUS, number),
        DataKind::CtDirection => word(&[(0, "original"), (1, "reply")]),
        DataKind::NfProto => word(&[(2, "ipv4"), (10, "ipv6")]),
        DataKind::EtherType => {
            word(&[(0x0800, "ip"), (0x0806, "arp"), (0x86dd, "ip6"), (0x8100, "8021q"), (0x88a8, "8021ad")])
        }
        DataKind::PacketType => word(&[(0, "host"), (1, "broadcast"), (2, "multicast"), (3, "other")]),
        DataKind::AddressType => {
            let all = ["unspec", "unicast", "local", "broadcast", "anycast", "multicast"];
            let name = all.get(usize::try_from(number).ok()?)?;
            AddressKind::of_name(name).map(|kind| json!(kind.name()))
        }
        DataKind::Presence => Some(json!(number != 0)),
        DataKind::Interface | DataKind::Other => None,
        DataKind::Icmp
        | DataKind::Icmp6
        | DataKind::Port
        | DataKind::Protocol
        | DataKind::Mark
        | DataKind::TcpFlags
        | DataKind::Number => plain(),
    }
}

fn expression(expression: &Expression) -> Option<Value> {
    let operation = |operator: &str, inner: &Expression, bits: u128| {
        let bits = u64::try_from(bits & 0xffff_ffff).ok()?;
        Some(json!({operator: [self::expression(inner)?, bits]}))
    };
    match expression {
        Expression::Field(field) => self::field(*field),
        Expression::And(inner, bits) => operation("&", inner, *bits),
        Expression::Or(inner, bits) => operation("|", inner, *bits),
        Expression::Xor(inner, bits) => operation("^", inner, *bits),
        Expression::Concat(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(self::expression).collect();
            Some(json!({"concat": parts?}))
        }
        Expression::Value(Datum::Number(number)) => u64::try_from(*number).ok().map(|number| json!(number)),
        Expression::Value(_) | Expression::Unknown(_) => None,
    }
}

fn field(field: Field) -> Option<Value> {
    let payload = |protocol: &str, field: &str| json!({"payload": {"protocol": protocol, "field": field}});
    let meta = |key: &str| json!({"meta": {"key": key}});
    let ct = |key: &str| json!({"ct": {"key": key}});
    let fib = |result: &str, flags: &[&str]| json!({"fib": {"result": result, "flags": flags}});
    Some(match field {
        Field::Ip4Source => payload("ip", "saddr"),
        Field::Ip4Destination => payload("ip", "daddr"),
        Field::Ip4Protocol => payload("ip", "protocol"),
        Field::Ip4Length => payload("ip", "length"),
        Field::Ip4Ttl => payload("ip", "ttl"),
        Field::Ip6Source => payload("ip6", "saddr"),
        Field::Ip6Destination => payload("ip6", "daddr"),
        Field::Ip6NextHeader => payload("ip6", "nexthdr"),
        Field::Ip6HopLimit => payload("ip6", "hoplimit"),
        Field::TcpSource => payload("tcp", "sport"),
        Field::TcpDestination => payload("tcp", "dport"),
        Field::TcpFlags => payload("tcp", "flags"),
        Field::UdpSource => payload("udp", "sport"),
        Field::UdpDestination => payload("udp", "dport"),
        Field::TransportSource => payload("th", "sport"),
        Field::TransportDestination => payload("th", "dport"),
        Field::Length => meta("length"),
        Field::L4Protocol => meta("l4proto"),
        Field::NfProto => meta("nfproto"),
        Field::EtherType => meta("protocol"),
        Field::InputName | Field::InputIndex => meta("iifname"),
        Field::OutputName | Field::OutputIndex => meta("oifname"),
        Field::InputBridge => meta("ibrname"),
        Field::OutputBridge => meta("obrname"),
        Field::Mark => meta("mark"),
        Field::PacketType => meta("pkttype"),
        Field::CtState => ct("state"),
        Field::CtStatus => ct("status"),
        Field::CtDirection => ct("direction"),
        Field::CtMark => ct("mark"),
        Field::FibSourceType => fib("type", &["saddr"]),
        Field::FibDestinationType => fib("type", &["daddr"]),
        Field::FibSourceOutput => fib("oif", &["saddr", "iif"]),
        Field::IcmpType => payload("icmp", "type"),
        Field::Icmp6Type => payload("icmpv6", "type"),
        Field::RoutingType | Field::OtherHeader => return None,
    })
}

fn act(table: &Table, action: &Action) -> Option<Value> {
    let chain = |target: &str| {
        let there = table.chains.iter().any(|chain| chain.name == target);
        name::nft_identifier(target).filter(|_| there).map(str::to_owned)
    };
    Some(match action {
        Action::Accept => json!({"accept": null}),
        Action::Drop => json!({"drop": null}),
        Action::Return => json!({"return": null}),
        Action::Continue => json!({"continue": null}),
        Action::Jump(target) => json!({"jump": {"target": chain(target)?}}),
        Action::Goto(target) => json!({"goto": {"target": chain(target)?}}),
        Action::Counter => json!({"counter": {"packets": 0, "bytes": 0}}),
        Action::Log(None) => json!({"log": null}),
        Action::Log(Some(group)) => json!({"log": {"group": group}}),
        // They change nothing that a condition reads.
        Action::Trace | Action::Harmless(_) => Value::Null,
        Action::NoTrack => json!({"notrack": null}),
        Action::SetMark(value) => {
            json!({"mangle": {"key": field(Field::Mark)?, "value": expression(value)?}})
        }
        Action::SetCtMark(value) => {
            json!({"mangle": {"key": field(Field::CtMark)?, "value": expression(value)?}})
        }
        Action::Reject(with) => reject(*with),
        Action::VerdictMap { key, map } => {
            let data = match map {
                VerdictMap::Inline(entries) => json!({"set": pairs(table, &key.kinds(), entries)?}),
                VerdictMap::Named(name) => {
                    self::map(table, name, table.maps.get(name)?)?;
                    json!(format!("@{name}"))
                }
            };
            json!({"vmap": {"key": expression(key)?, "data": data}})
        }
        Action::Dnat(to) => json!({"dnat": translation(table, to)}),
        Action::Snat(to) => json!({"snat": translation(table, to)}),
        Action::Redirect(to) if *to == NatTarget::default() => json!({"redirect": null}),
        Action::Redirect(to) => json!({"redirect": translation(table, to)}),
        Action::Masquerade => json!({"masquerade": null}),
        _ => return None,
    })
}

fn reject(with: RejectWith) -> Value {
    match with {
        RejectWith::TcpReset => json!({"reject": {"type": "tcp reset"}}),
        RejectWith::Icmp(_) => json!({"reject": {"type": "icmp", "expr": with.name()}}),
        RejectWith::Icmp6(_) => json!({"reject": {"type": "icmpv6", "expr": with.name()}}),
        RejectWith::Icmpx(_) => json!({"reject": {"type": "icmpx", "expr": with.name()}}),
    }
}

fn translation(table: &Table, to: &NatTarget) -> Value {
    let mut written = json!({});
    if let Some((first, last)) = to.addresses {
        let (first_text, last_text) = (first.to_string(), last.to_string());
        written["addr"] =
            if first == last { json!(first_text) } else { json!({"range": [first_text, last_text]}) };
        if table.family == TableFamily::Inet {
            written["family"] = if first.is_ipv4() { "ip" } else { "ip6" }.into();
        }
    }
    if let Some((first, last)) = to.ports {
        written["port"] = if first == last { json!(first) } else { json!({"range": [first, last]}) };
    }
    written
}
