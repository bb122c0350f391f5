//! What the kernel does, said rule by rule. Where it surprises, the kernel's function is named.

mod answers;

use super::*;
use crate::{Backend, Family};

fn rules(text: &str) -> Ruleset {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
    rules
}

/// A filter table with these rules in INPUT, a policy, and further lines.
fn input(policy: &str, lines: &[&str]) -> Ruleset {
    let chains = ":one - [0:0]\n:two - [0:0]\n:OUTPUT ACCEPT [0:0]\n";
    let lines: String = lines.iter().map(|line| format!("-A {line}\n")).collect();
    rules(&format!("*filter\n:INPUT {policy} [0:0]\n{chains}{lines}COMMIT\n"))
}

fn flow() -> Flow {
    Flow::new("br-sandbox", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap())
}

fn walk(rules: &Ruleset) -> Walk {
    rules.connect(&flow(), &World::new(&flow(), 16))
}

/// The deciding place as `CHAIN NUMBER`, with the packet that met it, or what the outcome is without a place.
fn decided(rules: &Ruleset) -> String {
    let walk = walk(rules);
    let met = walk.packets.iter().find(|packet| packet.outcome.place() == walk.outcome.place()).unwrap();
    let word = match &walk.outcome {
        Outcome::Open => return "open".into(),
        Outcome::Dropped(_) => "dropped",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Redirected { .. } => "redirected",
        Outcome::Undetermined { .. } => "undetermined",
    };
    let place = walk.outcome.place().unwrap();
    let rule = place.rule.map_or("policy".to_owned(), |rule| rule.to_string());
    format!("{} {word} {} {rule}", met.packet, place.chain)
}

#[test]
fn the_first_rule_that_matches_decides() {
    assert_eq!(decided(&input("DROP", &["INPUT -p tcp -j ACCEPT", "INPUT -j DROP"])), "open");
    assert_eq!(
        decided(&input("ACCEPT", &["INPUT -p udp -j ACCEPT", "INPUT -j DROP"])),
        "SYN dropped INPUT 2"
    );
    assert_eq!(decided(&input("DROP", &[])), "SYN dropped INPUT policy");
}

#[test]
fn a_jump_comes_back_and_a_goto_does_not() {
    let jump = ["INPUT -j one", "INPUT -j ACCEPT", "one -p udp -j DROP"];
    assert_eq!(decided(&input("DROP", &jump)), "open");
    let goto = ["INPUT -g one", "INPUT -j ACCEPT", "one -p udp -j DROP"];
    assert_eq!(decided(&input("DROP", &goto)), "SYN dropped INPUT policy");
    // The end of a chain that was gone to is the end of the one that went.
    let both = ["INPUT -j one", "INPUT -p tcp -j DROP", "one -g two", "one -j ACCEPT", "two -j RETURN"];
    assert_eq!(decided(&input("ACCEPT", &both)), "SYN dropped INPUT 2");
}

#[test]
fn return_leaves_the_chain_and_in_a_base_chain_the_policy_is_next() {
    let chain = ["INPUT -j one", "INPUT -j DROP", "one -j RETURN", "one -j ACCEPT"];
    assert_eq!(decided(&input("ACCEPT", &chain)), "SYN dropped INPUT 2");
    assert_eq!(decided(&input("DROP", &["INPUT -j RETURN", "INPUT -j ACCEPT"])), "SYN dropped INPUT policy");
}

#[test]
fn every_packet_is_asked_anew() {
    let ack = [
        "INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
        "INPUT -m length --length 52:100 -j DROP",
    ];
    assert_eq!(decided(&input("ACCEPT", &ack)), "ACK dropped INPUT 2");
    let reply = ["OUTPUT -p tcp -m tcp --sport 8080 -m conntrack --ctstate ESTABLISHED -j DROP"];
    assert_eq!(decided(&input("ACCEPT", &reply)), "SYN-ACK dropped OUTPUT 1");
    let new = ["INPUT -m conntrack --ctstate NEW -j ACCEPT"];
    assert_eq!(decided(&input("DROP", &new)), "ACK dropped INPUT policy");
    let both = [
        "INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT",
        "INPUT -p tcp -m tcp --dport 8080 -j ACCEPT",
    ];
    assert_eq!(decided(&input("DROP", &both)), "open");
}

