//! The command line of `openshell-probe`.
//!
//! The answer goes to standard output, talk to standard error. Exit codes: 0 every judged target is reachable, 1 one
//! is not, 2 the command line is wrong, 3 it could not be found out, 129, 130 and 143 a signal ended it. Those of a preflight
//! say whether to go on (0) or to stop.

mod args;
mod fix;
mod picture;
mod show;
mod snapshot;
mod text;
mod walk;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use args::{Arguments, CheckArguments, CleanArguments, Command, ExplainArguments, Format, UsageError};
use clap::Parser as _;

use crate::check::{self, Request};
use crate::clean;
use crate::deadline::Deadline;
use crate::engine::{DockerEngine, DryRun, EngineError, Environment, discover};
use crate::explain::{self, Explained};
use crate::interrupt::Interrupt;
use crate::preflight::{HOST_GATEWAY_ATTEMPTS, Preflight};
use crate::report::{BUILD_ID, Report, SCHEMA, judge};
use crate::vantage::Vantage;

/// It could not be found out.
const UNAVAILABLE: u8 = 3;
/// The command line is wrong.
const USAGE: u8 = 2;

/// Runs the program with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything starts a thread.
    if let Some(code) = crate::twin::hook() {
        return code;
    }
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
        Command::Check(check) => match check.asked.request() {
            Ok(request) => in_runtime(run_check(&check, request)),
            Err(problem) => wrong_usage("check", &problem),
        },
        Command::Explain(ExplainArguments { from: Some(file), asked, .. }) => {
            snapshot::explain(&file, asked.common.format)
        }
        Command::Explain(explain) => match explain.request() {
            Ok(request) => in_runtime(run_explain(&explain, request)),
            Err(problem) => wrong_usage("explain", &problem),
        },
        Command::Fix(fix) => match fix.request() {
            Ok(request) => in_runtime(fix::run(&fix, request)),
            Err(problem) => wrong_usage("fix", &problem),
        },
        Command::Snapshot(taken) => match taken.asked.request() {
            Ok(request) => in_runtime(snapshot::run(&taken, request)),
            Err(problem) => wrong_usage("snapshot", &problem),
        },
        Command::Preflight(gate) => match gate.preflight() {
            Ok(preflight) => in_runtime(run_preflight(gate.format(), preflight)),
            Err(problem) => wrong_usage("preflight", &problem),
        },
        Command::Clean(clean) => in_runtime(run_clean(&clean)),
        Command::Show(shown) => show::run(&shown),
        Command::Schema => answer(SCHEMA, 0),
        Command::BuildId => answer(&format!("{BUILD_ID}\n"), 0),
    }
}

fn wrong_usage(command: &str, problem: &UsageError) -> ExitCode {
    say(&format!("error: {problem}\n\nhint: see 'openshell-probe {command} --help'"));
    ExitCode::from(USAGE)
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
    let explanations = explain::explain_failures(&checked.evidence).await;
    conclude(
        &request,
        Explained { checked, explanations, times: None },
        arguments.asked.common.format,
        false,
        &interrupt,
    )
    .await
}

async fn run_explain(arguments: &ExplainArguments, request: Request) -> ExitCode {
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return trouble(&format!("failed to listen for signals: {error}")),
    };
    let explained = explain::explain(&request, &interrupt, None).await;
    conclude(&request, explained, arguments.asked.common.format, true, &interrupt).await
}

/// The report of a check, in the form that is wanted.
async fn conclude(
    request: &Request,
    explained: Explained,
    format: Format,
    walks: bool,
    interrupt: &Interrupt,
) -> ExitCode {
    let Explained { checked, explanations, times } = explained;
    for warning in &checked.warnings {
        say(&format!("warning: {warning}"));
    }
    if let Some(code) = interrupted(interrupt) {
        return code;
    }
    let report = judge(request, checked).await.explained(explanations, times);
    let shown = match format {
        Format::Text => text::render(&report, colour(), walks),
        Format::Json => json(&report),
    };
    answer(&shown, report.exit_code)
}

/// Silent when all is well: the answer is the exit code, and what there is to say goes to standard error.
async fn run_preflight(format: Format, preflight: Preflight) -> ExitCode {
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return trouble(&format!("failed to listen for signals: {error}")),
    };
    let again = |attempt: u32| {
        say(&format!(
            "the engine's host-gateway does not answer yet: attempt {attempt} of {HOST_GATEWAY_ATTEMPTS}"
        ));
    };
    let report = preflight.run(&interrupt, again).await;
    for warning in &report.warnings {
        say(&format!("warning: {warning}"));
    }
    if let Some(code) = interrupted(&interrupt) {
        return code;
    }
    let talk = text::gate(&report);
    if !talk.is_empty() {
        say(talk.trim_end());
    }
    match format {
        Format::Text => ExitCode::from(report.exit_code),
        Format::Json => answer(&json(&report), report.exit_code),
    }
}

fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}

/// The exit code after a signal, in the shell's own convention for a program that one ended.
fn interrupted(interrupt: &Interrupt) -> Option<ExitCode> {
    let number = interrupt.number()?;
    say("interrupted");
    Some(ExitCode::from(u8::try_from(128 + number).unwrap_or(UNAVAILABLE)))
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
    let mut calls = engine.calls().iter().fold(String::new(), |text, call| text + call + "\n");
    if let Vantage::Netns { address, interface, .. } = &checked.evidence.vantage {
        calls.push_str(&format!(
            "would join a network namespace to {interface} as {address}, and remove it\n"
        ));
    }
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
