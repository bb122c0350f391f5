//! `fix`: explain, show, ask, apply, check again.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::args::{FixArguments, Format};
use super::{UNAVAILABLE, answer, colour, conclude, interrupted, json, say, text, trouble};
use crate::check::{self, Request};
use crate::explain::{self, Explained, UfwRemedy, UfwRule};
use crate::fix::{Applied, FixError, Fixer, Undone};
use crate::interrupt::Interrupt;
use crate::report::judge;
use crate::verdict::Verdict;

/// Ours alone: no other program's switch is a consent to this one's changes.
const CONSENT: &str = "OPENSHELL_PROBE_AUTO_FIX";

pub(super) async fn run(arguments: &FixArguments, request: Request) -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        return trouble("only root sees and changes UFW's rules\n\nhint: sudo openshell-probe fix …");
    }
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return trouble(&format!("failed to listen for signals: {error}")),
    };
    if arguments.undo {
        return undo(&interrupt).await;
    }
    let format = arguments.asked.common.format;
    let explained = explain::explain(&request, &interrupt, None).await;
    let remedies = applicable(&explained, arguments.interface);
    if interrupt.number().is_some() || remedies.is_empty() {
        // The report says what is to be done by hand, or that there is nothing to do.
        return conclude(&request, explained, format, false, &interrupt).await;
    }
    say("to be run as root, and taken back with 'openshell-probe fix --undo':");
    for (_, remedy) in &remedies {
        say(&format!("  ufw {}", remedy.adding().join(" ")));
    }
    if arguments.interface {
        say("warning: a network that is made anew has another bridge, and the rule no effect then");
    }
    if arguments.dry_run {
        return ExitCode::from(1);
    }
    if !(arguments.yes || std::env::var_os(CONSENT).is_some_and(|value| value == "1")) {
        if !std::io::stdin().is_terminal() {
            say(&format!("nothing was changed\n\nhint: pass --yes, or set {CONSENT}=1"));
            return ExitCode::from(1);
        }
        if !asked(&interrupt).await {
            say("nothing was changed");
            return interrupted(&interrupt).unwrap_or_else(|| ExitCode::from(1));
        }
    }
    match apply(&request, &remedies, format, &interrupt).await {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// Ends with what went wrong, and the way out.
fn failed(error: &FixError) -> ExitCode {
    trouble(&with_hint(error))
}

fn with_hint(error: &FixError) -> String {
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}\n\nhint: {hint}"))
}

/// What is left, and how it is removed.
fn left(rule: &UfwRule, error: &FixError) {
    let (rule, delete) = (rule.arguments().join(" "), rule.deleting().join(" "));
    say(&format!(
        "error: left: ufw {rule}: {error}\n\nhint: 'openshell-probe fix --undo', or by hand: ufw {delete}"
    ));
}

/// Proven in the twin, UFW's, and nobody else's rule.
fn applicable(explained: &Explained, interface: bool) -> Vec<(u16, UfwRemedy)> {
    let mut found = Vec::new();
    for explanation in &explained.explanations {
        // Both forms were tried, each as it is.
        let mut proven = explanation.remedies.iter().filter(|it| it.proven).filter_map(|it| it.ufw.as_ref());
        let wanted = proven.find(|it| it.rule.interface.is_some() == interface);
        let Some(remedy) = wanted.cloned() else { continue };
        if remedy.there {
            say(&format!(
                "port {}: the same rule exists, after the one that decides; it is not moved",
                explanation.port
            ));
            continue;
        }
        found.push((explanation.port, remedy));
    }
    found
}

async fn apply(
    request: &Request,
    remedies: &[(u16, UfwRemedy)],
    format: Format,
    interrupt: &Interrupt,
) -> Result<ExitCode, FixError> {
    let fixer = Fixer::begin()?;
    let (mut added, mut failure) = (Vec::new(), None);
    for (port, remedy) in remedies {
        if interrupt.number().is_some() {
            break;
        }
        match fixer.apply(remedy).await {
            Ok(Applied::Now) => added.push((*port, remedy)),
            Ok(Applied::Before) => say(&format!("port {port}: another fix has added the rule meanwhile")),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let report = judge(request, check::check(request, interrupt).await).await;
    let mut all_back = true;
    for (port, remedy) in added {
        let open = report.targets.iter().any(|it| it.port == port && it.verdict == Verdict::Ok);
        let why = match interrupt.number() {
            Some(_) => "interrupted",
            None if open => continue,
            None => "still closed",
        };
        match fixer.take_back(&remedy.rule).await {
            Ok(()) => say(&format!("port {port}: {why}: the rule was removed again")),
            Err(error) => {
                all_back = false;
                left(&remedy.rule, &error);
            }
        }
    }
    let stopped = interrupted(interrupt);
    if let Some(error) = failure {
        return Err(error);
    }
    if !all_back {
        return Ok(ExitCode::from(UNAVAILABLE));
    }
    if let Some(code) = stopped {
        return Ok(code);
    }
    let shown = match format {
        Format::Text => text::render(&report, colour(), false),
        Format::Json => json(&report),
    };
    Ok(answer(&shown, report.exit_code))
}

/// Goes through all entries, also when one fails or a signal comes: what is half undone is the worst.
async fn undo(interrupt: &Interrupt) -> ExitCode {
    let undoing = match Fixer::undo().await {
        Ok(undoing) => undoing,
        Err(error) => return failed(&error),
    };
    if undoing.undone.is_empty() && undoing.left.is_empty() {
        say("there is nothing to undo");
    }
    for it in undoing.undone {
        match it {
            Undone::Removed(rule) => say(&format!("removed: ufw {}", rule.arguments().join(" "))),
            Undone::Gone(rule) => say(&format!("gone already: ufw {}", rule.arguments().join(" "))),
        }
    }
    for it in &undoing.left {
        match &it.rule {
            Some(rule) => left(rule, &it.why),
            None => say(&format!("error: {}", with_hint(&it.why))),
        }
    }
    if !undoing.left.is_empty() {
        return ExitCode::from(UNAVAILABLE);
    }
    interrupted(interrupt).unwrap_or(ExitCode::SUCCESS)
}

/// A yes from the terminal. A thread of its own waits for it, which a signal need not.
async fn asked(interrupt: &Interrupt) -> bool {
    let _ = write!(std::io::stderr().lock(), "apply? [y/N] ");
    let (sender, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let _ = sender.send(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"));
    });
    tokio::select! {
        yes = answer => yes.unwrap_or(false),
        () = interrupt.raised() => false,
    }
}
