//! What happens between two runs of an onboarding, and within one: the next run sees it for what it is, and nothing that one
//! run leaves makes the next one fail for another reason.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::lab::{blames_no_firewall, forget_records, gateway_setup, host_for_onboarding};
use harness::service::ServiceManager;
use harness::service::gateway::{
    Drift, Ensured, GatewayError, GatewayProgram, GatewaySetup, LifecycleStep, OuterReuse, StartReason, Stop,
};
use harness::{Host, Network, NetworkInfo, Posture, Ufw};
use probe::{Cause, LifecyclePath, Verdict};
use rstest::rstest;

/// A host on which a first run has come to a healthy gateway.
async fn onboarded() -> Result<(Host, GatewayProgram, Ensured)> {
    let (host, program) = host_for_onboarding().await?;
    let ensured = gateway_setup(&host, &program).ensure_gateway().await?;
    assert_eq!(ensured.path, LifecyclePath::Fresh);
    Ok((host, program, ensured))
}

async fn network(host: &Host) -> Result<NetworkInfo> {
    Ok(host.engine()?.inspect_network("openshell-docker").await?)
}

/// The stop of a run that has to be one, for this cause.
fn stopped<T: std::fmt::Debug>(ended: Result<T, GatewayError>, cause: Cause) -> Result<Stop> {
    let error = ended.expect_err("it was called healthy");
    let stop = error.stop().with_context(|| format!("it failed otherwise: {error}"))?.clone();
    assert_eq!(stop.report.targets[0].cause, Some(cause), "{stop}");
    Ok(stop)
}

async fn recreate(host: &Host, network: &Network) -> Result<NetworkInfo> {
    let engine = host.engine()?;
    engine.remove_network("openshell-docker").await?;
    Ok(engine.create_network(network).await?)
}

#[tokio::test]
async fn a_firewall_that_comes_and_goes_is_seen_each_time() -> Result<()> {
    let (host, program, first) = onboarded().await?;
    let setup = gateway_setup(&host, &program);
    host.apply(&Ufw::brev().into(), &network(&host).await?).await?;
    assert_eq!(stopped(setup.ensure_gateway().await, Cause::Dropped)?.path, LifecyclePath::Reused);
    assert_eq!(stopped(setup.reuse_gateway().await, Cause::Dropped)?.path, LifecyclePath::OuterReuse);
    host.command("ufw").arg("disable").run().await?;
    let reused = setup.ensure_gateway().await?;
    assert_eq!((reused.path, reused.pid), (LifecyclePath::Reused, first.pid));
    host.command("ufw").args(["--force", "enable"]).run().await?;
    assert_eq!(stopped(setup.ensure_gateway().await, Cause::Dropped)?.path, LifecyclePath::Reused);
    Ok(())
}

/// NemoClaw #3456: the aborted run left a gateway, and the next one fell over its port. Here every run probes again.
#[tokio::test]
async fn a_blocked_first_run_leaves_nothing_that_the_next_one_falls_over() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let setup = gateway_setup(&host, &program);
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    host.apply(&Ufw::brev().into(), &network).await?;
    for run in 1..=2 {
        let stop = stopped(setup.ensure_gateway().await, Cause::Dropped)?;
        assert_eq!(stop.path, LifecyclePath::Fresh, "run {run}");
        assert!(setup.processes().is_empty() && setup.records().pid().is_none(), "run {run}");
    }
    host.command("ufw").arg("disable").run().await?;
    assert_eq!(setup.ensure_gateway().await?.path, LifecyclePath::Fresh);
    Ok(())
}

/// The listener's address is frozen at its start. It is stale now, whatever a firewall does, and whoever started it.
#[rstest]
#[tokio::test]
async fn a_network_recreated_with_another_subnet_makes_a_wrong_bind(
    #[values(LifecyclePath::Reused, LifecyclePath::Adopted)] path: LifecyclePath,
) -> Result<()> {
    let (host, program, _) = onboarded().await?;
    for (ufw, second) in [(false, 31), (true, 32)] {
        recreated_elsewhere(&host, &program, path, ufw, second)
            .await
            .with_context(|| format!("ufw: {ufw}"))?;
    }
    Ok(())
}

