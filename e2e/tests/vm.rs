//! An engine in a virtual machine: sandboxes meet a forwarder there, and no firewall is in their way or blamed.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::lab::{Answer, GATEWAY, PROBE, PROXY, blames_no_firewall, check_by};
use e2e::programs;
use harness::engine::{Intercept, Interference};
use harness::service::{Gateway, OllamaProxy, health};
use harness::vm::{Forwarder, Persona, VirtualMachine};
use harness::{HostBuilder, Network, Ufw};
use probe::{Cause, HOST_GATEWAY_ATTEMPTS, Report, Route, Verdict};
use rstest::rstest;

const BOTH: [&str; 4] = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];

/// Where the oracle is on the user's machine.
const ORACLE: &str = "/usr/local/bin/oracle";

/// A virtual machine with the network, and the probe on the user's machine.
async fn start(persona: Persona, forwarder: Forwarder) -> Result<VirtualMachine> {
    start_with(persona, forwarder, |host| host).await
}

async fn start_with(
    persona: Persona,
    forwarder: Forwarder,
    user: impl FnOnce(HostBuilder) -> HostBuilder,
) -> Result<VirtualMachine> {
    let probe = programs::probe()?;
    let vm = VirtualMachine::builder(persona).user(|host| user(host.bind(probe, PROBE))).forwarder(forwarder);
    let vm = vm.start().await?;
    vm.machine().engine()?.create_network(&Network::openshell_docker()).await?;
    Ok(vm)
}

/// What a sandbox meets at both ports, as the oracle has it through the engine's socket on the user's machine.
async fn experiences(vm: &VirtualMachine) -> Result<Vec<String>> {
    let said = vm
        .user()
        .command(ORACLE)
        .args(["--network", "openshell-docker", "--host", "host.openshell.internal:host-gateway"])
        .args(["--target", "8080=gateway", "--target", "11435=ollama-proxy", "--scale", "0.02"])
        .env("HOME", "/nonexistent")
        .run()
        .await?;
    let experience = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).context("it is no JSON")?;
        Ok(line["experience"].as_str().context("no experience")?.to_owned())
    };
    said.lines().map(experience).collect()
}

async fn check(vm: &VirtualMachine) -> Result<Answer> {
    check_by(|| vm.user().command(PROBE), &BOTH).await
}

/// Every kind of virtual machine is known for one, and sandboxes find their host's services by its own address.
#[rstest]
#[tokio::test]
async fn sandboxes_of_every_virtual_machine_reach_what_listens_on_loopback(
    #[values(
        Persona::Wsl2,
        Persona::DockerDesktop,
        Persona::Colima,
        Persona::Lima,
        Persona::RancherDesktop,
        Persona::OrbStack
    )]
    persona: Persona,
) -> Result<()> {
    let vm = start(persona, Forwarder::Ready).await?;
    let _gateway = Gateway::on_loopback().start(vm.user()).await?;
    let _proxy = OllamaProxy::new().bind_address([127, 0, 0, 1]).start(vm.user()).await?;
    vm.settle().await;
    let answer = check(&vm).await?;
    answer.all_are(Verdict::Ok, None);
    assert_eq!(answer.report.evidence.route, Some(Route::HostGateway));
    let resolution = answer.report.evidence.resolution.as_ref().context("no resolution")?;
    assert_eq!(resolution.dialled(), Some(vm.host_gateway()), "{}", answer.text);
    vm.shutdown().await?;
    Ok(())
}

/// UFW is in force there, which only shows when the machine is dialled from outside. A real sandbox says the same.
#[tokio::test]
async fn a_firewall_of_the_users_machine_is_of_no_importance() -> Result<()> {
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    let vm = start_with(Persona::DockerDesktop, Forwarder::Ready, |host| host.bind(oracle, ORACLE)).await?;
    let gateway = Gateway::on_loopback().start(vm.user()).await?;
    let _proxy = OllamaProxy::new().start(vm.user()).await?;
    vm.user().apply(&Ufw::brev().into(), vm.lan()).await?;
    check(&vm).await?.all_are(Verdict::Ok, None);
    assert_eq!(experiences(&vm).await?, ["reached", "reached"]);
    gateway.stop().await?;
    vm.settle().await;
    let answer = check(&vm).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::UnknownFromHere)), "{}", answer.text);
    assert_eq!(answer.of(PROXY), (Verdict::Ok, None), "{}", answer.text);
    answer.blames_no_firewall();
    assert_eq!(experiences(&vm).await?, ["not_reached", "reached"]);
    Ok(())
}

