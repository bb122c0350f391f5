//! The matches of iptables: `-m NAME` and its options.

mod connection;
mod state;

use super::options::Opt;
use super::rule::{as_number, compare, interface, one};
use crate::condition::{AddressKind, AddressType, Condition, PhysdevProperty, PhysdevTest, Right, Side};
use crate::expression::{Element, Expression, Field, Operator};
use crate::names;
use crate::place::Family;

/// The conditions of a match; none if it is not understood.
pub(super) fn parse(family: Family, name: &str, options: &[Opt]) -> Option<Vec<Condition>> {
    match name {
        "comment" => Some(Vec::new()),
        "tcp" => each(options, tcp),
        "udp" => each(options, |option| ports(option, Field::UdpSource, Field::UdpDestination)),
        "icmp" => each(options, |option| icmp(option, "--icmp-type", Field::IcmpType)),
        "icmp6" => each(options, |option| icmp(option, "--icmpv6-type", Field::Icmp6Type)),
        "rt" => routing(options),
        // No packet here has such a header.
        "frag" | "hbh" | "dst" | "mh" | "ah" | "esp" => {
            Some(vec![compare(Field::OtherHeader, false, Vec::new())])
        }
        "multiport" => each(options, multiport),
        "conntrack" => connection::conntrack(family, options),
        "state" => connection::state(options),
        "mark" => each(options, |option| mark(option, Field::Mark)),
        "connmark" => each(options, |option| mark(option, Field::CtMark)),
        "limit" => state::limit(options),
        "hashlimit" => state::hashlimit(options),
        "recent" => state::recent(family, options),
        "statistic" => state::statistic(options),
        "addrtype" => address_type(options),
        "set" => set(options),
        "physdev" => physdev(options),
        "rpfilter" => reverse_path(options),
        "pkttype" => each(options, packet_type),
        "length" => each(options, |option| number_range(option, "--length", Field::Length)),
        "ttl" => each(options, |option| hops(option, "--ttl-", Field::Ip4Ttl)),
        "hl" => each(options, |option| hops(option, "--hl-", Field::Ip6HopLimit)),
        "iprange" => each(options, |option| ip_range(family, option)),
        _ => None,
    }
}

fn each(options: &[Opt], read: impl Fn(&Opt) -> Option<Condition>) -> Option<Vec<Condition>> {
    options.iter().map(read).collect()
}

fn tcp(option: &Opt) -> Option<Condition> {
    let (mask, value) = match (option.key.as_str(), option.arguments.as_slice()) {
        ("--tcp-flags", [mask, value]) => (flags(mask)?, flags(value)?),
        ("--syn", []) => (0x17, 0x02),
        _ => return ports(option, Field::TcpSource, Field::TcpDestination),
    };
    Some(Condition::Compare {
        left: Expression::And(Box::new(Expression::Field(Field::TcpFlags)), mask),
        operator: operator(option),
        right: Right::Elements(vec![one(value)]),
    })
}

fn flags(list: &str) -> Option<u128> {
    match list {
        "ALL" => Some(0x3f),
        "NONE" => Some(0),
        _ => list.split(',').try_fold(0, |bits, name| Some(bits | u128::from(names::tcp_flag(name)?))),
    }
}

fn operator(option: &Opt) -> Operator {
    if option.negated { Operator::NotEqual } else { Operator::Equal }
}

fn ports(option: &Opt, source: Field, destination: Field) -> Option<Condition> {
    let field = match option.key.as_str() {
        "--sport" | "--source-port" => source,
        "--dport" | "--destination-port" => destination,
        _ => return None,
    };
    Some(compare(field, option.negated, vec![port_range(option.one()?)?]))
}

/// A port, or `FIRST:LAST` where either may be left out.
fn port_range(word: &str) -> Option<Element> {
    let Some((first, last)) = word.split_once(':') else {
        return Some(one(u128::from(word.parse::<u16>().ok()?)));
    };
    let first: u16 = if first.is_empty() { 0 } else { first.parse().ok()? };
    let last: u16 = if last.is_empty() { u16::MAX } else { last.parse().ok()? };
    Some(Element::Range(first.into(), last.into()))
}

fn multiport(option: &Opt) -> Option<Condition> {
    let list: Option<Vec<_>> = option.one()?.split(',').map(port_range).collect();
    Some(match option.key.as_str() {
        "--sports" | "--source-ports" => compare(Field::TransportSource, option.negated, list?),
        "--dports" | "--destination-ports" => compare(Field::TransportDestination, option.negated, list?),
        "--ports" => Condition::EitherPort { negated: option.negated, ports: list? },
        _ => return None,
    })
}

/// Types of ICMP are only told apart so far that a TCP packet has none.
fn icmp(option: &Opt, key: &str, field: Field) -> Option<Condition> {
    let word = option.one().filter(|_| option.key == key)?;
    let number = word.split('/').next()?.parse::<u8>().ok();
    Some(compare(field, option.negated, vec![number.map_or(Element::Any, |number| one(number.into()))]))
}

