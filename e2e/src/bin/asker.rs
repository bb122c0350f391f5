//! Somebody's program that asks for a twin: it reads a plan, and prints the answer or the failure. It runs in a host, where
//! the firewall's tools are. The twin is the program that it is told, or itself.

#![allow(clippy::print_stdout, reason = "its answer is what it prints")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use probe::twin::{self, Plan, Programs, TwinError};

fn main() -> Result<ExitCode> {
    if let Some(code) = twin::hook() {
        return Ok(code);
    }
    let mut plan: Plan = serde_json::from_reader(std::io::stdin())?;
    plan.programs = Programs::find();
    let program = std::env::args_os().nth(1).map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(twin::run(&plan, program.as_deref(), Duration::from_secs(30))) {
        Ok(answer) => {
            println!("{}", serde_json::to_string(&answer)?);
            ExitCode::SUCCESS
        }
        Err(TwinError::Failed(failure)) => {
            println!("{}", serde_json::to_string(&failure)?);
            ExitCode::from(1)
        }
        Err(error) => return Err(error.into()),
    })
}
