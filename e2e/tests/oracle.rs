//! The oracle: what a real sandbox experiences, and that the probe says the same.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::{Answer, ENGINE_OVER_TCP, Lab, PROBE, check_by, engine_over_tcp, host_with_probe_and};
use e2e::programs;
use harness::service::{Gateway, GatewayMode, OllamaProxy, TLS_FOLDER};
use harness::{Host, HostCommand, Network, Posture, Ufw};
use probe::{Cause, Verdict};
use rstest::rstest;
use serde::Deserialize;

/// Where the oracle is inside a host.
const ORACLE: &str = "/usr/local/bin/oracle";

/// A twentieth of the supervisor's patience, and two attempts: a lost packet is seen as one after 2.5 s.
const QUICK: [&str; 4] = ["--scale", "0.05", "--attempts", "2"];

/// A line of the oracle.
#[derive(Debug, Deserialize)]
struct Line {
    port: u16,
    label: String,
    experience: String,
    attempts: u32,
    detail: String,
}

async fn host() -> Result<Host> {
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    host_with_probe_and(&[(&oracle, ORACLE)]).await
}

/// A host with the oracle and the network, and no services.
async fn lab() -> Result<Lab> {
    let host = host().await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    Ok(Lab { host, network, gateway: None, proxy: None })
}

/// The oracle in a sandbox whose alias leads to that address.
fn oracle<'host>(host: &'host Host, gateway: Ipv4Addr, targets: &[&str]) -> HostCommand<'host> {
    let alias = format!("host.openshell.internal:{gateway}");
    let targets = targets.iter().flat_map(|target| ["--target", target]);
    host.command(ORACLE)
        .args(["--network", "openshell-docker", "--host", &alias])
        .args(targets)
        .env("HOME", "/nonexistent")
}

