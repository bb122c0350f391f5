//! What looks like a firewall and is none: no word of the answer may accuse one.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use e2e::lab::{ENGINE_OVER_TCP, GATEWAY, Lab, PROBE, PROXY, check_by, engine_over_tcp, host_with_probe};
use harness::service::{Gateway, GatewayMode, OllamaProxy};
use harness::{Network, Posture, Ufw};
use probe::{Cause, Verdict};
use rstest::rstest;

const BOTH: [&str; 4] = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];

#[tokio::test]
async fn a_gateway_that_does_not_run_is_not_listening() -> Result<()> {
    let mut lab = Lab::start().await?;
    if let Some(gateway) = lab.gateway.take() {
        gateway.stop().await?;
    }
    let answer = lab.check().await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::NotListening)), "{}", answer.text);
    assert_eq!(answer.of(PROXY), (Verdict::Ok, None), "{}", answer.text);
    assert_eq!(answer.code, 1);
    answer.blames_no_firewall();
    Ok(())
}

/// With a firewall that would drop it, a service that does not run is still one that does not run.
#[tokio::test]
async fn a_gateway_that_does_not_run_is_not_listening_behind_ufw_either() -> Result<()> {
    let lab = Lab::without_services().await?;
    lab.apply(Ufw::brev()).await?;
    let answer = lab.check().await?;
    answer.all_are(Verdict::TcpFailed, Some(Cause::NotListening));
    answer.blames_no_firewall();
    Ok(())
}

#[tokio::test]
async fn an_optional_service_that_does_not_run_is_skipped() -> Result<()> {
    let mut lab = Lab::start().await?;
    if let Some(proxy) = lab.proxy.take() {
        proxy.stop().await?;
    }
    let answer = lab.check_with(&[]).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::Ok, None), "{}", answer.text);
    assert_eq!(answer.of(PROXY).0, Verdict::Skipped, "{}", answer.text);
    assert!(answer.text.contains("not running"), "{}", answer.text);
    assert_eq!(answer.code, 0);
    Ok(())
}

/// An optional service that runs is judged like a required one.
#[tokio::test]
async fn an_optional_service_that_runs_is_judged() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::drop_port(PROXY)).await?;
    let answer = lab.check_with(&[]).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::Ok, None), "{}", answer.text);
    assert_eq!(answer.of(PROXY), (Verdict::TcpFailed, Some(Cause::Dropped)), "{}", answer.text);
    assert_eq!(answer.code, 1);
    Ok(())
}

#[tokio::test]
async fn a_gateway_on_loopback_only_is_a_wrong_bind() -> Result<()> {
    let lab = Lab::without_services().await?;
    let _gateway = Gateway::on_loopback().start(&lab.host).await?;
    let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::WrongBind)), "{}", answer.text);
    assert!(answer.target(GATEWAY).summary.contains("127.0.0.1"), "{}", answer.text);
    answer.blames_no_firewall();
    Ok(())
}

/// The network is recreated with another subnet while the gateway runs: its address is frozen at its start. With a
/// firewall in force as well, the bind is still what is wrong.
#[tokio::test]
async fn a_gateway_on_the_old_address_of_a_recreated_network_is_a_wrong_bind() -> Result<()> {
    let lab = Lab::without_services().await?;
    // The old address stays on the host, as it does when another network takes it over.
    let old = Network::openshell_docker().name("old").subnet("172.30.0.0/16", Ipv4Addr::new(172, 30, 0, 1));
    let old = lab.host.engine()?.create_network(&old).await?;
    let _gateway = Gateway::on(old.gateway).start(&lab.host).await?;
    for posture in [Posture::Open, Ufw::brev().into()] {
        lab.apply(posture).await?;
        let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
        assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::WrongBind)), "{}", answer.text);
        assert!(answer.target(GATEWAY).summary.contains("172.30.0.1"), "{}", answer.text);
        answer.blames_no_firewall();
    }
    Ok(())
}

/// The same by really removing and creating the network: the kernel takes the address away with the bridge, and the
/// listener stays.
#[tokio::test]
async fn a_gateway_that_outlives_its_network_is_a_wrong_bind() -> Result<()> {
    let lab = Lab::start().await?;
    let engine = lab.host.engine()?;
    engine.remove_network("openshell-docker").await?;
    let new = Network::openshell_docker().subnet("172.31.0.0/16", Ipv4Addr::new(172, 31, 0, 1));
    engine.create_network(&new).await?;
    let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::WrongBind)), "{}", answer.text);
    assert!(answer.target(GATEWAY).summary.contains(&lab.network.gateway.to_string()), "{}", answer.text);
    answer.blames_no_firewall();
    Ok(())
}

