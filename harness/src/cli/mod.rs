//! The command line. Data goes to standard output, talk to standard error.

mod conform;
mod doctor;
mod fingerprint;
mod image;
mod output;
mod reproduce;
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("OPENSHELL_BUILD_ID"), ")");

/// Builds hermetic Linux hosts with a real engine and a real firewall.
///
/// Exit codes: 0 done, 1 it went wrong, 2 the command line is wrong.
#[derive(Parser)]
#[command(name = "openshell-harness", version = VERSION)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what this machine lacks for hosts, what that disables, and the way out.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build, list, verify and remove the userlands that hosts have.
    #[command(subcommand)]
    Image(image::Command),
    /// Show the firewall bug happening, being diagnosed and being repaired, with real parts.
    Reproduce {
        /// The probe to run inside the host; the one beside this program unless said.
        #[arg(long, value_name = "FILE")]
        probe: Option<PathBuf>,
    },
    /// Run scenarios: build their hosts, probe them, ask what a real sandbox experiences, compare.
    Run(scenario::RunArguments),
    /// Run any command as the probe over scenarios, and say which of its answers are right.
    ///
    /// Exit codes: 0 nothing false, 1 an answer is false or nothing came of a scenario, 2 the command line or the map is wrong.
    Conform(conform::Arguments),
    /// List scenarios with where they come from.
    Scenarios(scenario::ListArguments),
    /// Take the machine's fingerprint, or compare it with an earlier one.
    #[command(subcommand)]
    Fingerprint(fingerprint::Command),
    /// Print the digest of the sources that this program was built from.
    BuildId,
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    // A usage error ends the program here with exit code 2, as clap does.
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Doctor { json } => doctor::run(json),
        Command::Image(command) => image::run(command),
        Command::Reproduce { probe } => reproduce::run(probe),
        Command::Run(arguments) => scenario::run(arguments),
        Command::Conform(arguments) => conform::run(arguments),
        Command::Scenarios(arguments) => scenario::list(arguments),
        Command::Fingerprint(command) => fingerprint::run(command),
        Command::BuildId => {
            output::line(harness::BUILD_ID);
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::FAILURE
    })
}
