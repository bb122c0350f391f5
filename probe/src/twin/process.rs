//! The twin's first process: it reads what is wanted, makes the namespaces, and waits for the process in them.

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::ExitCode;

use netns::sys::{Side, clone_into};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::enclosure::{Gate, NAMESPACES, forbidden, leave_roots_groups};
use super::{Answer, Failure, Plan, inside};
use crate::sanitize;

/// The plan is wrong.
const USAGE: u8 = 2;
/// There is no answer for another reason.
const UNAVAILABLE: u8 = 3;

/// As many bytes as an order may have: a few texts, which JSON makes longer.
const MOST_ORDER: u64 = 64 * 1024 * 1024;

/// What the twin is told, on one line; its standard input then stays open.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// The inode of the asker's network namespace, in which nothing may be done.
    pub(super) namespace: u64,
    /// How long it may take.
    pub(super) budget_ms: u64,
    /// What is wanted.
    pub(super) plan: Plan,
}

/// What the twin says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// What was seen.
    Answer(Box<Answer>),
    /// Why nothing was.
    Failure(Failure),
}

/// Is the twin, from its first process's beginning to its end.
pub(super) fn main() -> ExitCode {
    // It goes with its asker, however that ends.
    if let Err(errno) = set_pdeathsig(Signal::SIGKILL) {
        return say(&Reply::Failure(Failure::kernel("follow the asker in death", errno)));
    }
    let order = match read().and_then(|order| order.plan.check().map(|()| order)) {
        Ok(order) => order,
        Err(failure) => return say(&Reply::Failure(failure)),
    };
    let gate = match leave_roots_groups().and_then(|()| Gate::new()) {
        Ok(gate) => gate,
        Err(failure) => return say(&Reply::Failure(failure)),
    };
    match clone_into(NAMESPACES) {
        Err(errno) => say(&Reply::Failure(forbidden("make the twin's namespaces", errno))),
        Ok(Side::Child) => inside::main(&order, gate),
        Ok(Side::Parent(child)) => match gate.open_for(child) {
            Ok(()) => wait(child),
            Err(failure) => {
                let code = say(&Reply::Failure(failure));
                // It waits at the gate, and its end is seen there as the end of this process.
                let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
                code
            }
        },
    }
}

fn wait(child: Pid) -> ExitCode {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => {
                return ExitCode::from(u8::try_from(code).unwrap_or(UNAVAILABLE));
            }
            Err(nix::errno::Errno::EINTR) => {}
            _ => return ExitCode::from(UNAVAILABLE),
        }
    }
}

fn read() -> Result<Order, Failure> {
    let mut line = Vec::new();
    let bad = |what| Failure::BadPlan { what };
    let read = std::io::stdin().lock().take(MOST_ORDER).read_until(b'\n', &mut line);
    read.map_err(|error| bad(format!("it cannot be read: {error}")))?;
    if line.last() != Some(&b'\n') {
        return Err(bad("it is no whole line".to_owned()));
    }
    serde_json::from_slice(&line).map_err(|error| bad(sanitize(&error.to_string())))
}

/// Says the twin's only word on standard output, and a failure on standard error too.
pub(super) fn say(reply: &Reply) -> ExitCode {
    let text = serde_json::to_string(reply).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    if let Reply::Failure(failure) = reply {
        let _ = writeln!(std::io::stderr().lock(), "error: {failure}");
    }
    ExitCode::from(match (reply, written) {
        (Reply::Failure(Failure::BadPlan { .. } | Failure::NoProgram { .. }), _) => USAGE,
        (Reply::Answer(_), Ok(())) => 0,
        _ => UNAVAILABLE,
    })
}

impl Failure {
    /// What the kernel refused.
    pub(super) fn kernel(step: &str, error: impl std::fmt::Display) -> Self {
        Self::Kernel { step: format!("failed to {step}"), message: error.to_string() }
    }
}
