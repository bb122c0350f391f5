//! `openshell-harness run` and `openshell-harness scenarios`: the corpus as a table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use harness::results::{Results, ScenarioResult, annotations, keep};
use harness::scenario::{Corpus, CorpusError, Keep, Runner, SCHEMA, ScenarioFile, Tally, User, Widths};
use harness::{Noise, Privilege};

use super::enclose::{self, Barred};
use super::output;
use super::reproduce::find_probe;

/// Where the corpus is in a checkout.
pub(super) const FOLDER: &str = "e2e/scenarios";

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
    /// Where each scenario that went wrong leaves a folder: reports, rules, trace, packets, logs, times
    #[arg(long, value_name = "FOLDER", default_value = "openshell-results")]
    results: PathBuf,
    /// Keep a folder of every scenario, not only of those that went wrong
    #[arg(long)]
    keep_all: bool,
    /// Write all of it as one HTML page that needs nothing else
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Make hosts of snapshots with root's rights too, for snapshots that you trust
    #[arg(long)]
    trust: bool,
    /// How to say what came out
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How to say what came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// A table
    Text,
    /// One JSON document
    Json,
    /// The table, and annotations as GitHub's runner reads them
    Github,
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

pub(super) fn run(arguments: RunArguments, privilege: Privilege) -> Result<ExitCode> {
    let corpus = match read(&arguments.paths) {
        Ok(corpus) => corpus,
        Err(error) => return Ok(refuse(&error)),
    };
    if let Some(message) = arguments.report.as_deref().and_then(cannot_be_written) {
        output::error(&anyhow::anyhow!("{message}"));
        return Ok(ExitCode::from(2));
    }
    let mut programs = vec![find_probe(arguments.probe)?];
    programs.extend(find_oracle(arguments.oracle)?);
    let foreign = corpus.files.iter().any(|file| file.snapshot.is_some());
    match enclose::enter(privilege, !foreign || arguments.trust, &mut programs) {
        Ok(()) => {}
        Err(Barred::Refused(message)) => return Ok(output::refuse(message)),
        Err(Barred::Failed(error)) => return Err(error),
    }
    let mut programs = programs.into_iter();
    let mut runner =
        Runner::new(programs.next().unwrap_or_default()).checks_at_once(arguments.checks_at_once.into());
    let mut conditions = Vec::new();
    if arguments.as_group_member {
        runner = runner.user(User::GroupMember);
        conditions.push("as a group member".to_owned());
    }
    if arguments.noise {
        runner = runner.noise(Noise::default());
        conditions.push("with noise".to_owned());
    }
    if arguments.checks_at_once > 1 {
        conditions.push(format!("{} checks at once", arguments.checks_at_once));
    }
    if arguments.trust {
        runner = runner.trust_snapshots();
    }
    if let Some(oracle) = programs.next() {
        runner = runner.oracle(oracle);
    } else {
        output::talk("no oracle beside this program: what a real sandbox experiences is not compared");
    }
    let how = How { results: arguments.results, keep_all: arguments.keep_all, format: arguments.format };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    let (tally, scenarios) = runtime.block_on(run_all(&corpus, &runner, arguments.at_once.into(), &how))?;
    let results = Results::of(scenarios).took(begun.elapsed()).under(conditions);
    if let Some(path) = &arguments.report {
        std::fs::write(path, results.page()).with_context(|| format!("write {}", path.display()))?;
    }
    say(&tally, &results, how.format)?;
    Ok(if tally.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is kept, and how it is said.
struct How {
    results: PathBuf,
    keep_all: bool,
    format: Format,
}

/// Found out before hosts are made for minutes.
fn cannot_be_written(report: &Path) -> Option<String> {
    let folder = match report.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if report.is_dir() {
        Some(format!(
            "--report {}: this is a folder\nhint: name a file, such as report.html",
            report.display()
        ))
    } else if !folder.is_dir() {
        let folder = folder.display();
        Some(format!("--report {}: there is no folder {folder}\nhint: mkdir -p {folder}", report.display()))
    } else {
        None
    }
}

/// Prints the rows in the files' order, as soon as those before are known, and keeps what is to be kept.
async fn run_all(
    corpus: &Corpus,
    runner: &Runner,
    at_once: usize,
    how: &How,
) -> Result<(Tally, Vec<ScenarioResult>)> {
    let widths = Widths::of(&corpus.files);
    let table = how.format != Format::Json;
    if table {
        output::line(widths.head());
    }
    let (mut tally, mut scenarios) = (Tally::default(), Vec::new());
    let what = if how.keep_all { Keep::All } else { Keep::Wrong };
    let runs = corpus.files.iter().map(async |file| (file, runner.run_recorded(file, None, what).await));
    let mut recorded = std::pin::pin!(futures_util::stream::iter(runs).buffered(at_once));
    while let Some((file, recorded)) = recorded.next().await {
        let rows = tally.add(file, recorded.result.as_ref());
        if table {
            rows.iter().for_each(|row| output::line(widths.row(&file.name(), row)));
        }
        let mut result = ScenarioResult::new(file, &recorded, &rows);
        if how.keep_all || result.status.is_failure() {
            let kept = keep(&how.results, file, &recorded, &rows);
            result.folder = Some(kept.with_context(|| format!("keep results in {}", how.results.display()))?);
        }
        scenarios.push(result);
    }
    Ok((tally, scenarios))
}

/// The folders come last: that is where the eye is when a run has ended.
fn say(tally: &Tally, results: &Results, format: Format) -> Result<()> {
    if format == Format::Json {
        output::line(serde_json::to_string_pretty(results)?);
        return Ok(());
    }
    output::line("");
    if format == Format::Github {
        results.scenarios.iter().flat_map(annotations).for_each(output::line);
    }
    output::line(tally.line());
    let folders: Vec<_> = results.scenarios.iter().filter_map(|one| one.folder.as_ref()).collect();
    if !folders.is_empty() {
        output::line("");
        folders.iter().for_each(|folder| output::line(format_args!("results: {}", folder.display())));
    }
    Ok(())
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
pub(super) fn read(paths: &[PathBuf]) -> Result<Corpus, CorpusError> {
    let corpus = Corpus::read(paths)?;
    corpus.check()?;
    Ok(corpus)
}

/// What is wrong with the files is the caller's to mend.
pub(super) fn refuse(error: &CorpusError) -> ExitCode {
    output::error(&anyhow::anyhow!("{error}"));
    ExitCode::from(2)
}

/// The oracle that was built together with this program, unless another one is asked for.
pub(super) fn find_oracle(asked: Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(path) = asked {
        ensure!(path.is_file(), "--oracle {}: there is no such file", path.display());
        return Ok(Some(std::path::absolute(path)?));
    }
    let own = std::env::current_exe().context("find this program's own folder")?;
    let beside = own.parent().unwrap_or(Path::new(".")).join("oracle");
    Ok(beside.is_file().then_some(beside))
}
