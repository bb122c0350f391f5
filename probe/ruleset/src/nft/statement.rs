//! Statements of a rule.

use std::net::IpAddr;

use serde_json::Value;

use super::{expression, sets};
use crate::action::{Action, NatTarget, RejectFamily, RejectWith, VerdictMap};
use crate::condition::{Condition, Limit, Right};
use crate::expression::{Datum, Element, Expression, Field, Operator};
use crate::model::Part;
use crate::place::TableFamily;
use crate::printable;

/// Reads a statement; what is not understood becomes an unknown part.
pub(super) fn read(family: TableFamily, statement: &Value, parts: &mut Vec<Part>) {
    let before = parts.len();
    if known(family, statement, parts).is_none() {
        parts.truncate(before);
        let text = printable(statement.to_string().as_bytes());
        // A statement that is not known may ask as well as do.
        let asks = statement.get("xt").and_then(|xt| xt.get("type")).is_some_and(|kind| kind == "match");
        parts.push(if asks { Part::Ask(Condition::Unknown(text)) } else { Part::Do(Action::Unknown(text)) });
    }
}

fn known(family: TableFamily, statement: &Value, parts: &mut Vec<Part>) -> Option<()> {
    let object = statement.as_object().filter(|object| object.len() == 1)?;
    let (key, body) = object.iter().next()?;
    let part = match key.as_str() {
        "match" => Part::Ask(expression::condition(body)),
        "limit" => Part::Ask(Condition::Limit(limit(body)?)),
        "quota" => Part::Ask(quota(body)?),
        "counter" => Part::Do(Action::Counter),
        "log" => {
            let group = body.get("group").and_then(Value::as_u64);
            Part::Do(Action::Log(group.and_then(|group| u16::try_from(group).ok())))
        }
        "mangle" => Part::Do(mangle(body)?),
        "notrack" => Part::Do(Action::NoTrack),
        "ct helper" | "ct timeout" | "ct expectation" | "flow" | "dup" => {
            Part::Do(Action::Harmless(key.clone()))
        }
        "queue" | "tproxy" | "synproxy" => Part::Do(Action::Handover(key.clone())),
        "set" | "map" => return change(body, parts),
        "vmap" => {
            let key = expression::read(body.get("key")?);
            let data = body.get("data")?;
            let map = match data.as_str().and_then(|name| name.strip_prefix('@')) {
                Some(name) => VerdictMap::Named(printable(name.as_bytes())),
                None => VerdictMap::Inline(sets::pairs(family, &key.kinds(), data.get("set")?)?),
            };
            Part::Do(Action::VerdictMap { key, map })
        }
        "reject" => return reject(family, body, parts),
        "dnat" | "snat" | "redirect" | "masquerade" => return translate(family, key, body, parts),
        _ => Part::Do(verdict(family, statement)?),
    };
    parts.push(part);
    Some(())
}

/// What ends a rule, or a map leads to.
pub(super) fn verdict(_family: TableFamily, statement: &Value) -> Option<Action> {
    let object = statement.as_object().filter(|object| object.len() == 1)?;
    let (key, body) = object.iter().next()?;
    let target = || body.get("target").and_then(Value::as_str).map(|name| printable(name.as_bytes()));
    Some(match key.as_str() {
        "accept" => Action::Accept,
        "drop" => Action::Drop,
        "return" => Action::Return,
        "continue" => Action::Continue,
        "jump" => Action::Jump(target()?),
        "goto" => Action::Goto(target()?),
        _ => return None,
    })
}

fn limit(body: &Value) -> Option<Limit> {
    let number = |key: &str| body.get(key).and_then(Value::as_u64);
    let seconds = match body.get("per").and_then(Value::as_str)? {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86400,
        "week" => 604_800,
        _ => return None,
    };
    let unit = body.get("rate_unit").and_then(Value::as_str).unwrap_or("packets");
    let factor = scale(unit)?;
    Some(Limit {
        over: body.get("inv").and_then(Value::as_bool).unwrap_or(false),
        rate: number("rate")?.checked_mul(factor)?,
        seconds,
        burst: number("burst").filter(|burst| *burst > 0).unwrap_or(5),
        bytes: unit != "packets",
        hashed: false,
    })
}

fn scale(unit: &str) -> Option<u64> {
    Some(match unit {
        "packets" | "bytes" => 1,
        "kbytes" => 1024,
        "mbytes" => 1024 * 1024,
        _ => return None,
    })
}

fn quota(body: &Value) -> Option<Condition> {
    let bytes = |key: &str, unit: &str| {
        let unit = body.get(unit).and_then(Value::as_str).unwrap_or("bytes");
        body.get(key).and_then(Value::as_u64)?.checked_mul(scale(unit)?)
    };
    Some(Condition::Quota {
        over: body.get("inv").and_then(Value::as_bool).unwrap_or(false),
        bytes: bytes("val", "val_unit")?,
        used: bytes("used", "used_unit").unwrap_or(0),
    })
}

