//! `openshell-harness run` and `openshell-harness scenarios`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use futures_util::StreamExt as _;
use harness::scenario::{Corpus, CorpusError, Runner, SCHEMA, Tally, User, Widths};

use super::{output, programs};

/// Where the scenarios are, seen from the top of a checkout.
const CORPUS: &str = "e2e/scenarios";

#[derive(Args)]
pub(super) struct RunArguments {
    /// Scenario files, and folders with such files.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The oracle to run inside the hosts; the one beside this program unless said.
    #[arg(long, value_name = "FILE")]
    oracle: Option<PathBuf>,
    /// The probe to run inside the hosts; the one beside this program unless said.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// How many hosts there are at once.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    at_once: u8,
    /// Run the probe as user 1000 in the group of the engine's socket, instead of root.
    #[arg(long)]
    as_group_member: bool,
}

#[derive(Args)]
pub(super) struct ListArguments {
    /// A folder with scenario files.
    #[arg(default_value = CORPUS, value_name = "DIR")]
    folder: PathBuf,
    /// Print the JSON schema of the form instead.
    #[arg(long)]
    schema: bool,
}

/// Fails when an expectation is not met.
pub(super) fn run(arguments: RunArguments) -> Result<ExitCode> {
    let corpus = match Corpus::read(&arguments.paths) {
        Ok(corpus) => corpus,
        Err(error) => return Ok(refuse(&error)),
    };
    let mut runner = Runner::new(programs::probe(arguments.probe)?);
    match programs::oracle(arguments.oracle)? {
        Some(oracle) => runner = runner.oracle(oracle),
        None => {
            output::talk("no oracle: what real sandboxes experience is not compared\nhint: --oracle FILE")
        }
    }
    if arguments.as_group_member {
        runner = runner.user(User::GroupMember);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = runtime.block_on(run_all(&corpus, &runner, arguments.at_once.into()));
    output::line(tally.line());
    Ok(if tally.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_all(corpus: &Corpus, runner: &Runner, at_once: usize) -> Tally {
    let widths = Widths::of(&corpus.files);
    output::line(widths.head());
    let mut tally = Tally::default();
    let runs = corpus.files.iter().map(async |file| (file, runner.run(file).await));
    // In the order of the files, each as soon as it and all before it are done.
    let mut runs = futures_util::stream::iter(runs).buffered(at_once);
    while let Some((file, result)) = runs.next().await {
        for row in tally.add(file, result.as_ref()) {
            output::line(widths.row(&file.name(), &row));
        }
    }
    tally
}

pub(super) fn list(arguments: &ListArguments) -> Result<ExitCode> {
    if arguments.schema {
        output::line(SCHEMA.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let corpus = match Corpus::read(std::slice::from_ref(&arguments.folder)) {
        Ok(corpus) => corpus,
        Err(error) => return Ok(refuse(&error)),
    };
    let width = corpus.files.iter().map(|file| file.name().len()).max().unwrap_or_default();
    for file in &corpus.files {
        let scenario = &file.scenario;
        output::line(format_args!("{:width$}  {}", file.name(), scenario.title));
        output::line(format_args!("{:width$}  {}", "", scenario.class));
        output::line(format_args!("{:width$}  from {}", "", scenario.source.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Files that make no sense are wrong arguments: nothing was started.
fn refuse(error: &CorpusError) -> ExitCode {
    output::error(&anyhow::anyhow!("{error}"));
    ExitCode::from(2)
}
