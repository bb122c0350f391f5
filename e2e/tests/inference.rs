//! The route to Ollama: the preflight runs before it is committed, every time.

use anyhow::{Context, Result};
use e2e::firewall::Firewall;
use e2e::lab::{GATEWAY, PROXY, blames_no_firewall, gateway_setup, host_for_onboarding, inference_setup};
use harness::service::inference::Progress;
use harness::{Host, NetworkInfo, Posture, Ufw};
use probe::{Cause, Decision, LifecyclePath, Verdict};

const ROUTE: &str = "http://host.openshell.internal:11435/v1";

/// A host whose gateway is onboarded, so that the network is there.
async fn onboarded() -> Result<(Host, NetworkInfo)> {
    let (host, program) = host_for_onboarding().await?;
    gateway_setup(&host, &program).ensure_gateway().await?;
    let network = host.engine()?.inspect_network("openshell-docker").await?;
    Ok((host, network))
}

/// One host, to which the firewalls come one after another, and the command that opens the last one.
#[tokio::test]
async fn a_route_is_committed_only_when_sandboxes_reach_the_proxy() -> Result<()> {
    let (host, network) = onboarded().await?;
    for firewall in [Firewall::RuleOf3472, Firewall::PolicyDrop, Firewall::UfwWithRemedy] {
        // The gateway was opened when it was onboarded: 11435 is the next one to fail (#3340).
        firewall.apply(&host, &network, PROXY, &[GATEWAY]).await?;
        let remedy = stopped(&host).await.with_context(|| format!("under {firewall:?}"))?;
        if firewall == Firewall::UfwWithRemedy {
            host.command(&remedy[0]).args(&remedy[1..]).run().await?;
            assert_eq!(inference_setup(&host).run().await?.route.base_url, ROUTE);
            assert_eq!(inference_setup(&host).progress(), Some(Progress::Complete));
        } else {
            firewall.lift(&host, &network, PROXY).await?;
        }
    }
    host.shutdown().await?;
    Ok(())
}

/// A run stops, and so does the next one; nothing is committed. Returns the command that opens the path.
async fn stopped(host: &Host) -> Result<Vec<String>> {
    let inference = inference_setup(host);
    let error = inference.run().await.expect_err("it is blocked");
    let stop = error.stop().with_context(|| format!("it failed otherwise: {error}"))?;
    assert_eq!((stop.path, stop.code), (LifecyclePath::Inference, 1));
    let target = &stop.report.targets[0];
    let found = (target.port, target.verdict, target.cause);
    assert_eq!(found, (PROXY, Verdict::TcpFailed, Some(Cause::Dropped)), "{stop}");
    assert!(stop.talk.contains("ollama-proxy") && stop.talk.contains("11435"), "{}", stop.talk);
    assert_eq!(inference.committed(), None, "nothing is committed");
    assert_eq!(inference.progress(), Some(Progress::InProgress));
    assert_eq!(inference.proxy(), None, "what the run started is ended");

    // A second run and a resume come to the same point and find the same.
    let again = inference_setup(host).run().await.expect_err("it is still blocked");
    let again = again.stop().with_context(|| format!("it fails for another reason: {again}"))?;
    assert_eq!(again.report.targets[0].cause, Some(Cause::Dropped));
    assert_eq!(inference.committed(), None);
    let remedy = &target.remedy.as_ref().context("there is no remedy")?.argv;
    assert!(stop.talk.contains(&format!("hint: {}", remedy.join(" "))), "{}", stop.talk);
    Ok(remedy.clone())
}

/// With no firewall it is committed; what was committed once is checked again, and a later stop does not undo it.
#[tokio::test]
async fn a_committed_route_is_checked_again() -> Result<()> {
    let (host, network) = onboarded().await?;
    host.apply(&Posture::Open, &network).await?;
    let inference = inference_setup(&host);
    let committed = inference.run().await?;
    assert_eq!((committed.route.base_url.as_str(), committed.skipped), (ROUTE, None));
    assert_eq!(inference.committed(), Some(committed.route.clone()));
    assert_eq!(inference.progress(), Some(Progress::Complete));
    let route = committed.route;
    let proxy = inference.proxy().context("the proxy is not recorded")?;
    assert_eq!(inference.run().await?.preflight.report.targets[0].verdict, Verdict::Ok);
    assert_eq!(inference.proxy(), Some(proxy), "it is the same proxy");
    host.apply(&Posture::drop_port(PROXY), &network).await?;
    let error = inference.run().await.expect_err("it is blocked by now");
    assert!(error.stop().is_some(), "{error}");
    assert_eq!(inference.committed(), Some(route));
    assert_eq!(inference.proxy(), Some(proxy), "an earlier run started it");
    host.shutdown().await?;
    Ok(())
}

#[tokio::test]
async fn another_program_on_the_proxys_port_is_refused() -> Result<()> {
    let (host, _) = onboarded().await?;
    let _other = harness::service::OllamaProxy::new().start(&host).await?;
    let error = inference_setup(&host).run().await.expect_err("the port is taken").to_string();
    assert!(error.contains("port 11435 is not available"), "{error}");
    blames_no_firewall(&error);
    assert_eq!(inference_setup(&host).committed(), None);
    host.shutdown().await?;
    Ok(())
}

/// Not even a firewall in force makes a difference: on WSL nothing is dialled, and the answer says so.
#[tokio::test]
async fn on_wsl_nothing_is_checked_and_the_reason_is_said() -> Result<()> {
    let (host, network) = onboarded().await?;
    host.apply(&Ufw::brev().into(), &network).await?;
    let version = "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@builder) #1 SMP";
    std::fs::write(host.path("/tmp/version"), version)?;
    host.command("mount").args(["--bind", "/tmp/version", "/proc/version"]).run().await?;
    let inference = inference_setup(&host);
    let committed = inference.run().await?;
    let reason = committed.skipped.context("it was checked")?;
    assert!(reason.contains("WSL"), "{reason}");
    let report = &committed.preflight.report;
    assert_eq!((report.targets[0].verdict, report.targets[0].cause), (Verdict::Skipped, Some(Cause::Wsl)));
    let gate = report.preflight.context("it is no preflight")?;
    assert_eq!((gate.decision, gate.attempts), (Decision::Proceed, 0));
    assert!(committed.preflight.talk.starts_with("note: 11435 ollama-proxy is not checked"));
    blames_no_firewall(&committed.preflight.talk);
    assert_eq!(committed.route.base_url, "http://host.docker.internal:11434/v1");
    assert_eq!(inference.proxy(), None, "there is no proxy on WSL");
    host.shutdown().await?;
    Ok(())
}
