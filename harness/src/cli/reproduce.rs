//! `openshell-harness reproduce`: the bug of Brev machines, happening, being diagnosed and being repaired.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use harness::service::{Gateway, OllamaProxy, health, tags};
use harness::{Engine, Host, Network, NetworkInfo, Ufw};
use probe::{Cause, Report, Verdict};

use super::output::Transcript;

/// Where the probe is inside the host.
const PROBE: &str = "/usr/local/bin/openshell-probe";

/// What is checked; named, so that both are required.
const TARGETS: [&str; 4] = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];

pub(super) fn run(probe: Option<PathBuf>) -> Result<ExitCode> {
    let probe = find_probe(probe)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(reproduce(&probe))?;
    Ok(ExitCode::SUCCESS)
}

/// The probe that was built together with this program, unless another one is asked for.
pub(super) fn find_probe(asked: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = asked {
        ensure!(path.is_file(), "--probe {}: there is no such file", path.display());
        return Ok(std::path::absolute(path)?);
    }
    let own = std::env::current_exe()?;
    let path = own.with_file_name("openshell-probe");
    let output = std::process::Command::new(&path).arg("build-id").output();
    let output = output.with_context(|| {
        format!("run {}\nhint: cargo build --workspace --bins, or name one with --probe", path.display())
    })?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if found != probe::BUILD_ID {
        bail!("{} was built from other sources\nhint: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

async fn reproduce(probe: &Path) -> Result<()> {
    let mut steps = Transcript::begin();
    steps.doing("booting a hermetic host with a real dockerd");
    let host = Host::builder().name("brev").engine(Engine::Docker).bind(probe, PROBE).start().await?;
    let version = host.engine()?.client().version().await?.version.unwrap_or_default();
    steps
        .done(format_args!("booted a hermetic host: {}, Docker {version}, no firewall", host.image().name()));

    steps.doing("creating the network of the sandboxes");
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    steps.done(format_args!(
        "created network {}: {} on {}, the host is {}",
        network.name,
        network.cidr(),
        network.bridge,
        network.gateway,
    ));

    steps.doing("starting the gateway and the Ollama proxy");
    let gateway = Gateway::on(network.gateway).start(&host).await?;
    let proxy = OllamaProxy::new().start(&host).await?;
    let addresses =
        |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    steps.done(format_args!(
        "started the gateway on {}, the Ollama proxy on {}",
        addresses(gateway.addresses()),
        addresses(proxy.addresses()),
    ));

    host_checks(&host, &network).await?;
    steps.done("the host's own checks are green: 127.0.0.1 and the bridge address, both ports");

    steps.doing("enabling UFW");
    host.apply(&Ufw::brev().into(), &network).await?;
    steps.done("enabled UFW: incoming traffic is denied, but for SSH; a control port proves it");

    host_checks(&host, &network).await?;
    steps.done("the host's own checks are still green: this is why nobody suspects the firewall");

    steps.doing("probing from a sandbox's place: a dropped packet has no answer, so this takes its time-out");
    let (text, report) = tokio::try_join!(probe_text(&host, 1), probe_json(&host, 1))?;
    steps.done("$ openshell-probe check --port 8080=gateway --port 11435=ollama-proxy   (exit code 1)");
    steps.detail(&text);
    let remedies = expect_dropped(&report, &text)?;

    for argv in &remedies {
        let (program, arguments) = argv.split_first().context("a remedy without a command")?;
        let said = host.command(program).args(arguments).run().await?;
        steps.done(format_args!("$ {}", argv.join(" ")));
        steps.detail(said.trim());
    }

    steps.doing("probing again");
    let text = probe_text(&host, 0).await?;
    steps.done("$ openshell-probe check --port 8080=gateway --port 11435=ollama-proxy   (exit code 0)");
    steps.detail(&text);

    steps.doing("ending the host");
    let init = PathBuf::from(format!("/proc/{}", host.init_pid()));
    let namespace = host.network_namespace().inode();
    host.shutdown().await?;
    let still_there = std::fs::metadata(init.join("ns/net")).is_ok_and(|found| found.ino() == namespace);
    ensure!(!still_there, "the host's first process is still there");
    steps.done("the host is gone, and with it its namespaces, processes, rules and files");
    steps.done(format_args!("reproduced and repaired in {}", steps.elapsed()));
    Ok(())
}

/// What a program on the host can see: all of it is green, with and without the firewall.
async fn host_checks(host: &Host, network: &NetworkInfo) -> Result<()> {
    for ip in [Ipv4Addr::LOCALHOST, network.gateway] {
        health(host, (ip, 8080).into()).await.with_context(|| format!("the gateway's health on {ip}"))?;
        tags(host, (ip, 11435).into()).await.with_context(|| format!("the proxy's models on {ip}"))?;
    }
    Ok(())
}

async fn probe_text(host: &Host, expected: i32) -> Result<String> {
    run_probe(host, "text", expected).await
}

async fn probe_json(host: &Host, expected: i32) -> Result<Report> {
    let json = run_probe(host, "json", expected).await?;
    serde_json::from_str(&json).context("the probe's report")
}

async fn run_probe(host: &Host, format: &str, expected: i32) -> Result<String> {
    let output = host.command(PROBE).arg("check").args(TARGETS).args(["--format", format]).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(code == Some(expected), "the probe ended with {code:?} instead of {expected}:\n{text}{stderr}");
    Ok(text)
}

/// The commands that repair it, as the report has them; the printed text has to show the same.
fn expect_dropped(report: &Report, text: &str) -> Result<Vec<Vec<String>>> {
    let mut remedies = Vec::new();
    for target in &report.targets {
        let found = (target.verdict, target.cause);
        let expected = (Verdict::TcpFailed, Some(Cause::Dropped));
        ensure!(found == expected, "port {}: {found:?} instead of {expected:?}", target.port);
        let remedy = target.remedy.as_ref().with_context(|| format!("port {}: no remedy", target.port))?;
        let printed = remedy.argv.join(" ");
        ensure!(
            text.lines().any(|line| line.strip_prefix("hint: ") == Some(printed.as_str())),
            "the text does not print what the report says: {printed}"
        );
        remedies.push(remedy.argv.clone());
    }
    ensure!(remedies.len() == 2, "{} remedies instead of 2", remedies.len());
    Ok(remedies)
}
