//! The gate in a host: what it says and with what it ends, and that the library and the program are one.

use std::net::Ipv4Addr;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::lab::{GATEWAY, Lab, PROBE, blames_no_firewall, host_with_probe_and};
use e2e::programs;
use harness::service::Gateway;
use harness::{Host, Network, Posture, Ufw};
use probe::{Cause, Decision, HOST_GATEWAY_ATTEMPTS, Report, Verdict};
use rstest::rstest;

async fn preflight(host: &Host, arguments: &[&str]) -> Result<Output> {
    let arguments = ["preflight", "--port", "8080=gateway"].iter().chain(arguments).copied();
    Ok(host.command(PROBE).args(arguments).output().await?)
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn report(output: &Output) -> Result<Report> {
    serde_json::from_slice(&output.stdout).with_context(|| talk(output))
}

#[tokio::test]
async fn an_open_path_is_silent() -> Result<()> {
    let lab = Lab::start().await?;
    for arguments in [&[][..], &["--strict"], &["--path", "reused"], &["--port", "11435=ollama-proxy"]] {
        let output = preflight(&lab.host, arguments).await?;
        assert_eq!((output.status.code(), talk(&output).as_str()), (Some(0), ""), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_port_stops_with_the_command_that_opens_it() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let output = preflight(&lab.host, &[]).await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "talk goes to standard error");
    let gateway = lab.network.gateway;
    let expected = format!(
        "error: sandboxes cannot reach 8080 gateway: no answer from {gateway}:8080: a service listens there, and this host's firewall drops what sandboxes send\n\nhint: ufw allow from {} to {gateway} port 8080 proto tcp\n",
        lab.network.cidr(),
    );
    assert_eq!(talk(&output), expected);
    Ok(())
}

/// One report from the program and one from a caller of the library in the same host: but for times and counters they are
/// the same.
#[rstest]
#[tokio::test]
async fn the_library_and_the_program_give_the_same_answer(
    #[values("open", "ufw", "reject", "not_running", "no_network", "no_engine")] situation: &str,
) -> Result<()> {
    let embedder = programs::own("embedder", env!("CARGO_BIN_EXE_embedder"));
    let host = host_with_probe_and(&[(&embedder, "/usr/local/bin/embedder")]).await?;
    let mut _gateway = None;
    if situation != "no_network" {
        let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
        if situation != "not_running" {
            _gateway = Some(Gateway::on(network.gateway).start(&host).await?);
        }
        match situation {
            "ufw" => host.apply(&Ufw::brev().into(), &network).await?,
            "reject" => {
                let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "REJECT"];
                host.command("iptables").args(rule).run().await?;
            }
            "no_engine" => host.kill_engine().await?,
            _ => {}
        }
    }
    let program = preflight(&host, &["--path", "reused", "--format", "json"]).await?;
    let library = host.command("embedder").arg("8080=gateway").output().await?;
    assert_eq!(library.status.code(), program.status.code());
    let (mut library, mut program) = (report(&library)?, report(&program)?);
    for report in [&mut library, &mut program] {
        forget_times(report);
    }
    assert_eq!(library, program);
    let expected = match situation {
        "open" => (Verdict::Ok, None, Decision::Proceed),
        "ufw" => (Verdict::TcpFailed, Some(Cause::Dropped), Decision::Stop),
        "reject" => (Verdict::TcpFailed, Some(Cause::Rejected), Decision::Stop),
        "not_running" => (Verdict::TcpFailed, Some(Cause::NotListening), Decision::Stop),
        "no_network" => (Verdict::NetworkNotFound, None, Decision::Stop),
        _ => (Verdict::ProbeUnavailable, Some(Cause::DaemonUnreachable), Decision::Warn),
    };
    let target = &library.targets[0];
    let decision = library.preflight.context("it is no preflight")?.decision;
    assert_eq!((target.verdict, target.cause, decision), expected, "{}", target.summary);
    Ok(())
}

/// What differs between any two looks at the same host.
fn forget_times(report: &mut Report) {
    let evidence = &mut report.evidence;
    if let Some(resolution) = &mut evidence.resolution {
        resolution.elapsed_us = 0;
    }
    for port in &mut evidence.ports {
        if let Some(path) = &mut port.return_path {
            path.to = Ipv4Addr::UNSPECIFIED;
        }
        for dial in port.sandbox.iter_mut().chain(port.host.iter_mut()) {
            (dial.elapsed_us, dial.local, dial.local_port, dial.held) = (0, None, None, None);
            for greeted in &mut dial.greetings {
                // An HTTP answer has a date.
                (greeted.elapsed_us, greeted.answer) = (0, String::new());
            }
            if let Some(tcp) = &mut dial.tcp {
                tcp.rtt_us = 0;
            }
        }
        let tables = port.listeners_before.iter_mut().chain(port.listeners_after.iter_mut());
        tables.flatten().for_each(|listener| listener.queued = 0);
    }
    for target in &mut report.targets {
        // "(0.4 ms)", "within 3.5 s"
        target.summary.retain(|character| !character.is_ascii_digit());
    }
}

/// Nothing could be found out: a warning, and a stop for those who ask for it. No word of a firewall that is in force.
#[tokio::test]
async fn a_stopped_engine_is_a_warning_unless_strict() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let pid = lab.host.engine()?.pid().to_string();
    lab.host.command("kill").args(["-9", &pid]).run().await?;
    for (arguments, code, first) in [(&[][..], 0, "warning: "), (&["--strict"], 3, "error: ")] {
        let output = preflight(&lab.host, arguments).await?;
        assert_eq!(output.status.code(), Some(code));
        assert!(talk(&output).starts_with(first), "{}", talk(&output));
        blames_no_firewall(&talk(&output));
    }
    Ok(())
}