#[tokio::test]
async fn a_missing_network_is_network_not_found() -> Result<()> {
    let lab = Lab::start().await?;
    for posture in [Posture::Open, Ufw::brev().into()] {
        lab.apply(posture).await?;
        let arguments = [&BOTH[..], &["--network", "openshell-missing"]].concat();
        let answer = lab.check_with(&arguments).await?;
        answer.all_are(Verdict::NetworkNotFound, None);
        assert_eq!(answer.code, 3);
        answer.blames_no_firewall();
    }
    Ok(())
}

#[tokio::test]
async fn a_stopped_dockerd_is_unreachable() -> Result<()> {
    let lab = Lab::start().await?;
    lab.host.kill_engine().await?;
    let answer = lab.check().await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::DaemonUnreachable));
    assert_eq!(answer.code, 3);
    answer.blames_no_firewall();
    Ok(())
}

/// The kernel still accepts connections for it, and nobody answers.
#[tokio::test]
async fn a_wedged_dockerd_is_unreachable_within_the_deadline() -> Result<()> {
    let lab = Lab::start().await?;
    lab.host.freeze_engine().await?;
    let command = || lab.host.command(PROBE).deadline(Duration::from_secs(25));
    let arguments = [&BOTH[..], &["--deadline", "8s"]].concat();
    let answer = check_by(command, &arguments).await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::DaemonUnreachable));
    assert_eq!(answer.code, 3);
    answer.blames_no_firewall();
    Ok(())
}

/// A name that the container is not given. Nobody answers for it: a host has no resolver.
#[tokio::test]
async fn an_alias_that_is_not_injected_is_a_matter_of_names() -> Result<()> {
    let lab = Lab::start().await?;
    for posture in [Posture::Open, Ufw::brev().into()] {
        lab.apply(posture).await?;
        let arguments = [&BOTH[..], &["--alias", "not-injected.openshell.internal"]].concat();
        let answer = lab.check_with(&arguments).await?;
        answer.all_are(Verdict::ProbeUnavailable, Some(Cause::NameResolution));
        assert_eq!(answer.code, 3);
        answer.blames_no_firewall();
    }
    Ok(())
}

/// What the gateway speaks makes no difference to whether it is reached. The gateways have one host, one after another.
#[rstest]
#[tokio::test]
async fn a_gateway_that_speaks(#[values(false, true)] blocked: bool) -> Result<()> {
    let lab = Lab::without_services().await?;
    if blocked {
        lab.apply(Posture::drop_port(GATEWAY)).await?;
    }
    for mode in [GatewayMode::Plain, GatewayMode::Tls, GatewayMode::MutualTls] {
        for restricted_bridge in [false, true] {
            let gateway = Gateway::on(lab.network.gateway).mode(mode);
            let gateway = if restricted_bridge { gateway.restricted_bridge() } else { gateway };
            let gateway = gateway.start(&lab.host).await?;
            let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
            if blocked {
                let dropped = (Verdict::TcpFailed, Some(Cause::Dropped));
                assert_eq!(answer.of(GATEWAY), dropped, "{mode:?}: {}", answer.text);
            } else {
                assert_eq!(answer.of(GATEWAY), (Verdict::Ok, None), "{mode:?}: {}", answer.text);
                answer.blames_no_firewall();
            }
            gateway.stop().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_without_permission_says_so_and_the_way_out() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let answer = check_by(|| lab.host.command(PROBE).user(1000, 1000), &BOTH).await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::PermissionDenied));
    assert_eq!(answer.code, 3);
    assert!(answer.text.contains("hint: ") && answer.text.contains("docker"), "{}", answer.text);
    answer.blames_no_firewall();
    Ok(())
}