fn lines(said: &str) -> Result<Vec<Line>> {
    said.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// What it says of a gateway at 8080, and how.
async fn of_gateway(lab: &Lab) -> Result<Line> {
    let said = oracle(&lab.host, lab.network.gateway, &["8080=gateway"]).args(QUICK).run().await?;
    lines(&said)?.pop().context("it says nothing")
}

/// All containers and all networks of the engine, as lines.
async fn things(host: &Host) -> Result<String> {
    let list = "docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.Status}}'
                docker network ls --no-trunc --format '{{.ID}} {{.Name}} {{.Driver}}' | sort";
    Ok(host.command("sh").args(["-ec", list]).run().await?)
}

/// What both have to say of the gateway in that situation.
async fn both_say(
    lab: &Lab,
    situation: &str,
    experience: &str,
    verdict: (Verdict, Option<Cause>),
) -> Result<Answer> {
    let answer = check_by(|| lab.host.command(PROBE), &["--port", "8080=gateway"]).await?;
    assert_eq!(answer.of(8080), verdict, "{situation}: {}", answer.text);
    let line = of_gateway(lab).await?;
    assert_eq!(line.experience, experience, "{situation}: {line:?}\n{}", answer.text);
    let attempts = if experience == "reached" { 1 } else { 2 };
    assert_eq!(line.attempts, attempts, "{situation}: {line:?}");
    Ok(answer)
}

/// One host, in one situation after another.
#[tokio::test]
async fn a_real_sandbox_experiences_what_the_probe_says() -> Result<()> {
    const REJECT: &str = "INPUT -p tcp --dport 8080 -j REJECT";
    let failed = |cause| (Verdict::TcpFailed, Some(cause));
    let mut lab = lab().await?;
    lab.gateway = Some(Gateway::on(lab.network.gateway).start(&lab.host).await?);
    both_say(&lab, "open", "reached", (Verdict::Ok, None)).await?;
    for posture in [Posture::drop_port(8080), Posture::InputPolicyDrop] {
        lab.apply(posture.clone()).await?;
        both_say(&lab, &posture.to_string(), "not_reached", failed(Cause::Dropped)).await?;
        lab.lift(posture).await?;
    }
    lab.run(&format!("iptables -I {REJECT}")).await?;
    both_say(&lab, "rejected", "not_reached", failed(Cause::Rejected)).await?;
    lab.run(&format!("iptables -D {REJECT}")).await?;
    lab.apply(Ufw::brev()).await?;
    let answer = both_say(&lab, "ufw", "not_reached", failed(Cause::Dropped)).await?;
    lab.run(&answer.remedy(8080).join(" ")).await?;
    both_say(&lab, "ufw with the remedy", "reached", (Verdict::Ok, None)).await?;
    if let Some(gateway) = lab.gateway.take() {
        gateway.stop().await?;
    }
    both_say(&lab, "not listening", "not_reached", failed(Cause::NotListening)).await?;
    Ok(())
}

/// Both services in one run, in the order of the command line, and nothing stays: neither a container nor a network.
#[tokio::test]
async fn it_answers_for_every_target_and_leaves_the_engine_as_it_was() -> Result<()> {
    let mut lab = lab().await?;
    lab.gateway = Some(Gateway::on(lab.network.gateway).start(&lab.host).await?);
    lab.proxy = Some(OllamaProxy::new().start(&lab.host).await?);
    let before = things(&lab.host).await?;
    let targets = ["11435=ollama-proxy", "8080=gateway", "4000=model-router"];
    let said = oracle(&lab.host, lab.network.gateway, &targets).args(QUICK).run().await?;
    let found: Vec<_> =
        lines(&said)?.into_iter().map(|line| (line.port, line.label, line.experience)).collect();
    let line = |port, label: &str, experience: &str| (port, label.to_owned(), experience.to_owned());
    assert_eq!(
        found,
        [
            line(11435, "ollama-proxy", "reached"),
            line(8080, "gateway", "reached"),
            line(4000, "model-router", "not_reached"),
        ]
    );
    assert_eq!(things(&lab.host).await?, before);
    Ok(())
}

/// Unlike testcontainers, which makes a network that is missing.
#[tokio::test]
async fn a_missing_network_is_said_and_not_made() -> Result<()> {
    let host = host().await?;
    let before = things(&host).await?;
    let said =
        oracle(&host, Ipv4Addr::new(172, 18, 0, 1), &["8080=gateway", "11435=ollama-proxy"]).run().await?;
    for line in lines(&said)? {
        assert_eq!((line.experience.as_str(), line.attempts), ("network_missing", 0), "{line:?}");
        assert!(line.detail.contains("openshell-docker"), "{line:?}");
    }
    assert_eq!(said.lines().count(), 2);
    assert_eq!(things(&host).await?, before);
    Ok(())
}

/// The kernel accepts for it, and nobody answers.
#[tokio::test]
async fn a_gateway_that_was_stopped_is_not_reached() -> Result<()> {
    let mut lab = lab().await?;
    let gateway = Gateway::on(lab.network.gateway).start(&lab.host).await?;
    let pid = gateway.pid().to_string();
    lab.gateway = Some(gateway);
    lab.host.command("kill").args(["-STOP", &pid]).run().await?;
    let line = of_gateway(&lab).await?;
    assert_eq!(line.experience, "not_reached", "{line:?}");
    assert!(line.detail.contains("connected, and no answer"), "{line:?}");
    lab.host.command("kill").args(["-CONT", &pid]).run().await?;
    assert_eq!(of_gateway(&lab).await?.experience, "reached");
    Ok(())
}

/// Each is a complete answer, and none is that of the service that was called.
#[tokio::test]
async fn another_program_is_another_service() -> Result<()> {
    let mut lab = lab().await?;
    // The proxy speaks HTTP/1.1 only; the gateway has neither models nor the proxy's name.
    lab.proxy = Some(OllamaProxy::new().port(8080).start(&lab.host).await?);
    lab.gateway = Some(Gateway::on(lab.network.gateway).port(11435).start(&lab.host).await?);
    let said = oracle(&lab.host, lab.network.gateway, &["8080=gateway", "11435=ollama-proxy"]).args(QUICK);
    for line in lines(&said.run().await?)? {
        assert_eq!(line.experience, "other_service", "{line:?}");
    }
    Ok(())
}

/// Such as the gateway of an older installation, which a published port still leads to (NemoClaw #3472).
#[tokio::test]
async fn another_gateway_is_another_service() -> Result<()> {
    let mut lab = lab().await?;
    lab.gateway = Some(Gateway::on(lab.network.gateway).marker("legacy").start(&lab.host).await?);
    let line = of_gateway(&lab).await?;
    assert_eq!(line.experience, "other_service", "{line:?}");
    Ok(())
}

/// A label says nothing about who should be there; a marker does.
#[tokio::test]
async fn a_marker_tells_one_service_from_another_of_its_kind() -> Result<()> {
    let mut lab = lab().await?;
    lab.proxy = Some(OllamaProxy::new().port(4000).start(&lab.host).await?);
    let ask = async |marker: &str| {
        let oracle = oracle(&lab.host, lab.network.gateway, &["4000=model-router"]).args(QUICK);
        let said = oracle.args(["--expect-marker", marker]).run().await?;
        lines(&said)?.pop().context("it says nothing")
    };
    assert_eq!(ask("4000=ollama-auth-proxy").await?.experience, "reached");
    assert_eq!(ask("4000=model-router").await?.experience, "other_service");
    Ok(())
}

#[rstest]
#[case(GatewayMode::Tls, &[])]
#[case(GatewayMode::MutualTls, &["--cert", "client/tls.crt", "--key", "client/tls.key"])]
#[tokio::test]
async fn a_gateway_with_tls_is_reached_and_one_of_another_authority_is_another_service(
    #[case] mode: GatewayMode,
    #[case] client: &[&str],
) -> Result<()> {
    let mut lab = lab().await?;
    lab.gateway = Some(Gateway::on(lab.network.gateway).mode(mode).start(&lab.host).await?);
    let keep = format!("cp -r {TLS_FOLDER} /tmp/tls");
    lab.host.command("sh").args(["-ec", &keep]).run().await?;
    let ask = async || {
        let client = client
            .iter()
            .map(|word| if word.starts_with("--") { (*word).to_owned() } else { format!("/tmp/tls/{word}") });
        let said = oracle(&lab.host, lab.network.gateway, &["8080=gateway/grpc-tls"])
            .args(QUICK)
            .args(["--ca", "/tmp/tls/ca.crt"])
            .args(client)
            .run()
            .await?;
        lines(&said)?.pop().context("it says nothing")
    };
    let line = ask().await?;
    assert_eq!(line.experience, "reached", "{line:?}");
    if let Some(gateway) = lab.gateway.take() {
        gateway.stop().await?;
    }
    let _other = Gateway::on(lab.network.gateway).mode(mode).start(&lab.host).await?;
    let line = ask().await?;
    assert_eq!(line.experience, "other_service", "{line:?}");
    assert!(line.detail.contains("certificate"), "{line:?}");
    Ok(())
}

/// An alias that nobody injected is nothing that could be dialled.
#[tokio::test]
async fn without_its_alias_a_sandbox_reaches_nothing() -> Result<()> {
    let mut lab = lab().await?;
    lab.gateway = Some(Gateway::on(lab.network.gateway).start(&lab.host).await?);
    let arguments = ["--network", "openshell-docker", "--target", "8080=gateway"];
    let said = lab.host.command(ORACLE).args(arguments).args(QUICK).run().await?;
    let line = lines(&said)?.pop().context("it says nothing")?;
    assert_eq!(line.experience, "not_reached", "{line:?}");
    assert!(line.detail.contains("resolve host.openshell.internal"), "{line:?}");
    Ok(())
}

/// Behind an engine's host-gateway, which is the default bridge's address here.
#[tokio::test]
async fn the_engines_host_gateway_leads_to_its_host() -> Result<()> {
    let mut lab = lab().await?;
    let everywhere = Gateway::on_loopback().bind_address(Ipv4Addr::UNSPECIFIED);
    lab.gateway = Some(everywhere.start(&lab.host).await?);
    let arguments = ["--network", "openshell-docker", "--host", "host.openshell.internal:host-gateway"];
    let oracle = lab.host.command(ORACLE).args(arguments).args(QUICK).args(["--target", "8080=gateway"]);
    let line = lines(&oracle.run().await?)?.pop().context("it says nothing")?;
    assert_eq!(line.experience, "reached", "{line:?}");
    Ok(())
}

/// A name that only one resolver knows (NemoClaw #3445).
#[tokio::test]
async fn a_sandbox_asks_the_resolver_that_it_is_given() -> Result<()> {
    let mut lab = lab().await?;
    let gateway = lab.network.gateway;
    lab.proxy = Some(OllamaProxy::new().start(&lab.host).await?);
    let socket = lab.host.network_namespace().run(|| {
        let socket = std::net::UdpSocket::bind((gateway, 53))?;
        socket.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(socket)
    })??;
    let resolver = tokio::spawn(answer_every_name(tokio::net::UdpSocket::from_std(socket)?, gateway));
    let (gateway, nobody) = (gateway.to_string(), lab.network.address_from_end(2).to_string());
    for (dns, experience) in [(&gateway, "reached"), (&nobody, "not_reached")] {
        let arguments = ["--network", "openshell-docker", "--alias", "inference.local", "--dns", dns];
        let oracle = lab.host.command(ORACLE).args(arguments).args(QUICK);
        let said = oracle.args(["--target", "11435=ollama-proxy"]).run().await?;
        let line = lines(&said)?.pop().context("it says nothing")?;
        assert_eq!(line.experience, experience, "{dns} {line:?}");
    }
    resolver.abort();
    Ok(())
}

/// Every name has this address, and none has another.
async fn answer_every_name(socket: tokio::net::UdpSocket, address: Ipv4Addr) -> std::io::Result<()> {
    let mut query = [0; 512];
    loop {
        let (length, peer) = socket.recv_from(&mut query).await?;
        // The header is 12 bytes; the name ends with a length of 0, and type and class follow.
        let Some(end) = query[12..length].iter().position(|byte| *byte == 0) else { continue };
        let question = &query[12..12 + end + 5];
        let is_a = question[end + 2] == 1;
        // RFC 1035: an answer, recursive; one question, at most one record, which points at the question's name.
        let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0], question].concat();
        if is_a {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(address.octets());
        }
        socket.send_to(&answer, peer).await?;
    }
}

