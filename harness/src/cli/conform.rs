//! `openshell-harness conform`: any command as the probe.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures_util::StreamExt as _;
use harness::Image;
use harness::conform::{Command, Conform, ConformError, Map, Table};
use harness::scenario::{Corpus, Runner, ScenarioFile};

use super::output;
use super::reproduce::find_probe;
use super::scenario::{FOLDER, find_oracle, read, refuse};

#[derive(Args)]
pub(super) struct Arguments {
    /// How the command's end becomes an answer; docs/conform.md has the form
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// Scenario files, or folders with them; the checkout's unless said
    #[arg(long, value_name = "FILE|FOLDER", num_args = 1..)]
    scenarios: Vec<PathBuf>,
    /// Let the hosts see a file or folder of this machine, at the same path and for reading only. A command that is named by
    /// a relative path is seen without it
    #[arg(long, value_name = "PATH")]
    bind: Vec<PathBuf>,
    /// Load an archive of `docker save` into each host's engine first: hosts reach no registry
    #[arg(long, value_name = "FILE.tar")]
    load_image: Option<PathBuf>,
    /// The userland of the hosts: a built one, or `machine` for this machine's own
    #[arg(long, value_name = "NAME", default_value = "debian-13")]
    image: String,
    /// So many hosts at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
    /// The probe of the onboardings in scenarios; the one beside this program unless said
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// The oracle to ask what a real sandbox experiences; the one beside this program, where there is one
    #[arg(long, value_name = "FILE")]
    oracle: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the tables as Markdown
    #[arg(long)]
    markdown: bool,
    /// The command, with {network}, {port} and {alias} where their values go
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What the caller has to mend ends with 2, before any host is made.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    let usage = |error: anyhow::Error| {
        output::error(&error);
        Ok(ExitCode::from(2))
    };
    let paths =
        if arguments.scenarios.is_empty() { vec![FOLDER.into()] } else { arguments.scenarios.clone() };
    let corpus = match read(&paths) {
        Ok(corpus) => corpus,
        Err(error) => return Ok(refuse(&error)),
    };
    let conform = match prepare(&arguments) {
        Ok(conform) => conform,
        Err(error) => return usage(error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let table = match runtime.block_on(ask_all(&corpus, &conform, &arguments)) {
        Err(error) if error.is::<ConformError>() => return usage(error),
        table => table?,
    };
    if arguments.json {
        output::line(serde_json::to_string_pretty(&document(&arguments, &table))?);
    } else if arguments.markdown {
        output::line(table.markdown().trim_end());
    } else {
        output::line("");
        output::line(table.line());
    }
    Ok(if table.is_wrong() || !table.trouble.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn prepare(arguments: &Arguments) -> Result<Conform> {
    let map = Map::read(&arguments.map)?;
    let mut words = arguments.command.clone();
    let mut binds = arguments.bind.clone();
    // A relative path can only be one of this machine.
    if let Some(program) = words.first_mut()
        && program.contains('/')
        && Path::new(program.as_str()).is_relative()
    {
        let path = std::path::absolute(&*program)?;
        ensure!(path.is_file(), "{program}: there is no such file");
        *program = path.to_string_lossy().into_owned();
        binds.push(path);
    }
    let command = Command::new(words)?;
    let image =
        if arguments.image == "machine" { Image::machine()? } else { Image::named(&arguments.image)? };
    let mut runner = Runner::new(find_probe(arguments.probe.clone())?).image(image);
    for path in binds {
        let seen = path.canonicalize().with_context(|| format!("--bind {}", path.display()))?;
        runner = runner.bind(seen, std::path::absolute(&path)?);
    }
    match find_oracle(arguments.oracle.clone())? {
        Some(oracle) => runner = runner.oracle(oracle),
        None => output::talk(
            "no oracle beside this program: what a sandbox experiences is what the scenarios say",
        ),
    }
    let conform = Conform::new(runner, command, map);
    Ok(match &arguments.load_image {
        Some(archive) => {
            ensure!(archive.is_file(), "--load-image {}: there is no such file", archive.display());
            conform.load_image(std::path::absolute(archive)?)
        }
        None => conform,
    })
}

/// Prints the rows as soon as those before are known.
async fn ask_all(corpus: &Corpus, conform: &Conform, arguments: &Arguments) -> Result<Table> {
    let is_text = !(arguments.json || arguments.markdown);
    let mut table = Table::default();
    let names = corpus.files.iter().map(|file| file.name().len()).max().unwrap_or(0);
    let width = names + " 11435".len();
    let asked = corpus.files.iter().map(async |file: &ScenarioFile| (file, conform.run(file).await));
    let mut asked = std::pin::pin!(futures_util::stream::iter(asked).buffered(arguments.at_once.into()));
    while let Some((file, asked)) = asked.next().await {
        let before = table.answers.len();
        match asked {
            Ok(asked) => table.add(file, asked),
            Err(error @ ConformError::NotStarted(_)) => return Err(error.into()),
            Err(error) => {
                output::talk(format_args!("{}: {error}", file.name()));
                table.trouble.push((file.name(), error.to_string()));
            }
        }
        if is_text {
            table.answers[before..].iter().for_each(|answer| output::line(answer.row(width)));
        }
    }
    Ok(table)
}

fn document(arguments: &Arguments, table: &Table) -> serde_json::Value {
    let totals: serde_json::Map<_, _> = table
        .totals()
        .iter()
        .map(|(score, count)| (score.to_string().replace(' ', "_"), (*count).into()))
        .collect();
    serde_json::json!({
        "schema_version": "1.0",
        "command": arguments.command,
        "map": arguments.map,
        "totals": totals,
        "answers": table.answers,
        "left_out": table.left_out,
        "trouble": table.trouble,
    })
}
