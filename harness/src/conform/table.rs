//! The answers of a command as a table: for people, as Markdown, as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::score::Score;
use super::{Answer, Asked};
use crate::scenario::ScenarioFile;
use crate::scenario::format::Event;

/// All that was asked.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// The answers, in the scenarios' order.
    pub answers: Vec<Answer>,
    /// The scenarios in which the command was not asked, and why.
    pub left_out: Vec<(String, String)>,
    /// Those of which nothing came, and why.
    pub trouble: Vec<(String, String)>,
}

/// Why a scenario is never asked about: what happens in it waits for a container of our own probe's.
#[must_use]
pub fn left_out_always(file: &ScenarioFile) -> Option<&'static str> {
    let moves = file.scenario.events.iter().any(|event| matches!(event, Event::DuringCheck(_)));
    moves.then_some("something happens in it during a check of openshell-probe's")
}

impl Table {
    /// Adds what came of a scenario.
    pub fn add(&mut self, file: &ScenarioFile, asked: Asked) {
        match asked {
            Asked::Answers(answers) => self.answers.extend(answers),
            Asked::LeftOut(reason) => self.left_out.push((file.name(), reason)),
        }
    }

    /// How often each score was given.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Score, usize> {
        let mut totals: BTreeMap<Score, usize> = Score::ALL.into_iter().map(|score| (score, 0)).collect();
        for answer in &self.answers {
            *totals.entry(answer.score).or_default() += 1;
        }
        totals
    }

    /// Whether an answer is a wrong one.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.answers.iter().any(|answer| answer.score.is_wrong())
    }

    /// The closing line.
    #[must_use]
    pub fn line(&self) -> String {
        let totals = self.totals();
        let counts: Vec<String> = totals.iter().map(|(score, count)| format!("{count} {score}")).collect();
        let mut line = format!("{} answers: {}", self.answers.len(), counts.join(", "));
        for (what, list) in [("left out", &self.left_out), ("in trouble", &self.trouble)] {
            if !list.is_empty() {
                let _ = write!(line, "; {} {what}", list.len());
            }
        }
        line
    }

    /// Two tables as Markdown, in the form of `docs/upstream-probes.md`: the totals, and a line for each answer.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = "| | answers |\n|---|---:|\n".to_owned();
        for (score, count) in self.totals() {
            let _ = writeln!(text, "| {score} | {count} |");
        }
        text.push_str("\n| scenario | is | answer |\n|---|---|---|\n");
        for answer in &self.answers {
            let score = answer.score;
            let word = if score.is_wrong() { format!("**{score}**") } else { score.to_string() };
            let meaning = answer.meaning.map_or("none", super::Meaning::name);
            let _ = writeln!(text, "| {} | {} | {word} ({meaning}) |", answer.name(), answer.is);
        }
        for (what, list) in [("Left out", &self.left_out), ("In trouble", &self.trouble)] {
            if !list.is_empty() {
                let _ = write!(text, "\n{what}:\n\n");
                for (name, reason) in list {
                    let _ = writeln!(text, "- {name}: {}", reason.lines().next().unwrap_or_default());
                }
            }
        }
        text
    }
}

impl Answer {
    /// The scenario, the port, and the check where that has a name.
    #[must_use]
    pub fn name(&self) -> String {
        let at = self.at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
        format!("{} {}{at}", self.scenario, self.port)
    }

    /// A row for people; `width` is that of the longest name.
    #[must_use]
    pub fn row(&self, width: usize) -> String {
        let meaning = self.meaning.map_or("none", super::Meaning::name);
        let score = self.score.to_string();
        format!("{:width$}  {:20}  {meaning:8}  {score:13}  {}", self.name(), self.is, self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::{Meaning, Truth};

    fn answer(score: Score) -> Answer {
        Answer {
            scenario: "firewall/ufw-brev".to_owned(),
            port: 8080,
            at: None,
            is: "dropped".to_owned(),
            truth: Truth { reached: false, firewall_at_fault: true },
            meaning: Some(Meaning::Firewall),
            ended: "exit 1".to_owned(),
            score,
            elapsed_ms: 5,
        }
    }

    #[test]
    fn the_totals_have_every_score_and_wrong_ones_stand_out() {
        let table = Table {
            answers: vec![answer(Score::Right), answer(Score::FalseBlame)],
            left_out: vec![("a/b".to_owned(), "no IPv6".to_owned())],
            trouble: Vec::new(),
        };
        assert!(table.is_wrong());
        let line =
            "2 answers: 1 right, 1 false blame, 0 false healthy, 0 false alarm, 0 no answer; 1 left out";
        assert_eq!(table.line(), line);
        let text = table.markdown();
        assert!(text.contains("| false alarm | 0 |\n"), "{text}");
        assert!(
            text.contains("| firewall/ufw-brev 8080 | dropped | **false blame** (firewall) |\n"),
            "{text}"
        );
        assert!(text.ends_with("\nLeft out:\n\n- a/b: no IPv6\n"), "{text}");
    }
}