async fn recreated_elsewhere(
    host: &Host,
    program: &GatewayProgram,
    path: LifecyclePath,
    ufw: bool,
    second: u8,
) -> Result<()> {
    let setup = gateway_setup(host, program);
    let first = setup.records().pid().context("no gateway is recorded")?;
    let old = network(host).await?;
    let gateway = Ipv4Addr::new(172, second, 0, 1);
    let elsewhere = Network::openshell_docker().subnet(format!("172.{second}.0.0/16"), gateway);
    let new = recreate(host, &elsewhere).await?;
    if ufw {
        host.apply(&Ufw::brev().into(), &new).await?;
    }
    if path == LifecyclePath::Reused {
        let decision = setup.reuse_gateway().await?;
        let OuterReuse::Start(StartReason::NetworkRecreated { was: Some(was), is }) = decision else {
            panic!("the network has the same name and is another one: {decision:?}");
        };
        assert_eq!((was.id, was.gateway, is.id, is.gateway), (old.id, old.gateway, new.id, new.gateway));
    } else {
        forget_records(host).await?;
    }
    let stop = stopped(setup.ensure_gateway().await, Cause::WrongBind)?;
    assert_eq!((stop.path, stop.code), (path, 1));
    assert!(stop.talk.contains(&old.gateway.to_string()), "{}", stop.talk);
    blames_no_firewall(&stop.talk);
    assert!(stop.report.targets[0].remedy.is_none());

    // What the hint says: restart it.
    host.command("kill").arg(first.to_string()).run().await?;
    until_ended(&setup, first).await;
    if ufw {
        host.command("ufw").arg("disable").run().await?;
    }
    let fresh = setup.ensure_gateway().await?;
    assert_eq!(fresh.path, LifecyclePath::Fresh);
    assert_eq!(
        setup.records().marker().and_then(|marker| marker.network).map(|n| n.gateway),
        Some(new.gateway)
    );
    Ok(())
}

async fn until_ended(setup: &GatewaySetup<'_>, pid: i32) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while setup.processes().contains(&pid) {
        tick.tick().await;
    }
}

/// The same subnet again: the listener serves it still. The outer decision goes by identity and starts; the start reuses.
#[tokio::test]
async fn a_network_recreated_with_the_same_subnet_is_another_network_and_still_served() -> Result<()> {
    let (host, program, first) = onboarded().await?;
    let setup = gateway_setup(&host, &program);
    let same = network(&host).await?;
    recreate(&host, &Network::openshell_docker().subnet(same.cidr(), same.gateway)).await?;
    let decision = setup.reuse_gateway().await?;
    let OuterReuse::Start(StartReason::NetworkRecreated { .. }) = decision else { panic!("{decision:?}") };
    let reused = setup.ensure_gateway().await?;
    assert_eq!((reused.path, reused.pid), (LifecyclePath::Reused, first.pid));
    Ok(())
}

/// NemoClaw #9594: the gateway is healthy and the network is gone, so the next sandbox would fail.
#[rstest]
#[tokio::test]
async fn a_network_that_is_gone_stops_where_a_gateway_was_running(
    #[values(LifecyclePath::Reused, LifecyclePath::Adopted)] path: LifecyclePath,
) -> Result<()> {
    let (host, program, first) = onboarded().await?;
    let setup = gateway_setup(&host, &program);
    let was = network(&host).await?;
    for posture in [Posture::Open, Ufw::brev().into()] {
        host.apply(&posture, &network(&host).await?).await?;
        host.engine()?.remove_network("openshell-docker").await?;
        if path == LifecyclePath::Reused {
            let decision = setup.reuse_gateway().await?;
            assert!(matches!(decision, OuterReuse::Start(StartReason::NetworkAbsent)), "{decision:?}");
        } else {
            forget_records(&host).await?;
        }
        let error = setup.ensure_gateway().await.expect_err("there is no network");
        let stop = error.stop().with_context(|| format!("it failed otherwise: {error}"))?;
        assert_eq!((stop.path, stop.code), (path, 3));
        assert_eq!(stop.report.targets[0].verdict, Verdict::NetworkNotFound);
        assert!(stop.talk.starts_with("error: sandboxes cannot be created"), "{}", stop.talk);
        blames_no_firewall(&stop.talk);
        if posture == Posture::Open {
            // The same again for the second row: a network at the address that the gateway serves, and records of it.
            let again = Network::openshell_docker().subnet(was.cidr(), was.gateway);
            host.engine()?.create_network(&again).await?;
            assert_eq!(setup.ensure_gateway().await?.pid, first.pid);
        }
    }
    Ok(())
}

