//! The oracle: what a real sandbox experiences, by way of testcontainers. It shares nothing with the probe: another client
//! of the engine, another image, another program that dials, another way to judge.
//!
//! ```text
//!   oracle ──► the engine: is there the network?      no: `network_missing`, and nothing is started
//!      │
//!      ├──► one container in place of OpenShell's: its extra hosts, its network mode, its capabilities
//!      │       └─ oracle supervisor: resolves the name, makes the real call, tries again as OpenShell's supervisor does
//!      │            host.openshell.internal:8080   ── gRPC health ──►   reached │ not_reached │ other_service
//!      │            host.openshell.internal:11435  ── GET /api/tags ─►  reached │ not_reached │ other_service
//!      └──► the container is removed, and one JSON object a target is printed
//! ```
//!
//! It runs where the engine does, and finds it by `DOCKER_HOST`. It ends with 0 whenever it has an answer, with 1 when it
//! could not find out, with 2 for a wrong command line, and with 130 or 143 when a signal ended it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its answer is what it prints")]

mod arguments;
mod engine;
mod orders;
mod sandbox;
mod supervisor;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::Arguments;
use crate::orders::{Answer, Experience, Orders};
use crate::sandbox::Sandbox;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next() {
        Some(word) if word == supervisor::COMMAND => run(supervise(arguments.next())),
        _ => run(answer(Arguments::parse())),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Does not wait for threads that still ask a resolver: nobody waits for their answer any more.
fn run(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    // testcontainers cleans up on a thread of the runtime when it has to, so there is more than one.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().context("start a runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// The inside of the container.
async fn supervise(orders: Option<String>) -> Result<ExitCode> {
    let orders = orders.context("the supervisor has no orders")?;
    let orders: Orders = serde_json::from_str(&orders).context("read the supervisor's orders")?;
    supervisor::run(orders).await?;
    Ok(ExitCode::SUCCESS)
}

/// The outside.
async fn answer(arguments: Arguments) -> Result<ExitCode> {
    let orders = arguments.orders()?;
    let mut signals = Signals::catch()?;
    let docker = engine::connect().await?;
    let asked = tokio::select! {
        asked = engine::has_network(&docker, &arguments.network) => asked?,
        code = signals.caught() => return Ok(code),
    };
    if !asked {
        let detail = format!("the engine has no network {}", arguments.network);
        for target in &orders.targets {
            Answer::new(target, Experience::NetworkMissing, 0, &detail).print()?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    engine::ensure_image(&docker).await?;
    let sandbox = Sandbox::new(&docker, &arguments);
    // Whatever happened: the container goes.
    let said = sandbox.run(&orders, signals.caught()).await;
    let removed = sandbox.remove().await;
    let answers = match said? {
        Ok(answers) => answers,
        Err(code) => return removed.map(|()| code),
    };
    removed?;
    for answer in answers {
        answer.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What may end it early.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        let caught = |kind| signal(kind).context("watch for signals");
        Ok(Self { interrupt: caught(SignalKind::interrupt())?, terminate: caught(SignalKind::terminate())? })
    }

    /// Waits for one, and says how the oracle ends then.
    async fn caught(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.interrupt.recv() => ExitCode::from(130),
            _ = self.terminate.recv() => ExitCode::from(143),
        }
    }
}