#[test]
fn negation_turns_a_match() {
    for (rule, expected) in [
        ("! -s 172.18.0.0/16", "open"),
        ("! -s 172.19.0.0/16", "dropped"),
        ("! -i br-sandbox", "open"),
        ("! -i br-+", "open"),
        ("! -i eth+", "dropped"),
        ("! -p udp", "dropped"),
        ("-p tcp -m tcp ! --dport 8080", "open"),
        ("-p tcp -m tcp ! --dport 1:1024", "dropped"),
        ("-p tcp -m multiport ! --dports 22,8000:8090", "open"),
        ("-p tcp -m multiport --ports 40000", "dropped"),
        ("-p udp -m udp ! --dport 53", "open"),
        ("-m conntrack ! --ctstate NEW -m length --length 60", "open"),
        ("-m addrtype ! --dst-type LOCAL", "open"),
        ("-m iprange ! --src-range 172.18.0.3-172.18.0.9", "dropped"),
        ("-s 0.0.0.2/0.0.0.255", "dropped"),
        ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m length --length 60", "open"),
        ("! -o eth0", "dropped"),
        ("-o eth0", "open"),
        ("-f", "open"),
        ("-m pkttype --pkt-type broadcast", "open"),
        ("-m ttl --ttl-lt 64", "open"),
        ("-m ttl --ttl-gt 63", "dropped"),
    ] {
        let outcome = decided(&input("ACCEPT", &[&format!("INPUT {rule} -j DROP")]));
        assert!(outcome.contains(expected), "{rule}: {outcome}");
    }
}

#[test]
fn marks_are_kept_from_hook_to_hook_and_on_the_connection() {
    let text = "*mangle\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A PREROUTING -m conntrack --ctstate NEW -j MARK --set-xmark 0x12/0xff\n\
        -A PREROUTING -m conntrack --ctstate NEW -j CONNMARK --save-mark --nfmask 0xf --ctmask 0xffffffff\n\
        -A OUTPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff\nCOMMIT\n\
        *filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -m mark ! --mark 0x10/0xf0 -m conntrack --ctstate NEW -j DROP\n\
        -A OUTPUT -m mark --mark 0x2 -m connmark --mark 0x2 -j DROP\nCOMMIT\n";
    assert_eq!(decided(&rules(text)), "SYN-ACK dropped OUTPUT 1");
}

#[test]
fn an_unknown_match_is_passed_over_only_where_it_makes_no_difference() {
    let log = ["INPUT -m string --string \"x\" --algo bm -j LOG", "INPUT -j ACCEPT"];
    assert_eq!(decided(&input("DROP", &log)), "open");
    let accept = ["INPUT -m time --timestart 08:00:00 -j ACCEPT"];
    assert_eq!(decided(&input("ACCEPT", &accept)), "open");
    assert_eq!(decided(&input("DROP", &accept)), "SYN undetermined INPUT 1");
    // It matches or not: the next rule drops either way, but a chain that is unknown could have accepted.
    let before = ["INPUT -m time --timestart 08:00:00 -j one", "INPUT -j DROP", "one -p udp -j ACCEPT"];
    assert_eq!(decided(&input("ACCEPT", &before)), "SYN dropped INPUT 2");
    // Another part of the rule says no.
    assert_eq!(decided(&input("ACCEPT", &["INPUT -p udp -m u32 --u32 \"0=0\" -j DROP"])), "open");
    assert_eq!(decided(&input("ACCEPT", &["INPUT -j SOMETHING"])), "SYN undetermined INPUT 1");
}

