//! Interfaces, addresses, routes and their rules as `ip -j` shows them, settings of the kernel, listeners.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::net::if_::if_indextoname;
use serde_json::Value;
use snapshot::{
    Address, Interface, Link, LinkKind, Listener, Mac, Net, Owner, PolicyRule, Route, RouteKind, Sysctl,
    SysctlKey, What, Why, Word,
};

use super::Gathering;
use crate::{listeners as table, programs};

/// What `ip -j` answers; `None` where it does not.
async fn ip(arguments: &[&str]) -> Result<Vec<Value>, Why> {
    let program = programs::find("ip").ok_or(Why::NoProgram)?;
    let said = programs::read(&program, arguments).await.map_err(|_| Why::Unreadable)?;
    if said.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&said).map_err(|_| Why::Unreadable)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn number(value: &Value, key: &str) -> Option<u32> {
    let value = value.get(key)?;
    let hexadecimal = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    value.as_u64().and_then(|number| u32::try_from(number).ok()).or_else(|| hexadecimal(value.as_str()?))
}

pub(super) async fn links(gathering: &mut Gathering) -> (Vec<Link>, Vec<Address>) {
    match ip(&["-j", "-d", "address", "show"]).await {
        Ok(shown) => (
            shown.iter().filter_map(|it| link(gathering, it)).collect(),
            shown.iter().flat_map(|it| addresses(gathering, it)).collect(),
        ),
        Err(why) => {
            gathering.leave(What::Links, why, None);
            (Vec::new(), Vec::new())
        }
    }
}

fn link(gathering: &mut Gathering, shown: &Value) -> Option<Link> {
    let flags = shown.get("flags").and_then(Value::as_array);
    let kind = match (text(shown, "link_type"), shown.get("linkinfo").and_then(|it| text(it, "info_kind"))) {
        (Some("loopback"), _) => LinkKind::Loopback,
        (_, Some("bridge")) => LinkKind::Bridge,
        (_, Some("veth")) => LinkKind::Veth,
        (_, Some("vlan" | "bond" | "team" | "macvlan" | "ipvlan" | "dummy" | "ifb" | "vrf")) => {
            LinkKind::Virtual
        }
        (_, None) => LinkKind::Device,
        (_, Some(_)) => LinkKind::Tunnel,
    };
    Some(Link {
        name: gathering.names.interface(text(shown, "ifname")?),
        kind,
        up: flags.is_some_and(|flags| flags.iter().any(|flag| flag == "UP")),
        master: text(shown, "master").map(|name| gathering.names.interface(name)),
        mtu: number(shown, "mtu").unwrap_or(0),
        mac: text(shown, "address").and_then(Mac::parse).map(|mac| gathering.mapping.mac(mac)),
    })
}

fn addresses(gathering: &mut Gathering, shown: &Value) -> Vec<Address> {
    let (Some(name), Some(list)) = (text(shown, "ifname"), shown.get("addr_info").and_then(Value::as_array))
    else {
        return Vec::new();
    };
    let interface = gathering.names.interface(name);
    let address = |it: &Value| {
        let own: IpAddr = text(it, "local")?.parse().ok()?;
        let net = Net::new(own, u8::try_from(number(it, "prefixlen")?).ok()?)?;
        Some(Address { interface: interface.clone(), address: gathering.mapping.within(net) })
    };
    list.iter().filter_map(address).collect()
}

pub(super) async fn routes(gathering: &mut Gathering) -> Vec<Route> {
    let mut routes = Vec::new();
    for (family, all) in
        [("-4", Net::one(Ipv4Addr::UNSPECIFIED.into())), ("-6", Net::one(Ipv6Addr::UNSPECIFIED.into()))]
    {
        match ip(&["-j", "-d", family, "route", "show", "table", "all"]).await {
            Ok(shown) => {
                let carried: Vec<_> = shown.iter().filter(|it| text(it, "table") != Some("local")).collect();
                let before = routes.len();
                routes.extend(carried.iter().filter_map(|it| route(gathering, it, all)));
                let lost = carried.len() - (routes.len() - before);
                gathering.leave(What::Routes, Why::NotAllowed, lost);
            }
            Err(why) => gathering.leave(What::Routes, why, None),
        }
    }
    routes
}

