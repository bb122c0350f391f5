//! The printed table.

use super::compare::Row;
use super::file::ScenarioFile;

/// How wide the columns are: as wide as what is known before anything is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Widths {
    scenario: usize,
    target: usize,
    judgement: usize,
    oracle: usize,
}

impl Widths {
    /// For a table of these.
    #[must_use]
    pub fn of<'a>(files: impl IntoIterator<Item = &'a ScenarioFile>) -> Self {
        let mut widths = Self { scenario: 8, target: 6, judgement: 8, oracle: "network_missing".len() };
        for file in files {
            widths.scenario = widths.scenario.max(file.name().len());
            for expect in &file.scenario.expect {
                let row = Row::without_answer(expect, "", Vec::new());
                widths.target = widths.target.max(row.target.len());
                widths.judgement = widths.judgement.max(row.expected.len());
            }
        }
        widths
    }

    /// The line above all others.
    #[must_use]
    pub fn head(&self) -> String {
        self.line(["scenario", "target", "expected", "found", "oracle", "result"])
    }

    /// A row as lines: the row, and below it what is wrong.
    #[must_use]
    pub fn row(&self, scenario: &str, row: &Row) -> String {
        let result = if row.found == SKIPPED {
            "skipped"
        } else if row.mismatches.is_empty() {
            "ok"
        } else {
            "WRONG"
        };
        let mut text = self.line([scenario, &row.target, &row.expected, &row.found, &row.oracle, result]);
        for mismatch in &row.mismatches {
            for line in mismatch.lines() {
                text.push_str("\n    ");
                text.push_str(line);
            }
        }
        text
    }

    fn line(&self, cells: [&str; 6]) -> String {
        let [scenario, target, expected, found, oracle, result] = cells;
        let Self { scenario: a, target: b, judgement: c, oracle: d } = self;
        format!("{scenario:a$}  {target:b$}  {expected:c$}  {found:c$}  {oracle:d$}  {result}")
    }
}

/// What stands in the place of a verdict in the rows of a scenario that was not run.
pub(super) const SKIPPED: &str = "not run";

/// What was counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// All scenarios.
    pub scenarios: usize,
    /// All expectations.
    pub expectations: usize,
    /// Expectations with a mismatch.
    pub wrong: usize,
    /// Scenarios that the machine cannot build.
    pub skipped: usize,
    /// How much noise there was where there was the least, in packets a second.
    pub noise: Option<u32>,
}

impl Tally {
    /// The rows of a scenario after its run, counted.
    pub fn add(
        &mut self,
        file: &ScenarioFile,
        result: Result<&super::Outcome, &super::RunError>,
    ) -> Vec<Row> {
        let all = |found: &str, mismatch: Vec<String>| {
            let row = |(index, expect)| {
                let mismatch = if index == 0 { mismatch.clone() } else { Vec::new() };
                Row::without_answer(expect, found, mismatch)
            };
            file.scenario.expect.iter().enumerate().map(row).collect::<Vec<_>>()
        };
        self.scenarios += 1;
        self.expectations += file.scenario.expect.len();
        match result {
            Ok(outcome) => {
                if let Some(reason) = &outcome.skipped {
                    self.skipped += 1;
                    return all(SKIPPED, vec![reason.clone()]);
                }
                let noise = outcome.noise.map(|measure| measure.packets_per_second);
                self.noise = self.noise.into_iter().chain(noise).min();
                let rows = super::compare(&file.scenario, outcome);
                self.wrong += rows.iter().filter(|row| !row.mismatches.is_empty()).count();
                rows
            }
            Err(error) => {
                self.wrong += file.scenario.expect.len();
                let mut rows = all("error", vec![error.to_string()]);
                let rest = rows.iter_mut().skip(1);
                rest.for_each(|row| row.mismatches.push("the scenario was not run to its end".to_owned()));
                rows
            }
        }
    }

    /// The closing line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { scenarios, expectations, wrong, skipped, noise } = self;
        let skipped = if *skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        let noise = noise.map(|rate| format!(", noise of {rate} packets/s and more")).unwrap_or_default();
        format!("{scenarios} scenarios, {expectations} expectations, {wrong} wrong{skipped}{noise}")
    }
}