/// Healthy, and gone a moment later (NemoClaw #4430): it does not listen, and no firewall has anything to do with it.
#[rstest]
#[tokio::test]
async fn a_gateway_that_is_killed_between_health_and_preflight_is_not_listening(
    #[values(LifecyclePath::Fresh, LifecyclePath::Reused, LifecyclePath::Adopted)] path: LifecyclePath,
) -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    host.engine()?.create_network(&Network::openshell_docker()).await?;
    for ufw in [false, true] {
        killed_between(&host, &program, path, ufw).await.with_context(|| format!("ufw: {ufw}"))?;
    }
    Ok(())
}

async fn killed_between(host: &Host, program: &GatewayProgram, path: LifecyclePath, ufw: bool) -> Result<()> {
    let setup = gateway_setup(host, program);
    if path == LifecyclePath::Fresh {
        // An earlier row's.
        for pid in setup.processes() {
            host.command("kill").arg(pid.to_string()).run().await?;
            until_ended(&setup, pid).await;
            forget_records(host).await?;
        }
    } else {
        setup.ensure_gateway().await?;
    }
    if path == LifecyclePath::Adopted {
        forget_records(host).await?;
    }
    if ufw {
        host.apply(&Ufw::brev().into(), &network(host).await?).await?;
    }
    let killed = gateway_setup(host, program).on_step(|step| {
        let setup = &setup;
        async move {
            if step == LifecycleStep::Preflight {
                for pid in setup.processes() {
                    host.command("kill").args(["-9", &pid.to_string()]).run().await.expect("kill it");
                    until_ended(setup, pid).await;
                }
            }
        }
    });
    let stop = stopped(killed.ensure_gateway().await, Cause::NotListening)?;
    assert_eq!((stop.path, stop.code), (path, 1));
    blames_no_firewall(&stop.talk);

    if ufw {
        host.command("ufw").arg("disable").run().await?;
    }
    // Records of a process that is gone are no obstacle.
    assert_eq!(setup.ensure_gateway().await?.path, LifecyclePath::Fresh);
    Ok(())
}

#[tokio::test]
async fn two_runs_at_once_come_to_one_gateway() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let (one, other) = (gateway_setup(&host, &program), gateway_setup(&host, &program));
    let (one, other) = tokio::try_join!(one.ensure_gateway(), other.ensure_gateway())?;
    let mut paths = [one.path.name(), other.path.name()];
    paths.sort_unstable();
    assert_eq!(paths, ["fresh", "reused"]);
    assert_eq!(one.pid, other.pid);
    assert_eq!(gateway_setup(&host, &program).processes(), [one.pid]);
    Ok(())
}

/// Blocked as well, neither is called healthy, and each says why.
#[tokio::test]
async fn two_runs_at_once_are_both_stopped_by_a_firewall() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    host.apply(&Posture::drop_port(8080), &network).await?;
    let (one, other) = (gateway_setup(&host, &program), gateway_setup(&host, &program));
    let (one, other) = tokio::join!(one.ensure_gateway(), other.ensure_gateway());
    for ended in [one, other] {
        assert_eq!(stopped(ended, Cause::Dropped)?.path, LifecyclePath::Fresh);
    }
    assert!(gateway_setup(&host, &program).processes().is_empty());
    Ok(())
}

/// The same file by another path is another program, a socket without a process is nobody's: both are refused, and live on.
#[tokio::test]
async fn a_foreign_listener_is_refused_and_left_alone() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let setup = gateway_setup(&host, &program);
    let listener = host.network_namespace().run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)))??;
    let error = setup.ensure_gateway().await.expect_err("the port is taken").to_string();
    assert!(error.contains("port 8080 is not available: a process that cannot be seen"), "{error}");
    blames_no_firewall(&error);
    drop(listener);

    let copy = "/opt/other/openshell-gateway";
    host.command("mkdir").arg("/opt/other").run().await?;
    host.command("cp").args([GatewayProgram::PATH, copy]).run().await?;
    let others = GatewaySetup::new(&host, program.clone().at(copy), e2e::lab::PROBE).state("/root/other");
    let other = others.ensure_gateway().await?;
    let error = setup.ensure_gateway().await.expect_err("the port is taken");
    let GatewayError::Foreign { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(other.pid));
    assert_eq!(others.processes(), [other.pid], "it is not ours to end");
    assert!(setup.records().pid().is_none() && setup.records().marker().is_none());
    Ok(())
}