/// A member of the engine's group needs no root. The firewall is then known from its configuration only, and the
/// commands begin with `sudo`.
#[tokio::test]
async fn a_member_of_the_engines_group_gets_the_commands_with_sudo() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let group = lab.host.command("stat").args(["-c", "%g", "/run/docker.sock"]).run().await?;
    let group = group.trim().parse()?;
    let answer = check_by(|| lab.host.command(PROBE).user(1000, group), &BOTH).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::Dropped)), "{}", answer.text);
    let remedy = answer.remedy(GATEWAY).join(" ");
    let (subnet, gateway) = (lab.network.cidr(), lab.network.gateway);
    assert_eq!(remedy, format!("sudo ufw allow from {subnet} to {gateway} port 8080 proto tcp"));
    assert!(answer.text.contains("enabled in ufw.conf, not verified"), "{}", answer.text);
    Ok(())
}

#[tokio::test]
async fn a_rejecting_rule_is_told_from_a_port_that_is_closed() -> Result<()> {
    let lab = Lab::start().await?;
    let bridge = lab.network.bridge.as_str();
    for with in ["tcp-reset", "icmp-port-unreachable", "icmp-host-prohibited", "icmp-admin-prohibited"] {
        let rule = format!("INPUT -i {bridge} -p tcp --dport 8080 -j REJECT --reject-with {with}");
        lab.run(&format!("iptables -I {rule}")).await?;
        let answer = lab.check().await?;
        assert_eq!(
            answer.of(GATEWAY),
            (Verdict::TcpFailed, Some(Cause::Rejected)),
            "{with}: {}",
            answer.text
        );
        assert_eq!(answer.of(PROXY), (Verdict::Ok, None), "{with}: {}", answer.text);
        let remedy = answer.remedy(GATEWAY).join(" ");
        lab.run(&remedy).await?;
        let answer = lab.check().await?;
        assert_eq!(answer.of(GATEWAY), (Verdict::Ok, None), "{with}: {}", answer.text);
        lab.run(&remedy.replace(" -I ", " -D ")).await?;
        lab.run(&format!("iptables -D {rule}")).await?;
    }
    Ok(())
}

/// Packets do not come to the host at all: the neighbour stays unknown, which is never a firewall.
#[tokio::test]
async fn a_bridge_that_is_down_is_a_link_and_no_firewall() -> Result<()> {
    let lab = Lab::start().await?;
    // A port of the bridge that is isolated from all others, the bridge itself included, has no neighbour; taking the
    // bridge down would take its address away too. So its hardware filter is closed instead.
    let rule = "add table bridge lab; add chain bridge lab in { type filter hook prerouting priority 0; policy drop; }";
    lab.host.command("nft").arg(rule).run().await?;
    let answer = lab.check().await?;
    answer.all_are(Verdict::TcpFailed, Some(Cause::LinkDown));
    answer.blames_no_firewall();
    Ok(())
}

/// A drop is called so when a repeated SYN stays unanswered, and a time-out of 200 ms ends before the first repetition.
#[tokio::test]
async fn a_time_out_that_is_too_short_accuses_nobody() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let answer = lab.check_with(&[&BOTH[..], &["--timeout", "200ms"]].concat()).await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::Inconclusive));
    assert!(answer.text.contains("hint: give it more time: --timeout 3.5s"), "{}", answer.text);
    answer.blames_no_firewall();
    Ok(())
}

/// The engine is another host's, reached over TCP. Here, a network of the same name has the same address, and somebody
/// answers at it: nothing that is seen here says anything about the engine's host.
#[tokio::test]
async fn an_engine_elsewhere_is_not_judged_by_what_is_here() -> Result<()> {
    let there = Lab::without_services().await?;
    let here = host_with_probe().await?;
    let network = here.engine()?.create_network(&Network::openshell_docker()).await?;
    assert_eq!(network.gateway, there.network.gateway, "the address is the same");
    let _gateway = Gateway::on(network.gateway).start(&here).await?;
    let _proxy = OllamaProxy::new().start(&here).await?;

    let _forwarder = engine_over_tcp(&there.host, &here)?;
    let command = || here.command(PROBE).env("DOCKER_HOST", ENGINE_OVER_TCP);
    for posture in [Posture::Open, Ufw::brev().into()] {
        there.apply(posture).await?;
        let answer = check_by(command, &[&BOTH[..], &["--host", ENGINE_OVER_TCP]].concat()).await?;
        answer.all_are(Verdict::TcpFailed, Some(Cause::UnknownFromHere));
        answer.blames_no_firewall();
    }
    Ok(())
}
