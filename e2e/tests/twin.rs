//! The twin against the host that it is the twin of: real tools, real rules, and the host's own trace.

use std::io::{Seek as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::lab::{GATEWAY, PROBE, PROXY, host_with_probe_and};
use e2e::programs;
use harness::{Host, HostCommand, Network, NetworkInfo, Posture, Ufw};
use probe::twin::{
    Address, Answer, Bridge, Failure, Link, Origin, Outcome, Plan, Rules, Stage, Sysctl, Trial, TrialAnswer,
};
use rstest::rstest;
use serde_json::json;

const ASKER: &str = "/usr/local/bin/asker";

/// Who asks for a twin.
const ROOT: Option<u32> = None;
const NOBODY: Option<u32> = Some(65534);

struct Place {
    host: Host,
    network: NetworkInfo,
}

impl Place {
    async fn start() -> Result<Self> {
        let asker = programs::own("asker", env!("CARGO_BIN_EXE_asker"));
        let host = host_with_probe_and(&[(&asker, ASKER)]).await?;
        let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
        Ok(Self { host, network })
    }

    /// The host's rules as its tools print them.
    async fn rules(&self, tables: &[&str]) -> Result<Rules> {
        let mut all = Vec::new();
        for name in tables {
            let listing = self.host.command("nft").args(["-j", "list", "table", "inet", name]).run().await?;
            let listing: serde_json::Value = serde_json::from_str(&listing)?;
            all.extend(listing["nftables"].as_array().context("no listing")?.clone());
        }
        Ok(Rules {
            ipv4: Some(self.host.command("iptables-save").run().await?),
            ipv6: Some(self.host.command("ip6tables-save").run().await?),
            nft: (!all.is_empty()).then(|| json!({ "nftables": all })),
            ipset: None,
        })
    }

    fn plan(&self, rules: Rules, stages: Vec<Stage>) -> Plan {
        let NetworkInfo { bridge, gateway, prefix, .. } = &self.network;
        let address = |ip: &str, prefix| Address { ip: ip.parse().expect("an address"), prefix };
        Plan {
            rules,
            bridge: Bridge {
                name: bridge.clone(),
                addresses: vec![
                    Address { ip: (*gateway).into(), prefix: *prefix },
                    address("fd00:18::1", 64),
                ],
            },
            sandbox: vec![self.network.address_from_end(9).into(), address("fd00:18::9", 64).ip],
            links: vec![Link {
                name: "eth0".into(),
                addresses: vec![address("192.168.7.10", 24), address("fd00:7::10", 64)],
                behind: Vec::new(),
                uplink: true,
            }],
            stages,
            ..Plan::default()
        }
    }

    fn trial(&self, from: Origin, port: u16) -> Trial {
        Trial { from, to: (self.network.gateway, port).into(), data: 1 }
    }

    fn asker(&self, plan: &Plan, user: Option<u32>) -> Result<HostCommand<'_>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&serde_json::to_vec(plan)?)?;
        file.rewind()?;
        let command = self.host.command(ASKER).stdin(file);
        // Nobody's twin is the program, root's is the asker itself.
        Ok(match user {
            Some(id) => command.arg(PROBE).user(id, id),
            None => command,
        })
    }

    async fn ask(&self, plan: &Plan, user: Option<u32>) -> Result<Answer> {
        let output = self.asker(plan, user)?.output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let talk = String::from_utf8_lossy(&output.stderr);
        serde_json::from_str(&said).with_context(|| format!("{said}{talk}"))
    }
}

fn stage(name: &str, trials: Vec<Trial>) -> Stage {
    Stage { name: name.into(), trials, ..Stage::default() }
}

fn decided(answer: &TrialAnswer) -> String {
    answer.decision.as_ref().map_or_else(|| "nothing".into(), |it| it.step.to_string())
}

