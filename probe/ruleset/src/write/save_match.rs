//! Conditions as matches of iptables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::name;
use crate::condition::{
    AddressType, Condition, CtProperty, Limit, Network, PhysdevProperty, Recent, RecentDeed, Right, Side,
    ct_state, ct_status,
};
use crate::expression::{Datum, Element, Expression, Field, Operator};
use crate::model::Ruleset;
use crate::place::Family;

/// The words of a condition, if iptables can say it.
pub(super) fn words(rules: &Ruleset, family: Family, condition: &Condition) -> Option<Vec<String>> {
    match condition {
        Condition::Compare { left, operator, right: Right::Elements(elements) } => {
            compare(family, left, *operator, elements)
        }
        Condition::EitherPort { negated, ports } => {
            Some(matching("multiport", *negated, &["--ports", &list_of_ports(ports)?]))
        }
        Condition::Conntrack(tests) => {
            let mut words = strings(&["-m", "conntrack"]);
            for test in tests {
                let (key, value) = connection(&test.what)?;
                words.extend(negation(test.negated));
                words.extend([key.to_owned(), value]);
            }
            Some(words)
        }
        Condition::Limit(limit) => rate(limit),
        Condition::Recent(recent) => list(recent),
        Condition::AddressType(asked) => address_type(asked),
        Condition::IpSet { name, negated, sides } => {
            let known = rules.ipsets.iter().any(|set| set.name == *name && set.known);
            let name = name::identifier(name).filter(|_| known)?;
            Some(matching("set", *negated, &["--match-set", name, &self::sides(sides)]))
        }
        Condition::Physdev(tests) => {
            let mut words = strings(&["-m", "physdev"]);
            for test in tests {
                words.extend(negation(test.negated));
                match &test.what {
                    PhysdevProperty::In(port) => words.extend(["--physdev-in".to_owned(), interface(port)?]),
                    PhysdevProperty::Out(port) => {
                        words.extend(["--physdev-out".to_owned(), interface(port)?])
                    }
                    PhysdevProperty::IsIn => words.push("--physdev-is-in".into()),
                    PhysdevProperty::IsOut => words.push("--physdev-is-out".into()),
                    PhysdevProperty::IsBridged => words.push("--physdev-is-bridged".into()),
                }
            }
            Some(words)
        }
        Condition::ReversePath { negated, loose } => {
            let mut words = strings(&["-m", "rpfilter"]);
            words.extend(loose.then(|| "--loose".to_owned()));
            words.extend(negated.then(|| "--invert".to_owned()));
            Some(words)
        }
        Condition::Compare { right: Right::Set(_), .. } | Condition::Quota { .. } | Condition::Unknown(_) => {
            None
        }
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn negation(negated: bool) -> Option<String> {
    negated.then(|| "!".to_owned())
}

/// `-m NAME [!] OPTIONS`
fn matching(name: &str, negated: bool, options: &[&str]) -> Vec<String> {
    let mut words = strings(&["-m", name]);
    words.extend(negation(negated));
    words.extend(strings(options));
    words
}

fn compare(
    family: Family,
    left: &Expression,
    operator: Operator,
    elements: &[Element],
) -> Option<Vec<String>> {
    let negated = match operator {
        Operator::Equal => false,
        Operator::NotEqual => true,
        Operator::Less | Operator::Greater => return hops(left, operator, elements),
        _ => return None,
    };
    let plain = |key: &str, value: String| {
        let mut words: Vec<String> = negation(negated).into_iter().collect();
        words.extend([key.to_owned(), value]);
        words
    };
    let field = match left {
        Expression::Field(field) => *field,
        Expression::And(inner, mask) => return masked(family, inner, *mask, negated, elements),
        // A later fragment.
        Expression::Value(_) => return (!negated).then(|| strings(&["-f"])),
        _ => return None,
    };
    match (field, elements) {
        (Field::Ip4Source | Field::Ip6Source | Field::Ip4Destination | Field::Ip6Destination, [element]) => {
            let source = matches!(field, Field::Ip4Source | Field::Ip6Source);
            let (key, range) = if source { ("-s", "--src-range") } else { ("-d", "--dst-range") };
            match element {
                Element::Range(first, last) => {
                    let range_of = format!("{}-{}", address(family, *first)?, address(family, *last)?);
                    Some(matching("iprange", negated, &[range, &range_of]))
                }
                Element::One(Datum::Number(number)) => {
                    Some(plain(key, address(family, *number)?.to_string()))
                }
                Element::Prefix { base, length, .. } => {
                    Some(plain(key, format!("{}/{length}", address(family, *base)?)))
                }
                _ => None,
            }
        }
        (Field::InputName, [element]) => Some(plain("-i", interface(element)?)),
        (Field::OutputName, [element]) => Some(plain("-o", interface(element)?)),
        (Field::L4Protocol, [element]) => Some(plain("-p", number(element)?.to_string())),
        (Field::TcpSource, [element]) => Some(matching("tcp", negated, &["--sport", &ports(element)?])),
        (Field::TcpDestination, [element]) => Some(matching("tcp", negated, &["--dport", &ports(element)?])),
        (Field::UdpSource, [element]) => Some(matching("udp", negated, &["--sport", &ports(element)?])),
        (Field::UdpDestination, [element]) => Some(matching("udp", negated, &["--dport", &ports(element)?])),
        (Field::TransportSource, list) => {
            Some(matching("multiport", negated, &["--sports", &list_of_ports(list)?]))
        }
        (Field::TransportDestination, list) => {
            Some(matching("multiport", negated, &["--dports", &list_of_ports(list)?]))
        }
        (Field::IcmpType, [element]) => Some(matching("icmp", negated, &["--icmp-type", &icmp(element)?])),
        (Field::Icmp6Type, [element]) => {
            let kind = number(element)?.to_string();
            Some(matching("icmp6", negated, &["--icmpv6-type", &kind]))
        }
        (Field::RoutingType, [element]) => {
            Some(matching("rt", negated, &["--rt-type", &number(element)?.to_string()]))
        }
        (Field::Length, [element]) => Some(matching("length", negated, &["--length", &ports(element)?])),
        (Field::Ip4Ttl | Field::Ip6HopLimit, _) => hops(left, operator, elements),
        (Field::PacketType, [element]) => {
            let kind = *["unicast", "broadcast", "multicast"].get(usize::try_from(number(element)?).ok()?)?;
            Some(matching("pkttype", negated, &["--pkt-type", kind]))
        }
        (Field::Mark | Field::CtMark, _) => masked(family, left, 0xffff_ffff, negated, elements),
        _ => None,
    }
}

/// Marks, flags and addresses of which only some bits count.
fn masked(
    family: Family,
    inner: &Expression,
    mask: u128,
    negated: bool,
    elements: &[Element],
) -> Option<Vec<String>> {
    let (Expression::Field(field), [element]) = (inner, elements) else { return None };
    let value = number(element)?;
    let marked = format!("{value:#x}/{mask:#x}");
    let masked = || Some(format!("{}/{}", address(family, value)?, address(family, mask)?));
    let own = |key: &str, value: String| {
        negation(negated).into_iter().chain([key.to_owned(), value]).collect::<Vec<_>>()
    };
    Some(match field {
        Field::Mark => matching("mark", negated, &["--mark", &marked]),
        Field::CtMark => matching("connmark", negated, &["--mark", &marked]),
        Field::TcpFlags => matching("tcp", negated, &["--tcp-flags", &flags(mask)?, &flags(value)?]),
        Field::Ip4Source | Field::Ip6Source => own("-s", masked()?),
        Field::Ip4Destination | Field::Ip6Destination => own("-d", masked()?),
        _ => return None,
    })
}

fn hops(left: &Expression, operator: Operator, elements: &[Element]) -> Option<Vec<String>> {
    let [element] = elements else { return None };
    let name = match left {
        Expression::Field(Field::Ip4Ttl) => "ttl",
        Expression::Field(Field::Ip6HopLimit) => "hl",
        _ => return None,
    };
    let (ending, negated) = match operator {
        Operator::Equal => ("eq", false),
        Operator::NotEqual => ("eq", true),
        Operator::Less => ("lt", false),
        Operator::Greater => ("gt", false),
        _ => return None,
    };
    Some(matching(name, negated, &[&format!("--{name}-{ending}"), &number(element)?.to_string()]))
}

fn number(element: &Element) -> Option<u128> {
    match element {
        Element::One(Datum::Number(number)) => Some(*number),
        _ => None,
    }
}

fn icmp(element: &Element) -> Option<String> {
    match element {
        Element::Any => Some("any".into()),
        other => number(other).map(|number| number.to_string()),
    }
}

/// An address of the family.
pub(super) fn address(family: Family, number: u128) -> Option<IpAddr> {
    match family {
        Family::Ip => u32::try_from(number).ok().map(|number| Ipv4Addr::from(number).into()),
        Family::Ip6 => Some(Ipv6Addr::from(number).into()),
    }
}

fn interface(element: &Element) -> Option<String> {
    match element {
        Element::Any => Some("+".into()),
        Element::One(Datum::Name(name)) => name::interface(name).map(str::to_owned),
        Element::Beginning(start) => name::interface(start).map(|start| format!("{start}+")),
        _ => None,
    }
}

fn ports(element: &Element) -> Option<String> {
    match element {
        Element::Range(first, last) => Some(format!("{first}:{last}")),
        other => number(other).map(|number| number.to_string()),
    }
}

fn list_of_ports(list: &[Element]) -> Option<String> {
    let list: Option<Vec<_>> = list.iter().map(ports).collect();
    Some(list?.join(","))
}

fn flags(bits: u128) -> Option<String> {
    const NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    if bits == 0 {
        return Some("NONE".into());
    }
    let set = NAMES.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, name)| *name);
    (bits < 64).then(|| set.collect::<Vec<_>>().join(","))
}