/// The gateway is healthy for the host itself, UFW is in force there, and the forwarder is not ready.
#[tokio::test]
async fn a_forwarder_that_is_not_there_is_no_firewall() -> Result<()> {
    let vm = start(Persona::DockerDesktop, Forwarder::Absent).await?;
    let gateway = Gateway::on_loopback().start(vm.user()).await?;
    vm.user().apply(&Ufw::brev().into(), vm.lan()).await?;
    health(vm.user(), gateway.addresses()[0]).await?;
    let answer = check_by(|| vm.user().command(PROBE), &["--port", "8080=gateway"]).await?;
    answer.all_are(Verdict::TcpFailed, Some(Cause::UnknownFromHere));
    answer.blames_no_firewall();
    vm.forward(Forwarder::Ready).await;
    check_by(|| vm.user().command(PROBE), &["--port", "8080=gateway"]).await?.all_are(Verdict::Ok, None);
    Ok(())
}

/// NemoClaw #5513 from end to end: refused until the forwarder is ready, then reached.
#[tokio::test]
async fn a_forwarder_that_is_late_is_waited_for() -> Result<()> {
    let vm = start(Persona::Wsl2, Forwarder::Absent).await?;
    let _gateway = Gateway::on_loopback().start(vm.user()).await?;
    let arguments = ["preflight", "--port", "8080=gateway", "--format", "json"];
    let mut process = vm.user().command(PROBE).args(arguments).spawn().await?;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    // Its first attempt was refused once it says that a second one comes.
    let tried_again = async {
        while !process.stderr().contains("attempt 2 of 10") {
            tick.tick().await;
        }
    };
    let tried_again = tokio::time::timeout(Duration::from_secs(20), tried_again).await;
    tried_again.with_context(|| format!("it is not tried again: {}", process.stderr()))?;
    vm.forward_after(Duration::from_millis(100)).await;
    let status = process.wait().await?;
    let report: Report = serde_json::from_str(&process.stdout())?;
    assert_eq!((status.code(), report.targets[0].verdict), (Some(0), Verdict::Ok), "{}", process.stderr());
    let attempts = report.preflight.context("it is no preflight")?.attempts;
    assert!((2..HOST_GATEWAY_ATTEMPTS).contains(&attempts), "{attempts}");
    blames_no_firewall(&process.stderr());
    Ok(())
}

/// What listens for another address or for IPv6 only is not what a forwarder dials (OpenShell on Homebrew).
#[tokio::test]
async fn a_gateway_that_is_not_on_127_0_0_1_is_not_reached_through_a_forwarder() -> Result<()> {
    let vm = start(Persona::DockerDesktop, Forwarder::Ready).await?;
    for address in [IpAddr::from(Ipv6Addr::LOCALHOST), vm.lan().gateway.into()] {
        let gateway = Gateway::on_loopback().bind_address(address).start(vm.user()).await?;
        vm.settle().await;
        let answer = check_by(|| vm.user().command(PROBE), &["--port", "8080=gateway"]).await?;
        let unknown = (Verdict::TcpFailed, Some(Cause::UnknownFromHere));
        assert_eq!(answer.of(GATEWAY), unknown, "{address}: {}", answer.text);
        answer.blames_no_firewall();
        gateway.stop().await?;
    }
    Ok(())
}

/// A label is enough, whatever the engine and its system are called. An engine takes no label of Docker's own, so that one
/// is put into its answer.
#[rstest]
#[tokio::test]
async fn a_label_tells_a_virtual_machine(
    #[values("com.docker.desktop.address=unix:///x", "dev.rancherdesktop.profile=x", "dev.orbstack.kind=x")]
    label: &str,
) -> Result<()> {
    let (probe, plain) = (programs::probe()?, "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n");
    let is_dockers = label.starts_with("com.docker.");
    let vm = VirtualMachine::builder(Persona::Lima)
        .machine(|host| {
            let host = host.name("plain").os_release(plain);
            if is_dockers { host } else { host.engine_label(label) }
        })
        .user(|host| host.bind(probe, PROBE));
    let vm = vm.start().await?;
    vm.machine().engine()?.create_network(&Network::openshell_docker()).await?;
    let answer = serde_json::json!([label]);
    let labelled = Interference::alter(move |info| info["Labels"] = answer.clone());
    let intercept = Intercept::builder().when("GET", "/info", labelled);
    let _intercept = if is_dockers { Some(intercept.start(vm.machine())?) } else { None };
    let _gateway = Gateway::on_loopback().start(vm.user()).await?;
    vm.settle().await;
    let answer = check_by(|| vm.user().command(PROBE), &["--port", "8080=gateway"]).await?;
    answer.all_are(Verdict::Ok, None);
    assert_eq!(answer.report.evidence.route, Some(Route::HostGateway));
    Ok(())
}