/// What the twin says is what the host's own trace says, for root and for nobody, and the host stays as it was.
#[rstest]
#[case::ufw_default_deny(Ufw::default_deny().into(), &[], "ip filter INPUT policy: drop")]
#[case::ufw_deny(Ufw::default_deny().rule("allow 22/tcp").rule("deny 8080/tcp").into(), &[], "ip filter ufw-user-input rule 2: drop")]
#[case::ufw_default_reject(Ufw::default_reject().into(), &[], "ip filter ufw-reject-input rule 1: drop")]
#[case::iptables_policy(Posture::InputPolicyDrop, &[], "ip filter INPUT policy: drop")]
#[case::iptables_rules(Posture::DropPorts(vec![11435, 8080]), &[], "ip filter INPUT rule 1: drop")]
#[case::nft_policy(Posture::NftDrop, &["filter"], "inet filter input policy: drop")]
#[tokio::test]
async fn the_twin_decides_as_its_host(
    #[case] posture: Posture,
    #[case] tables: &[&str],
    #[case] wanted: &str,
) -> Result<()> {
    let place = Place::start().await?;
    place.host.apply(&posture, &place.network).await?;
    let rules = place.rules(tables).await?;
    assert!(rules.ipv4.as_ref().is_some_and(|it| it.contains("DOCKER")), "{rules:?}");
    let plan = place.plan(rules, vec![stage("as captured", vec![place.trial(Origin::Sandbox, GATEWAY)])]);
    let before = place.everything().await?;
    for user in [ROOT, NOBODY] {
        let began = Instant::now();
        let answer = place.ask(&plan, user).await?;
        let Answer { setup_us, restore_us, trials_us, .. } = answer;
        println!("{:?}: links {setup_us} us, rules {restore_us} us, trials {trials_us} us", began.elapsed());
        let trial = answer.trial(0, 0).context("no trial")?;
        assert_eq!(decided(trial), wanted, "{trial:#?}");
        let refused = matches!(trial.outcome, Outcome::Refused { .. });
        assert_eq!(refused, wanted.contains("reject"), "{trial:#?}");
        assert!(refused || trial.outcome == Outcome::NoAnswer, "{trial:#?}");
        let last = trial.matched.last().context("nothing matched")?;
        assert_eq!(last.to_string(), wanted);
    }
    assert_eq!(place.everything().await?, before);
    let on_the_host = place.host.trace_dial(&place.network, GATEWAY)?;
    assert_eq!(on_the_host.decided.to_string(), wanted);
    Ok(())
}

impl Place {
    /// All that a twin could have touched.
    async fn everything(&self) -> Result<String> {
        let script = "iptables-save; ip6tables-save; nft list ruleset; ip -o link | cut -d: -f2; \
            ip -o addr | cut -d ' ' -f 2-7; ip route | sed s/linkdown//; ls -la /run; sysctl -a 2>/dev/null | grep -E 'rp_filter|arp_announce|ratelimit|bridge-nf'; \
            cat /proc/self/mountinfo";
        let said = self.host.command("sh").args(["-c", script]).run().await?;
        // What proved the posture goes a little later: the vantages `van1`, `van2`.
        let passing = |line: &str| line.starts_with('#') || line.contains("van1") || line.contains("van2");
        let stable = said.lines().filter(|line| !passing(line));
        Ok(stable.map(uncounted).collect::<Vec<_>>().join("\n"))
    }
}

