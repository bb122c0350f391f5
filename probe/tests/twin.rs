//! The twin without any rules: what needs no tool of the machine.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use probe::twin::{
    Address, Bridge, Failure, Link, Obstacle, Origin, Outcome, Plan, Rules, Stage, Sysctl, Trial, TwinError,
    run,
};

const PROBE: &str = env!("CARGO_BIN_EXE_openshell-probe");
const BUDGET: Duration = Duration::from_secs(20);

fn address(text: &str) -> Address {
    let (ip, prefix) = text.split_once('/').expect("an address and a prefix");
    Address { ip: ip.parse().expect("an address"), prefix: prefix.parse().expect("a length") }
}

fn trial(from: Origin, to: &str) -> Trial {
    Trial { from, to: to.parse().expect("an address and a port"), data: 1 }
}

fn plan(trials: Vec<Trial>) -> Plan {
    Plan {
        bridge: Bridge {
            name: "br-sandbox".into(),
            addresses: vec![address("172.18.0.1/16"), address("fd00:18::1/64")],
        },
        sandbox: vec![address("172.18.0.2/16").ip, address("fd00:18::2/64").ip],
        links: vec![Link {
            name: "eth0".into(),
            addresses: vec![address("192.168.7.10/24"), address("fd00:7::10/64"), address("fe80::1/64")],
            behind: vec![address("10.9.0.0/16")],
            uplink: true,
        }],
        stages: vec![Stage { name: "as captured".into(), trials, ..Stage::default() }],
        ..Plan::default()
    }
}

async fn answer(plan: &Plan) -> probe::twin::Answer {
    run(plan, Some(Path::new(PROBE)), BUDGET).await.expect("an answer")
}

#[tokio::test]
async fn everybody_reaches_a_host_without_a_firewall() {
    let lan = |address: Option<&str>| Origin::Lan {
        link: "eth0".into(),
        address: address.map(|it| it.parse().unwrap()),
    };
    let plan = plan(vec![
        trial(Origin::Sandbox, "172.18.0.1:8080"),
        trial(Origin::Sandbox, "[fd00:18::1]:8080"),
        trial(Origin::Bridge { address: "172.18.0.77".parse().unwrap() }, "172.18.0.1:11435"),
        trial(lan(None), "172.18.0.1:8080"),
        trial(lan(None), "192.168.7.10:8080"),
        trial(lan(None), "[fd00:7::10]:8080"),
        trial(lan(Some("10.9.1.1")), "192.168.7.10:8080"),
        trial(Origin::Wan { address: None }, "192.168.7.10:8080"),
        trial(Origin::Wan { address: None }, "[fd00:7::10]:8080"),
        trial(Origin::Host, "127.0.0.1:8080"),
        trial(Origin::Host, "172.18.0.1:8080"),
    ]);
    let answer = answer(&plan).await;
    for it in &answer.stages[0].trials {
        assert_eq!(it.outcome, Outcome::Reached, "{it:#?}");
        assert_eq!((&it.decision, it.matched.len()), (&None, 0));
    }
    assert_eq!(answer.stages[0].trials[6].source.unwrap().ip().to_string(), "10.9.1.1");
    assert_eq!(answer.stages[0].trials[7].source.unwrap().ip().to_string(), "198.51.100.7");
}

#[tokio::test]
async fn the_twins_network_namespace_is_not_its_askers() {
    let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    let before = std::fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    let answer = answer(&plan(vec![trial(Origin::Sandbox, "172.18.0.1:8080")])).await;
    assert!(answer.namespace != 0 && answer.namespace != own);
    assert_eq!(std::fs::read_to_string("/proc/net/dev").unwrap().lines().count(), before);
}

#[tokio::test]
async fn a_setting_of_the_whole_machine_is_refused_and_one_that_is_not_there_is_reported() {
    let sysctl = |name: &str, value: &str| Sysctl { name: name.into(), value: value.into() };
    let mut plan = plan(vec![trial(Origin::Sandbox, "172.18.0.1:8080")]);
    plan.sysctls =
        vec![sysctl("net/ipv4/conf/br-sandbox/rp_filter", "1"), sysctl("net/ipv4/conf/eth9/rp_filter", "1")];
    let answer = answer(&plan).await;
    let unset: Vec<_> = answer.unset.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(unset, ["net/ipv4/conf/eth9/rp_filter"]);
    for name in ["kernel/core_pattern", "net/core/somaxconn", "net/ipv4/conf/../../core/x/rp_filter"] {
        plan.sysctls = vec![sysctl(name, "1")];
        let error = run(&plan, Some(Path::new(PROBE)), BUDGET).await.unwrap_err();
        assert!(matches!(error, TwinError::Failed(Failure::BadPlan { .. })), "{error}");
    }
}

/// The kernel drops it, and no rule does.
#[tokio::test]
async fn strict_reverse_path_filtering_drops_a_foreign_source_without_a_decision() {
    let foreign = Origin::Bridge { address: "192.168.7.55".parse().unwrap() };
    let mut plan = plan(vec![trial(foreign, "172.18.0.1:8080"), trial(Origin::Sandbox, "172.18.0.1:8080")]);
    plan.sysctls = vec![Sysctl { name: "net/ipv4/conf/br-sandbox/rp_filter".into(), value: "1".into() }];
    let answer = answer(&plan).await;
    let outcomes: Vec<_> = answer.stages[0].trials.iter().map(|it| &it.outcome).collect();
    assert_eq!(outcomes, [&Outcome::NoAnswer, &Outcome::Reached], "{answer:#?}");
    let dropped = &answer.stages[0].trials[0];
    assert_eq!((&dropped.decision, dropped.arrived), (&None, true));
}