/// An engine in another mount namespace does not see the oracle's program, so that cannot be mounted there.
#[tokio::test]
async fn an_engine_elsewhere_is_given_the_program() -> Result<()> {
    let mut there = Lab::without_services().await?;
    there.gateway = Some(Gateway::on(there.network.gateway).start(&there.host).await?);
    let here = host().await?;
    let before = things(&there.host).await?;
    let _forwarder = engine_over_tcp(&there.host, &here)?;
    let oracle = oracle(&here, there.network.gateway, &["8080=gateway"]).args(QUICK);
    let said = oracle.env("DOCKER_HOST", ENGINE_OVER_TCP).run().await?;
    let line = lines(&said)?.pop().context("it says nothing")?;
    assert_eq!(line.experience, "reached", "{line:?}");
    assert_eq!(things(&there.host).await?, before);
    Ok(())
}

/// A container that was created and does not start is no answer.
#[tokio::test]
async fn a_sandbox_that_does_not_start_is_removed() -> Result<()> {
    let lab = lab().await?;
    lab.host.command("ip").args(["link", "delete", &lab.network.bridge]).run().await?;
    let before = things(&lab.host).await?;
    let output = oracle(&lab.host, lab.network.gateway, &["8080=gateway"]).args(QUICK).output().await?;
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{trouble}");
    assert!(trouble.starts_with("error: start the sandbox: "), "{trouble}");
    assert_eq!(things(&lab.host).await?, before);
    Ok(())
}

