//! `openshell-harness run` and `openshell-harness scenarios`: the corpus as a table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures_util::StreamExt as _;
use harness::Noise;
use harness::scenario::{Corpus, CorpusError, Runner, SCHEMA, ScenarioFile, Tally, User, Widths};

use super::output;
use super::reproduce::find_probe;

/// Where the corpus is in a checkout.
const FOLDER: &str = "e2e/scenarios";

#[derive(Args)]
pub(super) struct RunArguments {
    /// Scenario files, or folders with them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// The probe to run inside the hosts; the one beside this program unless said
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// The oracle to ask what a real sandbox experiences; the one beside this program, where there is one
    #[arg(long, value_name = "FILE")]
    oracle: Option<PathBuf>,
    /// So many hosts at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
    /// Run the probe as user 1000 in the group of the engine's socket, not as root
    #[arg(long)]
    as_group_member: bool,
    /// Make 1000 packets a second and more of other TCP in the host while the probe runs: opened, refused, without answer
    #[arg(long)]
    noise: bool,
    /// So many checks at the same time in each host; all have to say the same
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    checks_at_once: u8,
}

#[derive(Args)]
pub(super) struct ListArguments {
    /// Scenario files, or folders with them; the checkout's unless said
    #[arg(value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// Print the JSON schema of the files instead
    #[arg(long, conflicts_with = "paths")]
    schema: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "schema")]
    json: bool,
}

pub(super) fn run(arguments: RunArguments) -> Result<ExitCode> {
    let corpus = match read(&arguments.paths) {
        Ok(corpus) => corpus,
        Err(error) => return Ok(refuse(&error)),
    };
    let probe = find_probe(arguments.probe)?;
    let mut runner = Runner::new(probe).checks_at_once(arguments.checks_at_once.into());
    if arguments.as_group_member {
        runner = runner.user(User::GroupMember);
    }
    if arguments.noise {
        runner = runner.noise(Noise::default());
    }
    if let Some(oracle) = find_oracle(arguments.oracle)? {
        runner = runner.oracle(oracle);
    } else {
        output::talk("no oracle beside this program: what a real sandbox experiences is not compared");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = runtime.block_on(run_all(&corpus, &runner, arguments.at_once.into()));
    output::line("");
    output::line(tally.line());
    Ok(if tally.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the rows in the files' order, as soon as those before are known.
async fn run_all(corpus: &Corpus, runner: &Runner, at_once: usize) -> Tally {
    let widths = Widths::of(&corpus.files);
    output::line(widths.head());
    let mut tally = Tally::default();
    let runs = corpus.files.iter().map(async |file| (file, runner.run(file).await));
    let mut results = std::pin::pin!(futures_util::stream::iter(runs).buffered(at_once));
    while let Some((file, result)) = results.next().await {
        for row in tally.add(file, result.as_ref()) {
            output::line(widths.row(&file.name(), &row));
        }
    }
    tally
}

pub(super) fn list(arguments: ListArguments) -> Result<ExitCode> {
    if arguments.schema {
        output::line(SCHEMA.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let paths = if arguments.paths.is_empty() { vec![FOLDER.into()] } else { arguments.paths };
    let corpus = match read(&paths) {
        Ok(corpus) => corpus,
        Err(error) => return Ok(refuse(&error)),
    };
    if arguments.json {
        let row = |file: &ScenarioFile| {
            serde_json::json!({
                "name": file.name(),
                "path": file.path,
                "title": file.scenario.title,
                "source": file.scenario.source,
            })
        };
        let rows: Vec<_> = corpus.files.iter().map(row).collect();
        output::line(serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    let width = |text: &dyn Fn(&ScenarioFile) -> usize| corpus.files.iter().map(text).max().unwrap_or(0);
    let name = width(&|file| file.name().len());
    let title = width(&|file| file.scenario.title.len());
    for file in &corpus.files {
        let sources = file.scenario.source.join(", ");
        output::line(format_args!("{:name$}  {:title$}  {sources}", file.name(), file.scenario.title));
    }
    Ok(ExitCode::SUCCESS)
}

/// All that is read before anything is started.
fn read(paths: &[PathBuf]) -> Result<Corpus, CorpusError> {
    let corpus = Corpus::read(paths)?;
    corpus.check()?;
    Ok(corpus)
}

/// What is wrong with the files is the caller's to mend.
fn refuse(error: &CorpusError) -> ExitCode {
    output::error(&anyhow::anyhow!("{error}"));
    ExitCode::from(2)
}

/// The oracle that was built together with this program, unless another one is asked for.
fn find_oracle(asked: Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(path) = asked {
        ensure!(path.is_file(), "--oracle {}: there is no such file", path.display());
        return Ok(Some(std::path::absolute(path)?));
    }
    let own = std::env::current_exe().context("find this program's own folder")?;
    let beside = own.parent().unwrap_or(Path::new(".")).join("oracle");
    Ok(beside.is_file().then_some(beside))
}
