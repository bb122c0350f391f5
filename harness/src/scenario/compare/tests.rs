use std::path::Path;

use probe::{Cause, Identity, Verdict};

use super::super::file::ScenarioFile;
use super::super::format::Experience;
use super::super::run::{Answer, Beside, Outcome};
use super::{Row, compare};

/// A scenario with one expectation, and what came out of it.
fn row(expect: &str, answer: Answer) -> Row {
    let class = expect.lines().find_map(|line| line.strip_prefix("cause = "));
    let class = class.or_else(|| expect.lines().find_map(|line| line.strip_prefix("verdict = "))).unwrap();
    let text = format!(
        "version = 1
        title = \"a test\"
        source = [\"derived\"]
        class = {{ cause = {class}, route = \"bridge_gateway\", firewall = \"none\", lifecycle = \"fresh\" }}
        events = []
        [[expect]]
        target = \"8080=gateway\"\n{expect}"
    );
    let file = ScenarioFile::parse(Path::new("test.toml"), &text).unwrap();
    let outcome = Outcome { answers: vec![answer], ..Outcome::default() };
    compare(&file.scenario, &outcome).remove(0)
}

const OK: &str = "verdict = \"ok\"\noracle = \"reached\"\n";
const DROPPED: &str = "verdict = \"tcp_failed\"\ncause = \"dropped\"\noracle = \"not_reached\"\n";
const NOT_LISTENING: &str = "verdict = \"tcp_failed\"\ncause = \"not_listening\"\noracle = \"not_reached\"\n";

fn answer(verdict: Verdict, cause: Option<Cause>, experience: Experience) -> Answer {
    Answer {
        verdict,
        cause,
        identity: Identity::Unverified,
        summary: "about 172.18.0.1:8080".to_owned(),
        hints: Vec::new(),
        remedy: None,
        experience: Some((experience, String::new())),
        beside: Vec::new(),
    }
}

fn ok() -> Answer {
    answer(Verdict::Ok, None, Experience::Reached)
}

fn dropped() -> Answer {
    let remedy = Some("ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp".to_owned());
    Answer { remedy, ..answer(Verdict::TcpFailed, Some(Cause::Dropped), Experience::NotReached) }
}

fn not_listening() -> Answer {
    answer(Verdict::TcpFailed, Some(Cause::NotListening), Experience::NotReached)
}

/// Exactly one mismatch, and it has these words.
#[track_caller]
fn wrong(row: &Row, words: &str) {
    assert!(row.mismatches.len() == 1 && row.mismatches[0].contains(words), "{row:#?}");
}

#[track_caller]
fn right(row: &Row) {
    assert!(row.mismatches.is_empty(), "{row:#?}");
}

#[test]
fn what_is_as_expected_is_right() {
    right(&row(OK, ok()));
    right(&row(DROPPED, dropped()));
    let row = row(NOT_LISTENING, not_listening());
    right(&row);
    assert_eq!(row.target, "8080 gateway");
    assert_eq!((row.expected.as_str(), row.oracle.as_str()), ("tcp_failed (not_listening)", "not_reached"));
}

#[test]
fn another_verdict_or_cause_is_wrong() {
    wrong(&row(NOT_LISTENING, Answer { cause: Some(Cause::WrongBind), ..not_listening() }), "wrong_bind");
    // A false alarm differs from the file and from the sandbox.
    let row = row(OK, Answer { experience: ok().experience, ..not_listening() });
    assert_eq!(row.mismatches.len(), 2, "{row:#?}");
}

/// The probe says `ok` where a sandbox reaches it, and only there, whatever the file says.
#[test]
fn a_sandbox_that_experiences_something_else_is_wrong() {
    let experience = |experience| Some((experience, "in its words".to_owned()));
    for other in [Experience::NotReached, Experience::OtherService, Experience::NetworkMissing] {
        let row = row(OK, Answer { experience: experience(other), ..ok() });
        assert_eq!(row.mismatches.len(), 2, "{row:#?}");
        assert!(
            row.mismatches[1]
                .contains(&format!("the probe says ok, and a real sandbox experiences {}", other.name()))
        );
        assert!(row.mismatches[0].contains("(in its words)"));
    }
    right(&row(OK, Answer { experience: None, ..ok() }));
}

/// Where it could not be found out, the sandbox may experience anything, but what the file says.
#[test]
fn what_could_not_be_found_out_says_nothing_about_the_sandbox() {
    let expect = "verdict = \"probe_unavailable\"\ncause = \"image_unavailable\"\noracle = \"reached\"\n";
    let found = answer(Verdict::ProbeUnavailable, Some(Cause::ImageUnavailable), Experience::Reached);
    right(&row(expect, found.clone()));
    let elsewhere = Some((Experience::NotReached, String::new()));
    wrong(&row(expect, Answer { experience: elsewhere, ..found }), "not_reached and not reached");
}

#[test]
fn a_remedy_has_what_is_asked_for_and_nothing_else() {
    let with = |remedy: &str| format!("{DROPPED}remedy = {{ {remedy} }}\n");
    right(&row(&with("contains = [\"ufw allow\", \"8080\"], lacks = [\"11435\"]"), dropped()));
    wrong(&row(&with("contains = [\"iptables\"]"), dropped()), "the remedy lacks \"iptables\"");
    wrong(&row(&with("lacks = [\"8080\"]"), dropped()), "the remedy has \"8080\"");
    wrong(&row(&with("none = true"), dropped()), "there is a remedy");
    wrong(&row(&with("contains = [\"ufw\"]"), Answer { remedy: None, ..dropped() }), "there is no remedy");
}

/// Without being asked for: where no firewall is at fault, none is named and none is touched.
#[test]
fn an_innocent_firewall_is_not_named() {
    for word in ["Firewall", "ufw", "IPTABLES", "nft", "firewalld"] {
        let blamed = Answer { summary: format!("perhaps {word}?"), ..not_listening() };
        assert!(!row(NOT_LISTENING, blamed).mismatches.is_empty(), "{word}");
        let hinted = Answer { hints: vec![format!("see {word}")], ..ok() };
        assert!(!row(OK, hinted).mismatches.is_empty(), "{word}");
        let guilty = Answer { summary: format!("{word} drops it"), ..dropped() };
        right(&row(DROPPED, guilty));
    }
    let touched = Answer { remedy: dropped().remedy, ..not_listening() };
    wrong(&row(NOT_LISTENING, touched), "not at fault");
}

#[test]
fn words_that_are_asked_for_are_said_and_others_are_not() {
    let says = |what: &str| format!("{NOT_LISTENING}{what}\n");
    right(&row(&says("says = [\"172.18.0.1:8080\"]"), not_listening()));
    wrong(&row(&says("says = [\"172.19.0.1\"]"), not_listening()), "\"172.19.0.1\" is not said");
    wrong(&row(&says("silent_on = [\"ABOUT\"]"), not_listening()), "\"ABOUT\" is said");
    let hinted = Answer { hints: vec!["start it".to_owned()], ..not_listening() };
    right(&row(&says("says = [\"start it\"]"), hinted));
}

#[test]
fn an_expectation_without_an_answer_is_wrong() {
    let file = ScenarioFile::parse(Path::new("test.toml"), include_str!("tests.toml")).unwrap();
    let rows = compare(&file.scenario, &Outcome { answers: vec![ok()], ..Outcome::default() });
    assert_eq!(rows.len(), 2);
    right(&rows[0]);
    wrong(&rows[1], "there is no answer");
}

#[test]
fn checks_at_the_same_time_say_the_same() {
    let beside = |verdict, cause| {
        let summary = "as the other sees it".to_owned();
        Answer { beside: vec![Beside { verdict, cause, summary }], ..dropped() }
    };
    right(&row(DROPPED, beside(Verdict::TcpFailed, Some(Cause::Dropped))));
    let other_cause = row(DROPPED, beside(Verdict::TcpFailed, Some(Cause::Undetermined)));
    wrong(&other_cause, "at the same time says tcp_failed (undetermined): as the other sees it");
    wrong(&row(DROPPED, beside(Verdict::Ok, None)), "at the same time says ok: ");
}
