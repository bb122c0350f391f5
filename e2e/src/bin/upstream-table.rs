//! What NemoClaw's probes of the past and of today would have said of every scenario, as the Markdown of
//! `docs/upstream-probes.md`. It needs root, like every host; `scripts/upstream-table` runs it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the page is its standard output, and progress is talk"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::at_once::each;
use e2e::programs;
use e2e::upstream::corpus::{Watcher, rows};
use e2e::upstream::table::{Row, render, wrong};
use harness::scenario::{Corpus, Runner, ScenarioFile};

/// What stands above the tables.
const HEAD: &str = include_str!("../upstream/head.md");

#[derive(Parser)]
struct Arguments {
    /// Scenario files, or folders with them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// So many hosts at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let corpus = Corpus::read(&arguments.paths)?;
    let beside = |name: &str| Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name(name));
    let (oracle, observer) = (beside("oracle")?, beside("observer")?);
    for program in [&oracle, &observer] {
        ensure!(program.is_file(), "{} is missing\nhint: cargo build --workspace --bins", program.display());
    }
    let runner = Runner::new(programs::probe()?).oracle(oracle);

    let found = each(&corpus.files, arguments.at_once, |file| {
        let result = observe(&runner, file, Watcher::new(&observer));
        eprintln!("{} {}", if result.is_ok() { "done  " } else { "FAILED" }, file.name());
        result
    });
    let mut table = Vec::new();
    for (file, rows) in corpus.files.iter().zip(found) {
        table.extend(rows.with_context(|| file.name())?);
    }
    print!("{HEAD}\n{}", render(&table));
    let wrong = wrong(&table);
    for row in &wrong {
        eprintln!("our own answer is wrong: {}", row.scenario);
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// None where the machine cannot build the scenario.
fn observe(runner: &Runner, file: &ScenarioFile, watcher: Watcher) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(runner.run_observed(file, &watcher))?;
    if let Some(reason) = &outcome.skipped {
        eprintln!("skipped: {}: {reason}", file.name());
        return Ok(Vec::new());
    }
    Ok(rows(file, &outcome, watcher.into_seen()))
}
