//! A run for the tests of all forms: one scenario whose every text tries to be markup.

use std::path::Path;

use probe::{Cause, Report, Verdict};

use super::*;
use crate::scenario::{Answer, Experience, Outcome, Tally};

/// Part of the scenario's name.
pub(crate) const SCRIPT_NAME: &str = "firewall/<script>alert(1)";

/// A probe's report of a drop by UFW.
pub(crate) fn report() -> Report {
    serde_json::from_str(include_str!("tests/report.json")).unwrap()
}

/// Recorded: it should have been ok, and was dropped.
pub(crate) fn recorded() -> (ScenarioFile, Recorded, Vec<Row>) {
    let text = include_str!("tests/scenario.toml");
    let file = ScenarioFile::parse(Path::new(&format!("{SCRIPT_NAME}.toml")), text).unwrap();
    let report = report();
    let target = &report.targets[0];
    let answer = Answer {
        verdict: Verdict::TcpFailed,
        cause: Some(Cause::Dropped),
        identity: target.identity,
        summary: target.summary.clone(),
        hints: target.hints.clone(),
        remedy: None,
        experience: Some((Experience::NotReached, "<i>never</i>".to_owned())),
        beside: Vec::new(),
    };
    let step =
        |at_ms, took_ms, what: &str, line| Step { at_ms, took_ms, what: what.to_owned(), line, done: true };
    let recorded = Recorded {
        result: Ok(Outcome { answers: vec![answer], ..Outcome::default() }),
        steps: vec![step(0, 412, "boot", None), step(500, 1200, "{ posture = \"ufw_brev\" }", Some(7))],
        checks: vec![Check { at: None, reports: vec![report] }],
        files: Vec::new(),
    };
    let rows = Tally::default().add(&file, recorded.result.as_ref());
    (file, recorded, rows)
}

/// The same as the results of a run.
pub(crate) fn results() -> Results {
    let (file, recorded, rows) = recorded();
    Results::of(vec![ScenarioResult::new(&file, &recorded, &rows)])
}

#[test]
fn what_is_not_as_expected_is_wrong_and_what_was_not_run_is_an_error() {
    let (file, recorded, rows) = recorded();
    assert_eq!(ScenarioResult::new(&file, &recorded, &rows).status, Status::Wrong);
    let skipped = Outcome { skipped: Some("no IPv6".to_owned()), ..Outcome::default() };
    let skipped = Recorded { result: Ok(skipped), ..recorded };
    let rows = Tally::default().add(&file, skipped.result.as_ref());
    let result = ScenarioResult::new(&file, &skipped, &rows);
    assert_eq!((result.status, result.reason.as_deref()), (Status::Skipped, Some("no IPv6")));
    assert!(!result.status.is_failure() && Status::Error.is_failure());
}

#[test]
fn the_json_form_says_what_was_expected_and_has_the_report() {
    let json = serde_json::to_value(results()).unwrap();
    let scenario = &json["scenarios"][0];
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    assert_eq!(scenario["status"], "wrong");
    assert_eq!(scenario["targets"][0]["expected"], "ok");
    assert_eq!(scenario["targets"][0]["found"], "tcp_failed (dropped)");
    assert_eq!(scenario["checks"][0]["reports"][0]["targets"][0]["port"], 8080);
}