/// Ours by its records and not what is wanted any more: it is ended, and started anew.
#[tokio::test]
async fn a_recorded_gateway_that_has_drifted_is_started_anew() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let copy = "/opt/gateway/openshell-gateway";
    host.command("mkdir").arg("/opt/gateway").run().await?;
    host.command("cp").args([GatewayProgram::PATH, copy]).run().await?;
    let setup = || GatewaySetup::new(&host, program.clone().at(copy), e2e::lab::PROBE);
    let first = setup().ensure_gateway().await?;

    // Another network is wanted, so its environment is not the right one.
    let second = setup().network("openshell-other");
    let decision = second.reuse_gateway().await?;
    let OuterReuse::Start(StartReason::Drifted(Drift::Environment { name, .. })) = decision else {
        panic!("{decision:?}");
    };
    assert_eq!(name, "OPENSHELL_DOCKER_NETWORK_NAME");
    let second = second.ensure_gateway().await?;
    assert_eq!(second.path, LifecyclePath::Fresh);
    assert_ne!(second.pid, first.pid);

    // The program is replaced, as an upgrade does it.
    host.command("cp").args([GatewayProgram::PATH, "/opt/gateway/new"]).run().await?;
    host.command("mv").args(["/opt/gateway/new", copy]).run().await?;
    let third = setup().network("openshell-other");
    let decision = third.reuse_gateway().await?;
    assert!(
        matches!(decision, OuterReuse::Start(StartReason::Drifted(Drift::Executable { .. }))),
        "{decision:?}"
    );
    let third = third.ensure_gateway().await?;
    assert_eq!(third.path, LifecyclePath::Fresh);
    assert_eq!(setup().processes(), [third.pid], "there is one gateway, of the new file");
    Ok(())
}

/// Without records nobody knows whose it is: it is named and left alone.
#[tokio::test]
async fn an_unrecorded_gateway_that_has_drifted_is_named_and_left_alone() -> Result<()> {
    let (host, program, first) = onboarded().await?;
    forget_records(&host).await?;
    let other = gateway_setup(&host, &program).network("openshell-other");
    let error = other.ensure_gateway().await.expect_err("it is another gateway");
    let GatewayError::Drifted { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, first.pid);
    assert!(error.to_string().contains("OPENSHELL_DOCKER_NETWORK_NAME"), "{error}");
    assert_eq!(other.processes(), [first.pid]);
    assert!(other.records().pid().is_none());
    Ok(())
}

/// The process of the records is gone and another one has its id: the records are worth nothing.
#[tokio::test]
async fn records_of_another_process_are_not_believed() -> Result<()> {
    let (host, program, first) = onboarded().await?;
    let setup = gateway_setup(&host, &program);
    host.command("kill").args(["-9", &first.pid.to_string()]).run().await?;
    until_ended(&setup, first.pid).await;
    let sleeper = host.command("sleep").arg("600").spawn().await?;
    let folder = Path::new("/root/.local/state/nemoclaw/openshell-docker-gateway");
    std::fs::write(host.path(folder.join("openshell-gateway.pid")), sleeper.pid().to_string())?;
    let fresh = setup.ensure_gateway().await?;
    assert_eq!(fresh.path, LifecyclePath::Fresh);
    host.command("kill").args(["-0", &sleeper.pid().to_string()]).run().await?;
    Ok(())
}

/// With its engine gone nothing can be found out about a gateway that runs on: a warning, and a stop for an onboarding that
/// is strict.
#[tokio::test]
async fn a_strict_onboarding_stops_when_nothing_could_be_found_out() -> Result<()> {
    let (host, program, first) = onboarded().await?;
    let setup = || gateway_setup(&host, &program);
    host.command("kill").args(["-9", &host.engine()?.pid().to_string()]).run().await?;
    let reused = setup().ensure_gateway().await?;
    assert_eq!((reused.path, reused.pid), (LifecyclePath::Reused, first.pid));
    assert!(reused.preflight.talk.starts_with("warning: "), "{}", reused.preflight.talk);
    let stop = stopped(setup().strict().ensure_gateway().await, Cause::DaemonUnreachable)?;
    assert_eq!((stop.path, stop.code), (LifecyclePath::Reused, 3));
    assert!(stop.talk.starts_with("error: "), "{}", stop.talk);
    blames_no_firewall(&stop.talk);
    assert_eq!(setup().processes(), [first.pid], "it runs on");
    Ok(())
}

