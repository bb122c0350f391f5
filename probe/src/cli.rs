//! The command line of `openshell-probe`.
//!
//! The answer goes to standard output, talk to standard error. Exit codes: 0 every judged target is reachable, 1 one
//! is not, 2 the command line is wrong, 3 it could not be found out, 130 and 143 a signal ended it.

mod args;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use args::{Arguments, CheckArguments, CleanArguments, Command, Format};
use clap::Parser as _;

use crate::check::{self, Request};
use crate::clean;
use crate::deadline::Deadline;
use crate::engine::{DockerEngine, DryRun, EngineError, Environment, discover};
use crate::firewall;
use crate::interrupt::Interrupt;
use crate::report::{BUILD_ID, Report, SCHEMA, needs_firewall};

/// It could not be found out.
const UNAVAILABLE: u8 = 3;
/// The command line is wrong.
const USAGE: u8 = 2;

/// Runs the program with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers and go to standard output, everything else is talk.
            let shown = error.print();
            let code = if error.use_stderr() || shown.is_err() { USAGE } else { 0 };
            return ExitCode::from(code);
        }
    };
    match arguments.command {
        Command::Check(check) => match check.request() {
            Ok(request) => in_runtime(run_check(&check, request)),
            Err(problem) => {
                say(&format!("error: {problem}\n\nhint: see 'openshell-probe check --help'"));
                ExitCode::from(USAGE)
            }
        },
        Command::Clean(clean) => in_runtime(run_clean(&clean)),
        Command::Schema => answer(SCHEMA, 0),
        Command::BuildId => answer(&format!("{BUILD_ID}\n"), 0),
    }
}

fn in_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            say(&format!("error: failed to start: {error}"));
            ExitCode::from(UNAVAILABLE)
        }
    }
}

async fn run_check(arguments: &CheckArguments, request: Request) -> ExitCode {
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return trouble(&format!("failed to listen for signals: {error}")),
    };
    if arguments.dry_run {
        return rehearse_check(&request, &interrupt).await;
    }
    let checked = check::check(&request, &interrupt).await;
    for warning in &checked.warnings {
        say(&format!("warning: {warning}"));
    }
    if let Some(number) = interrupt.number() {
        say("interrupted");
        // The shell's own convention for a program that a signal ended.
        return ExitCode::from(u8::try_from(128 + number).unwrap_or(UNAVAILABLE));
    }
    let root = nix::unistd::geteuid().is_root();
    let firewall = if needs_firewall(&checked.evidence) { Some(firewall::detect(root).await) } else { None };
    let report = Report::new(&request, checked, firewall, root);
    let shown = match arguments.format {
        Format::Text => text::render(&report, colour()),
        Format::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
    };
    answer(&shown, report.exit_code)
}

async fn rehearse_check(request: &Request, interrupt: &Interrupt) -> ExitCode {
    let deadline = Deadline::after(request.deadline);
    let discovery = match discover(request.host.as_deref(), &request.environment, deadline).await {
        Ok(discovery) => discovery,
        Err(error) => return failed(&error),
    };
    let engine = match DockerEngine::new(&discovery, deadline) {
        Ok(engine) => DryRun::new(engine),
        Err(error) => return failed(&error),
    };
    let endpoint = discovery.endpoint.clone();
    let checked = check::observe(&engine, endpoint, request, deadline, interrupt).await;
    let calls = engine.calls().iter().fold(String::new(), |text, call| text + call + "\n");
    match checked.evidence.trouble {
        // The rehearsed container says nothing, and that is where a rehearsal ends.
        None | Some(crate::evidence::Trouble::Protocol(_)) => answer(&calls, 0),
        Some(trouble) => {
            say(&format!("error: {trouble}"));
            answer(&calls, UNAVAILABLE)
        }
    }
}

async fn run_clean(arguments: &CleanArguments) -> ExitCode {
    let deadline = Deadline::after(check::DEFAULT_DEADLINE);
    let discovery = match discover(arguments.host.as_deref(), &Environment::current(), deadline).await {
        Ok(discovery) => discovery,
        Err(error) => return failed(&error),
    };
    let engine = match DockerEngine::new(&discovery, deadline) {
        Ok(engine) => engine,
        Err(error) => return failed(&error),
    };
    if arguments.dry_run {
        let engine = DryRun::new(engine);
        return match clean::clean(&engine).await {
            Ok(_) => answer(&engine.calls().iter().fold(String::new(), |text, call| text + call + "\n"), 0),
            Err(error) => failed(&error),
        };
    }
    match clean::clean(&engine).await {
        Ok(cleaned) => answer(&format!("{cleaned}\n"), if cleaned.in_use == 0 { 0 } else { UNAVAILABLE }),
        Err(error) => failed(&error),
    }
}

fn failed(error: &EngineError) -> ExitCode {
    trouble(&error.to_string())
}

fn trouble(problem: &str) -> ExitCode {
    say(&format!("error: {problem}"));
    ExitCode::from(UNAVAILABLE)
}

/// Writes to standard output. A reader that went away (`| head`) is no trouble, a full disk is.
fn answer(text: &str, code: u8) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            trouble(&format!("failed to write the answer: {error}"))
        }
        _ => ExitCode::from(code),
    }
}

/// Writes to standard error, where a failure has nobody left to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Colour only on a terminal, and never where `NO_COLOR` is set to anything (no-color.org).
fn colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}
