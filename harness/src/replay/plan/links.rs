//! Interfaces, addresses, routes and rules of policy routing, as lines for `ip -batch`.
//!
//! An interface becomes a bridge without ports, since a kernel may have no `dummy`: it has its addresses, and nothing is behind it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use snapshot::{Address, Interface, Link, LinkKind, Name, Net, PolicyRule, Role, Route, RouteKind, Snapshot};

use super::Left;
use super::network::{DOCKER0, NetworkPlan};

/// The most of each that is made.
const MOST_LINKS: usize = 128;
const MOST_ADDRESSES: usize = 512;
const MOST_ROUTES: usize = 2048;
const MOST_RULES: usize = 256;

/// What the kernel takes for a bridge's largest packet, in bytes.
const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;

/// A line for `ip -batch`, and what it makes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct Line {
    pub(in super::super) text: String,
    pub(in super::super) what: String,
}

/// The lines, in the order in which they are fed.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) links: Vec<Line>,
    pub(super) v4: Vec<Line>,
    pub(super) v6: Vec<Line>,
}

impl Lines {
    fn of(&mut self, v6: bool) -> &mut Vec<Line> {
        if v6 { &mut self.v6 } else { &mut self.v4 }
    }
}

pub(super) fn lines(snapshot: &Snapshot, networks: &[NetworkPlan], left: &mut Left) -> Lines {
    let mut lines = Lines::default();
    let mut made: BTreeSet<String> = networks.iter().filter_map(|it| it.bridge.clone()).collect();
    let own =
        |name: &str| snapshot.networks.iter().any(|it| it.role == Role::Other && it.name.as_str() == name);
    if snapshot.engine.is_some() && (own("bridge") || snapshot.networks.is_empty()) {
        made.insert(DOCKER0.to_owned());
    }
    made.insert("lo".to_owned());
    let engines = made.clone();
    links(snapshot, &mut made, &mut lines.links, left);
    for bridge in engines.iter().filter(|it| *it != "lo") {
        as_captured(snapshot, networks, bridge, &mut lines.links);
    }
    addresses(snapshot, &made, &engines, &mut lines.links, left);
    routes(snapshot, &made, &mut lines, left);
    policy_rules(snapshot, &mut lines, left);
    lines
}

/// Whether the kernel lets an interface have the name.
fn is_possible(name: &str) -> bool {
    !name.contains(':') && !["all", "default"].contains(&name)
}

fn links(snapshot: &Snapshot, made: &mut BTreeSet<String>, lines: &mut Vec<Line>, left: &mut Left) {
    let has_address =
        |link: &Link| snapshot.addresses.iter().any(|it| it.interface == link.name && lasts(it));
    let (mut ports, mut count) = (0, 0);
    for link in &snapshot.links {
        let name = link.name.as_str();
        if link.kind == LinkKind::Loopback || made.contains(name) {
            continue;
        }
        if link.master.is_some() || (link.kind == LinkKind::Veth && !has_address(link)) {
            ports += 1;
            continue;
        }
        let what = format!("interface {name}");
        if !is_possible(name) {
            left.push(what, "no interface can have this name");
        } else if count == MOST_LINKS {
            left.push(what, format!("{MOST_LINKS} interfaces are made at most"));
        } else {
            count += 1;
            made.insert(name.to_owned());
            let mtu = if MTU.contains(&link.mtu) { format!(" mtu {}", link.mtu) } else { String::new() };
            lines.push(Line { text: format!("link add name {name}{mtu} type bridge"), what: what.clone() });
            if link.up {
                lines.push(Line { text: format!("link set dev {name} up"), what: what.clone() });
            }
            if link.kind != LinkKind::Bridge {
                left.push(format!("what is behind interface {name}"), "it is a bridge without ports here");
            }
        }
    }
    if ports > 0 {
        left.push(
            format!("ends of pairs and ports of bridges ({ports})"),
            "what they lead to is not in a snapshot",
        );
    }
}