fn connection(what: &CtProperty) -> Option<(&'static str, String)> {
    let net = |net: &Network| format!("{}/{}", net.address, net.mask);
    let span = |first: &u16, last: &u16| format!("{first}:{last}");
    Some(match what {
        CtProperty::State(bits) => ("--ctstate", named(*bits, &STATES)?),
        CtProperty::Status(0) => ("--ctstatus", "NONE".into()),
        CtProperty::Status(bits) => ("--ctstatus", named(*bits, &STATUS)?),
        CtProperty::Reply(reply) => ("--ctdir", if *reply { "REPLY" } else { "ORIGINAL" }.into()),
        CtProperty::Protocol(number) => ("--ctproto", number.to_string()),
        CtProperty::OriginalSource(of) => ("--ctorigsrc", net(of)),
        CtProperty::OriginalDestination(of) => ("--ctorigdst", net(of)),
        CtProperty::ReplySource(of) => ("--ctreplsrc", net(of)),
        CtProperty::ReplyDestination(of) => ("--ctrepldst", net(of)),
        CtProperty::OriginalSourcePort(first, last) => ("--ctorigsrcport", span(first, last)),
        CtProperty::OriginalDestinationPort(first, last) => ("--ctorigdstport", span(first, last)),
        CtProperty::ReplySourcePort(first, last) => ("--ctreplsrcport", span(first, last)),
        CtProperty::ReplyDestinationPort(first, last) => ("--ctrepldstport", span(first, last)),
    })
}

