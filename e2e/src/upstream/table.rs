//! Scenario × probe, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::observation::Observation;
use super::{Answer, Probe, Score, Truth};

/// One port of one scenario.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario's name, and the port where it has several.
    pub scenario: String,
    /// What is so, in a word of the probe's: `ok`, a cause, or a verdict without one.
    pub is: String,
    /// What the upstream probes are measured by.
    pub truth: Truth,
    /// What each of them answered.
    pub answers: Vec<(Probe, Answer)>,
    /// What our own answer is worth, where it was asked.
    pub ours: Option<Score>,
}

impl Row {
    /// What every upstream probe makes of an observation.
    #[must_use]
    pub fn of(
        scenario: impl Into<String>,
        is: impl Into<String>,
        truth: Truth,
        seen: &Observation,
        ours: Option<Score>,
    ) -> Self {
        let answers = Probe::ALL.map(|probe| (probe, probe.ask(seen))).to_vec();
        Self { scenario: scenario.into(), is: is.into(), truth, answers, ours }
    }

    /// What the answer of one of them is worth.
    #[must_use]
    pub fn score(&self, probe: Probe) -> Option<Score> {
        let (_, answer) = self.answers.iter().find(|(asked, _)| *asked == probe)?;
        Some(answer.score(self.truth))
    }

    /// `false blame (tcp_failed)`: what it is worth, and the reason where that is no plain success.
    fn cell(&self, probe: Probe) -> String {
        let Some((_, answer)) = self.answers.iter().find(|(asked, _)| *asked == probe) else {
            return String::new();
        };
        let score = answer.score(self.truth);
        let word = if score.is_wrong() { format!("**{score}**") } else { score.to_string() };
        format!("{word} ({})", answer.reason)
    }
}

/// How often each probe got each score; ours is under `None`.
#[must_use]
pub fn totals(rows: &[Row]) -> BTreeMap<(Option<Probe>, Score), usize> {
    let mut totals = BTreeMap::new();
    for row in rows {
        let upstream = Probe::ALL.map(|probe| (Some(probe), row.score(probe)));
        for (probe, score) in upstream.into_iter().chain([(None, row.ours)]) {
            if let Some(score) = score {
                *totals.entry((probe, score)).or_default() += 1;
            }
        }
    }
    totals
}

/// Two tables: the totals, and a line for each row.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let totals = totals(rows);
    let columns = Probe::ALL.map(Some).into_iter().chain([None]);
    let columns: Vec<Option<Probe>> = columns.collect();
    let title = |column: &Option<Probe>| column.map_or_else(|| "ours".to_owned(), |probe| probe.to_string());
    let titles: Vec<String> = columns.iter().map(title).collect();

    let mut text = format!("| | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
    for score in Score::ALL {
        let counts =
            columns.iter().map(|column| totals.get(&(*column, score)).copied().unwrap_or(0).to_string());
        let _ = writeln!(text, "| {score} | {} |", counts.collect::<Vec<_>>().join(" | "));
    }
    let _ = write!(
        text,
        "\n| scenario | is | {} |\n|---|---|{}\n",
        titles.join(" | "),
        "---|".repeat(titles.len())
    );
    for row in rows {
        let cells = columns.iter().map(|column| match column {
            Some(probe) => row.cell(*probe),
            None => row.ours.map_or_else(String::new, |score| score.to_string()),
        });
        let _ =
            writeln!(text, "| {} | {} | {} |", row.scenario, row.is, cells.collect::<Vec<_>>().join(" | "));
    }
    text
}

/// The rows in which our own answer is a wrong one.
#[must_use]
pub fn wrong(rows: &[Row]) -> Vec<&Row> {
    rows.iter().filter(|row| row.ours.is_some_and(Score::is_wrong)).collect()
}
