//! What a condition reads.

use serde_json::Value;

use super::value;
use crate::condition::{Condition, Right};
use crate::expression::{DataKind, Datum, Element, Expression, Field, Operator};
use crate::printable;

/// An expression that a condition or a map reads.
pub(super) fn read(value: &Value) -> Expression {
    known(value).unwrap_or_else(|| Expression::Unknown(printable(value.to_string().as_bytes())))
}

fn known(value: &Value) -> Option<Expression> {
    if let Some(number) = value.as_u64() {
        return Some(Expression::Value(Datum::Number(number.into())));
    }
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let (key, body) = object.iter().next()?;
    let field = |name: &str| body.get(name).and_then(Value::as_str);
    let found = match key.as_str() {
        "payload" => payload(field("protocol")?, field("field")?)?,
        "meta" => meta(field("key")?)?,
        "ct" if body.get("dir").is_none() && body.get("family").is_none() => match field("key")? {
            "state" => Field::CtState,
            "status" => Field::CtStatus,
            "direction" => Field::CtDirection,
            "mark" => Field::CtMark,
            _ => return None,
        },
        "fib" => fib(field("result")?, body.get("flags")?)?,
        "concat" => return Some(Expression::Concat(body.as_array()?.iter().map(read).collect())),
        "&" | "|" | "^" => return bits(key, body.as_array()?),
        _ => return None,
    };
    Some(Expression::Field(found))
}

/// `{"&": [what, bits]}`, and chains of the same operator as one list.
fn bits(operator: &str, operands: &[Value]) -> Option<Expression> {
    let (first, rest) = operands.split_first()?;
    let inner = read(first);
    let kind = *inner.kinds().first()?;
    let number = rest.iter().map(|bits| value::number(kind, bits)).collect::<Option<Vec<_>>>()?;
    let inner = Box::new(inner);
    Some(match operator {
        "&" => Expression::And(inner, number.into_iter().fold(u128::MAX, |all, bits| all & bits)),
        "|" => Expression::Or(inner, number.into_iter().fold(0, |all, bits| all | bits)),
        _ => Expression::Xor(inner, number.into_iter().fold(0, |all, bits| all ^ bits)),
    })
}

fn payload(protocol: &str, field: &str) -> Option<Field> {
    Some(match (protocol, field) {
        ("ip", "saddr") => Field::Ip4Source,
        ("ip", "daddr") => Field::Ip4Destination,
        ("ip", "protocol") => Field::Ip4Protocol,
        ("ip", "length") => Field::Ip4Length,
        ("ip", "ttl") => Field::Ip4Ttl,
        ("ip6", "saddr") => Field::Ip6Source,
        ("ip6", "daddr") => Field::Ip6Destination,
        ("ip6", "nexthdr") => Field::Ip6NextHeader,
        ("ip6", "hoplimit") => Field::Ip6HopLimit,
        ("tcp", "sport") => Field::TcpSource,
        ("tcp", "dport") => Field::TcpDestination,
        ("tcp", "flags") => Field::TcpFlags,
        ("udp" | "sctp" | "dccp" | "udplite", "sport") => Field::UdpSource,
        ("udp" | "sctp" | "dccp" | "udplite", "dport") => Field::UdpDestination,
        ("th", "sport") => Field::TransportSource,
        ("th", "dport") => Field::TransportDestination,
        ("icmp", "type") => Field::IcmpType,
        ("icmpv6", "type") => Field::Icmp6Type,
        ("icmp" | "icmpv6" | "igmp" | "ah" | "esp" | "comp" | "udp" | "udplite" | "sctp" | "dccp", _) => {
            Field::OtherHeader
        }
        ("ether", "type") => Field::EtherType,
        _ => return None,
    })
}

fn meta(key: &str) -> Option<Field> {
    Some(match key {
        "iifname" => Field::InputName,
        "oifname" => Field::OutputName,
        "iif" => Field::InputIndex,
        "oif" => Field::OutputIndex,
        "ibrname" | "ibriport" => Field::InputBridge,
        "obrname" | "obriport" => Field::OutputBridge,
        "l4proto" => Field::L4Protocol,
        "nfproto" => Field::NfProto,
        "protocol" => Field::EtherType,
        "mark" => Field::Mark,
        "pkttype" => Field::PacketType,
        "length" => Field::Length,
        _ => return None,
    })
}

fn fib(result: &str, flags: &Value) -> Option<Field> {
    let flags: Vec<&str> = match flags {
        Value::String(flag) => vec![flag],
        Value::Array(flags) => flags.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let has = |flag| flags.contains(&flag);
    match result {
        "type" if flags == ["saddr"] => Some(Field::FibSourceType),
        "type" if flags == ["daddr"] => Some(Field::FibDestinationType),
        // The mark chooses a routing table only where routing rules ask for it, which the way back is asked with.
        "oif" | "oifname" | "check" if has("saddr") && has("iif") && !has("daddr") => {
            Some(Field::FibSourceOutput)
        }
        _ => None,
    }
}

/// A condition: `{"op": "==", "left": …, "right": …}`.
pub(super) fn condition(body: &Value) -> Condition {
    compared(body).unwrap_or_else(|| Condition::Unknown(printable(body.to_string().as_bytes())))
}

fn compared(body: &Value) -> Option<Condition> {
    let (left, right) = (read(body.get("left")?), body.get("right")?);
    if left.is_unknown() {
        return None;
    }
    let kinds = left.kinds();
    if let Some(name) = right.as_str().and_then(|right| right.strip_prefix('@')) {
        let operator = match body.get("op")?.as_str()? {
            "==" | "in" => Operator::Equal,
            "!=" => Operator::NotEqual,
            _ => return None,
        };
        return Some(Condition::Compare { left, operator, right: Right::Set(printable(name.as_bytes())) });
    }
    let of_bits = matches!(kinds.as_slice(), [DataKind::CtState | DataKind::CtStatus | DataKind::TcpFlags]);
    let set = right.get("set").is_some();
    let operator = match body.get("op")?.as_str()? {
        "in" if of_bits && !set => Operator::AnyBit,
        "!" if of_bits && !set => {
            let bits = value::number(kinds[0], right)?;
            let left = Expression::And(Box::new(left), bits);
            let right = Right::Elements(vec![Element::One(Datum::Number(0))]);
            return Some(Condition::Compare { left, operator: Operator::Equal, right });
        }
        "==" | "in" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        ">" => Operator::Greater,
        "<=" => Operator::AtMost,
        ">=" => Operator::AtLeast,
        _ => return None,
    };
    let elements = match set {
        // Several bits are one value.
        false if right.is_array() || right.get("|").is_some() => {
            vec![Element::One(Datum::Number(value::number(*kinds.first()?, right)?))]
        }
        // What no packet here has is asked for in vain, whatever the value.
        _ if matches!(left, Expression::Field(Field::OtherHeader)) => Vec::new(),
        _ => value::elements(&kinds, right)?,
    };
    // The status has bits that are not kept track of here.
    let whole_status = matches!(left, Expression::Field(Field::CtStatus)) && operator != Operator::AnyBit;
    (!whole_status).then_some(Condition::Compare { left, operator, right: Right::Elements(elements) })
}