/// Packets go on being counted.
fn uncounted(line: &str) -> String {
    let mut kept = Vec::new();
    for word in line.split_whitespace() {
        let counter = word.starts_with('[') && word.contains(':');
        let number =
            kept.last().is_some_and(|it| matches!(*it, "packets" | "bytes")) && word.parse::<u64>().is_ok();
        if !counter && !number {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// firewalld's own table, as `nft -j` prints it.
#[tokio::test]
async fn a_zone_of_firewalld_refuses_in_the_twin_too() -> Result<()> {
    let place = Place::start().await?;
    place.host.apply(&Posture::Firewalld, &place.network).await?;
    let rules = place.rules(&["firewalld"]).await?;
    let on_the_host = place.host.trace_dial(&place.network, GATEWAY)?;
    let plan = place.plan(rules, vec![stage("as captured", vec![place.trial(Origin::Sandbox, GATEWAY)])]);
    let answer = place.ask(&plan, NOBODY).await?;
    let trial = answer.trial(0, 0).context("no trial")?;
    assert_eq!(decided(trial), on_the_host.decided.to_string());
    assert!(
        matches!(trial.outcome, Outcome::Refused { icmp: Some(icmp), .. } if icmp.code == 13),
        "{trial:#?}"
    );
    Ok(())
}

/// A remedy that opens one flow, and one that opens more.
#[tokio::test]
async fn a_remedy_is_tried_beside_what_it_must_not_open() -> Result<()> {
    let place = Place::start().await?;
    place.host.apply(&Ufw::default_deny().into(), &place.network).await?;
    let NetworkInfo { gateway, .. } = place.network;
    let lan = || Origin::Lan { link: "eth0".into(), address: None };
    let host = "192.168.7.10:8080".parse()?;
    let trials = || {
        vec![
            place.trial(Origin::Sandbox, GATEWAY),
            place.trial(Origin::Sandbox, PROXY),
            place.trial(lan(), GATEWAY),
            Trial { from: lan(), to: host, data: 1 },
            Trial { from: Origin::Wan { address: None }, to: host, data: 1 },
            place.trial(Origin::Host, GATEWAY),
        ]
    };
    let cidr = place.network.cidr();
    let with = |name: &str, rule: &str| {
        let text = |verb: &str| Some(format!("*filter\n{verb} ufw-user-input {rule}\nCOMMIT\n"));
        Stage {
            change: Rules { ipv4: text("-A"), ..Rules::default() },
            undo: Some(Rules { ipv4: text("-D"), ..Rules::default() }),
            ..stage(name, trials())
        }
    };
    let stages = vec![
        stage("as captured", trials()),
        with("minimal", &format!("-s {cidr} -d {gateway}/32 -p tcp -m tcp --dport 8080 -j ACCEPT")),
        with("over-broad", "-p tcp -m tcp --dport 8080 -j ACCEPT"),
        stage("as captured again", trials()),
    ];
    let answer = place.ask(&place.plan(place.rules(&[]).await?, stages), NOBODY).await?;
    let reached: Vec<Vec<bool>> = answer
        .stages
        .iter()
        .map(|stage| stage.trials.iter().map(|it| it.outcome == Outcome::Reached).collect())
        .collect();
    let captured = vec![false, false, false, false, false, true];
    let minimal = vec![true, false, false, false, false, true];
    let broad = vec![true, false, true, true, true, true];
    assert_eq!(reached, [captured.clone(), minimal, broad, captured], "{answer:#?}");
    assert_eq!(decided(&answer.stages[1].trials[0]), "ip filter ufw-user-input rule 1: accept");
    assert!(answer.stages.iter().all(|stage| stage.problem.is_none()));
    Ok(())
}

/// The forms of a refusal, and rules that nothing but the end of the data shows.
#[tokio::test]
async fn every_way_to_refuse_looks_as_it_is() -> Result<()> {
    let place = Place::start().await?;
    let with = |name: &str, rule: &str| Stage {
        change: Rules { ipv4: Some(format!("*filter\n{rule}\nCOMMIT\n")), ..Rules::default() },
        ..stage(name, vec![place.trial(Origin::Sandbox, GATEWAY), place.trial(Origin::Sandbox, PROXY)])
    };
    let reject = |with: &str| format!("-I INPUT 1 -p tcp --dport 8080 -j REJECT --reject-with {with}");
    let stages = vec![
        with("reset", &reject("tcp-reset")),
        with("port", &reject("icmp-port-unreachable")),
        with("admin", &reject("icmp-admin-prohibited")),
        with("host", &reject("icmp-host-unreachable")),
        with("data", "-I INPUT 1 -p tcp --dport 8080 ! --syn -j DROP"),
        with("answer", "-I OUTPUT 1 -p tcp --sport 8080 -j DROP"),
        with("nonsense", "-I INPUT 1 -j NOWHERE"),
        Stage {
            trials: vec![place.trial(Origin::Host, GATEWAY), place.trial(Origin::Sandbox, GATEWAY)],
            ..with("the host itself", "-I INPUT 1 -i lo -p tcp --dport 8080 -j DROP")
        },
        stage("as captured again", vec![place.trial(Origin::Sandbox, GATEWAY)]),
    ];
    let rules = Rules { ipv4: Some(place.host.command("iptables-save").run().await?), ..Rules::default() };
    let answer = place.ask(&place.plan(rules, stages), NOBODY).await?;
    let of = |index: usize| &answer.stages[index].trials[0];
    let refused = |index: usize| match of(index).outcome {
        Outcome::Refused { errno, icmp } => (errno, icmp.map(|it| (it.kind, it.code))),
        ref other => panic!("{index}: {other:?}"),
    };
    assert_eq!(refused(0), (nix::libc::ECONNREFUSED, None));
    assert_eq!(refused(1), (nix::libc::ECONNREFUSED, Some((3, 3))));
    assert_eq!(refused(2), (nix::libc::EHOSTUNREACH, Some((3, 13))));
    assert_eq!(refused(3), (nix::libc::EHOSTUNREACH, Some((3, 1))));
    for index in 0..5 {
        assert_eq!(decided(of(index)), "ip filter INPUT rule 1: drop", "{index}");
    }
    assert_eq!(of(4).outcome, Outcome::ConnectedButSilent { errno: None });
    assert_eq!(
        (decided(of(5)).as_str(), &of(5).outcome),
        ("ip filter OUTPUT rule 1: drop", &Outcome::NoAnswer)
    );
    assert!(of(5).decision.as_ref().is_some_and(|it| it.reply));
    let problem = answer.stages[6].problem.as_ref().context("nonsense was taken")?;
    assert!(problem.program.ends_with("iptables-nft-restore") && !problem.stderr.is_empty(), "{problem}");
    assert!(matches!(of(6).outcome, Outcome::NotTried { .. }));
    assert_eq!(
        (decided(of(7)).as_str(), &of(7).outcome),
        ("ip filter INPUT rule 1: drop", &Outcome::NoAnswer)
    );
    assert_eq!(answer.stages[7].trials[1].outcome, Outcome::Reached);
    assert_eq!(of(8).outcome, Outcome::Reached);
    for stage in answer.stages.iter().take(6) {
        assert_eq!(stage.trials[1].outcome, Outcome::Reached, "{}", stage.name);
    }
    Ok(())
}

#[tokio::test]
async fn ipv6_and_native_tables_have_stages_too() -> Result<()> {
    let place = Place::start().await?;
    let to = |port: u16| Trial {
        from: Origin::Sandbox,
        to: format!("[fd00:18::1]:{port}").parse().unwrap(),
        data: 1,
    };
    let trials = || vec![to(GATEWAY), to(PROXY)];
    let ipv6 = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p ipv6-icmp -j ACCEPT\n-A INPUT -p tcp --dport 11435 -j DROP\nCOMMIT\n";
    let rules = Rules { ipv6: Some(ipv6.into()), ..Rules::default() };
    let table = json!({ "nftables": [
        { "add": { "table": { "family": "inet", "name": "mine" } } },
        { "add": { "chain": { "family": "inet", "table": "mine", "name": "in", "type": "filter", "hook": "input", "prio": -10, "policy": "accept" } } },
        { "add": { "rule": { "family": "inet", "table": "mine", "chain": "in", "expr": [
            { "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } }, "right": 8080 } },
            { "drop": null }
        ] } } },
    ] });
    let accept = "*filter\n-I INPUT 1 -p tcp --dport 8080 -j ACCEPT\nCOMMIT\n";
    let stages = vec![
        stage("as captured", trials()),
        Stage {
            change: Rules { ipv6: Some(accept.into()), ..Rules::default() },
            ..stage("opened", trials())
        },
        Stage {
            change: Rules { ipv6: Some(accept.into()), nft: Some(table), ..Rules::default() },
            ..stage("opened and closed", trials())
        },
        stage("as captured again", trials()),
    ];
    let answer = place.ask(&place.plan(rules, stages), NOBODY).await?;
    let said: Vec<_> =
        answer.stages.iter().map(|it| it.trials.iter().map(decided).collect::<Vec<_>>()).collect();
    let (policy, rule) = ("ip6 filter INPUT policy: drop", "ip6 filter INPUT rule 2: drop");
    let wanted = [
        [policy, rule],
        ["ip6 filter INPUT rule 1: accept", "ip6 filter INPUT rule 3: drop"],
        ["inet mine in rule 1: drop", "ip6 filter INPUT rule 3: drop"],
        [policy, rule],
    ];
    assert_eq!(said, wanted, "{answer:#?}");
    assert_eq!(answer.stages[1].trials[0].outcome, Outcome::Reached);
    Ok(())
}

/// No packet of the connection comes: nobody tells the sandbox where the host is.
#[tokio::test]
async fn a_policy_that_drops_neighbour_discovery_lets_nothing_arrive() -> Result<()> {
    let place = Place::start().await?;
    let to = format!("[fd00:18::1]:{GATEWAY}").parse()?;
    let stages = vec![stage("as captured", vec![Trial { from: Origin::Sandbox, to, data: 1 }])];
    let rules = Rules { ipv6: Some("*filter\n:INPUT DROP [0:0]\nCOMMIT\n".into()), ..Rules::default() };
    let answer = place.ask(&place.plan(rules, stages), NOBODY).await?;
    let trial = answer.trial(0, 0).context("no trial")?;
    assert_eq!((&trial.outcome, trial.arrived, &trial.decision), (&Outcome::NoAnswer, false, &None));
    Ok(())
}

#[tokio::test]
async fn rules_that_the_tool_does_not_take_are_an_error_with_its_words() -> Result<()> {
    let place = Place::start().await?;
    let rules = Rules { ipv4: Some("*filter\n-A INPUT -m nonsense\nCOMMIT\n".into()), ..Rules::default() };
    let plan = place.plan(rules, vec![stage("as captured", vec![place.trial(Origin::Sandbox, GATEWAY)])]);
    let output = place.asker(&plan, NOBODY)?.output().await?;
    match serde_json::from_slice(&output.stdout)? {
        Failure::Restore(error) => assert!(error.stderr.contains("nonsense"), "{error}"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Its twin waits for SYNs that are dropped.
#[rstest]
#[case::root(ROOT)]
#[case::nobody(NOBODY)]
#[tokio::test]
async fn an_asker_that_is_killed_leaves_no_process(#[case] user: Option<u32>) -> Result<()> {
    let place = Place::start().await?;
    let stages = (0..60).map(|it| {
        // The answers are lost, which only a second look shows: it takes all of the time.
        let text = "*filter\n-I OUTPUT 1 -p tcp --sport 8080 -j DROP\nCOMMIT\n";
        Stage {
            change: Rules { ipv4: Some(text.into()), ..Rules::default() },
            ..stage(&it.to_string(), vec![place.trial(Origin::Sandbox, GATEWAY)])
        }
    });
    let rules = Rules { ipv4: Some("*filter\nCOMMIT\n".into()), ..Rules::default() };
    let plan = place.plan(rules, stages.collect());
    let asker = place.asker(&plan, user)?.spawn().await?;
    // The asker, the twin's first process and the one in the namespaces.
    place.wait_for(3).await?;
    // Also root's twin is nobody on the host.
    let script = format!(
        "for it in /proc/[0-9]*; do case $(readlink $it/exe) in {ASKER}|{PROBE}) \
        grep ^Uid $it/status;; esac; done"
    );
    let said = place.host.command("sh").args(["-c", &script]).run().await?;
    let nobodies = said.lines().filter(|line| *line == "Uid:\t65534\t65534\t65534\t65534").count();
    assert_eq!(nobodies, if user == ROOT { 1 } else { 3 }, "{said}");
    place.host.command("kill").args(["-9", &asker.pid().to_string()]).run().await?;
    place.wait_for(0).await
}

impl Place {
    async fn wait_for(&self, processes: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            // By what they run, since the twin is started as `/proc/self/exe`.
            let script = format!(
                "for it in /proc/[0-9]*; do readlink $it/exe; done | grep -c -e {ASKER} -e {PROBE}; true"
            );
            let said = self.host.command("sh").args(["-c", &script]).run().await?;
            if said.trim().parse() == Ok(processes) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} processes, not {processes}", said.trim());
            tick.tick().await;
        }
    }
}

#[tokio::test]
async fn sets_are_replayed_and_outlive_a_stage() -> Result<()> {
    let place = Place::start().await?;
    let sandbox = place.network.address_from_end(9);
    let filter = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m set --match-set blocked src -j DROP\nCOMMIT\n";
    let rules = Rules {
        ipv4: Some(filter.into()),
        ipset: Some(format!("create blocked hash:ip\nadd blocked {sandbox}\n")),
        ..Rules::default()
    };
    let trials = || vec![place.trial(Origin::Sandbox, GATEWAY)];
    let opened = Stage {
        change: Rules {
            ipv4: Some("*filter\n-I INPUT -p tcp --dport 8080 -j ACCEPT\nCOMMIT\n".into()),
            ..Rules::default()
        },
        ..stage("opened", trials())
    };
    let stages = vec![stage("as captured", trials()), opened, stage("as captured again", trials())];
    let answer = place.ask(&place.plan(rules, stages), NOBODY).await?;
    let said: Vec<_> = answer.stages.iter().map(|it| decided(&it.trials[0])).collect();
    let drop = "ip filter INPUT rule 1: drop";
    assert_eq!(said, [drop, "ip filter INPUT rule 1: accept", drop], "{answer:#?}");
    Ok(())
}

/// As many trials as a plan may have, all at once: no event of the trace is lost.
#[tokio::test]
async fn many_trials_of_one_stage_each_have_their_decision() -> Result<()> {
    let place = Place::start().await?;
    place.host.apply(&Ufw::default_deny().into(), &place.network).await?;
    let origins = [Origin::Sandbox, Origin::Lan { link: "eth0".into(), address: None }];
    let trials = (0..64).map(|it| place.trial(origins[it % 2].clone(), 9000 + it as u16)).collect();
    let plan = place.plan(place.rules(&[]).await?, vec![stage("as captured", trials)]);
    let answer = place.ask(&plan, NOBODY).await?;
    for trial in &answer.stages[0].trials {
        assert_eq!(decided(trial), "ip filter INPUT policy: drop", "{trial:#?}");
        assert!(trial.matched.len() > 10, "{trial:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn settings_of_the_bridge_are_the_plans() -> Result<()> {
    let place = Place::start().await?;
    let foreign = Origin::Bridge { address: "192.168.7.55".parse()? };
    let mut plan = place.plan(Rules::default(), vec![stage("strict", vec![place.trial(foreign, GATEWAY)])]);
    let name = format!("net/ipv4/conf/{}/rp_filter", place.network.bridge);
    plan.sysctls = vec![Sysctl { name, value: "1".into() }];
    let answer = place.ask(&plan, NOBODY).await?;
    assert_eq!(answer.unset, []);
    assert_eq!(answer.trial(0, 0).context("no trial")?.outcome, Outcome::NoAnswer);
    Ok(())
}