#[test]
fn a_mark_of_unknown_bits_is_known_in_the_others() {
    let mark = "INPUT -m time --timestart 08:00:00 -j MARK --set-xmark 0x1/0x1";
    let drop = |mask: &str| format!("INPUT -m mark --mark {mask} -j DROP");
    assert_eq!(decided(&input("ACCEPT", &[mark, &drop("0x2/0x2")])), "open");
    assert_eq!(decided(&input("ACCEPT", &[mark, &drop("0x1/0x1")])), "SYN undetermined INPUT 2");
}

#[test]
fn without_conntrack_its_questions_have_no_answer() {
    // Before conntrack a packet is INVALID to `--ctstate`, and to nothing else (`conntrack_mt`).
    let raw = |rule: &str| {
        rules(&format!("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rule} -j DROP\nCOMMIT\n"))
    };
    assert_eq!(decided(&raw("-m conntrack --ctstate NEW")), "open");
    assert_eq!(decided(&raw("-m conntrack --ctstate INVALID")), "SYN dropped PREROUTING 1");
    assert_eq!(decided(&raw("-m conntrack ! --ctstatus EXPECTED")), "open");
    assert_eq!(decided(&raw("-m connmark ! --mark 0x1")), "open");
    let untracked = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CT --notrack\nCOMMIT\n\
        *filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT\n\
        :OUTPUT DROP [0:0]\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n";
    assert_eq!(decided(&rules(untracked)), "SYN-ACK dropped OUTPUT policy");
}

#[test]
fn a_bucket_gives_as_much_as_is_in_it() {
    let limit = |burst| format!("INPUT -m limit --limit 1/min --limit-burst {burst} -j ACCEPT");
    assert_eq!(decided(&input("DROP", &[&limit(4)])), "open");
    assert_eq!(decided(&input("DROP", &[&limit(1)])), "ACK dropped INPUT policy");
    let above = "INPUT -m hashlimit --hashlimit-above 1/min --hashlimit-burst 1 --hashlimit-mode srcip \
                 --hashlimit-name x -j DROP";
    assert_eq!(decided(&input("ACCEPT", &[above])), "ACK dropped INPUT 1");
}

#[test]
fn recent_lists_count_what_this_connection_puts_into_them() {
    let set = "INPUT -m recent --set --name a --mask 255.255.255.255 --rsource";
    let check = |hits| {
        format!(
            "INPUT -m recent --update --seconds 60 --hitcount {hits} --name a --mask 255.255.255.255 --rsource -j DROP"
        )
    };
    assert_eq!(decided(&input("ACCEPT", &[set, &check(1)])), "SYN dropped INPUT 2");
    assert_eq!(decided(&input("ACCEPT", &[set, &check(2)])), "ACK dropped INPUT 2");
    assert_eq!(decided(&input("ACCEPT", &[set, &check(5)])), "open");
    // A list that is read before anything was put into it is taken as empty.
    assert_eq!(decided(&input("ACCEPT", &[&check(1)])), "open");
}

#[test]
fn drops_of_any_table_end_and_accepts_go_on() {
    let text = "*mangle\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n\
        *security\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n\
        *filter\n:INPUT DROP [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n";
    let walk = walk(&rules(text));
    let tables: Vec<_> = walk.packets[0].steps.iter().map(|step| step.place.table.as_str()).collect();
    assert_eq!(tables, ["mangle", "filter", "security"]);
    assert_eq!(walk.outcome.place().unwrap().table, "security");
}

#[test]
fn both_backends_are_on_the_way() {
    let mut both = input("ACCEPT", &[]);
    let legacy = b"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n";
    both.add_save(Backend::Legacy, Family::Ip, legacy).unwrap();
    assert_eq!(walk(&both).outcome.place().unwrap().backend, Backend::Legacy);
}

