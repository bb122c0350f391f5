//! Every scenario there and back, as the table of `docs/replay.md`. It needs root, like every host; `scripts/replay-table` runs it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is its standard output, and progress is talk"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use e2e::at_once::each;
use e2e::programs;
use e2e::roundtrip::{Tried, table, there_and_back};
use harness::scenario::{Corpus, ScenarioFile};

#[derive(Parser)]
struct Arguments {
    /// Scenario files, or folders with them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// So many scenarios at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let corpus = Corpus::read(&arguments.paths)?;
    let probe = programs::probe()?;
    let found = each(&corpus.files, arguments.at_once, |file| {
        let tried = one(&probe, file);
        say(file, &tried);
        tried
    });
    let (mut rows, mut wrong) = (Vec::new(), false);
    for (file, tried) in corpus.files.iter().zip(found) {
        match tried {
            Ok(tried) => rows.extend(table::lines(&file.name(), &tried)),
            Err(_) => wrong = true,
        }
    }
    wrong |= rows.iter().any(|row| row.ends_with("| NO |"));
    print!("{}", table::page(&rows));
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn one(probe: &std::path::Path, file: &ScenarioFile) -> Result<Tried> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(there_and_back(probe, file))
}

fn say(file: &ScenarioFile, tried: &Result<Tried>) {
    match tried {
        Err(error) => eprintln!("FAILED {}: {error:#}", file.name()),
        Ok(tried) => {
            eprintln!("done   {}", file.name());
            let Tried::Replayed(outcome) = tried else { return };
            for target in outcome.targets.iter().filter(|target| !target.agrees) {
                let (there, here) = (&target.there, &target.here);
                eprintln!(
                    "  {}: {there} by {} there, {here} by {} here; {}",
                    target.port,
                    there.rule(),
                    here.rule(),
                    target.cannot.as_deref().unwrap_or("it should be the same")
                );
                if target.cannot.is_none() {
                    outcome
                        .not_replayed
                        .iter()
                        .for_each(|it| eprintln!("    not replayed: {}: {}", it.what, it.why));
                }
            }
        }
    }
}
