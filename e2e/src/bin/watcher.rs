//! Runs a program under the watch of [`e2e::watch`] and writes what it changed to a file. It runs in a host.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use e2e::watch::{self, Kill};
use nix::sys::signal::Signal;

/// The first word with which this program stops and becomes the one that is watched.
const BECOME: &str = "become";

#[derive(Parser)]
struct Arguments {
    /// Where to write what was seen, as JSON.
    #[arg(long)]
    to: PathBuf,
    /// Send the program this signal, such as SIGINT …
    #[arg(long, requires = "at")]
    signal: Option<Signal>,
    /// … at this point, from 0.
    #[arg(long, requires = "signal")]
    at: Option<usize>,
    /// The program to watch, and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((BECOME, command)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return Err(watch::stop_and_become(command).into());
    }
    let arguments = Arguments::parse();
    let kill = arguments.signal.zip(arguments.at).map(|(signal, at)| Kill { signal, at });
    let seen = watch::run(&[BECOME], &arguments.command, kill)?;
    std::fs::write(&arguments.to, serde_json::to_vec_pretty(&seen)?)?;
    let code = seen.code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::from(137), ExitCode::from))
}