#[test]
fn only_the_first_packet_is_asked_about_translation() {
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
        -A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
    assert_eq!(decided(&rules(nat)), "open");
    let walk = walk(&rules(nat));
    let of_nat = |packet: &PacketWalk| packet.steps.iter().filter(|step| step.place.table == "nat").count();
    assert_eq!(walk.packets.iter().map(of_nat).collect::<Vec<_>>(), [1, 0, 0, 0, 0, 0]);
    let hits =
        rules(&nat.replace("--dport 80 ", "--dport 8080 ").replace("--to-ports 8080", "--to-ports 9000"));
    assert_eq!(decided(&hits), "SYN redirected PREROUTING 1");
}

#[test]
fn a_bridge_calls_iptables_if_it_is_told_to() {
    let text =
        "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m physdev --physdev-in veth1 -j DROP\nCOMMIT\n";
    let (rules, mut flow) = (rules(text), flow());
    flow.port = Some("veth1".into());
    let mut world = World::new(&flow, 16);
    assert_eq!(rules.connect(&flow, &world).outcome, Outcome::Open);
    world.bridge_nf_call = true;
    assert!(matches!(rules.connect(&flow, &world).outcome, Outcome::Dropped(_)));
    flow.port = None;
    assert!(matches!(rules.connect(&flow, &world).outcome, Outcome::Undetermined { .. }));
}

#[test]
fn the_way_back_decides_about_the_reverse_path() {
    let text = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m rpfilter --invert -j DROP\nCOMMIT\n";
    let mut world = World::new(&flow(), 16);
    assert_eq!(rules(text).connect(&flow(), &world).outcome, Outcome::Open);
    world.way_back = "eth0".into();
    assert!(matches!(rules(text).connect(&flow(), &world).outcome, Outcome::Dropped(_)));
}

#[test]
fn chains_that_call_each_other_end_undetermined() {
    for verb in ["-j", "-g"] {
        let lines = [format!("INPUT {verb} one"), format!("one {verb} two"), format!("two {verb} one")];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        assert!(decided(&input("ACCEPT", &lines)).starts_with("SYN undetermined"), "{verb}");
    }
}

#[test]
fn handing_a_packet_over_is_undetermined_and_so_is_a_target_that_nobody_knows() {
    for target in
        ["NFQUEUE --queue-num 0", "TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1", "OTHER"]
    {
        assert_eq!(decided(&input("ACCEPT", &[&format!("INPUT -j {target}")])), "SYN undetermined INPUT 1");
    }
}

/// `nft_ct_get_eval`: without a connection there is no value, and the kernel breaks the rule off.
#[test]
fn a_rule_that_reads_the_mark_of_no_connection_is_broken_off() {
    let chain = |priority: i32, rule: &str| {
        let text = format!(
            r#"{{"nftables": [{{"table": {{"family": "inet", "name": "t"}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "prerouting", "prio": {priority}, "policy": "accept"}}}},
            {{"rule": {{"family": "inet", "table": "t", "chain": "c", "expr": [{rule}, {{"drop": null}}]}}}}]}}"#
        );
        let mut rules = Ruleset::default();
        rules.add_nft_json(text.as_bytes()).unwrap();
        decided(&rules)
    };
    let read = r#"{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"ct": {"key": "mark"}}}}"#;
    let write = r#"{"mangle": {"key": {"ct": {"key": "mark"}}, "value": {"meta": {"key": "mark"}}}}"#;
    assert_eq!(chain(-300, read), "open");
    assert_eq!(chain(-150, read), "SYN dropped c 1");
    assert_eq!(chain(-300, write), "SYN dropped c 1", "what is set for no connection is set for none");
}

#[test]
fn data_are_as_long_as_they_are() {
    let rules = input("ACCEPT", &["INPUT -p tcp -m length --length 80:65535 -j DROP"]);
    let with = |data| {
        let flow = Flow { data, ..flow() };
        rules.connect(&flow, &World::new(&flow, 16))
    };
    assert_eq!(with(27).outcome, Outcome::Open, "20 and 32 bytes of headers");
    let walk = with(28);
    assert_eq!(walk.packets.last().map(|it| it.packet), Some(Packet::Data));
    assert!(matches!(walk.outcome, Outcome::Dropped(_)));
}

