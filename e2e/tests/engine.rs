//! What happens to an engine is trouble with a tool, and never a statement about the network.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::lab::{GATEWAY, Lab, PROBE, check_by};
use harness::engine::{Intercept, Interference};
use harness::{Network, Posture, Ufw};
use probe::{Cause, Verdict};
use rstest::rstest;

const ONE: [&str; 2] = ["--port", "8080=gateway"];

/// The network, the images and the services are those from before.
#[tokio::test]
async fn an_engine_that_was_restarted_is_as_before() -> Result<()> {
    let lab = Lab::start().await?;
    assert_eq!(lab.check().await?.code, 0);
    let before = lab.host.engine()?.pid();
    lab.host.restart_engine().await?;
    assert_ne!(lab.host.engine()?.pid(), before);
    assert_eq!(lab.host.engine()?.inspect_network("openshell-docker").await?, lab.network);
    assert_eq!(lab.check().await?.code, 0);
    Ok(())
}

/// With a firewall in force that would drop what is dialled, which nobody can find out then.
#[rstest]
#[tokio::test]
async fn an_engine_that_is_killed_or_frozen_is_unreachable(
    #[values(false, true)] frozen: bool,
) -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    if frozen {
        lab.host.freeze_engine().await?;
    } else {
        lab.host.kill_engine().await?;
    }
    let answer = lab.check_with(&ONE).await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::DaemonUnreachable));
    answer.blames_no_firewall();
    if frozen {
        lab.host.thaw_engine().await?;
    } else {
        lab.host.restart_engine().await?;
    }
    assert_eq!(lab.check_with(&ONE).await?.of(GATEWAY).1, Some(Cause::Dropped));
    Ok(())
}

#[tokio::test]
async fn a_socket_that_one_may_not_open_is_permission_denied() -> Result<()> {
    let lab = Lab::start().await?;
    lab.host.deny_engine()?;
    let answer = check_by(|| lab.host.command(PROBE).user(1000, 1000), &ONE).await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::PermissionDenied));
    answer.blames_no_firewall();
    Ok(())
}

/// A relay that disturbs nothing is not noticed, by a container's attached streams neither.
#[tokio::test]
async fn a_relay_without_rules_is_not_noticed() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::drop_port(GATEWAY)).await?;
    let intercept = Intercept::builder().start(&lab.host)?;
    let answer = lab.check().await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::Dropped)), "{}", answer.text);
    assert_eq!(answer.of(11435), (Verdict::Ok, None), "{}", answer.text);
    let calls = intercept.calls();
    assert!(calls.iter().any(|call| call.ends_with("/attach")), "{calls:?}");
    drop(intercept);
    assert!(!lab.host.path("/run/docker-engine.sock").exists());
    assert_eq!(lab.check().await?.code, 1);
    Ok(())
}

/// Each call that a check needs, disturbed in each way: the answer is in time, and about the engine. What hangs takes its
/// time and has a host for each, all else comes one after another.
#[rstest]
#[case::refused(vec![
    ("POST", "/images/load", Interference::fail("no space left on device"), Cause::ImageUnavailable),
    ("POST", "/images/load", Interference::Cut, Cause::DaemonUnreachable),
    ("POST", "/containers/create", Interference::fail("no"), Cause::EngineError),
    (
        "POST",
        "/containers/*/start",
        Interference::fail(
            "failed to add the host (veth1) <=> sandbox (veth2) pair interfaces: operation not supported"
        ),
        Cause::EngineError,
    ),
    ("GET", "/networks/*", Interference::fail("no"), Cause::EngineError),
    ("GET", "/networks/*", Interference::ipam(&[("172.18.0.0/16", None)]), Cause::NoIpv4Gateway),
    ("GET", "/networks/*", Interference::ipam(&[("fd00::/64", Some("fd00::1"))]), Cause::NoIpv4Gateway),
    ("GET", "/networks/*", Interference::ipam(&[("172.18.0.0/16", Some("172.18.0.1/16"))]), Cause::InvalidGateway),
])]
#[case::import_hangs(vec![("POST", "/images/load", Interference::Hang, Cause::DaemonUnreachable)])]
#[case::start_hangs(vec![("POST", "/containers/*/start", Interference::Hang, Cause::ProbeTimeout)])]
#[tokio::test]
async fn trouble_with_the_engine(
    #[case] troubles: Vec<(&'static str, &'static str, Interference, Cause)>,
) -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    for (method, path, interference, cause) in troubles {
        let intercept = Intercept::builder().when(method, path, interference).start(&lab.host)?;
        let began = Instant::now();
        let answer = lab.check_with(&ONE).await?;
        answer.all_are(Verdict::ProbeUnavailable, Some(cause));
        assert!(began.elapsed() < Duration::from_secs(25), "{method} {path}: {:?}", began.elapsed());
        answer.blames_no_firewall();
        // That it was disturbed at all.
        let called = tokio::time::timeout(Duration::from_secs(1), intercept.called(method, path)).await;
        called.with_context(|| format!("{method} {path} was not called"))?;
    }
    Ok(())
}

