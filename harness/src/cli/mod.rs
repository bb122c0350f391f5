//! The command line. Data goes to standard output, talk to standard error.

mod conform;
mod doctor;
mod enclose;
mod exec;
mod fingerprint;
mod hosts;
mod image;
mod output;
mod presets;
mod replay;
mod reproduce;
mod scenario;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use harness::Privilege;
use harness::standing::Name;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("OPENSHELL_BUILD_ID"), ")");

/// Builds hermetic Linux hosts with a real engine and a real firewall.
///
/// Exit codes: 0 done, 1 it went wrong, 2 the command line is wrong. `exec` and `shell` have the program's: 128 and the
/// signal's number where a signal ended it, 125 where it was not even tried, 126 and 127 as in a shell.
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
    /// Make a host of a snapshot, and say whether the probe finds there what it found on the captured one.
    ///
    /// Exit codes: 0 all is the same, 1 something differs, 2 the command line is wrong or the file is refused.
    Replay(replay::Arguments),
    /// Run any command as the probe over scenarios, and say which of its answers are right.
    ///
    /// Exit codes: 0 nothing false, 1 an answer is false or nothing came of a scenario, 2 the command line or the map is wrong.
    Conform(conform::Arguments),
    /// List scenarios with where they come from.
    Scenarios(scenario::ListArguments),
    /// Start a host that stays until `down`.
    Up(hosts::UpArguments),
    /// List the hosts that are up, and what is left of others.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End hosts, and remove what is left of dead ones.
    Down(hosts::DownArguments),
    /// Print what a host's caretaker, first processes and engine have said.
    Logs {
        /// The host's name.
        name: Name,
    },
    /// A shell in a host.
    Shell(exec::ShellArguments),
    /// Run a command in a host that is up, or in one that is made for it; its exit code is this program's.
    Exec(exec::ExecArguments),
    /// Capture the packets of a host's bridge, or of a sandbox's link, as a pcap file.
    Pcap(exec::PcapArguments),
    /// List the hosts that have a name of their own.
    Presets(presets::PresetsArguments),
    /// List what killed hosts have left behind, ask, and remove it; only what is yours.
    Clean(hosts::CleanArguments),
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Take the machine's fingerprint, or compare it with an earlier one.
    #[command(subcommand)]
    Fingerprint(fingerprint::Command),
    /// Print the digest of the sources that this program was built from.
    BuildId,
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    if let Some(code) = harness::standing::caretaker_if_asked() {
        return code;
    }
    // A usage error ends the program here with exit code 2, as clap does.
    let arguments = Arguments::parse();
    let privilege = arguments.privilege.unwrap_or_else(privilege_of_environment);
    // There is one thread yet, which is when a process may enter a user namespace.
    let entered = || Ok(privilege.enter()?);
    let result = match arguments.command {
        Command::Doctor { json } => doctor::run(json, privilege),
        Command::Image(command) => image::run(command, privilege),
        Command::Reproduce { probe } => entered().and_then(|()| reproduce::run(probe)),
        Command::Run(arguments) => scenario::run(arguments, privilege),
        Command::Replay(arguments) => replay::run(&arguments, privilege),
        Command::Conform(arguments) => entered().and_then(|()| conform::run(arguments)),
        Command::Scenarios(arguments) => scenario::list(arguments),
        Command::Up(arguments) => hosts::up(&arguments, privilege),
        Command::List { json } => hosts::list(json),
        Command::Down(arguments) => hosts::down(&arguments),
        Command::Logs { name } => hosts::logs(&name),
        Command::Shell(arguments) => entered().and_then(|()| exec::shell(arguments)),
        Command::Exec(arguments) => exec::exec(arguments, privilege),
        Command::Pcap(arguments) => exec::pcap(arguments),
        Command::Presets(arguments) => presets::run(&arguments),
        Command::Clean(arguments) => hosts::clean(&arguments),
        Command::Completions { shell } => {
            output::line(completions(shell).trim_end());
            Ok(ExitCode::SUCCESS)
        }
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

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "openshell-harness", &mut script);
    // clap_complete 4.6 calls a program with a hyphen by two names in its script for bash, and so completes no subcommand.
    String::from_utf8_lossy(&script).replace("openshell__subcmd__harness", "openshell__harness")
}