#[test]
fn an_acknowledgement_that_is_lost_is_made_good_by_data() {
    let only = ["INPUT -p tcp -m length --length 52 -j DROP"];
    assert_eq!(decided(&input("ACCEPT", &only)), "open");
    let refused = ["INPUT -p tcp -m length --length 52 -j REJECT --reject-with tcp-reset"];
    assert_eq!(decided(&input("ACCEPT", &refused)), "ACK rejected INPUT 1");
}

/// The way of a connection to port 8080 that is sent on.
fn sent_on(target: &str, lines: &[&str]) -> Walk {
    let lines: String = lines.iter().map(|line| format!("-A {line}\n")).collect();
    let text = format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j {target}\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{lines}COMMIT\n"
    );
    let mut world = World::new(&flow(), 16);
    let lan =
        crate::LocalAddress { interface: "eth0".into(), address: "10.9.0.1".parse().unwrap(), prefix: 24 };
    world.addresses.push(lan);
    rules(&text).connect(&flow(), &world)
}

#[test]
fn what_is_translated_is_followed_to_its_socket() {
    let here = |lines: &[&str]| sent_on("REDIRECT --to-ports 9000", lines).outcome.to_string();
    assert!(here(&[]).starts_with("redirected to 172.18.0.1:9000 by ip nat PREROUTING rule 1"));
    assert!(
        here(&["INPUT -p tcp -m tcp --dport 9000 -j DROP"]).starts_with("dropped by ip filter INPUT rule 1")
    );
    assert!(here(&["INPUT -p tcp -m tcp --dport 8080 -j DROP"]).starts_with("redirected"));
    assert!(here(&["OUTPUT -p tcp -m tcp --sport 9000 -j DROP"]).starts_with("dropped by ip filter OUTPUT"));
    let origin = ["INPUT -m conntrack --ctorigdstport 8080 --ctstate DNAT -j DROP"];
    assert!(here(&origin).starts_with("dropped by ip filter INPUT rule 1"));
}

#[test]
fn what_is_for_another_host_is_followed_through_what_is_forwarded() {
    let there = |lines: &[&str]| sent_on("DNAT --to-destination 10.9.0.2:80", lines).outcome.to_string();
    assert!(there(&["INPUT -j DROP", "OUTPUT -j DROP"]).starts_with("redirected to 10.9.0.2:80"));
    let out = ["FORWARD -i br-sandbox -o eth0 -p tcp -m tcp --dport 80 -m ttl --ttl-eq 63 -j DROP"];
    assert!(there(&out).starts_with("dropped by ip filter FORWARD rule 1"));
    let back = ["FORWARD -s 10.9.0.2 -i eth0 -o br-sandbox -p tcp -m tcp --sport 80 -j DROP"];
    let walk = sent_on("DNAT --to-destination 10.9.0.2:80", &back);
    assert_eq!(walk.packets.last().map(|it| it.packet), Some(Packet::SynAck));
    // Without a route_localnet nobody gets what is sent to the loopback network.
    let lost = sent_on("DNAT --to-destination 127.0.0.1:80", &["INPUT -j DROP"]);
    assert_eq!(lost.packets.len(), 1);
    assert!(matches!(lost.outcome, Outcome::Redirected { .. }));
}

