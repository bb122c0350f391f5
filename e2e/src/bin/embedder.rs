//! Somebody's onboarding that calls the library: the same gate as `openshell-probe preflight`, and prints its report. It runs
//! in a host, where the engine's socket and the firewall's tools are.

#![allow(clippy::print_stdout, reason = "its answer is what it prints")]

use std::process::ExitCode;

use anyhow::{Context, Result};
use probe::{Interrupt, LifecyclePath, Preflight, Target};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let target = std::env::args().nth(1).context("usage: embedder PORT[=LABEL]")?;
    let preflight = Preflight::new(vec![Target::parse(&target, true)?], LifecyclePath::Reused);
    let report = preflight.run(&Interrupt::never(), |_| ()).await;
    println!("{}", serde_json::to_string(&report)?);
    Ok(ExitCode::from(report.exit_code))
}