/// The host as Docker Desktop's virtual machine: the engine says so, and sandboxes go through its host-gateway, which here is
/// the default bridge.
async fn desktop() -> Result<Host> {
    let host = host_with_probe_and(&[]).await?;
    std::fs::write(host.path("/usr/lib/os-release"), "ID=linuxkit\nPRETTY_NAME=\"Docker Desktop\"\n")?;
    host.engine()?.create_network(&Network::openshell_docker()).await?;
    Ok(host)
}

/// The default bridge's address, which `host-gateway` stands for.
const HOST_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

/// NemoClaw #5513: the forwarder behind a host-gateway may be ready after the gateway. It is tried again until it is.
#[tokio::test]
async fn a_host_gateway_that_starts_late_is_waited_for() -> Result<()> {
    let host = desktop().await?;
    let arguments = ["preflight", "--port", "8080=gateway", "--format", "json"];
    let mut process = host.command(PROBE).args(arguments).spawn().await?;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    // Its first attempt was refused once it says that a second one comes.
    let tried_again = async {
        while !process.stderr().contains("attempt 2 of 10") {
            tick.tick().await;
        }
    };
    let tried_again = tokio::time::timeout(Duration::from_secs(20), tried_again).await;
    tried_again.context("it is not tried again")?;
    let _gateway = Gateway::on(HOST_GATEWAY).start(&host).await?;
    let status = process.wait().await?;
    let report: Report = serde_json::from_str(&process.stdout())?;
    assert_eq!((status.code(), report.targets[0].verdict), (Some(0), Verdict::Ok), "{}", process.stderr());
    let attempts = report.preflight.context("it is no preflight")?.attempts;
    assert!((2..HOST_GATEWAY_ATTEMPTS).contains(&attempts), "{attempts}");
    blames_no_firewall(&process.stderr());
    Ok(())
}

/// Ten attempts, and then it stops: without a word of a firewall, even with one in force.
#[tokio::test]
async fn a_host_gateway_that_never_answers_is_given_up_and_no_firewall_is_blamed() -> Result<()> {
    let host = desktop().await?;
    let output = preflight(&host, &["--format", "json"]).await?;
    let report = report(&output)?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report.targets[0].cause, Some(Cause::UnknownFromHere));
    assert_eq!(report.preflight.context("it is no preflight")?.attempts, HOST_GATEWAY_ATTEMPTS);
    assert!(talk(&output).contains("attempt 10 of 10"), "{}", talk(&output));
    blames_no_firewall(&talk(&output));
    Ok(())
}

/// On a bridge nothing is tried twice: what is dropped is dropped again, and what does not listen is an answer.
#[rstest]
#[tokio::test]
async fn a_bridge_is_asked_once(#[values(false, true)] dropped: bool) -> Result<()> {
    let lab = if dropped { Lab::start().await? } else { Lab::without_services().await? };
    if dropped {
        lab.apply(Posture::drop_port(GATEWAY)).await?;
    }
    let report = report(&preflight(&lab.host, &["--format", "json"]).await?)?;
    assert_eq!(report.preflight.context("it is no preflight")?.attempts, 1);
    assert_eq!(report.exit_code, 1);
    Ok(())
}