/// It starts the sandbox, or is in the middle of a long attempt, when the signal comes.
#[rstest]
#[case::as_soon_as_there_is_a_container("docker ps --all")]
#[case::once_it_runs("docker ps")]
#[tokio::test]
async fn a_signal_ends_it_and_nothing_stays(#[case] list: &str) -> Result<()> {
    let mut lab = lab().await?;
    lab.gateway = Some(Gateway::on(lab.network.gateway).start(&lab.host).await?);
    lab.apply(Posture::drop_port(8080)).await?;
    let before = things(&lab.host).await?;
    let mut oracle = oracle(&lab.host, lab.network.gateway, &["8080=gateway"]).spawn().await?;
    let seen = format!("until {list} --format '{{{{.Names}}}}' | grep -q openshell-oracle; do :; done");
    lab.host.command("timeout").args(["10", "sh", "-c", &seen]).run().await?;
    lab.host.command("kill").args(["-TERM", &oracle.pid().to_string()]).run().await?;
    let ended = tokio::time::timeout(Duration::from_secs(5), oracle.wait()).await??;
    assert_eq!(ended.code(), Some(143), "{}", oracle.stderr());
    assert_eq!(oracle.stdout(), "");
    assert_eq!(things(&lab.host).await?, before);
    Ok(())
}

#[tokio::test]
async fn without_an_engine_it_says_so() -> Result<()> {
    let host = host().await?;
    let output = oracle(&host, Ipv4Addr::new(172, 18, 0, 1), &["8080=gateway"])
        .env("DOCKER_HOST", "unix:///run/nobody.sock")
        .output()
        .await?;
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{trouble}");
    assert!(trouble.starts_with("error: find the engine: ") && trouble.contains("nobody.sock"), "{trouble}");
    Ok(())
}

#[rstest]
#[case::no_targets(&[], "--target")]
#[case::no_authority(&["--target", "8080=gateway/grpc-tls"], "needs --ca FILE")]
#[case::one_port_twice(&["--target", "8080=gateway", "--target", "8080=other"], "named twice")]
#[case::a_marker_for_nothing(&["--target", "8080=gateway", "--expect-marker", "1=x"], "no --target with port 1")]
#[case::no_kind(&["--target", "8080=gateway/udp"], "none of grpc, grpc-tls, http")]
#[case::no_scale(&["--target", "8080=gateway", "--scale", "0"], "above 0")]
#[test]
fn a_wrong_command_line_is_refused(#[case] arguments: &[&str], #[case] reason: &str) -> Result<()> {
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    let mut command = std::process::Command::new(oracle);
    command.args(["--network", "openshell-docker"]).args(arguments).env("DOCKER_HOST", "unix:///nobody.sock");
    let output = command.output()?;
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{trouble}");
    assert!(output.stdout.is_empty() && trouble.contains(reason), "{trouble}");
    Ok(())
}
