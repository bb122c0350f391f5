//! What might open the path: commands of the tool in charge, and what they do to the rules.
//!
//! Which one it is follows from the rule that decides, not from which firewall is active: `ufw allow` appends, and what comes
//! before it stays before it.

use std::net::IpAddr;

use ruleset::{Backend, Effect, Flow, Place, Ruleset, TableFamily, Walk};
use serde_json::json;

use super::setting::{is_ufw, zone_of};
use super::ufw::{UfwRemedy, UfwRule};
use crate::twin::Rules;

/// A change of the rules, in both forms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    /// What a user runs, in this order.
    pub(super) commands: Vec<String>,
    /// What takes it back.
    pub(super) undo: Vec<String>,
    /// The same for a twin.
    pub(super) change: Rules,
    /// What takes that back there, where it is known beforehand; else the captured rules are restored from the beginning.
    pub(super) back: Option<Rules>,
    /// The same as typed values, where it is UFW's.
    pub(super) ufw: Option<UfwRemedy>,
    /// What is to be known of it.
    pub(super) note: Option<&'static str>,
}

/// The flow to open.
struct Opening<'a> {
    subnet: &'a str,
    address: IpAddr,
    port: u16,
    /// Whether it is the service's answers that have to pass.
    answer: bool,
}

impl Opening<'_> {
    /// As iptables has it, after the chain.
    fn iptables(&self, interface: Option<&str>) -> String {
        let way = interface.map_or_else(String::new, |name| format!("-i {name} "));
        let Self { subnet, address, port, answer } = self;
        if *answer {
            return format!("-s {address} -d {subnet} {way}-p tcp -m tcp --sport {port} -j ACCEPT");
        }
        format!("-s {subnet} -d {address} {way}-p tcp -m tcp --dport {port} -j ACCEPT")
    }

    /// What nft's rule is found by again.
    fn comment(&self) -> String {
        format!("openshell-probe-{}", self.port)
    }

    /// As nft has it.
    fn nft(&self) -> String {
        let Self { subnet, address, port, answer } = self;
        if *answer {
            return format!("ip saddr {address} ip daddr {subnet} tcp sport {port} accept");
        }
        format!("ip saddr {subnet} ip daddr {address} tcp dport {port} accept")
    }

    fn nft_json(&self) -> Option<serde_json::Value> {
        let (network, length) = self.subnet.split_once('/')?;
        let length: u8 = length.parse().ok()?;
        let equal = |protocol: &str, field: &str, right: serde_json::Value| json!({"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}});
        let [sandboxes, host, port] =
            if self.answer { ["daddr", "saddr", "sport"] } else { ["saddr", "daddr", "dport"] };
        Some(json!([
            equal("ip", sandboxes, json!({"prefix": {"addr": network, "len": length}})),
            equal("ip", host, json!(self.address.to_string())),
            equal("tcp", port, json!(self.port)),
            {"accept": null},
        ]))
    }
}

/// The candidates against the rule at `place`, the best one first. `subnet` is the sandboxes', in its canonical form.
pub(super) fn candidates(
    place: &Place,
    walk: &Walk,
    rules: &Ruleset,
    subnet: &str,
    flow: &Flow,
) -> Vec<Candidate> {
    let stopped = walk.packets.iter().find(|packet| packet.outcome == walk.outcome);
    let answer = stopped.is_some_and(|packet| packet.packet.is_answer());
    let opening = Opening { subnet, address: flow.destination.ip(), port: flow.destination.port(), answer };
    let names = [&place.table, &place.chain];
    let plain =
        |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !names.into_iter().all(plain) || place.family == TableFamily::Ip6 {
        return Vec::new();
    }
    if place.backend == Backend::Native {
        return native(place, walk, &opening).into_iter().collect();
    }
    // UFW and firewalld have no command for what the host sends.
    if !answer
        && is_ufw(rules)
        && place.table == "filter"
        && let Some(any) = ufw(place, walk, rules, &opening, &flow.input, false)
    {
        let bound = ufw(place, walk, rules, &opening, &flow.input, true);
        return [Some(any), bound].into_iter().flatten().collect();
    }
    by_hand(place, rules, &opening).into_iter().collect()
}

/// UFW's own command, where UFW's user rules come before the deciding one, or hold it; `bound` to the bridge, or for any interface.
fn ufw(
    place: &Place,
    walk: &Walk,
    rules: &Ruleset,
    opening: &Opening<'_>,
    bridge: &str,
    bound: bool,
) -> Option<Candidate> {
    let chain = place.chain.as_str();
    let steps = walk.packets.first().map_or(&[][..], |packet| &packet.steps);
    let asked = steps.iter().any(|step| step.effect == Effect::Jump("ufw-user-input".to_owned()));
    if !asked {
        return None;
    }
    let IpAddr::V4(to) = opening.address else { return None };
    let interface = bound.then_some(bridge);
    let rule = UfwRule {
        interface: interface.map(str::to_owned),
        ..UfwRule::new(opening.subnet, to, opening.port)?
    };
    if !rule.is_sound() {
        return None;
    }
    let (allow, text) = (rule.arguments().join(" "), opening.iptables(interface));
    let undo = vec![format!("ufw delete {allow}")];
    let first = matches!(chain, "ufw-user-input" | "ufw-user-limit");
    let line =
        if first { format!("-I ufw-user-input 1 {text}") } else { format!("-A ufw-user-input {text}") };
    let exists = has_rule(rules, "ufw-user-input", opening, interface);
    let back = match (first, exists) {
        (true, _) => Some("-D ufw-user-input 1".to_owned()),
        (false, false) => Some(format!("-D ufw-user-input {text}")),
        // The first of two would go, and it is the other one.
        (false, true) => None,
    };
    let (change, back) = (in_table("filter", &line), back.map(|line| in_table("filter", &line)));
    // `ufw prepend` skips a rule that exists anywhere.
    let there = first && exists;
    let commands = match (first, there) {
        (true, true) => vec![format!("ufw delete {allow}"), format!("ufw prepend {allow}")],
        (true, false) => vec![format!("ufw prepend {allow}")],
        (false, _) => vec![format!("ufw {allow}")],
    };
    let ufw = Some(UfwRemedy { rule, first, there, bridge: bridge.to_owned() });
    let note = bound.then_some("it holds for this bridge only: a network that is made anew has another");
    Some(Candidate { commands, undo, change, back, ufw, note })
}

/// One command of iptables, for a restore.
fn in_table(table: &str, line: &str) -> Rules {
    Rules { ipv4: Some(format!("*{table}\n{line}\nCOMMIT\n")), ..Rules::default() }
}

/// Whether the chain has the very rule that opens the flow.
fn has_rule(rules: &Ruleset, chain: &str, opening: &Opening<'_>, interface: Option<&str>) -> bool {
    let wanted = opening.iptables(interface);
    let host = format!("-d {}/32 ", opening.address);
    let chains =
        rules.tables.iter().filter(|table| table.family == TableFamily::Ip).flat_map(|table| &table.chains);
    chains
        .filter(|it| it.name == chain)
        .flat_map(|it| &it.rules)
        .any(|rule| rule.text.replace(&host, &format!("-d {} ", opening.address)) == wanted)
}

/// A rule of iptables before the one that decides.
fn by_hand(place: &Place, rules: &Ruleset, opening: &Opening<'_>) -> Option<Candidate> {
    let program = match place.backend {
        Backend::Legacy => "iptables-legacy",
        _ => "iptables",
    };
    if !matches!(place.table.as_str(), "raw" | "mangle" | "filter" | "security")
        || (place.chain == "OUTPUT" && !opening.answer)
    {
        return None;
    }
    // Before a policy there is only the end of its chain, and the top is as good.
    let at = place.rule.unwrap_or(1);
    let (chain, text) = (&place.chain, opening.iptables(None));
    let table = if place.table == "filter" { String::new() } else { format!("-t {} ", place.table) };
    let beside =
        rules.written_beside(&place.table, place.family).filter(|_| place.backend == Backend::Legacy);
    let (change, back) = match beside {
        Some(name) => {
            let mut rule = json!({
                "family": place.family.name(), "table": name, "chain": chain, "expr": opening.nft_json()?
            });
            if at > 1 {
                rule["index"] = (at - 1).into();
            }
            let nft = Some(json!({"nftables": [{"insert": {"rule": rule}}]}));
            (Rules { nft, ..Rules::default() }, None)
        }
        None => (
            in_table(&place.table, &format!("-I {chain} {at} {text}")),
            Some(in_table(&place.table, &format!("-D {chain} {at}"))),
        ),
    };
    Some(Candidate {
        commands: vec![format!("{program} {table}-I {chain} {at} {text}")],
        undo: vec![format!("{program} {table}-D {chain} {text}")],
        change,
        back,
        ufw: None,
        note: Some("it lasts until the rules are loaded anew, at the next start at the latest"),
    })
}

fn native(place: &Place, walk: &Walk, opening: &Opening<'_>) -> Option<Candidate> {
    if place.family == TableFamily::Inet && place.table == "firewalld" {
        return if opening.answer { None } else { firewalld(walk, opening) };
    }
    if !matches!(place.family, TableFamily::Inet | TableFamily::Ip) {
        return None;
    }
    let (family, table, chain) = (place.family, &place.table, &place.chain);
    let (comment, expressions) = (opening.comment(), opening.nft_json()?);
    let rule = json!({
        "family": family.name(), "table": table, "chain": chain, "comment": comment, "expr": expressions
    });
    Some(Candidate {
        commands: vec![format!(
            "nft insert rule {family} {table} {chain} {} comment {comment}",
            opening.nft()
        )],
        // nft takes no rule back but by its number, which only the kernel knows.
        undo: vec![format!(
            "nft delete rule {family} {table} {chain} handle \"$(nft -a list chain {family} {table} {chain} | \
             sed -n 's/.* comment \"{comment}\" # handle //p')\""
        )],
        change: Rules { nft: Some(json!({"nftables": [{"insert": {"rule": rule}}]})), ..Rules::default() },
        back: None,
        ufw: None,
        note: Some("it lasts until the rules are loaded anew: put it into their file too"),
    })
}

/// A rich rule of the zone that the packets came into, now and for good.
fn firewalld(walk: &Walk, opening: &Opening<'_>) -> Option<Candidate> {
    let steps = walk.packets.first().map_or(&[][..], |packet| &packet.steps);
    let zone = steps.iter().rev().find_map(|step| zone_of(&step.place.chain))?;
    let rich = format!(
        "rule family=\"ipv4\" source address=\"{}\" destination address=\"{}\" port port=\"{}\" protocol=\"tcp\" accept",
        opening.subnet, opening.address, opening.port
    );
    let both = |verb: &str| {
        ["", "--permanent "]
            .map(|permanent| format!("firewall-cmd {permanent}--zone={zone} --{verb}-rich-rule='{rich}'"))
            .to_vec()
    };
    let chain = format!("filter_IN_{zone}_allow");
    let rule = json!({"family": "inet", "table": "firewalld", "chain": chain, "expr": opening.nft_json()?});
    Some(Candidate {
        commands: both("add"),
        undo: both("remove"),
        change: Rules { nft: Some(json!({"nftables": [{"add": {"rule": rule}}]})), ..Rules::default() },
        back: None,
        ufw: None,
        note: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruleset::{Family, World};

    const UFW: &str = "*filter\n:INPUT DROP [0:0]\n:ufw-before-input - [0:0]\n:ufw-user-input - [0:0]\nHEAD\n\
        -A INPUT -j ufw-before-input\n-A ufw-before-input -j ufw-user-input\nRULES\nCOMMIT\n";

    fn all(text: &str) -> Vec<Candidate> {
        let mut rules = Ruleset::default();
        rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
        let flow = Flow::new("br0", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap());
        let walk = rules.connect(&flow, &World::new(&flow, 16));
        let place = walk.outcome.place().expect("something decides").clone();
        candidates(&place, &walk, &rules, "172.18.0.0/16", &flow)
    }

    fn commands(text: &str) -> Vec<String> {
        all(text).remove(0).commands
    }

    #[test]
    fn the_command_follows_from_the_rule_that_decides() {
        let ufw = |head: &str, rules: &str| commands(&UFW.replace("HEAD", head).replace("RULES", rules));
        let allow = "allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp";
        let deny = "-A ufw-user-input -p tcp -m tcp --dport 8080 -j DROP";
        let there =
            "-A ufw-user-input -s 172.18.0.0/16 -d 172.18.0.1/32 -p tcp -m tcp --dport 8080 -j ACCEPT";
        assert_eq!(ufw("", ""), [format!("ufw {allow}")]);
        assert_eq!(ufw("", deny), [format!("ufw prepend {allow}")]);
        assert_eq!(
            ufw("", &format!("{deny}\n{there}")),
            [format!("ufw delete {allow}"), format!("ufw prepend {allow}")]
        );
        let both = all(&UFW.replace("HEAD", "").replace("RULES", ""));
        assert_eq!(
            both[1].commands,
            ["ufw allow in on br0 from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp"]
        );
        let change = both[1].change.ipv4.as_deref().unwrap_or_default();
        assert!(
            change.contains("-d 172.18.0.1 -i br0 -p tcp "),
            "what is tried is what is printed: {change}"
        );
        let ahead = ufw("-A INPUT -i br0 -j DROP", "");
        assert_eq!(ahead.len(), 1, "no rule of UFW's comes before it");
        assert!(ahead[0].starts_with("iptables -I INPUT 1 -s 172.18.0.0/16 -d 172.18.0.1 "), "{ahead:?}");
    }

    #[test]
    fn what_stops_an_answer_is_answered_with_the_answers_own_rule() {
        let save = |rule: &str| {
            format!("*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT {rule}\nCOMMIT\n")
        };
        let wanted =
            "iptables -I OUTPUT 1 -s 172.18.0.1 -d 172.18.0.0/16 -p tcp -m tcp --sport 8080 -j ACCEPT";
        for rule in
            ["-p tcp -m tcp --sport 8080 -j DROP", "-p tcp -m tcp --sport 8080 --tcp-flags SYN NONE -j DROP"]
        {
            assert_eq!(commands(&save(rule)), [wanted]);
        }
    }
}
