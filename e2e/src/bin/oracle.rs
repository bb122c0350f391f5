//! The oracle: what a real sandbox experiences, by way of testcontainers. It shares nothing with the probe: another
//! client, another image, another program that dials, and exit codes instead of error numbers.
//!
//! It runs in a host, where `/var/run/docker.sock` is the engine's, and prints one word: `connected`, `refused` (also by
//! an ICMP message) or `no_answer`.

#![allow(clippy::print_stdout, reason = "its answer is what it prints")]

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use testcontainers::core::wait::ExitWaitStrategy;
use testcontainers::core::{Host, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};

/// How long the sandbox waits for an answer, in seconds: more than one SYN, and more than a failed ARP (3.06 s).
const PATIENCE: u32 = 4;

#[derive(Parser)]
struct Arguments {
    /// An image with bash and timeout, as `name:tag`; it has to be there already.
    #[arg(long)]
    image: String,
    /// The network that the sandbox joins. Unlike OpenShell, testcontainers would create a missing one.
    #[arg(long, default_value = "openshell-docker")]
    network: String,
    /// The address that the alias stands for.
    #[arg(long)]
    gateway: IpAddr,
    /// The port to dial.
    #[arg(long)]
    port: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (name, tag) = arguments.image.split_once(':').context("--image has to be name:tag")?;
    let dial = format!("exec 3<>/dev/tcp/host.openshell.internal/{}", arguments.port);
    let container = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::Exit(ExitWaitStrategy::new().with_poll_interval(Duration::from_millis(20))))
        .with_network(&arguments.network)
        .with_host("host.openshell.internal", Host::Addr(arguments.gateway))
        .with_cmd(["timeout".to_owned(), PATIENCE.to_string(), "bash".to_owned(), "-c".to_owned(), dial])
        .start()
        .await?;
    let word = match container.exit_code().await? {
        Some(0) => "connected",
        Some(1) => "refused",
        // `timeout` has ended it.
        Some(124) => "no_answer",
        other => bail!("the sandbox ended with {other:?}"),
    };
    container.rm().await?;
    println!("{word}");
    Ok(())
}
