//! The table of all scenarios there and back, below the mark in `docs/replay.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::Tried;

/// What stands before the table. Everything after it is written by `scripts/replay-table`.
pub const MARK: &str = "<!-- below this line: written by scripts/replay-table -->";

const HEAD: &str = "
| scenario | port | there | rule there | here | agrees |
|---|---:|---|---|---|---|
";

/// The rows of one scenario, a line each.
#[must_use]
pub fn lines(name: &str, tried: &Tried) -> Vec<String> {
    match tried {
        Tried::NotTried(why) => vec![format!("| {name} | | | | | cannot be carried: {why} |")],
        Tried::Skipped(reason) => vec![format!("| {name} | | | | | not built here: {reason} |")],
        Tried::Replayed(outcome) => {
            let row = |target: &harness::replay::Target| {
                let agrees = match &target.cannot {
                    _ if target.agrees => "yes".to_owned(),
                    Some(why) => format!("cannot be carried: {why}"),
                    None => "NO".to_owned(),
                };
                let (there, here) = (&target.there, &target.here);
                // What cannot be the same need not be the same each time.
                let here =
                    if target.agrees || target.cannot.is_none() { here.to_string() } else { String::new() };
                format!("| {name} | {} | {there} | {} | {here} | {agrees} |", target.port, rule(there))
            };
            outcome.targets.iter().map(row).collect()
        }
    }
}

/// The name of a chain may be of this run's bridge, which has another one each time.
fn rule(said: &harness::replay::Said) -> String {
    said.rule()
}

/// What is below the mark when these are all rows.
#[must_use]
pub fn page(rows: &[String]) -> String {
    let mut text = HEAD.to_owned();
    for row in rows {
        text.push_str(row);
        text.push('\n');
    }
    text
}

fn path() -> PathBuf {
    crate::programs::checkout().join("../docs/replay.md")
}

/// The committed rows.
///
/// # Errors
/// When the page cannot be read, or has no table.
pub fn committed() -> Result<Vec<String>> {
    let page = fs::read_to_string(path()).context("docs/replay.md")?;
    let (_, table) = page.split_once(MARK).context("docs/replay.md has no table: scripts/replay-table")?;
    let rows = table.trim_start().strip_prefix(HEAD.trim_start());
    let rows = rows.context("docs/replay.md has another head: scripts/replay-table")?;
    Ok(rows.lines().map(str::to_owned).collect())
}

/// Compares a scenario's rows with the page's.
///
/// # Errors
/// When they differ.
pub fn check(name: &str, tried: &Tried) -> Result<()> {
    let (found, all) = (lines(name, tried), committed()?);
    let written: Vec<&String> = all.iter().filter(|row| is_of(row, name)).collect();
    ensure!(
        written.iter().copied().eq(&found),
        "docs/replay.md says {written:#?} of {name}, and it is {found:#?}: scripts/replay-table"
    );
    Ok(())
}

fn is_of(row: &str, name: &str) -> bool {
    row.starts_with(&format!("| {name} |"))
}

/// The scenarios that have rows.
///
/// # Errors
/// When the page cannot be read.
pub fn names() -> Result<BTreeSet<String>> {
    let name = |row: &String| Some(row.strip_prefix("| ")?.split(" |").next()?.to_owned());
    Ok(committed()?.iter().filter_map(name).collect())
}
