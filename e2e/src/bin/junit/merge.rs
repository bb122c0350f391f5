//! Several reports as one, and what is wrong with them as a whole.

use std::collections::BTreeSet;
use std::fmt;
use std::mem::take;

use quick_junit::{Report, TestCase, TestCaseStatus, TestSuite};

use crate::list::List;

/// A test by its program and its name, as both nextest's reports and its lists have it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Test {
    /// The id of the program, such as `openshell-e2e::matrix`.
    pub(crate) suite: String,
    pub(crate) name: String,
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.suite, self.name)
    }
}

/// Why a run did not pass.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Problem {
    Failed(Test),
    /// Partitions that overlap are no partitions.
    RanTwice(Test),
    /// On the list, and in no report: a partition was lost, or was ended early.
    Missing(Test),
    /// In a report, and not on the list: the report is another run's.
    NotListed(Test),
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(test) => write!(formatter, "failed: {test}"),
            Self::RanTwice(test) => write!(formatter, "ran twice: {test}"),
            Self::Missing(test) => write!(formatter, "in no report: {test}"),
            Self::NotListed(test) => write!(formatter, "not on the list: {test}"),
        }
    }
}

/// The reports of a run's partitions as one.
pub(crate) struct Merged {
    /// Its counts are those of its tests, its times the sums of the partitions'.
    pub(crate) report: Report,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Those that a report or the list has as skipped.
    pub(crate) skipped: usize,
    pub(crate) problems: Vec<Problem>,
}

impl Merged {
    /// Without a list there may be tests missing.
    pub(crate) fn new(reports: Vec<Report>, list: Option<&List>) -> Self {
        let mut problems = Vec::new();
        let ran: BTreeSet<Test> = tests(&reports).filter(|(_, case)| !skipped(case)).map(test_of).collect();
        let mut seen = BTreeSet::new();
        let mut merged = Report::unnamed();
        let mut suites: Vec<TestSuite> = Vec::new();
        for report in reports {
            merged.name = merged.name.or(report.name);
            merged.timestamp = earlier(merged.timestamp, report.timestamp);
            merged.time = sum(merged.time, report.time);
            for mut suite in report.test_suites {
                let cases = take(&mut suite.test_cases);
                let place = suites.iter().position(|other| other.name == suite.name);
                let place = place.unwrap_or_else(|| {
                    suites.push(TestSuite::new(suite.name.clone()));
                    suites.len() - 1
                });
                let into = &mut suites[place];
                into.timestamp = earlier(into.timestamp, suite.timestamp);
                into.time = sum(into.time, suite.time);
                for case in cases {
                    let test = test_of((&suite, &case));
                    // A partition may report what is another's as skipped.
                    if skipped(&case) && (ran.contains(&test) || seen.contains(&test)) {
                        continue;
                    }
                    if matches!(case.status, TestCaseStatus::NonSuccess { .. }) {
                        problems.push(Problem::Failed(test.clone()));
                    }
                    if !seen.insert(test.clone()) {
                        problems.push(Problem::RanTwice(test));
                    }
                    into.add_test_case(case);
                }
            }
        }
        merged.add_test_suites(suites);
        let mut skipped = merged.skipped;
        if let Some(list) = list {
            problems.extend(list.wanted.difference(&ran).cloned().map(Problem::Missing));
            problems.extend(ran.difference(&list.wanted).cloned().map(Problem::NotListed));
            skipped += list.ignored.difference(&seen).count();
        }
        let failed = merged.failures + merged.errors;
        let passed = merged.tests - failed - merged.skipped;
        Self { report: merged, passed, failed, skipped, problems }
    }
}

fn tests(reports: &[Report]) -> impl Iterator<Item = (&TestSuite, &TestCase)> {
    let suites = reports.iter().flat_map(|report| &report.test_suites);
    suites.flat_map(|suite| suite.test_cases.iter().map(move |case| (suite, case)))
}

fn test_of((suite, case): (&TestSuite, &TestCase)) -> Test {
    Test { suite: suite.name.as_str().to_owned(), name: case.name.as_str().to_owned() }
}

fn skipped(case: &TestCase) -> bool {
    matches!(case.status, TestCaseStatus::Skipped { .. })
}

fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().min()
}

fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().reduce(|one, other| one + other)
}

#[cfg(test)]
mod tests;
