//! Named sets and maps.

use serde_json::Value;

use super::{expression, statement, value};
use crate::action::Action;
use crate::expression::{DataKind, Element};
use crate::model::{NamedMap, NamedSet};
use crate::place::TableFamily;

/// A named set.
pub(super) fn set(body: &Value) -> NamedSet {
    let kinds = kinds(body);
    let elements = match body.get("elem") {
        None => Some(Vec::new()),
        Some(list) => value::elements(&kinds, list),
    };
    let dynamic = flag(body, "dynamic") || flag(body, "timeout");
    NamedSet { elements, interval: flag(body, "interval"), dynamic, kinds }
}

/// A named map.
pub(super) fn map(family: TableFamily, body: &Value) -> NamedMap {
    let kinds = kinds(body);
    let verdicts = match (body.get("map").and_then(Value::as_str), body.get("elem")) {
        (Some("verdict"), None) => Some(Vec::new()),
        (Some("verdict"), Some(list)) => pairs(family, &kinds, list),
        _ => None,
    };
    NamedMap { verdicts, interval: flag(body, "interval"), kinds }
}

/// `[[key, verdict], …]`
pub(super) fn pairs(family: TableFamily, kinds: &[DataKind], list: &Value) -> Option<Vec<(Element, Action)>> {
    let pair = |pair: &Value| {
        let [key, verdict] = pair.as_array()?.as_slice() else { return None };
        Some((value::element(kinds, key)?, statement::verdict(family, verdict)?))
    };
    list.as_array()?.iter().map(pair).collect()
}

fn flag(body: &Value, name: &str) -> bool {
    match body.get("flags") {
        Some(Value::Array(flags)) => flags.iter().any(|flag| flag == name),
        Some(flag) => flag == name,
        None => false,
    }
}

fn kinds(body: &Value) -> Vec<DataKind> {
    match body.get("type") {
        Some(Value::String(name)) => vec![kind(name)],
        Some(Value::Array(names)) => {
            names.iter().map(|name| name.as_str().map_or(DataKind::Other, kind)).collect()
        }
        Some(Value::Object(object)) => {
            object.get("typeof").map_or(vec![DataKind::Other], |of| expression::read(of).kinds())
        }
        _ => vec![DataKind::Other],
    }
}

fn kind(name: &str) -> DataKind {
    match name {
        "ipv4_addr" => DataKind::Ip4,
        "ipv6_addr" => DataKind::Ip6,
        "inet_service" => DataKind::Port,
        "inet_proto" => DataKind::Protocol,
        "mark" => DataKind::Mark,
        "ifname" | "iface_index" => DataKind::Interface,
        "nf_proto" => DataKind::NfProto,
        "ether_type" => DataKind::EtherType,
        "tcp_flag" => DataKind::TcpFlags,
        "ct_state" => DataKind::CtState,
        "ct_dir" => DataKind::CtDirection,
        "pkt_type" => DataKind::PacketType,
        "fib_addrtype" => DataKind::AddressType,
        "icmp_type" => DataKind::Icmp,
        "icmpv6_type" => DataKind::Icmp6,
        _ => DataKind::Other,
    }
}
