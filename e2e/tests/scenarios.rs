//! The corpus: every file of `e2e/scenarios` is a test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::programs;
use harness::scenario::{Corpus, Runner, ScenarioFile, compare};
use rstest::rstest;

/// The skips that the profile `ci` allows, a file's name and a reason a line.
const ALLOWED_SKIPS: &str = include_str!("../scenarios/allowed-skips.txt");

#[rstest]
#[tokio::test]
async fn scenario(#[files("scenarios/**/*.toml")] path: PathBuf) -> Result<()> {
    let file = ScenarioFile::read(&path)?;
    let outcome = runner()?.run(&file).await?;
    if let Some(reason) = &outcome.skipped {
        println!("skipped: {}: {reason}", file.name());
        let allowed = ALLOWED_SKIPS.lines().any(|line| line.split_whitespace().next() == Some(&file.name()));
        ensure!(allowed, "{} is skipped ({reason}) and not in allowed-skips.txt", file.name());
        return Ok(());
    }
    let rows = compare(&file.scenario, &outcome);
    for row in &rows {
        ensure!(row.mismatches.is_empty(), "{}: {row:#?}", file.name());
    }
    Ok(())
}

fn runner() -> Result<Runner> {
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    Ok(Runner::new(programs::probe()?).oracle(oracle))
}

fn corpus() -> Result<Corpus> {
    Ok(Corpus::read(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")])?)
}

#[test]
fn every_class_is_one_or_says_why_it_is_not() -> Result<()> {
    Ok(corpus()?.check()?)
}

/// So that it is the one line, and nothing else about the host, that makes the difference.
#[test]
fn every_class_has_a_file_that_differs_from_an_ok_one_in_one_line() -> Result<()> {
    let corpus = corpus()?;
    let without: Vec<String> = corpus.without_control().iter().map(|file| file.name()).collect();
    ensure!(without.is_empty(), "no file of these classes has a control: {}", without.join(", "));
    Ok(())
}

#[test]
fn the_allowed_skips_are_of_scenarios_that_may_be_skipped() -> Result<()> {
    let may: BTreeSet<String> = corpus()?
        .files
        .iter()
        .filter(|file| !file.scenario.skip_unless.is_empty())
        .map(ScenarioFile::name)
        .collect();
    for line in ALLOWED_SKIPS.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.split_whitespace().next().context("a name")?;
        ensure!(may.contains(name), "{name} is never skipped");
    }
    Ok(())
}
