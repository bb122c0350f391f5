//! Puts the reports of a run's partitions together, and says whether they are the whole run.
//!
//! `scripts/merge-reports` runs it on what `scripts/run-archive` wrote, and `scripts/stress` on each round's report.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its answer is what it prints")]

mod list;
mod merge;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use list::List;
use merge::Merged;
use quick_junit::Report;

/// JUnit reports of cargo-nextest.
#[derive(Parser)]
enum Arguments {
    /// Makes one report of several.
    ///
    /// Ends with 1 when a test failed, ran twice, or ran although the list does not have it, and when a test of the list is
    /// in no report; with 2 when a file cannot be read or written.
    Merge {
        /// Where the merged report goes.
        out: PathBuf,
        /// The reports of the partitions.
        #[arg(required = true, value_name = "IN")]
        reports: Vec<PathBuf>,
        /// What the whole run is: the output of `cargo nextest list --message-format json`.
        #[arg(long, value_name = "FILE")]
        expect_list: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Arguments::Merge { out, reports, expect_list } = Arguments::parse();
    match merge(&out, &reports, expect_list.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn merge(out: &Path, reports: &[PathBuf], expect_list: Option<&Path>) -> Result<bool> {
    // All is read before anything is written: one of the files may be `out`.
    let reports = reports.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let list = expect_list.map(List::read).transpose()?;
    let merged = Merged::new(reports, list.as_ref());
    let text = merged.report.to_string()?;
    std::fs::write(out, text).with_context(|| format!("failed to write {}", out.display()))?;
    for problem in &merged.problems {
        println!("{problem}");
    }
    println!("{} passed, {} failed, {} skipped", merged.passed, merged.failed, merged.skipped);
    Ok(merged.problems.is_empty())
}

fn read(path: &Path) -> Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let report = Report::deserialize_from_str(&text)
        .with_context(|| format!("{} is no JUnit report", path.display()))?;
    // The program counts for itself; a report that disagrees has lost something.
    let found: usize = report.test_suites.iter().map(|suite| suite.test_cases.len()).sum();
    ensure!(
        report.tests == found,
        "{} is damaged: it says {} tests and has {found}",
        path.display(),
        report.tests
    );
    Ok(report)
}
