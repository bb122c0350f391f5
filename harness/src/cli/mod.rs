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

use clap::{CommandFactory, Parser, Subcommand};
use harness::Privilege;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("OPENSHELL_BUILD_ID"), ")");

/// Builds hermetic Linux hosts with a real engine and a real firewall.
///
/// Exit codes: 0 done, 1 it went wrong, 2 the command line is wrong.
#[derive(Parser)]
#[command(name = "openshell-harness", version = VERSION)]
struct Arguments {
    /// With whose rights hosts are made: root's, an ordinary user's in a user namespace, or whichever the caller is.
    /// OPENSHELL_HARNESS_PRIVILEGE says it where this does not
    #[arg(long, global = true, value_name = "auto|root|user")]
    privilege: Option<Privilege>,
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
    let privilege = arguments.privilege.unwrap_or_else(privilege_of_environment);
    // There is one thread yet, which is when a process may enter a user namespace.
    let entered = || Ok(privilege.enter()?);
    let result = match arguments.command {
        Command::Doctor { json } => doctor::run(json, privilege),
        Command::Image(command) => image::run(command, privilege),
        Command::Reproduce { probe } => entered().and_then(|()| reproduce::run(probe)),
        Command::Run(arguments) => entered().and_then(|()| scenario::run(arguments)),
        Command::Conform(arguments) => entered().and_then(|()| conform::run(arguments)),
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

fn privilege_of_environment() -> Privilege {
    let Some(said) = std::env::var_os(Privilege::VARIABLE).filter(|it| !it.is_empty()) else {
        return Privilege::Auto;
    };
    said.to_string_lossy().parse().unwrap_or_else(|message: String| {
        let message = format!("{}: {message}", Privilege::VARIABLE);
        Arguments::command().error(clap::error::ErrorKind::InvalidValue, message).exit()
    })
}