/// It holds its port, accepts, and never answers: of no use, and it would be in the way. It is ours, so it is ended.
#[tokio::test]
async fn a_gateway_of_ours_that_hangs_is_started_anew() -> Result<()> {
    let (host, program, first) = onboarded().await?;
    host.command("kill").args(["-STOP", &first.pid.to_string()]).run().await?;
    let setup = gateway_setup(&host, &program).healthy_within(Duration::from_secs(1));
    let decision = setup.reuse_gateway().await?;
    assert!(matches!(decision, OuterReuse::Start(StartReason::NotHealthy(_))), "{decision:?}");
    let second = setup.ensure_gateway().await?;
    assert_eq!(second.path, LifecyclePath::Fresh);
    assert_ne!(second.pid, first.pid);
    assert_eq!(setup.processes(), [second.pid]);
    Ok(())
}

/// Policy DROP and not even `lo` accepted: the host's own check fails before the preflight is asked. It is no answer about
/// sandboxes, nothing is blamed, and nothing is left.
#[tokio::test]
async fn a_gateway_that_the_host_itself_cannot_reach_is_not_healthy_and_not_left_behind() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    host.apply(&Posture::InputPolicyDrop, &network).await?;
    let setup = gateway_setup(&host, &program).healthy_within(Duration::from_secs(4));
    let error = setup.ensure_gateway().await.expect_err("the host cannot reach it");
    let GatewayError::NotHealthy { step, .. } = &error else { panic!("{error}") };
    assert_eq!(*step, LifecycleStep::Metadata, "{error}");
    blames_no_firewall(&error.to_string());
    assert!(setup.processes().is_empty() && setup.records().pid().is_none());
    host.command("iptables").args(["-P", "INPUT", "ACCEPT"]).run().await?;
    assert_eq!(setup.ensure_gateway().await?.path, LifecyclePath::Fresh);
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_cannot_start_says_why_and_leaves_nothing() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let setup = gateway_setup(&host, &program);
    // A network that OpenShell does not use.
    let network = Network::openshell_docker().deviate(|request| request.driver = Some("macvlan".to_owned()));
    host.command("ip").args(["link", "add", "parent0", "type", "bridge"]).run().await?;
    let network = network.option("parent", "parent0").subnet("172.29.0.0/16", Ipv4Addr::new(172, 29, 0, 1));
    host.engine()?.create_network(&network).await?;
    let error = setup.ensure_gateway().await.expect_err("it cannot start");
    let GatewayError::Ended { log } = &error else { panic!("{error}") };
    assert!(log.contains("is no bridge network"), "{log}");
    assert!(setup.processes().is_empty() && setup.records().pid().is_none());
    host.engine()?.remove_network("openshell-docker").await?;
    assert_eq!(setup.ensure_gateway().await?.path, LifecyclePath::Fresh);
    Ok(())
}

/// What the manager is for: its unit ends, and it starts it again. Nobody else's process is taken for the unit's.
#[tokio::test]
async fn a_managed_gateway_that_ends_is_started_again_by_its_manager() -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let manager = ServiceManager::start(&host, &program).await?;
    let setup = || gateway_setup(&host, &program).managed_by(&manager);
    let first = setup().ensure_gateway().await?;
    assert_eq!(first.path, LifecyclePath::ManagedService);
    host.command("kill").args(["-9", &first.pid.to_string()]).run().await?;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let again = loop {
        let status = manager.status().await?;
        match status.main_pid {
            Some(pid) if pid != first.pid => break status,
            _ => tick.tick().await,
        };
    };
    assert!(again.starts >= 3, "installed, onboarded, ended: {again:?}");
    let second = setup().ensure_gateway().await?;
    assert_eq!(second.path, LifecyclePath::ManagedService);
    assert_ne!(Some(second.pid), again.main_pid);
    Ok(())
}

/// An onboarding before the package came left a gateway of its own: the manager's takes its place.
#[tokio::test]
async fn a_gateway_of_our_own_makes_way_for_the_managers() -> Result<()> {
    let (host, program, own) = onboarded().await?;
    let manager = ServiceManager::start(&host, &program).await?;
    let setup = gateway_setup(&host, &program).managed_by(&manager);
    let managed = setup.ensure_gateway().await?;
    assert_eq!(managed.path, LifecyclePath::ManagedService);
    assert!(!setup.processes().contains(&own.pid), "{:?}", setup.processes());
    assert!(setup.records().pid().is_none() && setup.records().marker().is_none());
    Ok(())
}
