//! Rules that the user has already and that open a target's port to more than the sandboxes.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ruleset::{Effect, Flow, Hook, LocalAddress, Outcome, Place, Ruleset, World};

use super::setting::{Files, setting};
use super::way::base_of;
use crate::sanitize::sanitize;

/// Whom a rule lets in besides: an address of documentation (RFC 5737), which stands for everybody's.
const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
/// A link for where the machine has no default route.
const SOME_LINK: (&str, Ipv4Addr, u8) = ("control0", Ipv4Addr::new(192, 0, 2, 1), 24);
/// A port that so many rules open is open, and a list of more helps nobody.
const MOST: usize = 4;

/// Where strangers come in.
pub(super) struct Outside {
    pub(super) link: String,
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
}

impl Outside {
    /// By the interface of the default route, or by one that could be.
    pub(super) fn of(world: &World, uplink: Option<String>) -> Self {
        let own = |name: &String| {
            world.addresses.iter().find_map(|it| match it.address {
                IpAddr::V4(address) if it.interface == *name => Some((address, it.prefix)),
                _ => None,
            })
        };
        match uplink.and_then(|name| Some((own(&name)?, name))) {
            Some(((address, prefix), link)) => Self { link, address, prefix },
            None => Self { link: SOME_LINK.0.to_owned(), address: SOME_LINK.1, prefix: SOME_LINK.2 },
        }
    }

    /// Somebody else on the same network.
    fn neighbour(&self) -> IpAddr {
        let bit = if self.prefix >= 31 { 1 } else { 2 };
        IpAddr::V4((u32::from(self.address) ^ bit).into())
    }
}

/// What opens the port of `wanted` to others than sandboxes, a line for each rule. A host that lets everything in by a policy has
/// no such rule.
pub(super) fn notes(rules: &Ruleset, wanted: &Flow, outside: &Outside, files: &Files) -> Vec<String> {
    let mut told: Vec<(Place, String)> = Vec::new();
    for (whom, source) in [("everybody", ANYBODY), ("the local network", outside.neighbour())] {
        for to in [IpAddr::V4(outside.address), wanted.destination.ip()] {
            for (place, way) in openers(rules, source, to, wanted, outside) {
                if told.iter().all(|(known, _)| *known != place) {
                    let text = line(&place, &way, whom, rules, files);
                    told.push((place, text));
                }
            }
        }
    }
    told.into_iter().take(MOST).map(|(_, text)| text).collect()
}

fn line(place: &Place, way: &[String], whom: &str, rules: &Ruleset, files: &Files) -> String {
    let way: Vec<&str> = way.iter().map(String::as_str).collect();
    let from = setting(place, &way, rules, files).map_or_else(String::new, |it| format!(" ({})", it.text));
    format!("also opens this port to {whom}: {}{from}", sanitize(&place.to_string()))
}

/// The rules that let `source` in, with the chains before them: each is what opens the port once those before it are gone, and
/// without all of them it is closed.
fn openers(
    rules: &Ruleset,
    source: IpAddr,
    to: IpAddr,
    wanted: &Flow,
    outside: &Outside,
) -> Vec<(Place, Vec<String>)> {
    let there = SocketAddr::new(to, wanted.destination.port());
    let flow = Flow::new(&outside.link, SocketAddr::new(source, wanted.source.port()), there);
    let at = |interface: &str, address: IpAddr, prefix| LocalAddress {
        interface: interface.to_owned(),
        address,
        prefix,
    };
    let world = World {
        // Of the bridge only the address counts here.
        addresses: vec![
            at(&outside.link, outside.address.into(), outside.prefix),
            at(&wanted.input, wanted.destination.ip(), 32),
        ],
        way_back: outside.link.clone(),
        uplink: Some(outside.link.clone()),
        // Whom the host passes something on to is another port's business.
        forwards: false,
        route_localnet: false,
        bridge: false,
        bridge_nf_call: false,
    };
    // Copied once something is taken out of it.
    let mut rules = Cow::Borrowed(rules);
    let mut found = Vec::new();
    while found.len() <= MOST {
        let walk = rules.connect(&flow, &world);
        let Some(first) = walk.packets.first() else { return Vec::new() };
        let stopped = matches!(first.outcome, Outcome::Dropped(_) | Outcome::Rejected { .. });
        if stopped {
            return found;
        }
        if first.outcome != Outcome::Open {
            return Vec::new();
        }
        let lets_in = |at: &usize| {
            let hook = base_of(first.steps[..=*at].iter().map(|step| &step.place), &rules);
            first.steps[*at].effect == Effect::Accept && hook.is_some_and(|(_, hook)| hook == Hook::Input)
        };
        let accepted = (0..first.steps.len()).rev().find(lets_in);
        // The policy lets everybody in, whatever rules say.
        let Some(accepted) = accepted else { return Vec::new() };
        let place = first.steps[accepted].place.clone();
        let way = first.steps[..accepted].iter().map(|step| step.place.chain.clone()).collect();
        remove(rules.to_mut(), &place);
        found.push((place, way));
    }
    found
}

