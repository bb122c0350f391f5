//! What a run leaves to be looked at: the steps with their times, the probe's reports, and of a scenario that went wrong what
//! only its host can tell.
//!
//! ```text
//!  boot ── event ── event ──┬── check ── oracle ──┬── end of the host
//!   │ packets are heard     │ the rules are read  │ wrong? then, while all of it still runs: the rules once more, the
//!   ▼                       ▼                     │ kernel's trace of a dial, the packets, the engine's log
//! ```
//!
//! Reading the rules takes 30 ms, and hearing packets nothing that can be measured. Everything else is done only where
//! something is wrong.

use std::time::{Duration, Instant};

use probe::Report;
use serde::Serialize;

use super::events::Stage;
use super::file::ScenarioFile;
use super::place::Place;
use super::run::{Outcome, RunError};
use crate::engine::NetworkInfo;
use crate::host::Host;
use crate::packets::Tap;
use crate::trace::TracedDial;

/// All backends, and what rules are about, read-only. A bare `iptables-legacy-save` names no table, and so makes none.
const RULES: &str = "
    for read in iptables-nft-save ip6tables-nft-save iptables-legacy-save ip6tables-legacy-save 'nft list ruleset' 'ipset save' \
        'ip -o link' 'ip -o address' 'ip route'; do
        said=$($read 2>/dev/null) || true
        if [ -n \"$said\" ]; then printf '### %s\\n%s\\n\\n' \"$read\" \"$said\"; fi
    done";

/// How long reading them may take.
const RULES_DEADLINE: Duration = Duration::from_secs(10);

/// Of which runs everything is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Keep {
    /// Of those that went wrong.
    #[default]
    Wrong,
    /// Of all.
    All,
}

/// A run, and what it left.
#[derive(Debug)]
pub struct Recorded {
    /// What came out.
    pub result: Result<Outcome, RunError>,
    /// What was done, in this order.
    pub steps: Vec<Step>,
    /// What the probe said, a check each.
    pub checks: Vec<Check>,
    /// Files by their names, where they are kept.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A step of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// When it began, in milliseconds after the run.
    pub at_ms: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What was done.
    pub what: String,
    /// The line of the scenario's file, where it is one of its events.
    pub line: Option<usize>,
    /// Whether it was done.
    pub done: bool,
}

/// What the probe said in one check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The name of the `check` event; none for the check after all events.
    pub at: Option<String>,
    /// Its report; further ones are of checks that were made at the same time.
    pub reports: Vec<Report>,
}

