//! Captures before, after, and after marked packets, and what they say.

use ruleset::{Family, Flow, World};

use super::*;

fn rules(text: &str) -> Ruleset {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
    rules
}

/// Packets and bytes.
type Counted = (u64, u64);

fn save(policy: Counted, jump: Counted) -> Ruleset {
    rules(&format!(
        "*filter\n:INPUT DROP [{}:{}]\n:a - [0:0]\n[1:60] -A INPUT -m limit --limit 3/min -j LOG\n[{}:{}] -A INPUT -j a\n\
        COMMIT\n",
        policy.0, policy.1, jump.0, jump.1
    ))
}

/// What is said when a dial has sent three SYNs, the policy and the jump have counted `first` meanwhile, and `second` in the time
/// of the marked ones, if any were sent.
fn said(first: [Counted; 2], second: Option<[Counted; 2]>, others: u64) -> Said {
    let plus = |one: Counted, other: Counted| (one.0 + other.0, one.1 + other.1);
    let start = [(0, 0), (7, 420)];
    let middle = [plus(start[0], first[0]), plus(start[1], first[1])];
    let (before, now) = (save(start[0], start[1]), save(middle[0], middle[1]));
    let flow = Flow::new("br0", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap());
    let walk = now.connect(&flow, &World::new(&flow, 16));
    let counted = now.counted_since(&before, walk.places());
    let own = Marked { packets: 3, payload: 3 * 1211 };
    let sum = Marked { packets: own.packets * (1 + others), payload: own.payload * (1 + others) };
    let all: BTreeMap<Place, Marked> =
        walk.packets[0].steps.iter().map(|step| (step.place.clone(), sum)).collect();
    let after = second
        .map(|it| save(plus(middle[0], it[0]), plus(middle[1], it[1])).counted_since(&now, walk.places()));
    let marked = after.as_ref().map(|counted| MarkedRound { counted, own, all: &all });
    compare(&walk, &now, &Round { counted: &counted, packets: 3, marked })
}

/// So many packets of that length.
fn of(packets: u64, bytes: u64) -> Counted {
    (packets, packets * bytes)
}

/// Three marked SYNs as they were measured, 1271 bytes each, the one that asks for the next hop, and others.
fn marked(others: Counted) -> Counted {
    (4 + others.0, 3 * 1271 + 60 + others.1)
}

#[test]
fn marked_packets_are_told_from_any_number_of_others() {
    let quiet = [of(3, 60), of(3, 60)];
    assert_eq!(said(quiet, Some([marked((0, 0)); 2]), 0), Said::Agree);
    let noise = [of(4000, 60), of(9000, 900)];
    let second = Some([marked(of(400, 60)), marked(of(900, 1400))]);
    assert_eq!(said(noise, second, 0), Said::Agree, "SYNs at the policy, and data on the way");
    let mixed = [of(4000, 57), of(9000, 900)];
    assert_eq!(
        said(mixed, Some([marked(of(300, 58)), marked(of(900, 900))]), 0),
        Said::Agree,
        "SYNs of two lengths"
    );
}

#[test]
fn as_many_packets_of_others_are_no_confirmation() {
    let noise = [of(4000, 60), of(4000, 60)];
    assert_eq!(
        said(noise, Some([of(400, 60), marked(of(400, 60))]), 0),
        Said::Disagree,
        "the policy has none of ours"
    );
    assert_eq!(
        said(noise, Some([marked(of(400, 60)), of(9, 60)]), 0),
        Said::Disagree,
        "the jump has none of ours"
    );
    assert_eq!(
        said(noise, Some([of(0, 0), marked(of(400, 60))]), 0),
        Said::Disagree,
        "the policy has none at all"
    );
    let data = [of(400, 700), of(400, 700)];
    assert_eq!(
        said(data, Some([marked(of(40, 700)); 2]), 0),
        Said::Nothing(Silence::Others),
        "data is decided about"
    );
    let lost = (2, 1271 + 60);
    assert_eq!(
        said([of(3, 60); 2], Some([lost, marked((0, 0))]), 0),
        Said::Nothing(Silence::TooFew),
        "two were lost"
    );
}

#[test]
fn the_marks_of_other_targets_by_the_same_way_are_expected() {
    let both = (7, 6 * 1271 + 60);
    assert_eq!(said([of(6, 60); 2], Some([both; 2]), 1), Said::Agree);
    assert_eq!(said([of(6, 60); 2], Some([both; 2]), 0), Said::Nothing(Silence::Others));
}

#[test]
fn without_marks_no_rule_is_confirmed_and_a_rule_that_counted_nothing_contradicts() {
    assert_eq!(said([of(3, 60), of(3, 60)], None, 0), Said::Nothing(Silence::Unmarked));
    assert_eq!(said([of(3, 60), of(0, 0)], None, 0), Said::Disagree, "the jump counted none");
    assert_eq!(
        said([of(0, 0), of(3, 60)], None, 0),
        Said::Nothing(Silence::None),
        "a policy without counters shows 0"
    );
}

#[test]
fn an_open_way_has_counted_the_checks_own_packets() {
    let save = |jump: u64| {
        rules(&format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n[{jump}:0] -A INPUT -j a\n[{jump}:0] -A a -j ACCEPT\nCOMMIT\n"
        ))
    };
    let open = |jump| {
        let now = save(jump);
        let flow = Flow::new("br0", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap());
        let walk = now.connect(&flow, &World::new(&flow, 16));
        let counted = now.counted_since(&save(0), walk.places());
        compare(&walk, &now, &Round { counted: &counted, packets: 2, marked: None })
    };
    assert_eq!((open(2), open(1), open(0)), (Said::Agree, Said::Nothing(Silence::TooFew), Said::Disagree));
}

/// As iptables 1.8.9 leaves the policies of chains that Docker made.
#[test]
fn a_policy_that_lets_pass_and_never_counts_takes_nothing_from_the_rules() {
    let save = |policy: &str, jump: u64| {
        rules(&format!(
            "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n\
            *filter\n:INPUT {policy} [0:0]\n:a - [0:0]\n[{jump}:0] -A INPUT -j a\n[{jump}:0] -A a -p tcp -j RETURN\nCOMMIT\n"
        ))
    };
    let open = |text: &dyn Fn(u64) -> Ruleset, jump| {
        let now = text(jump);
        let flow = Flow::new("br0", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap());
        let walk = now.connect(&flow, &World::new(&flow, 16));
        let counted = now.counted_since(&text(0), walk.places());
        compare(&walk, &now, &Round { counted: &counted, packets: 2, marked: None })
    };
    assert_eq!(open(&|jump| save("ACCEPT", jump), 2), Said::Agree);
    assert_eq!(open(&|jump| save("ACCEPT", jump), 0), Said::Disagree, "a rule counted none");
    assert_eq!(
        open(&|jump| save("DROP", jump), 2),
        Said::Nothing(Silence::None),
        "the policy that drops is to count"
    );
    let bare = |_| rules("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n");
    assert_eq!(open(&bare, 0), Said::Nothing(Silence::None), "nothing counts");
}

#[test]
fn where_rules_ask_for_the_length_marks_tell_nothing() {
    let text =
        "*filter\n:INPUT DROP [9:5000]\n-A INPUT -p tcp -m length --length 1000:1500 -j DROP\nCOMMIT\n";
    assert!(asks_for_length(&rules(text)));
    assert!(!asks_for_length(&save((0, 0), (0, 0))));
}