#[test]
fn of_two_tables_of_one_name_the_old_one_is_written_beside() {
    let mut both = input("ACCEPT", &["INPUT -p tcp -m tcp --dport 22 -j ACCEPT"]);
    let legacy =
        b"*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A INPUT -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n";
    both.add_save(Backend::Legacy, Family::Ip, legacy).unwrap();
    let written = both.nft_json();
    assert!(written.not_written.is_empty(), "{:?}", written.not_written);
    let chain = written.chains.iter().find(|it| it.chain == "INPUT").unwrap();
    assert_eq!((chain.table.as_str(), chain.captured_table()), ("legacy-filter", "filter"));
    assert_eq!(chain.rules[1].backend, Backend::Legacy);
    let head = &written.json["nftables"][1]["add"]["chain"];
    assert_eq!((&head["prio"], &head["policy"]), (&(-1).into(), &"drop".into()));
    assert!(both.restore_text(Family::Ip).not_written.is_empty());
    // What was read does what was written: the old table's rule is the one that decides.
    let mut replayed = rules(&both.restore_text(Family::Ip).text);
    let listed: Vec<_> = written.json["nftables"].as_array().unwrap().iter().map(|it| &it["add"]).collect();
    replayed.add_nft_json(serde_json::json!({ "nftables": listed }).to_string().as_bytes()).unwrap();
    assert_eq!(walk(&replayed).outcome.place().unwrap().table, "legacy-filter");
}

/// The socket answers the source that it sees. The answer's first route leads there, and its last one back to the sandbox.
#[test]
fn a_source_that_is_translated_on_the_way_in_is_what_the_socket_answers() {
    let seen = |source: &str, line: &str| {
        let table = if line.contains("-i ") || line.starts_with("OUTPUT -o") { "filter" } else { "mangle" };
        let text = format!(
            "*nat\n:INPUT ACCEPT [0:0]\n-A INPUT -j SNAT --to-source {source}\nCOMMIT\n\
            *{table}\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A {line}\nCOMMIT\n"
        );
        let text = if table == "filter" { text.replace(":POSTROUTING ACCEPT [0:0]\n", "") } else { text };
        let mut world = World::new(&flow(), 16);
        let address = "10.9.0.1".parse().unwrap();
        world.addresses.push(crate::LocalAddress { interface: "eth0".into(), address, prefix: 24 });
        rules(&text).connect(&flow(), &world).outcome.to_string()
    };
    // Before nat changes the answer back it goes to the neighbour, by the neighbour's link, and after it to the sandbox.
    assert!(seen("10.9.0.2", "OUTPUT -d 10.9.0.2 -j DROP").starts_with("dropped by ip mangle OUTPUT"));
    assert!(
        seen("10.9.0.2", "OUTPUT -o eth0 -d 172.18.0.2 -j DROP").starts_with("dropped by ip filter OUTPUT")
    );
    assert!(seen("10.9.0.1", "OUTPUT -o lo -j DROP").starts_with("dropped by ip filter OUTPUT"));
    assert!(seen("10.9.0.2", "POSTROUTING -o br-sandbox -d 172.18.0.2 -j DROP").starts_with("dropped"));
    // What comes in is changed after the chains of `filter` have seen it.
    assert!(seen("10.9.0.2", "INPUT -s 10.9.0.2 -i br-sandbox -j DROP").starts_with("open"));
    // Nobody knows a route there.
    assert!(seen("203.0.113.1", "INPUT -j ACCEPT").starts_with("undetermined"));
    assert!(seen("10.9.0.2-10.9.0.3", "INPUT -j ACCEPT").starts_with("undetermined"));
}

/// A connection that is picked up in its middle stays new until an answer is seen, and nat is asked once all the same.
#[test]
fn nat_is_asked_once_about_a_connection_that_is_picked_up() {
    let text = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j CT --notrack\nCOMMIT\n\
        *nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate NEW\nCOMMIT\n";
    let walk = walk(&rules(text));
    let of_nat = |packet: &PacketWalk| packet.steps.iter().filter(|step| step.place.table == "nat").count();
    assert_eq!(walk.packets.iter().map(of_nat).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0]);
    let new = |packet: &PacketWalk| packet.steps.iter().any(|step| step.effect == crate::Effect::Continue);
    assert!(new(&walk.packets[3]), "the data are new too");
}
