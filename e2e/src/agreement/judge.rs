//! Whether all say the same; pure.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use harness::scenario::format::{Expect, Scenario};
use probe::{Decided, Explanation, Method};

use super::{SILENT, Seen, Spot, Traced, blamed};

/// Who says which rule decided.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Layer {
    /// The rules, evaluated.
    Static,
    /// The kernel's trace in the twin.
    Twin,
    /// The rules' counters.
    Counters,
    /// The kernel's trace on the host.
    Trace,
}

impl Layer {
    /// Who speaks about a rule of that scenario. Counters are asked about the first packet only, and rules of nftables' own
    /// count where somebody wants them to.
    fn expected(name: &str, decided: &Decided) -> BTreeSet<Self> {
        let mut all = BTreeSet::from([Self::Static, Self::Twin, Self::Trace]);
        if decided.backend != "native" && decided.packet == "syn" {
            all.insert(Self::Counters);
        }
        let silent = SILENT.iter().filter(|silence| silence.scenario == name);
        for layer in silent.flat_map(|silence| silence.layers) {
            all.remove(layer);
        }
        all
    }
}

/// What somebody says that another does not, in words; nothing where all agree.
#[must_use]
pub fn differences(name: &str, scenario: &Scenario, seen: &[Seen]) -> Vec<String> {
    let of = |expect: &Expect| match seen.iter().find(|it| it.port == expect.target.port) {
        None => vec![format!("{}: nobody was asked", expect.target.port)],
        Some(seen) => target(name, expect, seen),
    };
    blamed(scenario).flat_map(of).collect()
}

fn target(name: &str, expect: &Expect, seen: &Seen) -> Vec<String> {
    let port = seen.port;
    let Some(target) = seen.report.targets.iter().find(|target| target.port == port) else {
        return vec![format!("{port}: explain says nothing of it")];
    };
    let mut wrong = Vec::new();
    if target.cause != expect.cause {
        wrong.push(format!("{port}: explain's cause is {:?}, and not {:?}", target.cause, expect.cause));
    }
    let Some(explanation) = &target.explanation else {
        wrong.push(format!("{port}: explain has no explanation"));
        return wrong;
    };
    let Some(decided) = &explanation.decided else {
        wrong.push(format!("{port}: explain names no rule: {:#?}; {:?}", explanation.notes, seen.traced));
        return wrong;
    };
    let (expected, found) = (Layer::expected(name, decided), speaking(explanation, decided, &seen.traced));
    let explained = Spot::of_explained(decided);
    if expected != found {
        let traced = seen.traced.dropped.as_ref().map_or("nothing".to_owned(), |it| it.spot.to_string());
        wrong.push(format!(
            "{port}: {found:?} agree, and {expected:?} should; explain: {explained} drops the {}; trace: {traced}; {:?}",
            decided.packet, explanation.notes
        ));
    }
    if !felt(decided, seen.traced.outcome) {
        wrong.push(format!("{port}: {explained} {}, and a dial is {:?}", decided.effect, seen.traced.outcome));
    }
    wrong
}

/// Who says that this rule decided.
fn speaking(explanation: &Explanation, decided: &Decided, traced: &Traced) -> BTreeSet<Layer> {
    let layer = |method: &Method| match method {
        Method::Twin => Layer::Twin,
        Method::Counters => Layer::Counters,
        _ => Layer::Static,
    };
    let mut layers: BTreeSet<Layer> = explanation.confirmed_by.iter().map(layer).collect();
    let same = traced.dropped.as_ref().is_some_and(|dropped| {
        dropped.spot == Spot::of_explained(decided) && dropped.answer == (decided.packet == "syn_ack")
    });
    if same {
        layers.insert(Layer::Trace);
    }
    layers
}

/// Whether a dial comes to what the rule does.
fn felt(decided: &Decided, outcome: Result<(), ErrorKind>) -> bool {
    let refused = decided.effect.starts_with("rejected");
    match outcome {
        Ok(()) => decided.packet == "data",
        Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => !refused && decided.packet != "data",
        Err(_) => refused,
    }
}
