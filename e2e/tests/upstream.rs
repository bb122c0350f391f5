//! NemoClaw's probes of the past and of today, asked about live hosts: each of them is wrong somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use e2e::lab::{Lab, host_with_probe};
use e2e::programs;
use e2e::upstream::record::Recorder;
use e2e::upstream::{Answer, Probe, Score, Truth, live};
use harness::scenario::{Corpus, Look, Moment, Observer, Runner, ScenarioFile};
use harness::service::Gateway;
use harness::{Host, Network, Posture, Ufw};
use rstest::rstest;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Situation {
    Open,
    UfwDefaultDeny,
    PolicyDrop,
    Rejected,
    LoopbackOnly,
    NotListening,
    /// The gateway waits behind a closed firewall, and a rule takes the connection to somebody else before that.
    Redirected,
    NetworkMissing,
    EngineDown,
    EngineWedged,
}

use Score::{FalseBlame, FalseHealthy, NoAnswer, Right};

const OPEN: Truth = Truth { reached: true, firewall_at_fault: false };
const FIREWALL: Truth = Truth { reached: false, firewall_at_fault: true };
const OTHER: Truth = Truth { reached: false, firewall_at_fault: false };

/// The scores are of the loopback check, the dial of the gateway address, v0, v1, v2 and v5.
#[rstest]
#[case::open(Situation::Open, OPEN, [Right, Right, FalseBlame, FalseBlame, Right, Right])]
#[case::ufw(Situation::UfwDefaultDeny, FIREWALL, [FalseHealthy, FalseHealthy, Right, Right, Right, Right])]
#[case::policy_drop(Situation::PolicyDrop, FIREWALL, [NoAnswer, NoAnswer, Right, Right, Right, Right])]
#[case::rejected(Situation::Rejected, FIREWALL, [FalseHealthy, FalseHealthy, Right, Right, Right, Right])]
#[case::loopback_only(Situation::LoopbackOnly, OTHER, [FalseHealthy, Right, FalseBlame, FalseBlame, FalseBlame, FalseBlame])]
#[case::not_listening(Situation::NotListening, OTHER, [Right, Right, FalseBlame, FalseBlame, FalseBlame, FalseBlame])]
#[case::redirected(Situation::Redirected, OTHER, [FalseHealthy, FalseHealthy, FalseBlame, FalseBlame, FalseHealthy, FalseHealthy])]
#[case::network_missing(Situation::NetworkMissing, OTHER, [FalseHealthy, NoAnswer, Right, Right, NoAnswer, NoAnswer])]
#[case::engine_down(Situation::EngineDown, OTHER, [FalseHealthy, NoAnswer, Right, Right, NoAnswer, NoAnswer])]
#[case::engine_wedged(Situation::EngineWedged, OTHER, [FalseHealthy, NoAnswer, NoAnswer, NoAnswer, NoAnswer, NoAnswer])]
#[tokio::test]
async fn what_they_say_of(
    #[case] situation: Situation,
    #[case] truth: Truth,
    #[case] scores: [Score; 6],
) -> Result<()> {
    let host = host_with_probe().await?;
    let observer = programs::own("observer", env!("CARGO_BIN_EXE_observer"));
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let mut lab = Lab { host, network, gateway: None, proxy: None };
    let gateway = match situation {
        Situation::LoopbackOnly => Some(Gateway::on_loopback()),
        Situation::NotListening => None,
        _ => Some(Gateway::on(lab.network.gateway)),
    };
    if let Some(gateway) = gateway {
        lab.gateway = Some(gateway.start(&lab.host).await?);
    }
    Recorder::prepare(&lab.host, &observer).await?;
    bring_about(situation, &lab).await?;

    let seen = Recorder::on(&lab.host).take(8080).await?;
    let answers = Probe::ALL.map(|probe| (probe, probe.ask(&seen)));
    let found = answers.map(|(_, answer)| answer.score(truth));
    assert_eq!(found, scores, "{answers:#?}\n{seen:#?}");
    Ok(())
}

async fn bring_about(situation: Situation, lab: &Lab) -> Result<()> {
    let run = |line: String| lab.host.command("sh").args(["-ec".to_owned(), line]).run();
    match situation {
        Situation::Open | Situation::LoopbackOnly | Situation::NotListening => {}
        Situation::UfwDefaultDeny => lab.apply(Ufw::brev()).await?,
        Situation::PolicyDrop => lab.apply(Posture::InputPolicyDrop).await?,
        Situation::Rejected => {
            let bridge = &lab.network.bridge;
            run(format!("iptables -I INPUT -i {bridge} -p tcp --dport 8080 -j REJECT")).await?;
        }
        Situation::Redirected => {
            lab.apply(Ufw::brev()).await?;
            run("docker run -d --name other --network openshell-docker observer:lab /observer listen 30051"
                .into())
            .await?;
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            let other = run(format!("docker inspect --format '{format}' other")).await?;
            let (other, gateway) = (other.trim(), lab.network.gateway);
            run(format!(
                "iptables -t nat -I PREROUTING -d {gateway} -p tcp --dport 8080 -j DNAT --to {other}:30051
                 iptables -t nat -I POSTROUTING -d {other} -p tcp --dport 30051 -j MASQUERADE"
            ))
            .await?;
        }
        Situation::NetworkMissing => lab.host.engine()?.remove_network("openshell-docker").await?,
        Situation::EngineDown => lab.host.kill_engine().await?,
        Situation::EngineWedged => lab.host.freeze_engine().await?,
    }
    Ok(())
}