const STATES: [(u32, &str); 7] = [
    (ct_state::INVALID, "INVALID"),
    (ct_state::ESTABLISHED, "ESTABLISHED"),
    (ct_state::RELATED, "RELATED"),
    (ct_state::NEW, "NEW"),
    (ct_state::UNTRACKED, "UNTRACKED"),
    (ct_state::SNAT, "SNAT"),
    (ct_state::DNAT, "DNAT"),
];
const STATUS: [(u32, &str); 4] = [
    (ct_status::EXPECTED, "EXPECTED"),
    (ct_status::SEEN_REPLY, "SEEN_REPLY"),
    (ct_status::ASSURED, "ASSURED"),
    (ct_status::CONFIRMED, "CONFIRMED"),
];

fn named(bits: u32, names: &[(u32, &str)]) -> Option<String> {
    let all = names.iter().fold(0, |all, (bit, _)| all | bit);
    let set = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    (bits & !all == 0 && bits != 0).then(|| set.collect::<Vec<_>>().join(","))
}

fn rate(limit: &Limit) -> Option<Vec<String>> {
    let unit = match limit.seconds {
        1 => "second",
        60 => "minute",
        3600 => "hour",
        86400 => "day",
        _ => return None,
    };
    let (rate, burst) = (format!("{}/{unit}", limit.rate), limit.burst.to_string());
    match (limit.bytes, limit.hashed, limit.over) {
        (false, false, false) => Some(matching("limit", false, &["--limit", &rate, "--limit-burst", &burst])),
        // Which addresses share a bucket makes no difference to one connection, and a table of its own none to others.
        (false, true, over) => {
            let key = if over { "--hashlimit-above" } else { "--hashlimit-upto" };
            let name = format!("replay-{}-{}-{burst}", limit.rate, limit.seconds);
            let options = [
                key,
                &rate,
                "--hashlimit-burst",
                &burst,
                "--hashlimit-mode",
                "srcip",
                "--hashlimit-name",
                &name,
            ];
            (name.len() <= 31).then(|| matching("hashlimit", false, &options))
        }
        _ => None,
    }
}

fn list(recent: &Recent) -> Option<Vec<String>> {
    let deed = match recent.deed {
        RecentDeed::Set => "--set",
        RecentDeed::Check => "--rcheck",
        RecentDeed::Update => "--update",
        RecentDeed::Remove => "--remove",
    };
    let side = if recent.side == Side::Source { "--rsource" } else { "--rdest" };
    let mut words = matching("recent", recent.negated, &[deed]);
    words
        .extend(recent.seconds.into_iter().flat_map(|seconds| ["--seconds".to_owned(), seconds.to_string()]));
    words.extend(recent.hits.into_iter().flat_map(|hits| ["--hitcount".to_owned(), hits.to_string()]));
    words.extend(strings(&[
        "--name",
        name::identifier(&recent.name)?,
        "--mask",
        &recent.mask.to_string(),
        side,
    ]));
    Some(words)
}

fn address_type(asked: &AddressType) -> Option<Vec<String>> {
    let mut words = strings(&["-m", "addrtype"]);
    for (key, kinds) in [("--src-type", &asked.source), ("--dst-type", &asked.destination)] {
        let Some((negated, kinds)) = kinds else { continue };
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.name().to_uppercase()).collect();
        words.extend(negation(*negated));
        words.extend([key.to_owned(), kinds.join(",")]);
    }
    words.extend(asked.of_input.then(|| "--limit-iface-in".to_owned()));
    words.extend(asked.of_output.then(|| "--limit-iface-out".to_owned()));
    Some(words)
}

/// `src,dst`
pub(super) fn sides(sides: &[Side]) -> String {
    let name = |side: &Side| if *side == Side::Source { "src" } else { "dst" };
    sides.iter().map(name).collect::<Vec<_>>().join(",")
}
