//! What was expected against what came out. Pure: the same scenario and outcome always give the same rows.

use probe::{Cause, Verdict};

use super::file::word;
use super::format::{Expect, Scenario};
use super::run::{Answer, Outcome};

/// What nobody may read where no firewall is at fault.
const FIREWALL_WORDS: [&str; 5] = ["firewall", "ufw", "iptables", "nft", "firewalld"];

/// One expectation and what came out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// The target, and the check that it is about when that is not the last one.
    pub target: String,
    /// The expected verdict and cause.
    pub expected: String,
    /// The probe's verdict and cause.
    pub found: String,
    /// What a real sandbox experienced; `-` where no oracle was asked.
    pub oracle: String,
    /// What is wrong, in words. Empty when all is as expected.
    pub mismatches: Vec<String>,
}

impl Row {
    /// The row of an expectation without an answer.
    #[must_use]
    pub fn without_answer(expect: &Expect, found: &str, mismatches: Vec<String>) -> Self {
        let (target, expected) = (target(expect), judgement(expect.verdict, expect.cause));
        Self { target, expected, found: found.to_owned(), oracle: "-".to_owned(), mismatches }
    }
}

/// A row for each expectation of a scenario that was run.
#[must_use]
pub fn compare(scenario: &Scenario, outcome: &Outcome) -> Vec<Row> {
    let row = |(index, expect): (usize, &Expect)| match outcome.answers.get(index) {
        Some(answer) => Row {
            found: judgement(answer.verdict, answer.cause),
            oracle: answer.experience.as_ref().map_or("-", |(experience, _)| experience.name()).to_owned(),
            ..Row::without_answer(expect, "", mismatches(expect, answer))
        },
        None => Row::without_answer(expect, "nothing", vec!["there is no answer".to_owned()]),
    };
    scenario.expect.iter().enumerate().map(row).collect()
}

fn target(expect: &Expect) -> String {
    let at = expect.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
    format!("{} {}{at}", expect.target.port, expect.target.label)
}

fn judgement(verdict: Verdict, cause: Option<Cause>) -> String {
    match cause {
        Some(cause) => format!("{} ({})", word(&verdict), word(&cause)),
        None => word(&verdict),
    }
}

fn mismatches(expect: &Expect, answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    if (answer.verdict, answer.cause) != (expect.verdict, expect.cause) {
        wrong.push(format!(
            "the probe says {} and not {}: {}",
            judgement(answer.verdict, answer.cause),
            judgement(expect.verdict, expect.cause),
            answer.summary
        ));
    }
    if let Some(expected) = expect.identity
        && expected != answer.identity
    {
        let (found, expected) = (word(&answer.identity), word(&expected));
        wrong.push(format!("what vouches for the service is {found} and not {expected}: {}", answer.summary));
    }
    for beside in &answer.beside {
        if (beside.verdict, beside.cause) != (answer.verdict, answer.cause) {
            let said = judgement(beside.verdict, beside.cause);
            wrong.push(format!("a check at the same time says {said}: {}", beside.summary));
        }
    }
    experience(expect, answer, &mut wrong);
    remedy(expect, answer, &mut wrong);
    words(expect, answer, &mut wrong);
    wrong
}

/// The probe says `ok` where a real sandbox reaches the right service, and only there.
fn experience(expect: &Expect, answer: &Answer, wrong: &mut Vec<String>) {
    let Some((experience, detail)) = &answer.experience else { return };
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    if let Some(expected) = expect.oracle
        && expected != *experience
    {
        let (found, expected) = (experience.name(), expected.name());
        wrong.push(format!("a real sandbox experiences {found} and not {expected}{detail}"));
    }
    // These say nothing about whether a sandbox reaches it.
    let judged =
        !matches!(answer.verdict, Verdict::ProbeUnavailable | Verdict::NetworkNotFound | Verdict::Skipped);
    let reached = *experience == super::Experience::Reached;
    if judged && reached != (answer.verdict == Verdict::Ok) {
        let (verdict, found) = (word(&answer.verdict), experience.name());
        wrong.push(format!("the probe says {verdict}, and a real sandbox experiences {found}{detail}"));
    }
}

fn remedy(expect: &Expect, answer: &Answer, wrong: &mut Vec<String>) {
    let wanted = &expect.remedy;
    let Some(remedy) = &answer.remedy else {
        wrong
            .extend(wanted.contains.iter().map(|part| format!("there is no remedy, and none with {part:?}")));
        return;
    };
    if wanted.none {
        wrong.push(format!("there is a remedy: {remedy}"));
    }
    if !answer.cause.is_some_and(Cause::is_firewall) {
        wrong.push(format!("a remedy touches a firewall that is not at fault: {remedy}"));
    }
    let missing = wanted.contains.iter().filter(|part| !remedy.contains(part.as_str()));
    wrong.extend(missing.map(|part| format!("the remedy lacks {part:?}: {remedy}")));
    let there = wanted.lacks.iter().filter(|part| remedy.contains(part.as_str()));
    wrong.extend(there.map(|part| format!("the remedy has {part:?}: {remedy}")));
}

fn words(expect: &Expect, answer: &Answer, wrong: &mut Vec<String>) {
    let said = format!("{}\n{}", answer.summary, answer.hints.join("\n"));
    let quoted = said.replace('\n', " / ");
    let missing = expect.says.iter().filter(|part| !said.contains(part.as_str()));
    wrong.extend(missing.map(|part| format!("{part:?} is not said: {quoted}")));
    let lower = said.to_lowercase();
    let innocent = !answer.cause.is_some_and(Cause::is_firewall);
    let forbidden = FIREWALL_WORDS.iter().copied().filter(|_| innocent);
    // Once is enough for a word that is forbidden twice.
    let mut found: Vec<&str> = forbidden
        .chain(expect.silent_on.iter().map(String::as_str))
        .filter(|part| lower.contains(&part.to_lowercase()))
        .collect();
    found.sort_unstable();
    found.dedup();
    wrong.extend(found.into_iter().map(|part| format!("{part:?} is said: {quoted}")));
}

#[cfg(test)]
mod tests;