/// The bridge of an engine's network as it was found: down, or without the address that the engine gives it.
fn as_captured(snapshot: &Snapshot, networks: &[NetworkPlan], bridge: &str, lines: &mut Vec<Line>) {
    let Some(link) = snapshot.links.iter().find(|it| it.name.as_str() == bridge) else { return };
    let what = format!("the state of bridge {bridge}");
    let network = networks.iter().find(|it| it.bridge.as_deref() == Some(bridge));
    let given = |(subnet, gateway): &(Net, Option<IpAddr>)| {
        Net::new(gateway.filter(|gateway| gateway.is_ipv4())?, subnet.length())
    };
    let given = network.and_then(|it| it.pools.iter().find_map(given));
    let has = |net: Net| {
        let same = |it: &&Address| it.interface == link.name && it.address.address() == net.address();
        snapshot.addresses.iter().any(|it| same(&it))
    };
    if let Some(lost) = given.filter(|net| !has(*net)) {
        lines.push(Line { text: format!("address del {lost} dev {bridge}"), what: what.clone() });
    }
    if !link.up {
        lines.push(Line { text: format!("link set dev {bridge} down"), what });
    }
}

/// Whether an address is one that somebody gave: the kernel makes those of the link itself.
fn lasts(address: &Address) -> bool {
    match address.address.address() {
        IpAddr::V4(_) => true,
        IpAddr::V6(it) => !it.is_unicast_link_local() && !it.is_loopback(),
    }
}

fn addresses(
    snapshot: &Snapshot,
    made: &BTreeSet<String>,
    engines: &BTreeSet<String>,
    lines: &mut Vec<Line>,
    left: &mut Left,
) {
    let mut count = 0;
    for own in snapshot.addresses.iter().filter(|it| lasts(it)) {
        let (name, address) = (own.interface.as_str(), own.address);
        // The engine's bridges and lo have some already.
        let verb = if engines.contains(name) { "replace" } else { "add" };
        let what = format!("address {address} of {name}");
        if !made.contains(name) {
            // Its interface is said already.
            continue;
        }
        count += 1;
        if count > MOST_ADDRESSES {
            left.push(what, format!("{MOST_ADDRESSES} addresses are given at most"));
            return;
        }
        let nodad = if address.address().is_ipv6() { " nodad" } else { "" };
        lines.push(Line { text: format!("address {verb} {address} dev {name}{nodad}"), what });
    }
}

/// The number of a routing table; the names are those of `/etc/iproute2/rt_tables`.
fn table(name: &Name) -> Option<u32> {
    match name.as_str() {
        "main" => Some(254),
        "default" => Some(253),
        number => number.parse().ok().filter(|number| ![0, 255].contains(number)),
    }
}

fn routes(snapshot: &Snapshot, made: &BTreeSet<String>, lines: &mut Lines, left: &mut Left) {
    let mut count = 0;
    for route in &snapshot.routes {
        let v6 = route.to.address().is_ipv6();
        if implied(snapshot, route) {
            continue;
        }
        let what = format!("route to {} of table {}", route.to, route.table);
        if count == MOST_ROUTES {
            left.push(what, format!("{MOST_ROUTES} routes are made at most"));
            return;
        }
        match spelled(route, made) {
            Ok(text) => {
                count += 1;
                lines.of(v6).push(Line { text, what });
            }
            Err(why) => left.push(what, why),
        }
    }
}

/// Whether the kernel makes it of an address, or of IPv6 on the interface.
fn implied(snapshot: &Snapshot, route: &Route) -> bool {
    let own_kind = match route.to.address() {
        IpAddr::V6(it) => it.is_unicast_link_local() || it.is_multicast() || it.is_loopback(),
        IpAddr::V4(_) => false,
    };
    let connected = |own: &Address| {
        Some(&own.interface) == route.interface.as_ref()
            && own.address.length() == route.to.length()
            && network(own.address) == route.to.address()
    };
    own_kind
        || matches!(route.kind, RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast)
        || (route.kind == RouteKind::Unicast
            && route.gateway.is_none()
            && route.table.as_str() == "main"
            && snapshot.addresses.iter().any(connected))
}

/// The first address of the network that an address is in.
fn network(net: Net) -> IpAddr {
    match net.address() {
        IpAddr::V4(it) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(net.length())).unwrap_or(0);
            IpAddr::V4((it.to_bits() & mask).into())
        }
        IpAddr::V6(it) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(net.length())).unwrap_or(0);
            IpAddr::V6((it.to_bits() & mask).into())
        }
    }
}

