//! The way from a sandbox to the service and back, as far as it leads: what a picture of it is drawn from.

use ruleset::{Hook, Outcome, PacketWalk, Place, Ruleset, Table, TableFamily, Walk};
use serde::{Deserialize, Serialize};

use crate::sanitize::sanitize;

/// A station of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Leg {
    /// What it is.
    pub station: Station,
    /// Its name: an address, a bridge, a hook such as `prerouting`.
    pub name: String,
    /// On the answer's way back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer: bool,
    /// The way ends here, and why. Nothing comes after it but what is not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// A kind of station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Station {
    /// The sandbox.
    Sandbox,
    /// The network's bridge.
    Bridge,
    /// A place in the kernel where rules are asked.
    Hook,
    /// The host's rules, where it is not known which of them.
    Firewall,
    /// The service's socket.
    Socket,
}

/// What there is between the ends, and how far it leads.
pub(super) enum Seen<'a> {
    /// The rules' way, which is certain.
    Rules(&'a Walk, &'a Ruleset),
    /// The packets are stopped, and it is not certain by which rule.
    Stopped(&'static str),
    /// They are stopped at the bridge, below the firewall.
    StoppedBefore(&'static str),
    /// They pass.
    Passes,
}

/// The ends of the way.
pub(super) struct Ends {
    pub(super) sandbox: String,
    pub(super) bridge: String,
    pub(super) socket: String,
    /// Why nothing answers at the socket, if nothing does.
    pub(super) no_answer: Option<&'static str>,
}

/// The way between these ends.
pub(super) fn way(ends: &Ends, seen: &Seen<'_>) -> Vec<Leg> {
    let mut legs = vec![leg(Station::Sandbox, &ends.sandbox), leg(Station::Bridge, &ends.bridge)];
    let socket = Leg { stopped: ends.no_answer.map(str::to_owned), ..leg(Station::Socket, &ends.socket) };
    match seen {
        Seen::Passes => {}
        Seen::StoppedBefore(why) => legs[1].stopped = Some((*why).to_owned()),
        Seen::Stopped(why) => {
            legs.push(Leg { stopped: Some((*why).to_owned()), ..leg(Station::Firewall, "firewall") });
        }
        Seen::Rules(walk, rules) => {
            let stop =
                walk.packets.last().and_then(|packet| Some((packet, stop(packet, rules, &walk.outcome)?)));
            let way_in = ["prerouting", "input"];
            match &stop {
                Some((packet, (hook, why))) if !packet.packet.is_answer() => {
                    // What is asked before or beside the usual hooks has a name of its own.
                    let before = way_in.iter().take_while(|it| *it != hook);
                    let before = before.filter(|_| way_in.contains(&hook.as_str()));
                    legs.extend(before.map(|name| leg(Station::Hook, name)));
                    legs.push(Leg { stopped: Some(why.clone()), ..leg(Station::Hook, hook) });
                }
                Some((_, (hook, why))) => {
                    legs.extend(way_in.map(|name| leg(Station::Hook, name)));
                    legs.push(leg(Station::Socket, &ends.socket));
                    let way_out = ["output", "postrouting"].into_iter().take_while(|it| it != hook);
                    let way_out: Vec<&str> =
                        if hook == "postrouting" { way_out.collect() } else { Vec::new() };
                    let back = |name: &str| Leg { answer: true, ..leg(Station::Hook, name) };
                    legs.extend(way_out.into_iter().map(back));
                    legs.push(Leg { stopped: Some(why.clone()), ..back(hook) });
                    legs.push(Leg { answer: true, ..leg(Station::Sandbox, &ends.sandbox) });
                    return legs;
                }
                None => legs.extend(way_in.map(|name| leg(Station::Hook, name))),
            }
        }
    }
    legs.push(socket);
    legs
}

fn leg(station: Station, name: &str) -> Leg {
    Leg { station, name: sanitize(name), answer: false, stopped: None }
}

/// The hook where a packet is stopped, and by what.
fn stop(packet: &PacketWalk, rules: &Ruleset, outcome: &Outcome) -> Option<(String, String)> {
    let (place, did) = match outcome {
        Outcome::Dropped(place) => (place, "dropped:"),
        Outcome::Rejected { place, .. } => (place, "rejected:"),
        Outcome::Redirected { place, .. } => (place, "taken elsewhere:"),
        Outcome::Open | Outcome::Undetermined { .. } => return None,
    };
    let rule = place.rule.map_or_else(|| "policy".to_owned(), |number| format!("rule {number}"));
    let why = format!("{did} {} {} {} {rule}", place.family, sanitize(&place.table), sanitize(&place.chain));
    Some((hook(packet, place, rules)?, why))
}

/// The hook of the base chain that led to a place.
fn hook(packet: &PacketWalk, place: &Place, rules: &Ruleset) -> Option<String> {
    let places = packet.steps.iter().map(|step| &step.place).chain([place]);
    let (family, hook) = base_of(places, rules)?;
    Some(match family {
        TableFamily::Bridge => format!("bridge {}", hook.name()),
        _ => hook.name().to_owned(),
    })
}

/// The family and the hook of the last base chain among the places that a packet came by.
pub(super) fn base_of<'a>(
    places: impl DoubleEndedIterator<Item = &'a Place>,
    rules: &Ruleset,
) -> Option<(TableFamily, Hook)> {
    places.rev().find_map(|it| {
        let of =
            |table: &&Table| (table.backend, table.family, &table.name) == (it.backend, it.family, &it.table);
        let mut chains = rules.tables.iter().filter(of).flat_map(|table| &table.chains);
        let base = chains.find(|chain| chain.name == it.chain)?.base.as_ref()?;
        Some((it.family, base.hook))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruleset::{Backend, Family, Flow, World};

    /// The way through these rules, a word for each station.
    fn drawn(text: &str, no_answer: Option<&'static str>) -> Vec<String> {
        let mut rules = Ruleset::default();
        rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
        let flow = Flow::new("br0", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap());
        let walk = rules.connect(&flow, &World::new(&flow, 16));
        let of = |text: &str| text.to_owned();
        let ends =
            Ends { sandbox: of("sandbox"), bridge: of("br0"), socket: of("172.18.0.1:8080"), no_answer };
        let words = |leg: Leg| {
            let answer = if leg.answer { "<" } else { "" };
            leg.stopped
                .map_or_else(|| format!("{answer}{}", leg.name), |why| format!("{answer}{}: {why}", leg.name))
        };
        way(&ends, &Seen::Rules(&walk, &rules)).into_iter().map(words).collect()
    }

    #[test]
    fn the_way_ends_at_the_hook_whose_chains_decide() {
        let ufw = "*filter\n:INPUT ACCEPT [0:0]\n:ufw-user-input - [0:0]\n-A INPUT -j ufw-user-input\n\
            -A ufw-user-input -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n";
        let stop = "input: dropped: ip filter ufw-user-input rule 1";
        assert_eq!(drawn(ufw, None), ["sandbox", "br0", "prerouting", stop, "172.18.0.1:8080"]);
        let raw = "*raw\n:PREROUTING DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
        let stop = "prerouting: dropped: ip raw PREROUTING policy";
        assert_eq!(drawn(raw, None), ["sandbox", "br0", stop, "172.18.0.1:8080"]);
    }

    #[test]
    fn the_answers_way_back_is_drawn_where_it_ends() {
        let out = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n";
        let stop = "<output: dropped: ip filter OUTPUT policy";
        let way = ["sandbox", "br0", "prerouting", "input", "172.18.0.1:8080", stop, "<sandbox"];
        assert_eq!(drawn(out, None), way);
        let mangle = "*mangle\n:POSTROUTING DROP [0:0]\nCOMMIT\n";
        assert_eq!(
            drawn(mangle, None)[5..],
            ["<output", "<postrouting: dropped: ip mangle POSTROUTING policy", "<sandbox"]
        );
    }

    #[test]
    fn an_open_way_leads_to_the_socket_which_may_be_nobodys() {
        let open = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n";
        assert_eq!(drawn(open, None), ["sandbox", "br0", "prerouting", "input", "172.18.0.1:8080"]);
        assert_eq!(drawn(open, Some("nothing listens"))[4], "172.18.0.1:8080: nothing listens");
    }
}
