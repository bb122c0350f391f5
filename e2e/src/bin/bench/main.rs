//! The benchmarks: medians and ratios of one run, as a table and as JSON.
//!
//! `scripts/bench` runs it as root with release builds.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's result is what it prints")]

mod by_hand;
mod dialling;
mod explaining;
mod fuzzing;
mod tracing;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::ListImagesOptions;
use clap::Parser;
use e2e::lab::{Lab, PROBE, gateway_setup, host_for_onboarding};
use harness::{Engine, Host, Posture};
use probe::LifecyclePath;
use serde::Serialize;

#[derive(Parser)]
struct Arguments {
    /// How often each is measured.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Measure this part only.
    #[arg(long, value_name = "PART", value_parser = ["hosts", "checks", "dials", "explain", "fuzz", "matrix"])]
    only: Option<String>,
    /// Write the results there as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The seconds that the core matrix took, measured by the caller.
    #[arg(long, value_name = "SECONDS")]
    matrix: Option<f64>,
}

/// One figure and what it may be.
#[derive(Serialize)]
struct Figure {
    name: &'static str,
    /// In the unit that `unit` names; a ratio has none.
    value: f64,
    unit: &'static str,
    /// What the value may be at most, or at least.
    limit: f64,
    /// Whether the limit is what it may be at least.
    at_least: bool,
    within: bool,
    /// The medians that it is made of, in words.
    from: String,
}

impl Figure {
    fn new(name: &'static str, value: f64, unit: &'static str, limit: f64, from: String) -> Self {
        let value = (value * 1000.0).round() / 1000.0;
        Self { name, value, unit, limit, at_least: false, within: value <= limit, from }
    }