/// One that leads one way; several next hops are not carried.
fn route(gathering: &mut Gathering, shown: &Value, all: Net) -> Option<Route> {
    if shown.get("nexthops").is_some() {
        return None;
    }
    let kind = match text(shown, "type").unwrap_or("unicast") {
        "unicast" => RouteKind::Unicast,
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "local" => RouteKind::Local,
        "broadcast" => RouteKind::Broadcast,
        "multicast" => RouteKind::Multicast,
        _ => return None,
    };
    let to = match text(shown, "dst")? {
        "default" => Net::new(all.address(), 0)?,
        network => gathering.mapping.net(Net::parse(network)?),
    };
    let address = |key: &str| Some(gathering.mapping.address(text(shown, key)?.parse().ok()?));
    let (gateway, source) = (address("gateway"), address("prefsrc"));
    Some(Route {
        table: gathering.names.name(text(shown, "table").unwrap_or("main")),
        kind,
        to,
        gateway,
        interface: text(shown, "dev").map(|name| gathering.names.interface(name)),
        source,
        metric: number(shown, "metric"),
    })
}

pub(super) async fn policy_rules(gathering: &mut Gathering) -> Vec<PolicyRule> {
    let mut rules = Vec::new();
    for (family, v6) in [("-4", false), ("-6", true)] {
        match ip(&["-j", "-d", family, "rule", "show"]).await {
            Ok(shown) => {
                let before = rules.len();
                rules.extend(shown.iter().filter_map(|it| policy_rule(gathering, it, v6)));
                let lost = shown.len() - (rules.len() - before);
                gathering.leave(What::PolicyRules, Why::NotAllowed, lost);
            }
            Err(why) => gathering.leave(What::PolicyRules, why, None),
        }
    }
    rules
}

/// One of words that are known: any other would change what it means.
fn policy_rule(gathering: &mut Gathering, shown: &Value, v6: bool) -> Option<PolicyRule> {
    const KNOWN: [&str; 18] = [
        "priority",
        "not",
        "src",
        "srclen",
        "dst",
        "dstlen",
        "iif",
        "oif",
        "fwmark",
        "fwmask",
        "ipproto",
        "sport",
        "dport",
        "sport_start",
        "sport_end",
        "dport_start",
        "dport_end",
        "table",
    ];
    // Who made it decides nothing.
    let known = |key: &String| KNOWN.contains(&key.as_str()) || key == "protocol" || key == "action";
    if !shown.as_object()?.keys().all(known) || text(shown, "action").is_some_and(|action| action != "to_tbl")
    {
        return None;
    }
    let net = |key: &str, length: &str| match text(shown, key) {
        None | Some("all") => Some(None),
        Some(address) => {
            let one = Net::parse(address)?;
            let length = number(shown, length).and_then(|it| u8::try_from(it).ok());
            let net = length.map_or(Some(one), |length| Net::new(one.address(), length))?;
            Some(Some(gathering.mapping.net(net)))
        }
    };
    let (from, to) = (net("src", "srclen")?, net("dst", "dstlen")?);
    let ports = |one: &str| {
        let port = |key: &str| number(shown, key).and_then(|it| u16::try_from(it).ok());
        let (first, last) = (format!("{one}_start"), format!("{one}_end"));
        port(one).map(|it| (it, it)).or_else(|| Some((port(&first)?, port(&last)?)))
    };
    let mut interface = |key: &str| text(shown, key).map(|name| gathering.names.interface(name));
    let (input, output) = (interface("iif"), interface("oif"));
    Some(PolicyRule {
        v6,
        priority: number(shown, "priority")?,
        negated: shown.get("not").is_some(),
        from,
        to,
        input,
        output,
        mark: number(shown, "fwmark"),
        mask: number(shown, "fwmask"),
        protocol: match text(shown, "ipproto") {
            None => None,
            Some(name) => Some(Word::new(name).ok()?),
        },
        from_port: ports("sport"),
        to_port: ports("dport"),
        table: text(shown, "table").map(|name| gathering.names.name(name)),
    })
}