/// Asks at every check what v1 and v2 say of the observation, and lets them run.
struct BothWays {
    observer: PathBuf,
    answers: Mutex<Vec<(u16, Probe, Answer, Answer)>>,
}

impl BothWays {
    async fn compare(&self, moment: Moment<'_>) -> Result<()> {
        let mut recorder = Recorder::on(moment.host).user(moment.user);
        if let Some(network) = moment.network {
            recorder = recorder.network(network);
        }
        for (_, expect) in moment.expected {
            let port = expect.target.port;
            let seen = recorder.take(port).await?;
            let ran = [
                (Probe::V1, live::v1(&recorder, port).await?),
                (Probe::V2, live::v2(&recorder, port).await?),
            ];
            let rows = ran.map(|(probe, answer)| (port, probe, probe.ask(&seen), answer));
            self.answers.lock().map_err(|_| anyhow::anyhow!("an earlier check ended early"))?.extend(rows);
        }
        Ok(())
    }
}

impl Observer for BothWays {
    fn booted<'a>(&'a self, host: &'a Host) -> Look<'a> {
        Box::pin(async { Recorder::prepare(host, &self.observer).await.map_err(Into::into) })
    }

    fn checked<'a>(&'a self, moment: Moment<'a>) -> Look<'a> {
        Box::pin(async move { self.compare(moment).await.map_err(Into::into) })
    }
}

/// The recorder computes how upstream's `nc` would have ended, with a shorter wait. Here it runs, for its whole time.
#[rstest]
#[case("open/both-ports")]
#[case("firewall/ufw-brev")]
#[case("firewall/reject-tcp-reset")]
#[case("firewall/reject-icmp-port-unreachable")]
#[case("bind/loopback-only")]
#[case("bind/nothing-listens")]
#[case("network/missing")]
#[case("route/legacy-cluster")]
#[case("route/bridge-down")]
#[case("engine/killed")]
#[tokio::test]
#[ignore = "real containers that wait for five seconds each: scripts/test --long"]
async fn v1_and_v2_say_live_what_was_recorded(#[case] name: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name).with_extension("toml");
    let file = ScenarioFile::read(&path)?;
    let observer = programs::own("observer", env!("CARGO_BIN_EXE_observer"));
    let both = BothWays { observer, answers: Mutex::default() };
    Runner::new(programs::probe()?).run_observed(&file, &both).await?;
    let answers = both.answers.into_inner().map_err(|_| anyhow::anyhow!("a check ended early"))?;
    ensure!(answers.len() >= 2, "nothing was compared");
    for (port, probe, recorded, ran) in answers {
        assert_eq!(recorded, ran, "{probe} on {port}");
    }
    Ok(())
}

/// What `scripts/upstream-table` has written.
const PAGE: &str = include_str!("../../docs/upstream-probes.md");

/// The cells of the page's lines that begin with `first`, without the first one.
fn cells(first: &str) -> Result<Vec<&str>> {
    let line = PAGE.lines().find_map(|line| line.strip_prefix("| ")?.strip_prefix(first)?.strip_prefix(" |"));
    Ok(line
        .with_context(|| format!("no line {first:?}"))?
        .trim_end_matches('|')
        .split('|')
        .map(str::trim)
        .collect())
}

/// Whether it still says what is so takes the hosts, and `scripts/upstream-table --check`.
#[test]
fn over_the_corpus_each_probe_is_wrong_and_ours_never() -> Result<()> {
    let (blame, healthy, alarm) = (cells("false blame")?, cells("false healthy")?, cells("false alarm")?);
    for (index, probe) in Probe::ALL.iter().enumerate() {
        ensure!([blame[index], healthy[index], alarm[index]] != ["0"; 3], "{probe} is never wrong");
    }
    let ours = Probe::ALL.len();
    assert_eq!([blame[ours], healthy[ours], alarm[ours]], ["0"; 3]);
    Ok(())
}

#[test]
fn the_page_has_every_scenario_and_no_other() -> Result<()> {
    let corpus = Corpus::read(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")])?;
    let rows = PAGE.split("| scenario | is |").nth(1).context("the table of scenarios")?;
    let named = |line: &str| Some(line.strip_prefix("| ")?.split_once(" |")?.0.to_owned());
    let found: BTreeSet<String> = rows.lines().skip(1).filter_map(named).collect();
    let may_be_missing = |name: &str| {
        let scenario = name.split_once(" ").map_or(name, |(scenario, _)| scenario);
        let file = corpus.files.iter().find(|file| file.name() == scenario);
        file.is_some_and(|file| !file.scenario.skip_unless.is_empty())
    };
    let expected: BTreeSet<String> = corpus.files.iter().flat_map(e2e::upstream::corpus::names).collect();
    let missing: Vec<&String> = expected.difference(&found).filter(|name| !may_be_missing(name)).collect();
    let gone: Vec<&String> = found.difference(&expected).collect();
    ensure!(
        missing.is_empty() && gone.is_empty(),
        "docs/upstream-probes.md lacks {missing:?} and has {gone:?}\nhint: scripts/upstream-table"
    );
    Ok(())
}