#[tokio::test]
async fn a_sandbox_without_an_address_of_the_family_is_not_tried() {
    let mut plan = plan(vec![trial(Origin::Sandbox, "[fd00:18::1]:8080")]);
    plan.sandbox.truncate(1);
    let answer = answer(&plan).await;
    let outcome = &answer.stages[0].trials[0].outcome;
    assert!(matches!(outcome, Outcome::NotTried { why } if why.contains("IPv6")), "{outcome:?}");
}

#[tokio::test]
async fn a_plan_that_nobody_can_carry_out_is_refused_before_anything_is_made() {
    let good = || plan(vec![trial(Origin::Sandbox, "172.18.0.1:8080")]);
    let refused = |change: fn(&mut Plan)| {
        let mut plan = good();
        change(&mut plan);
        plan.check().expect_err("refused")
    };
    good().check().unwrap();
    let bad = [
        refused(|plan| plan.bridge.name = "a/b".into()),
        refused(|plan| plan.bridge.name = "lo".into()),
        refused(|plan| plan.links[0].name = "br-sandbox".into()),
        refused(|plan| plan.links[0].name = "a-name-of-16-byte".into()),
        refused(|plan| plan.bridge.addresses[0].prefix = 33),
        refused(|plan| plan.sandbox[0] = "10.0.0.1".parse().unwrap()),
        refused(|plan| plan.stages[0].trials[0].to = "172.18.0.1:0".parse().unwrap()),
        refused(|plan| plan.stages[0].trials[0].from = Origin::Lan { link: "eth7".into(), address: None }),
        refused(|plan| {
            let address = plan.links[0].addresses[0].ip;
            plan.stages[0].trials[0].from = Origin::Bridge { address };
        }),
        refused(|plan| plan.stages = vec![plan.stages[0].clone(); 513]),
        refused(|plan| {
            plan.programs.ipv4 = Some("iptables-nft-restore".into());
            plan.rules.ipv4 = Some(String::new());
        }),
    ];
    for failure in bad {
        assert!(matches!(failure, Failure::BadPlan { .. }), "{failure}");
    }
    let missing = refused(|plan| plan.rules = Rules { ipv4: Some("*filter\n".into()), ..Rules::default() });
    assert_eq!(missing, Failure::NoProgram { name: "iptables-nft-restore".into() });
}

fn tell(line: &[u8]) -> Output {
    tell_to(Command::new(PROBE).arg("twin"), line)
}

fn tell_to(command: &mut Command, line: &[u8]) -> Output {
    let mut child = command
        .env("OPENSHELL_PROBE_TWIN", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    child.stdin.take().expect("the program").write_all(line).expect("the program");
    child.wait_with_output().expect("the program")
}

#[test]
fn what_is_no_plan_ends_with_words_and_the_exit_code_of_a_wrong_command_line() {
    let deep = "[".repeat(100_000) + "\n";
    for line in ["", "{}\n", "x\n", "{\"namespace\":1}", "\u{0}\n", deep.as_str()] {
        let output = tell(line.as_bytes());
        assert_eq!(output.status.code(), Some(2), "{line:.40}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: the twin's plan is wrong: "), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// The setting is that of a user namespace of the test's own.
#[test]
fn forbidden_user_namespaces_are_named_with_the_way_out() {
    let plan = plan(vec![trial(Origin::Sandbox, "172.18.0.1:8080")]);
    let order = serde_json::json!({ "namespace": 1, "budget_ms": 10_000, "plan": plan });
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" twin";
    let mut unshare = Command::new("unshare");
    let output = tell_to(unshare.args(["-Ur", "sh", "-c", script, PROBE]), format!("{order}\n").as_bytes());
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let reply: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let failure: Failure = serde_json::from_value(reply["failure"].clone()).unwrap();
    match failure {
        Failure::Forbidden { obstacle: Obstacle::MaxUserNamespaces, .. } => {}
        other => panic!("{other:?}"),
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("a way out: sysctl user.max_user_namespaces=1000"), "{said}");
}

#[tokio::test]
async fn a_twin_that_is_not_done_in_time_is_an_error() {
    let plan = plan(vec![trial(Origin::Sandbox, "172.18.0.1:8080")]);
    let error = run(&plan, Some(Path::new(PROBE)), Duration::from_millis(1)).await.unwrap_err();
    let timed_out = |error: &TwinError| {
        matches!(error, TwinError::TimedOut { .. } | TwinError::Failed(Failure::TimedOut { .. }))
    };
    assert!(timed_out(&error), "{error}");
}

/// The word is nobody's command: only an asker says it.
#[test]
fn the_command_line_has_no_twin() {
    let output = Command::new(PROBE).arg("twin").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("unrecognized subcommand"), "{said}");
}

#[tokio::test]
async fn a_program_that_is_no_probe_is_an_error_with_its_words() {
    let plan = plan(vec![trial(Origin::Sandbox, "172.18.0.1:8080")]);
    let error = run(&plan, Some(Path::new("/bin/cat")), BUDGET).await.unwrap_err();
    assert!(matches!(&error, TwinError::NoAnswer { stderr, .. } if stderr.contains("twin")), "{error}");
    let error = run(&plan, Some(Path::new("/nonexistent")), BUDGET).await.unwrap_err();
    assert!(matches!(error, TwinError::NotStarted { .. }), "{error}");
}