/// Marks are kept track of; no condition reads the rest of what can be changed, but for addresses and ports.
fn mangle(body: &Value) -> Option<Action> {
    let (key, value) = (body.get("key")?, body.get("value")?);
    let to = expression::read(value);
    let named = |kind: &str| key.get(kind).and_then(|body| body.get("key")).and_then(Value::as_str);
    Some(match (named("meta"), named("ct")) {
        (Some("mark"), _) => Action::SetMark(to),
        (_, Some("mark")) => Action::SetCtMark(to),
        (Some("nftrace"), _) => Action::Trace,
        (Some("priority"), _) => Action::Harmless("meta priority".into()),
        (_, Some("label")) => Action::Harmless("ct label".into()),
        _ if key.get("tcp option").is_some() => Action::Harmless("tcp option".into()),
        _ => {
            let payload = key.get("payload")?;
            match payload.get("field").and_then(Value::as_str)? {
                "dscp" | "ecn" | "flowlabel" => Action::Harmless("payload".into()),
                "ttl" | "hoplimit" => Action::ChangeTtl,
                _ => return None,
            }
        }
    })
}

/// `add @set { key limit rate over … }`: the limit of the element asks, the set changes.
fn change(body: &Value, parts: &mut Vec<Part>) -> Option<()> {
    let name = body.get("set").or_else(|| body.get("map"))?.as_str()?.strip_prefix('@')?;
    parts.push(Part::Do(Action::ChangeSet(printable(name.as_bytes()))));
    let statements = body.get("stmt").and_then(Value::as_array);
    for statement in statements.into_iter().flatten() {
        if statement.get("counter").is_some() {
            continue;
        }
        let limit = limit(statement.get("limit")?)?;
        parts.push(Part::Ask(Condition::Limit(Limit { hashed: true, ..limit })));
    }
    Some(())
}

fn needs(field: Field, number: u128) -> Part {
    Part::Ask(Condition::Compare {
        left: Expression::Field(field),
        operator: Operator::Equal,
        right: Right::Elements(vec![Element::One(Datum::Number(number))]),
    })
}

/// nft asks for the IP version that a message or an address is of, and does not print that it does.
fn reject(family: TableFamily, body: &Value, parts: &mut Vec<Part>) -> Option<()> {
    let both = matches!(family, TableFamily::Inet | TableFamily::Bridge | TableFamily::Netdev);
    let kind = body.get("type").and_then(Value::as_str);
    let name = body.get("expr").and_then(Value::as_str);
    let version = |v4| match (family, v4) {
        (TableFamily::Inet, true) => needs(Field::NfProto, 2),
        (TableFamily::Inet, false) => needs(Field::NfProto, 10),
        (_, true) => needs(Field::EtherType, 0x0800),
        (_, false) => needs(Field::EtherType, 0x86dd),
    };
    let with = match kind {
        Some("tcp reset") => RejectWith::TcpReset,
        Some("icmp") => {
            parts.extend(both.then(|| version(true)));
            RejectWith::Icmp(RejectWith::code(RejectFamily::Icmp, name.unwrap_or("port-unreachable"))?)
        }
        Some("icmpv6") => {
            parts.extend(both.then(|| version(false)));
            RejectWith::Icmp6(RejectWith::code(RejectFamily::Icmp6, name.unwrap_or("port-unreachable"))?)
        }
        Some("icmpx") => {
            RejectWith::Icmpx(RejectWith::code(RejectFamily::Icmpx, name.unwrap_or("port-unreachable"))?)
        }
        None if family == TableFamily::Ip => RejectWith::Icmp(3),
        None if family == TableFamily::Ip6 => RejectWith::Icmp6(4),
        None => RejectWith::Icmpx(1),
        Some(_) => return None,
    };
    parts.push(Part::Do(Action::Reject(with)));
    Some(())
}

fn translate(family: TableFamily, key: &str, body: &Value, parts: &mut Vec<Part>) -> Option<()> {
    let addresses = match body.get("addr") {
        None => None,
        Some(value) => Some(pair(value, |value| value.as_str()?.parse::<IpAddr>().ok())?),
    };
    let ports = match body.get("port") {
        None => None,
        Some(value) => Some(pair(value, |value| u16::try_from(value.as_u64()?).ok())?),
    };
    // An address says for which version it is.
    if family == TableFamily::Inet && addresses.is_none() {
        match body.get("family").and_then(Value::as_str) {
            Some("ip") => parts.push(needs(Field::NfProto, 2)),
            Some("ip6") => parts.push(needs(Field::NfProto, 10)),
            _ => {}
        }
    }
    let target = NatTarget { addresses, ports };
    parts.push(Part::Do(match key {
        "dnat" => Action::Dnat(target),
        "snat" => Action::Snat(target),
        "redirect" => Action::Redirect(target),
        _ => Action::Masquerade,
    }));
    Some(())
}

/// One value, or a range of two.
fn pair<T: Copy>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<(T, T)> {
    match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => Some((read(first)?, read(last)?)),
        Some(_) => None,
        None => read(value).map(|one| (one, one)),
    }
}
