//! Values: addresses, ports, names of states.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::condition::{AddressKind, ct_state, ct_status};
use crate::expression::{DataKind, Datum, Element};
use crate::{names, printable};

/// The elements on the right of a condition, in a set or as a map's key; none if one is not understood.
pub(super) fn elements(kinds: &[DataKind], value: &Value) -> Option<Vec<Element>> {
    let list = match value {
        Value::Array(list) => list,
        Value::Object(object) if object.contains_key("set") => match object.get("set")? {
            Value::Array(list) => list,
            single => return Some(vec![element(kinds, single)?]),
        },
        single => return Some(vec![element(kinds, single)?]),
    };
    list.iter().map(|value| element(kinds, value)).collect()
}

/// One element.
pub(super) fn element(kinds: &[DataKind], value: &Value) -> Option<Element> {
    if let Some(inner) = value.get("elem").and_then(|elem| elem.get("val")) {
        return element(kinds, inner);
    }
    if value.as_str() == Some("*") && !matches!(kinds, [DataKind::Interface]) {
        return Some(Element::Any);
    }
    if let Some(parts) = value.get("concat").and_then(Value::as_array) {
        if parts.len() != kinds.len() {
            return None;
        }
        let parts: Option<_> =
            parts.iter().zip(kinds).map(|(part, kind)| element(std::slice::from_ref(kind), part)).collect();
        return Some(Element::Concat(parts?));
    }
    let [kind] = kinds else { return None };
    if let Some(prefix) = value.get("prefix") {
        let base = number(*kind, prefix.get("addr")?)?;
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        let bits = if *kind == DataKind::Ip6 { 128 } else { 32 };
        return (matches!(kind, DataKind::Ip4 | DataKind::Ip6) && length <= bits)
            .then_some(Element::Prefix { base, length, bits });
    }
    if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        return Some(Element::Range(number(*kind, first)?, number(*kind, last)?));
    }
    if *kind == DataKind::Interface {
        return interface(value.as_str()?);
    }
    Some(Element::One(Datum::Number(number(*kind, value)?)))
}

/// `eth*` stands for all names that begin so, `eth\*` for that name.
fn interface(name: &str) -> Option<Element> {
    let name = printable(name.as_bytes());
    Some(match name.strip_suffix('*') {
        Some("") => Element::Any,
        Some(start) => match start.strip_suffix('\\') {
            Some(plain) => Element::One(Datum::Name(format!("{plain}*"))),
            None => Element::Beginning(start.into()),
        },
        None => Element::One(Datum::Name(name)),
    })
}

/// A number, or what stands for one; several are bits of one.
pub(super) fn number(kind: DataKind, value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::Bool(there) if kind == DataKind::Presence => Some(u128::from(*there)),
        Value::String(word) => named(kind, word),
        Value::Array(bits) => bits.iter().try_fold(0, |all, bit| Some(all | number(kind, bit)?)),
        Value::Object(object) => {
            let bits = object.get("|").filter(|_| object.len() == 1)?.as_array()?;
            bits.iter().try_fold(0, |all, bit| Some(all | number(kind, bit)?))
        }
        _ => None,
    }
}

fn named(kind: DataKind, word: &str) -> Option<u128> {
    if let Some(number) = names::number(word).filter(|_| !matches!(kind, DataKind::Ip4 | DataKind::Ip6)) {
        return Some(number.into());
    }
    Some(match kind {
        DataKind::Ip4 => u32::from(word.parse::<Ipv4Addr>().ok()?).into(),
        DataKind::Ip6 => word.parse::<Ipv6Addr>().ok()?.into(),
        DataKind::Protocol => names::protocol(word)?.into(),
        DataKind::TcpFlags => names::tcp_flag(word)?.into(),
        DataKind::NfProto => match word {
            "ipv4" => 2,
            "ipv6" => 10,
            _ => return None,
        },
        DataKind::EtherType => match word {
            "ip" => 0x0800,
            "arp" => 0x0806,
            "ip6" => 0x86dd,
            "vlan" | "8021q" => 0x8100,
            "8021ad" => 0x88a8,
            _ => return None,
        },
        DataKind::CtState => u128::from(match word {
            "invalid" => ct_state::INVALID,
            "established" => ct_state::ESTABLISHED,
            "related" => ct_state::RELATED,
            "new" => ct_state::NEW,
            "untracked" => ct_state::UNTRACKED,
            _ => return None,
        }),
        DataKind::CtStatus => u128::from(match word {
            "expected" => ct_status::EXPECTED,
            "seen-reply" => ct_status::SEEN_REPLY,
            "assured" => ct_status::ASSURED,
            "confirmed" => ct_status::CONFIRMED,
            "snat" => ct_status::SNAT,
            "dnat" => ct_status::DNAT,
            // Bits that no connection of a sandbox has here.
            "dying" => 512,
            _ => return None,
        }),
        DataKind::CtDirection => match word {
            "original" => 0,
            "reply" => 1,
            _ => return None,
        },
        DataKind::PacketType => match word {
            "host" | "unicast" => 0,
            "broadcast" => 1,
            "multicast" => 2,
            "other" => 3,
            _ => return None,
        },
        DataKind::AddressType => AddressKind::of_name(word)? as u128,
        DataKind::Presence => match word {
            "exists" => 1,
            "missing" => 0,
            _ => return None,
        },
        DataKind::Icmp => names::icmp(word)?.into(),
        DataKind::Icmp6 => names::icmp6(word)?.into(),
        DataKind::Port | DataKind::Mark | DataKind::Number | DataKind::Interface | DataKind::Other => {
            return None;
        }
    })
}
