//! Whether all say the same; pure.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use harness::scenario::format::{Expect, Scenario};
use probe::{Decided, Explanation, Method};

use super::table::Row;
use super::{Dropped, SILENT, Seen, Spot, Traced, blamed};

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
    fn expected(name: &str, decided: Option<&Decided>) -> BTreeSet<Self> {
        let mut all = BTreeSet::from([Self::Static, Self::Twin, Self::Counters, Self::Trace]);
        if decided.is_some_and(|decided| decided.backend == "native" || decided.packet != "syn") {
            all.remove(&Self::Counters);
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

/// What is said of each target, for the page; nothing where nobody was asked.
#[must_use]
pub fn rows(name: &str, scenario: &Scenario, seen: &[Seen]) -> Vec<Row> {
    let row = |expect: &Expect| {
        let seen = seen.iter().find(|it| it.port == expect.target.port)?;
        let target = seen.report.targets.iter().find(|target| target.port == seen.port)?;
        let explanation = target.explanation.as_ref()?;
        let decided = explanation.decided.as_ref();
        let of_trace = || seen.traced.dropped.as_ref().map(|it| it.spot.to_string());
        Some(Row {
            host: name.to_owned(),
            port: seen.port,
            rule: decided.map(rule).or_else(of_trace).unwrap_or_else(|| "none is named".to_owned()),
            packet: decided.map_or_else(|| "-".to_owned(), |it| it.packet.clone()),
            layers: speaking(explanation, &seen.traced),
            socket: Some(match seen.traced.outcome {
                Ok(()) => "connected",
                Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => "silence",
                Err(_) => "refused",
            }),
        })
    };
    let mut rows: Vec<Row> = blamed(scenario).filter_map(row).collect();
    rows.sort_by_key(|row| row.port.to_string());
    rows
}

/// A rule as the page has it.
#[must_use]
pub fn rule(decided: &Decided) -> String {
    format!("{} {}", decided.backend, Spot::of_explained(decided))
}

/// Who says so, of an explanation alone.
pub fn layers(explanation: &Explanation) -> BTreeSet<Layer> {
    let layer = |method: &Method| match method {
        Method::Twin => Layer::Twin,
        Method::Counters => Layer::Counters,
        _ => Layer::Static,
    };
    explanation.confirmed_by.iter().map(layer).collect()
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
    let decided = explanation.decided.as_ref();
    let (expected, found) = (Layer::expected(name, decided), speaking(explanation, &seen.traced));
    let traced = seen.traced.dropped.as_ref().map_or("nothing".to_owned(), |it| it.spot.to_string());
    let explained = decided.map_or("nothing".to_owned(), |it| Spot::of_explained(it).to_string());
    if expected != found {
        wrong.push(format!(
            "{port}: {found:?} speak, and {expected:?} should; explained: {explained}; traced: {traced}; {:?}",
            explanation.notes
        ));
    }
    if let Some(decided) = decided.filter(|decided| !felt(decided, seen.traced.outcome)) {
        wrong
            .push(format!("{port}: {explained} {}, and a dial is {:?}", decided.effect, seen.traced.outcome));
    }
    wrong
}

/// Who says that the rule decided which the explanation names. Where it names none, the trace alone may have one.
fn speaking(explanation: &Explanation, traced: &Traced) -> BTreeSet<Layer> {
    let mut layers = layers(explanation);
    let same = |dropped: &Dropped, decided: &Decided| {
        dropped.spot == Spot::of_explained(decided) && dropped.answer == is_answer(decided)
    };
    let decided = explanation.decided.as_ref();
    if traced.dropped.as_ref().is_some_and(|dropped| decided.is_none_or(|decided| same(dropped, decided))) {
        layers.insert(Layer::Trace);
    }
    layers
}

/// Whether it is a packet of the service's end that was stopped.
fn is_answer(decided: &Decided) -> bool {
    matches!(decided.packet.as_str(), "syn_ack" | "answer_ack" | "answer")
}

/// Whether a dial comes to what the rule does.
fn felt(decided: &Decided, outcome: Result<(), ErrorKind>) -> bool {
    let refused = decided.effect.starts_with("rejected");
    let stands = matches!(decided.packet.as_str(), "ack" | "data" | "answer_ack" | "answer");
    match outcome {
        Ok(()) => stands,
        Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => !refused && !stands,
        Err(_) => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use probe::RulesSeen;

    fn decided(rule: Option<usize>, packet: &str, effect: &str) -> Decided {
        Decided {
            effect: effect.to_owned(),
            packet: packet.to_owned(),
            backend: "nft".to_owned(),
            family: "ip".to_owned(),
            table: "filter".to_owned(),
            chain: "INPUT".to_owned(),
            rule,
            text: String::new(),
            setting: None,
        }
    }

    fn explanation(decided: Option<Decided>, confirmed_by: Vec<Method>) -> Explanation {
        Explanation { port: 8080, seen: RulesSeen::Rules, decided, confirmed_by, ..Explanation::default() }
    }

    #[test]
    fn a_trace_speaks_for_the_very_rule_and_packet_only() {
        let of = |rule, packet: &str, answer| {
            let decided = decided(Some(1), packet, "dropped");
            let spot = Spot { rule, ..Spot::of_explained(&decided) };
            let traced =
                Traced { outcome: Err(ErrorKind::TimedOut), dropped: Some(Dropped { answer, spot }) };
            speaking(&explanation(Some(decided), vec![Method::Twin]), &traced)
        };
        assert_eq!(of(Some(1), "syn", false), [Layer::Twin, Layer::Trace].into());
        assert_eq!(of(Some(1), "syn_ack", true), [Layer::Twin, Layer::Trace].into());
        assert_eq!(of(Some(2), "syn", false), [Layer::Twin].into(), "another rule");
        assert_eq!(of(None, "syn", false), [Layer::Twin].into(), "the policy");
        assert_eq!(of(Some(1), "syn", true), [Layer::Twin].into(), "the answer's");
    }

    #[test]
    fn a_dial_has_to_feel_what_the_rule_does() {
        let felt = |packet: &str, effect: &str, outcome| felt(&decided(None, packet, effect), outcome);
        assert!(felt("syn", "dropped", Err(ErrorKind::TimedOut)));
        assert!(felt("syn", "rejected with tcp-reset", Err(ErrorKind::ConnectionRefused)));
        assert!(felt("data", "dropped", Ok(())));
        assert!(!felt("syn", "dropped", Ok(())));
        assert!(!felt("syn", "dropped", Err(ErrorKind::ConnectionRefused)));
        assert!(!felt("syn", "rejected with tcp-reset", Err(ErrorKind::TimedOut)));
    }
}