fn spelled(route: &Route, made: &BTreeSet<String>) -> Result<String, String> {
    let kind = match route.kind {
        RouteKind::Unicast => "unicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        _ => return Err("the kernel makes it".to_owned()),
    };
    let table = table(&route.table).ok_or("its table has no number that is known here")?;
    let mut text = format!("route replace {kind} {} table {table}", route.to);
    if let Some(gateway) = route.gateway {
        if gateway.is_ipv4() != route.to.address().is_ipv4() {
            return Err("its gateway is of another family".to_owned());
        }
        text += &format!(" via {gateway}");
    }
    match &route.interface {
        // The kernel shows IPv6 routes that lead nowhere as if they led to lo.
        Some(_) if route.kind != RouteKind::Unicast => {}
        Some(name) if made.contains(name.as_str()) => {
            text += &format!(" dev {name}");
            if route.gateway.is_some() {
                text += " onlink";
            }
        }
        Some(name) => return Err(format!("there is no interface {name} here")),
        None => {}
    }
    if let Some(source) = route.source {
        text += &format!(" src {source}");
    }
    if let Some(metric) = route.metric {
        text += &format!(" metric {metric}");
    }
    Ok(text)
}

fn policy_rules(snapshot: &Snapshot, lines: &mut Lines, left: &mut Left) {
    let mut count = 0;
    for rule in snapshot.policy_rules.iter().filter(|it| !is_kernels(it)) {
        let what = format!("rule {} of policy routing", rule.priority);
        if count == MOST_RULES {
            left.push(what, format!("{MOST_RULES} rules are made at most"));
            return;
        }
        match rule_text(rule) {
            Some(text) => {
                count += 1;
                lines.of(rule.v6).push(Line { text, what });
            }
            None => left.push(what, "its table or its protocol is not known here"),
        }
    }
}

/// Whether it is one of those that every host has.
fn is_kernels(rule: &PolicyRule) -> bool {
    let plain = PolicyRule {
        v6: rule.v6,
        priority: rule.priority,
        table: rule.table.clone(),
        negated: false,
        from: None,
        to: None,
        input: None,
        output: None,
        mark: None,
        mask: None,
        protocol: None,
        from_port: None,
        to_port: None,
    };
    let named = |name: &str| rule.table.as_ref().is_some_and(|it| it.as_str() == name);
    *rule == plain
        && match rule.priority {
            0 => named("local"),
            32_766 => named("main"),
            32_767 => named("default"),
            _ => false,
        }
}

fn rule_text(rule: &PolicyRule) -> Option<String> {
    const PROTOCOLS: [&str; 5] = ["tcp", "udp", "icmp", "ipv6-icmp", "sctp"];
    let mut text = format!("rule add priority {}", rule.priority);
    if rule.negated {
        text += " not";
    }
    let mut say = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!(" {key} {value}");
        }
    };
    let net = |net: Option<Net>| net.map(|net| net.to_string());
    let interface = |name: &Option<Interface>| name.as_ref().map(ToString::to_string);
    say("from", Some(net(rule.from).unwrap_or_else(|| "all".to_owned())));
    say("to", net(rule.to));
    say("iif", interface(&rule.input));
    say("oif", interface(&rule.output));
    let mask = rule.mask.unwrap_or(u32::MAX);
    say("fwmark", rule.mark.map(|mark| format!("{mark:#x}/{mask:#x}")));
    if let Some(word) = &rule.protocol {
        let known = PROTOCOLS.into_iter().find(|it| *it == word.as_str()).map(str::to_owned);
        let number = || word.as_str().parse::<u8>().ok().map(|it| it.to_string());
        say("ipproto", Some(known.or_else(number)?));
    }
    let ports = |range: Option<(u16, u16)>| range.map(|(first, last)| format!("{first}-{last}"));
    say("sport", ports(rule.from_port));
    say("dport", ports(rule.to_port));
    let table = match &rule.table {
        Some(name) if name.as_str() == "local" => 255,
        Some(name) => table(name)?,
        None => return None,
    };
    say("lookup", Some(table.to_string()));
    Some(text)
}