fn remove(rules: &mut Ruleset, place: &Place) {
    let tables = rules.tables.iter_mut().filter(|table| {
        (table.backend, table.family, &table.name) == (place.backend, place.family, &place.table)
    });
    for chain in tables.flat_map(|table| &mut table.chains).filter(|chain| chain.name == place.chain) {
        chain.rules.retain(|rule| Some(rule.number) != place.rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruleset::{Backend, Family};

    fn told(input: &str, rules: &str) -> Vec<String> {
        let text = format!(
            "*filter\n:INPUT {input} [0:0]\n:ufw-before-input - [0:0]\n:ufw-user-input - [0:0]\n\
            -A INPUT -i lo -j ACCEPT\n-A INPUT -j ufw-before-input\n-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
            -A ufw-before-input -j ufw-user-input\n{rules}COMMIT\n"
        );
        let mut parsed = Ruleset::default();
        parsed.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
        let flow = Flow::new("br0", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap());
        let outside = Outside::of(&World::new(&flow, 16), None);
        notes(&parsed, &flow, &outside, &Files::default())
    }

    const ALLOW: &str = "-A ufw-user-input -p tcp -m tcp --dport 8080 -j ACCEPT\n";

    #[test]
    fn a_rule_without_a_source_opens_the_port_to_everybody() {
        let found = told("DROP", ALLOW);
        assert_eq!(found.len(), 1, "{found:?}");
        let text = "also opens this port to everybody: ip filter ufw-user-input rule 1: -p tcp -m tcp --dport 8080 -j ACCEPT (";
        assert!(found[0].starts_with(text), "{found:?}");
        let both = told("DROP", &format!("{ALLOW}-A INPUT -j ACCEPT\n"));
        assert_eq!(both.len(), 2, "each of them alone opens it: {both:?}");
        // The sandboxes themselves may be blocked.
        let blocked = format!("-A ufw-user-input -s 172.18.0.0/16 -j DROP\n{ALLOW}");
        assert_eq!(told("DROP", &blocked).len(), 1);
    }

    #[test]
    fn a_rule_for_the_local_network_or_to_the_gateways_address_is_told_too() {
        let lan = told("DROP", "-A ufw-user-input -s 192.0.2.0/24 -p tcp -m tcp --dport 8080 -j ACCEPT\n");
        assert!(lan[0].starts_with("also opens this port to the local network: "), "{lan:?}");
        let gateway =
            told("DROP", "-A ufw-user-input -d 172.18.0.1/32 -p tcp -m tcp --dport 8080 -j ACCEPT\n");
        assert!(gateway[0].starts_with("also opens this port to everybody: "), "{gateway:?}");
    }

    #[test]
    fn narrow_rules_and_hosts_without_a_firewall_have_nothing_to_tell() {
        for narrow in [
            "",
            "-A ufw-user-input -s 172.18.0.0/16 -d 172.18.0.1/32 -p tcp -m tcp --dport 8080 -j ACCEPT\n",
            "-A ufw-user-input -i br0 -p tcp -m tcp --dport 8080 -j ACCEPT\n",
            "-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\n",
        ] {
            assert_eq!(told("DROP", narrow), Vec::<String>::new(), "{narrow}");
        }
        assert_eq!(told("ACCEPT", ALLOW), Vec::<String>::new(), "the policy opens it anyway");
        assert_eq!(
            told("DROP", "-A INPUT -m unheard-of -j DROP\n-A INPUT -j ACCEPT\n"),
            Vec::<String>::new()
        );
    }
}