    fn at_least(name: &'static str, value: f64, unit: &'static str, limit: f64, from: String) -> Self {
        Self { at_least: true, within: value >= limit, ..Self::new(name, value, unit, limit, from) }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let rounds = arguments.rounds;
    let wanted = |part: &str| arguments.only.as_deref().is_none_or(|only| only == part);
    let mut figures = Vec::new();
    if wanted("hosts") {
        figures.push(boot(rounds).await?);
        figures.push(idle_memory().await?);
    }
    if wanted("checks") {
        figures.push(both_ports(rounds).await?);
        figures.push(dropped_port(rounds).await?);
        figures.push(onboarding(rounds).await?);
    }
    if wanted("dials") {
        figures.push(tracing::tracing(rounds).await?);
        figures.extend(dialling::dialling(rounds).await?);
    }
    if wanted("explain") {
        figures.extend(explaining::explaining(rounds).await?);
    }
    if wanted("fuzz") {
        figures.push(fuzzing::fuzzing().await?);
    }
    if let Some(seconds) = arguments.matrix {
        let from = "20 cases, cargo nextest on this machine's cores".to_owned();
        figures.push(Figure::new("core matrix", seconds, "s", 150.0, from));
    }
    println!("{:54} {:>11} {:>13}  from", "figure", "value", "limit");
    for figure in &figures {
        let mark = if figure.within { "" } else { "  <-- over" };
        let value = format!("{:.2} {}", figure.value, figure.unit);
        let relation = if figure.at_least { '≥' } else { '≤' };
        let limit = format!("{relation} {:.2} {}", figure.limit, figure.unit);
        println!("{:54} {:>11} {:>13}  {}{mark}", figure.name, value.trim(), limit.trim(), figure.from);
    }
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    let within = figures.iter().all(|figure| figure.within);
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn progress(what: &str) {
    eprintln!("==> {what}");
}

/// A host with its engine answering, against the same daemons started by hand in the same image. The two take turns.
async fn boot(rounds: u32) -> Result<Figure> {
    progress("boot: a host, and the same daemons by hand");
    let (mut hosts, mut hand, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let host = Host::builder().engine(Engine::Docker).start().await?;
        hosts.push(start.elapsed());
        host.shutdown().await?;
        hand.push(by_hand::start(by_hand::Containerd::Beside).await?);
        alone.push(by_hand::start(by_hand::Containerd::OfDockerd).await?);
    }
    let (host, hand, alone) = (median(hosts), median(hand), median(alone));
    let from =
        format!("{host:.3} s ÷ {hand:.3} s by hand ({alone:.3} s when dockerd starts containerd itself)");
    Ok(Figure::new("boot with the engine answering ÷ by hand", host / hand, "", 1.15, from))
}

/// A check of two open ports, against two runs of the dialer by the engine's client.
async fn both_ports(rounds: u32) -> Result<Figure> {
    progress("check: both ports open, and two docker run of the dialer");
    let lab = Lab::start().await?;
    lab.check().await?;
    let images = lab.host.engine()?.client().list_images(None::<ListImagesOptions>).await?;
    let image = images.first().context("the probe left no image")?.id.clone();
    let alias = format!("host.openshell.internal:{}", lab.network.gateway);
    let (mut checks, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let check = lab.host.command(PROBE).args(["check", "--port", "8080", "--port", "11435"]);
        check.run().await?;
        checks.push(start.elapsed());
        let start = Instant::now();
        for port in ["8080", "11435"] {
            lab.host
                .command("docker")
                .args(["run", "--rm", "--network", "openshell-docker", "--add-host", &alias, &image])
                .args(["host.openshell.internal", "2000", "3500", "9000", port])
                .run()
                .await?;
        }
        runs.push(start.elapsed());
    }
    let (check, run) = (median(checks), median(runs));
    let from = format!("{check:.3} s ÷ {run:.3} s");
    Ok(Figure::new("both ports open ÷ two docker run --rm", check / run, "", 0.6, from))
}

/// After this long three SYNs of two sockets are unanswered, and a drop is called (`probe/dialer/job.rs`).
const CONCLUSIVE: f64 = 1.5;

/// What a check of a dropped port takes above the time after which silence is conclusive.
async fn dropped_port(rounds: u32) -> Result<Figure> {
    progress("check: a dropped port");
    let lab = Lab::start().await?;
    lab.apply(Posture::drop_port(8080)).await?;
    lab.check().await?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let output =
            lab.host.command(PROBE).args(["check", "--port", "8080", "--timeout", "3.5s"]).output().await?;
        times.push(start.elapsed());
        ensure!(output.status.code() == Some(1), "{output:?}");
    }
    let time = median(times);
    let from = format!("{time:.3} s, of which {CONCLUSIVE} s are the silence");
    Ok(Figure::new("dropped port above the silence that is conclusive", time - CONCLUSIVE, "s", 0.6, from))
}

/// An onboarding that finds its gateway running, against the preflight that it ends with.
async fn onboarding(rounds: u32) -> Result<Figure> {
    progress("onboarding: a gateway that is reused, and its preflight alone");
    let (host, program) = host_for_onboarding().await?;
    let setup = gateway_setup(&host, &program);
    setup.ensure_gateway().await?;
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let ensured = setup.ensure_gateway().await?;
        whole.push(start.elapsed());
        ensure!(ensured.path == LifecyclePath::Reused, "{ensured:?}");
        let start = Instant::now();
        host.command(PROBE).args(["preflight", "--port", "8080", "--path", "reused"]).run().await?;
        alone.push(start.elapsed());
    }
    let (whole, alone) = (median(whole), median(alone));
    let from = format!("{whole:.3} s ÷ {alone:.3} s");
    Ok(Figure::new("onboarding with a running gateway ÷ preflight", whole / alone, "", 1.25, from))
}

/// What idle hosts take of the machine's memory.
async fn idle_memory() -> Result<Figure> {
    const HOSTS: u32 = 8;
    progress("memory: eight idle hosts");
    // What is mapped and cached once for all is there before the first reading.
    let warm = Host::builder().engine(Engine::Docker).start().await?;
    let before = available_kib()?;
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        hosts.push(Host::builder().engine(Engine::Docker).start().await?);
    }
    let used = before.saturating_sub(available_kib()?) as f64 / 1024.0 / f64::from(HOSTS);
    for host in hosts {
        host.shutdown().await?;
    }
    warm.shutdown().await?;
    let from = format!("MemAvailable before and after {HOSTS} hosts with dockerd");
    Ok(Figure::new("idle host with its engine", used, "MiB", 60.0, from))
}

fn available_kib() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("MemAvailable")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