/// Being slow is no trouble.
#[tokio::test]
async fn an_engine_that_is_slow_is_waited_for() -> Result<()> {
    let lab = Lab::start().await?;
    let slow = Interference::Delay(Duration::from_millis(700));
    let _intercept = Intercept::builder()
        .when("GET", "/networks/*", slow.clone())
        .when("POST", "/containers/create", slow)
        .start(&lab.host)?;
    assert_eq!(lab.check().await?.code, 0);
    Ok(())
}

/// Two IPv4 networks in one, and IPv6 before IPv4: the first IPv4 gateway is the one, as OpenShell has it.
#[tokio::test]
async fn the_first_ipv4_gateway_counts() -> Result<()> {
    let lab = Lab::start().await?;
    let (own, gateway) = (lab.network.cidr(), lab.network.gateway.to_string());
    let entries =
        [("fd00::/64", Some("fd00::1")), (&own, Some(&gateway)), ("172.30.0.0/16", Some("172.30.0.1"))];
    let _intercept =
        Intercept::builder().when("GET", "/networks/*", Interference::ipam(&entries)).start(&lab.host)?;
    assert_eq!(lab.check().await?.code, 0);
    Ok(())
}

/// It is restarted when the container of the check is about to start.
#[tokio::test]
async fn an_engine_that_restarts_during_a_check_is_trouble() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let late = Interference::Delay(Duration::from_secs(2));
    let intercept = Intercept::builder().when("POST", "/containers/*/start", late).start(&lab.host)?;
    let restart = async {
        intercept.called("POST", "/containers/*/start").await;
        lab.host.restart_engine().await.context("restart")
    };
    let (answer, ()) = tokio::try_join!(lab.check_with(&ONE), restart)?;
    assert_eq!(answer.of(GATEWAY).0, Verdict::ProbeUnavailable, "{}", answer.text);
    answer.blames_no_firewall();
    assert_eq!(lab.check_with(&ONE).await?.of(GATEWAY).1, Some(Cause::Dropped));
    Ok(())
}

/// Networks that only exist with these drivers here; each is something that OpenShell does not use.
#[rstest]
#[case::macvlan(&["ip link add parent0 type bridge", "docker network create -d macvlan -o parent=parent0 --subnet 10.9.0.0/24 openshell-docker"])]
#[case::overlay(&[
    "ip link add swarm0 type bridge && ip address add 10.99.0.1/24 dev swarm0 && ip link set swarm0 up",
    "docker swarm init --advertise-addr 10.99.0.1",
    "docker network create -d overlay --attachable openshell-docker"
])]
#[tokio::test]
async fn a_network_of_another_driver_is_not_a_bridge(#[case] commands: &[&str]) -> Result<()> {
    let lab = Lab::start().await?;
    lab.host.engine()?.remove_network("openshell-docker").await?;
    for command in commands {
        lab.host.command("sh").args(["-ec", command]).run().await?;
    }
    let answer = lab.check().await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::NotABridge));
    answer.blames_no_firewall();
    Ok(())
}

/// open-neko/openneko#215: the bridge has an address that the engine does not say.
#[tokio::test]
async fn a_network_without_a_gateway_in_its_ipam_has_no_ipv4_gateway() -> Result<()> {
    let lab = Lab::start().await?;
    let engine = lab.host.engine()?;
    engine.remove_network("openshell-docker").await?;
    engine.add_network(&Network::openshell_docker().without_gateway("172.40.0.0/16")).await?;
    let answer = lab.check().await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::NoIpv4Gateway));
    answer.blames_no_firewall();
    Ok(())
}

/// An engine that is told only the IPv6 subnet names it first.
#[tokio::test]
async fn a_network_whose_first_subnet_is_ipv6_is_reached_over_ipv4() -> Result<()> {
    let lab = Lab::without_services().await?;
    lab.host.engine()?.remove_network("openshell-docker").await?;
    let network = lab.host.engine()?.create_network(&Network::openshell_docker().ipv6("fd00:1::/64")).await?;
    let _gateway = harness::service::Gateway::on(network.gateway).start(&lab.host).await?;
    let answer = lab.check_with(&ONE).await?;
    answer.all_are(Verdict::Ok, None);
    Ok(())
}