/// Settings on the path: of all interfaces, of new ones, and of the sandboxes' bridge.
pub(super) fn sysctls(bridge: Option<&Interface>) -> Vec<Sysctl> {
    let common = ["all", "default"].into_iter().filter_map(|name| Interface::new(name).ok());
    let interfaces: Vec<Interface> = common.chain(bridge.cloned()).collect();
    let read = |path: &str| fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().parse().ok();
    let mut settings = Vec::new();
    for key in SysctlKey::ALL {
        if !key.path().contains('*') {
            settings.extend(read(key.path()).map(|value| Sysctl { key, interface: None, value }));
            continue;
        }
        for interface in &interfaces {
            // A dot in an interface's name is none in its folder's.
            let value = read(&key.path().replace('*', interface.as_str()));
            settings.extend(value.map(|value| Sysctl { key, interface: Some(interface.clone()), value }));
        }
    }
    settings
}

pub(super) fn listeners(gathering: &mut Gathering) -> Option<Vec<Listener>> {
    let Ok(all) = table::read() else {
        gathering.leave(What::Listeners, Why::Unreadable, None);
        return None;
    };
    let mut listeners: Vec<Listener> = all
        .into_iter()
        .map(|own| Listener {
            address: gathering.mapping.address(own.address),
            port: own.port,
            v6_only: own.v6_only,
            interface: if_indextoname(own.interface)
                .ok()
                .filter(|_| own.interface != 0)
                .map(|name| gathering.names.interface(&name.to_string_lossy())),
            owner: match own.uid {
                0 => Owner::Root,
                1..1000 => Owner::System,
                _ => Owner::User,
            },
            queue_full: own.queue_full(),
        })
        .collect();
    listeners.sort_by_key(|own| (own.port, own.address));
    Some(listeners)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use snapshot::{Mapping, Names};

    use super::*;

    fn gathering() -> Gathering {
        Gathering { mapping: Mapping::identity(), names: Names::default(), left_out: Vec::new(), root: true }
    }

    #[test]
    fn rules_of_policy_routing_are_carried_whole_or_not_at_all() {
        let mut gathering = gathering();
        let mut read = |shown: Value| policy_rule(&mut gathering, &shown, false);
        let plain =
            read(json!({"priority": 100, "src": "all", "fwmark": "0x10", "fwmask": "0xff", "table": "77"}))
                .unwrap();
        assert_eq!((plain.mark, plain.mask, plain.from), (Some(16), Some(255), None));
        let ports = read(
            json!({"priority": 5, "src": "10.0.0.0", "srclen": 8, "ipproto": "tcp", "dport": 8080, "table": "main"}),
        );
        let ports = ports.unwrap();
        assert_eq!(
            (ports.from.unwrap().to_string().as_str(), ports.to_port),
            ("10.0.0.0/8", Some((8080, 8080)))
        );
        assert_eq!(
            read(json!({"priority": 5, "src": "all", "uid_start": 1, "uid_end": 2, "table": "main"})),
            None
        );
        assert_eq!(read(json!({"priority": 5, "src": "all", "action": "unreachable"})), None);
    }

    #[test]
    fn routes_and_links_are_read() {
        let mut gathering = gathering();
        let all = Net::one(Ipv4Addr::UNSPECIFIED.into());
        let shown =
            json!({"type": "unicast", "dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "metric": 100});
        let route = route(&mut gathering, &shown, all).unwrap();
        assert_eq!((route.to.to_string().as_str(), route.table.as_str()), ("0.0.0.0/0", "main"));
        let shown = json!({"ifname": "br-1", "flags": ["UP"], "mtu": 1500, "link_type": "ether", "address": "02:42:00:00:00:01",
            "linkinfo": {"info_kind": "bridge"}, "addr_info": [{"local": "172.18.0.1", "prefixlen": 16}]});
        let link = link(&mut gathering, &shown).unwrap();
        assert_eq!((link.kind, link.up, link.mtu), (LinkKind::Bridge, true, 1500));
        assert_eq!(addresses(&mut gathering, &shown)[0].address.to_string(), "172.18.0.1/16");
    }
}
