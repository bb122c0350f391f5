//! The other images: an older and a newer engine. Building one takes a minute and the network, so these run in the long
//! profile.

use anyhow::{Context, Result};
use e2e::lab::{Lab, PROBE, check_by};
use e2e::programs;
use harness::image::{Cache, Definition};
use harness::service::{Gateway, OllamaProxy};
use harness::{Engine, Host, Network, Ufw};
use probe::{Cause, Method, Report, Verdict};
use rstest::rstest;

const BOTH: [&str; 4] = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];

#[rstest]
#[ignore = "long: builds an image"]
#[tokio::test]
async fn the_engine_of(
    #[values(("debian-12", "20.10"), ("debian-13", "26.1"), ("debian-sid", "28."))] image: (&str, &str),
) -> Result<()> {
    let (name, version) = image;
    let image = Cache::open()?.build(&Definition::named(name)?)?;
    let host =
        Host::builder().image(image).engine(Engine::Docker).bind(programs::probe()?, PROBE).start().await?;
    let found = host.engine()?.client().version().await?.version.unwrap_or_default();
    assert!(found.starts_with(version), "{found}");
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let _gateway = Gateway::on(network.gateway).start(&host).await?;
    let _proxy = OllamaProxy::new().start(&host).await?;
    let check = async || check_by(|| host.command(PROBE), &BOTH).await;

    let answer = check().await?;
    assert_eq!(answer.code, 0, "{}", answer.text);
    answer.blames_no_firewall();
    host.apply(&Ufw::brev().into(), &network).await?;
    let answer = check().await?;
    for port in [8080, 11435] {
        assert_eq!(answer.of(port), (Verdict::TcpFailed, Some(Cause::Dropped)), "{}", answer.text);
        let argv = answer.remedy(port);
        host.command(&argv[0]).args(&argv[1..]).run().await?;
    }
    assert_eq!(check().await?.code, 0);
    host.shutdown().await?;
    Ok(())
}

/// The rules that UFW makes with an older and a newer iptables, on hosts whose engine puts others beside them: the evaluation, the
/// twin and the counters name the rule that the check felt, and the printed command opens the path.
#[rstest]
#[ignore = "long: builds an image"]
#[tokio::test]
async fn the_rule_is_named_and_opened_on(#[values("debian-12", "debian-sid")] name: &str) -> Result<()> {
    let image = Cache::open()?.build(&Definition::named(name)?)?;
    let host =
        Host::builder().image(image).engine(Engine::Docker).bind(programs::probe()?, PROBE).start().await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let gateway = Some(Gateway::on(network.gateway).start(&host).await?);
    let lab = Lab { host, network, gateway, proxy: None };
    let explain = async || -> Result<Report> {
        let words = ["explain", "--port", "8080=gateway", "--format", "json"];
        let output = lab.host.command(PROBE).args(words).output().await?;
        serde_json::from_slice(&output.stdout).context(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let of = |report: &Report| report.targets[0].explanation.clone().context("no explanation");

    // The first container of Docker 28 brings a table of its own.
    assert_eq!(explain().await?.targets[0].verdict, Verdict::Ok);
    lab.run("ufw deny 8080/tcp").await?;
    lab.run("ufw --force enable").await?;
    let blocked = explain().await?;
    assert_eq!(
        (blocked.targets[0].verdict, blocked.targets[0].cause),
        (Verdict::TcpFailed, Some(Cause::Dropped))
    );
    let explanation = of(&blocked)?;
    let decided = explanation.decided.as_ref().with_context(|| format!("{explanation:#?}"))?;
    assert_eq!((decided.chain.as_str(), decided.rule), ("ufw-user-input", Some(1)), "{decided:#?}");
    let all = [Method::Static, Method::Twin, Method::Counters];
    let why = format!("{:?} {:#?}", explanation.no_counters, explanation.notes);
    assert_eq!(explanation.confirmed_by, all, "{why}");

    let remedy = explanation.remedies.iter().find(|it| it.proven).context("no proven remedy")?;
    for command in &remedy.commands {
        lab.run(command).await?;
    }
    let open = explain().await?;
    assert_eq!((open.targets[0].verdict, open.exit_code), (Verdict::Ok, 0), "{open:#?}");
    assert_eq!(of(&open)?.confirmed_by, all, "{open:#?}");
    for command in &remedy.undo {
        lab.run(command).await?;
    }
    let again = of(&explain().await?)?;
    assert_eq!(again.decided.map(|it| it.text), Some(decided.text.clone()), "{:#?}", again.notes);
    lab.host.shutdown().await?;
    Ok(())
}