/// `rt --rt-type 0`: the type says enough, because there is no routing header.
fn routing(options: &[Opt]) -> Option<Vec<Condition>> {
    match options {
        [option] if option.key == "--rt-type" && !option.negated => {
            let number: u8 = option.one()?.parse().ok()?;
            Some(vec![compare(Field::RoutingType, false, vec![one(number.into())])])
        }
        _ => Some(vec![compare(Field::OtherHeader, false, Vec::new())]),
    }
}

fn mark(option: &Opt, field: Field) -> Option<Condition> {
    let word = option.one().filter(|_| option.key == "--mark")?;
    let (value, mask) = word.split_once('/').unwrap_or((word, "0xffffffff"));
    let (value, mask) = (u128::from(names::number(value)?), u128::from(names::number(mask)?));
    let field = Expression::Field(field);
    let left = if mask == 0xffff_ffff { field } else { Expression::And(Box::new(field), mask) };
    Some(Condition::Compare { left, operator: operator(option), right: Right::Elements(vec![one(value)]) })
}

fn address_type(options: &[Opt]) -> Option<Vec<Condition>> {
    let mut asked = AddressType::default();
    for option in options {
        let kinds = || {
            let kinds: Option<Vec<_>> = option.one()?.split(',').map(AddressKind::of_name).collect();
            Some((option.negated, kinds?))
        };
        match option.key.as_str() {
            "--src-type" => asked.source = Some(kinds()?),
            "--dst-type" => asked.destination = Some(kinds()?),
            "--limit-iface-in" => asked.of_input = true,
            "--limit-iface-out" => asked.of_output = true,
            _ => return None,
        }
    }
    Some(vec![Condition::AddressType(asked)])
}

fn set(options: &[Opt]) -> Option<Vec<Condition>> {
    let [Opt { negated, key, arguments }] = options else { return None };
    let [name, sides] = arguments.as_slice() else { return None };
    if key != "--match-set" {
        return None;
    }
    Some(vec![Condition::IpSet { name: name.clone(), negated: *negated, sides: set_sides(sides)? }])
}

/// `src,dst`
pub(super) fn set_sides(list: &str) -> Option<Vec<Side>> {
    let side = |word| match word {
        "src" => Some(Side::Source),
        "dst" => Some(Side::Destination),
        _ => None,
    };
    list.split(',').map(side).collect()
}

fn physdev(options: &[Opt]) -> Option<Vec<Condition>> {
    let test = |option: &Opt| {
        let what = match option.key.as_str() {
            "--physdev-in" => PhysdevProperty::In(interface(option.one()?)),
            "--physdev-out" => PhysdevProperty::Out(interface(option.one()?)),
            "--physdev-is-in" => PhysdevProperty::IsIn,
            "--physdev-is-out" => PhysdevProperty::IsOut,
            "--physdev-is-bridged" => PhysdevProperty::IsBridged,
            _ => return None,
        };
        Some(PhysdevTest { negated: option.negated, what })
    };
    let tests: Option<Vec<_>> = options.iter().map(test).collect();
    Some(vec![Condition::Physdev(tests?)])
}

fn reverse_path(options: &[Opt]) -> Option<Vec<Condition>> {
    let (mut negated, mut loose) = (false, false);
    for option in options {
        match option.key.as_str() {
            "--invert" => negated = true,
            "--loose" => loose = true,
            // A packet without a mark of its own, and one that came in over a wire, is asked about in the same way.
            "--validmark" | "--accept-local" => {}
            _ => return None,
        }
    }
    Some(vec![Condition::ReversePath { negated, loose }])
}

fn packet_type(option: &Opt) -> Option<Condition> {
    let number = match option.one().filter(|_| option.key == "--pkt-type")? {
        "unicast" | "host" => 0,
        "broadcast" => 1,
        "multicast" => 2,
        _ => return None,
    };
    Some(compare(Field::PacketType, option.negated, vec![one(number)]))
}

fn number_range(option: &Opt, key: &str, field: Field) -> Option<Condition> {
    let word = option.one().filter(|_| option.key == key)?;
    Some(compare(field, option.negated, vec![port_range(word)?]))
}

fn hops(option: &Opt, start: &str, field: Field) -> Option<Condition> {
    let operator = match (option.key.strip_prefix(start)?, option.negated) {
        ("eq", false) => Operator::Equal,
        ("eq", true) => Operator::NotEqual,
        ("gt", false) => Operator::Greater,
        ("lt", false) => Operator::Less,
        _ => return None,
    };
    let number = option.one()?.parse::<u8>().ok()?;
    Some(Condition::Compare {
        left: Expression::Field(field),
        operator,
        right: Right::Elements(vec![one(number.into())]),
    })
}

fn ip_range(family: Family, option: &Opt) -> Option<Condition> {
    let field = match (option.key.as_str(), family) {
        ("--src-range", Family::Ip) => Field::Ip4Source,
        ("--src-range", Family::Ip6) => Field::Ip6Source,
        ("--dst-range", Family::Ip) => Field::Ip4Destination,
        ("--dst-range", Family::Ip6) => Field::Ip6Destination,
        _ => return None,
    };
    let word = option.one()?;
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let range = Element::Range(as_number(first.parse().ok()?), as_number(last.parse().ok()?));
    Some(compare(field, option.negated, vec![range]))
}