/// Writes down what happens.
pub(super) struct Recorder {
    begun: Instant,
    /// Nothing but steps and reports without it.
    keep: Option<Keep>,
    lines: Vec<String>,
    pub(super) steps: Vec<Step>,
    pub(super) checks: Vec<Check>,
    /// The packets of each host, with an ending for its files' names.
    taps: Vec<(&'static str, Result<Tap, String>)>,
    rules_before: Vec<(&'static str, String)>,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Recorder {
    pub(super) fn new(file: &ScenarioFile, keep: Option<Keep>) -> Self {
        let text = keep.and_then(|_| std::fs::read_to_string(&file.path).ok()).unwrap_or_default();
        Self {
            begun: Instant::now(),
            keep,
            lines: text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect(),
            steps: Vec::new(),
            checks: Vec::new(),
            taps: Vec::new(),
            rules_before: Vec::new(),
            files: Vec::new(),
        }
    }

    /// A step that has just ended.
    pub(super) fn step(&mut self, what: impl Into<String>, since: Instant, done: bool) {
        self.push(what.into(), None, since, done);
    }

    /// The event of that line.
    pub(super) fn event(&mut self, line: usize, since: Instant, done: bool) {
        let what = self.lines.get(line - 1).cloned().unwrap_or_else(|| "an event".to_owned());
        self.push(what, Some(line), since, done);
        self.fetch();
    }

    fn push(&mut self, what: String, line: Option<usize>, since: Instant, done: bool) {
        let at_ms = millis(since.duration_since(self.begun));
        self.steps.push(Step { at_ms, took_ms: millis(since.elapsed()), what, line, done });
    }

    /// The hosts have booted.
    pub(super) fn booted(&mut self, place: &Place) {
        self.step("boot", self.begun, true);
        if self.keep.is_some() {
            let tap = |(ending, host): (&'static str, &Host)| (ending, Tap::open(host.network_namespace()));
            self.taps = hosts(place.user(), place.machine()).map(tap).collect();
        }
    }

    fn fetch(&mut self) {
        self.taps.iter_mut().filter_map(|(_, tap)| tap.as_mut().ok()).for_each(Tap::fetch);
    }

    /// A check is about to be made.
    pub(super) async fn before_check(&mut self, stage: &Stage<'_>) {
        if self.keep.is_some() {
            self.rules_before = rules(stage).await;
            self.fetch();
        }
    }

    /// All has been done that is to be done: what only the hosts can tell is kept, if it is to be kept.
    pub(super) async fn end(&mut self, stage: &Stage<'_>, wrong: bool, ports: &[u16]) {
        self.fetch();
        if self.keep != Some(Keep::All) && !(wrong && self.keep.is_some()) {
            return;
        }
        let rules_after = rules(stage).await;
        for (when, rules) in [("before", std::mem::take(&mut self.rules_before)), ("after", rules_after)] {
            for (ending, text) in rules {
                self.files.push((format!("rules-{when}{ending}.txt"), text.into_bytes()));
            }
        }
        let network = stage.vm.map_or(stage.network.as_ref(), |vm| Some(vm.lan()));
        self.files.push(("trace.txt".to_owned(), traces(stage.host, network, ports).into_bytes()));
        for (ending, tap) in std::mem::take(&mut self.taps) {
            let file = match tap {
                Ok(mut tap) => {
                    tap.fetch();
                    self.step(format!("heard until now: {}", tap.words()), Instant::now(), true);
                    (format!("packets{ending}.pcap"), tap.file())
                }
                Err(error) => (format!("packets{ending}.txt"), format!("not heard: {error}\n").into_bytes()),
            };
            self.files.push(file);
        }
        if let Ok(engine) = stage.machine.engine() {
            self.files.push(("engine.log".to_owned(), engine.log().into_bytes()));
        }
        for (ending, host) in hosts(stage.host, stage.machine) {
            let log = host.log();
            if !log.is_empty() {
                self.files.push((format!("host{ending}.log"), log.into_bytes()));
            }
        }
    }
}

/// Each host once, with an ending for its files' names.
fn hosts<'a>(user: &'a Host, machine: &'a Host) -> impl Iterator<Item = (&'static str, &'a Host)> {
    let second = (!std::ptr::eq(user, machine)).then_some(("-vm", machine));
    std::iter::once(("", user)).chain(second)
}

async fn rules(stage: &Stage<'_>) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for (ending, host) in hosts(stage.host, stage.machine) {
        let read = host.command("sh").args(["-uc", RULES]).deadline(RULES_DEADLINE).run().await;
        all.push((ending, read.unwrap_or_else(|error| format!("not read: {error}\n"))));
    }
    all
}

/// What the kernel says about dials like a sandbox's, made for this.
fn traces(host: &Host, network: Option<&NetworkInfo>, ports: &[u16]) -> String {
    let Some(network) = network else {
        return "there is no network with an IPv4 gateway from which a port could be dialled\n".to_owned();
    };
    let mut text =
        "Dials like a sandbox's, made after the check, and what the kernel's own trace says of them.\n"
            .to_owned();
    for port in ports {
        let told = match host.trace_dial(network, *port) {
            Ok(dial) => words(&dial),
            Err(error) => format!("not traced: {error}\n"),
        };
        text.push_str(&format!("\n{}:{port}: {told}", network.gateway));
    }
    text
}

fn words(dial: &TracedDial) -> String {
    let outcome = match dial.outcome {
        Ok(()) => "connected".to_owned(),
        Err(error) => error.to_string(),
    };
    let mut text = format!("{outcome}; {}\n", dial.decided);
    for event in dial.decided.trace.events() {
        let place = format!("{} {} {}", event.family, event.table, event.chain);
        text.push_str(&format!("    {place}: {:?}: {}\n", event.kind, event.verdict));
    }
    text
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
