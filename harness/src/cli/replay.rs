//! `openshell-harness replay`: a snapshot as a host, asked again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use clap::Args;
use harness::replay::{NotReplayed, Outcome, Plan, Replay, scenario_text};
use harness::scenario::{ScenarioFile, StandOptions};
use harness::standing::{Inside, Program, Task, run_fresh};
use harness::{Privilege, replay};
use snapshot::Snapshot;

use super::enclose::{self, Barred};
use super::output::{self, Progress};
use super::reproduce::find_probe;

#[derive(Args)]
pub(super) struct Arguments {
    /// The snapshot, as `openshell-probe snapshot` writes it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The probe to run in the host; the one beside this program unless said
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Give the host root's rights, for a snapshot that you trust; otherwise it has none, also where root makes it
    #[arg(long)]
    trust: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "shell")]
    json: bool,
    /// Make the host and give its root a shell, instead of asking the probe
    #[arg(long)]
    shell: bool,
    /// Write it as a scenario, with the snapshot beside it: OUT.snapshot
    #[arg(long, value_name = "OUT.toml", conflicts_with = "shell")]
    as_scenario: Option<PathBuf>,
    /// Replace the scenario's files
    #[arg(long, requires = "as_scenario")]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, privilege: Privilege) -> Result<ExitCode> {
    let snapshot = match snapshot::read_file(&arguments.file) {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok(output::refuse(format!("{} is refused: {error}", arguments.file.display()))),
    };
    let out = match arguments
        .as_scenario
        .as_deref()
        .map(|path| Out::new(path, &arguments.file, arguments.force))
        .transpose()
    {
        Ok(out) => out,
        Err(message) => return Ok(output::refuse(message)),
    };
    let probe = find_probe(arguments.probe.clone())?;
    // What root writes at the end it cannot write from a user namespace: another process is there for it.
    let by_another = out.is_some() && !arguments.trust && Privilege::is_machines_root();
    let done = if by_another && privilege != Privilege::Root {
        match another(arguments, &probe)? {
            Ok(outcome) => outcome,
            Err(code) => return Ok(code),
        }
    } else {
        let mut programs = [probe];
        match enclose::enter(privilege, arguments.trust, &mut programs) {
            Ok(()) => {}
            Err(Barred::Refused(message)) => return Ok(output::refuse(message)),
            Err(Barred::Failed(error)) => return Err(error),
        }
        let [probe] = programs;
        if arguments.shell {
            return shell(arguments, snapshot, probe);
        }
        ask(arguments, &snapshot, &probe)?
    };
    if arguments.json {
        output::line(serde_json::to_string_pretty(&done)?);
    } else {
        say(&done);
    }
    if let Some(out) = &out {
        let Some(text) = scenario_text(&snapshot, &done, &out.name) else {
            return Ok(output::refuse("nothing was checked there, so there is nothing to expect"));
        };
        out.write(&text, &snapshot)?;
    }
    Ok(if done.agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(arguments: &Arguments, snapshot: &Snapshot, probe: &Path) -> Result<Outcome> {
    let progress = std::sync::Arc::new(Progress::begin());
    let shown = progress.clone();
    let privilege = if arguments.trust { Privilege::Auto } else { Privilege::User };
    let replay = Replay::new(probe).privilege(privilege).on_progress(move |what| shown.show(what));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(replay.run(snapshot));
    progress.clear();
    Ok(outcome?)
}

/// The same by a process of its own, which enters a user namespace.
fn another(arguments: &Arguments, probe: &Path) -> Result<Result<Outcome, ExitCode>> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--privilege", "user", "replay", "--json", "--probe"]).arg(probe).arg("--");
    command.arg(std::path::absolute(&arguments.file)?).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = command.spawn()?.wait_with_output().context("wait for the replay")?;
    match output.status.code() {
        Some(0 | 1) if !output.stdout.is_empty() => {
            Ok(Ok(serde_json::from_slice(&output.stdout).context("read what the replay found")?))
        }
        code => Ok(Err(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))),
    }
}

fn say(outcome: &Outcome) {
    for target in &outcome.targets {
        let label = target.label.as_deref().unwrap_or("service");
        let agrees = if target.agrees { "agrees" } else { "DIFFERS" };
        output::line(format_args!("{} {label}: {agrees}", target.port));
        let width = target.there.to_string().len().max(target.here.to_string().len());
        for (where_, said) in [("there", &target.there), ("here", &target.here)] {
            output::line(format_args!("  {where_:5}  {:width$}  {}", said.to_string(), said.rule()));
        }
        if let Some(setting) = &target.here.set_by {
            output::line(format_args!("  set by {setting}"));
        }
        if let Some(why) = &target.cannot {
            output::line(format_args!("  it cannot be the same: {why}"));
        }
    }
    not_replayed(&outcome.not_replayed);
}

fn not_replayed(all: &[NotReplayed]) {
    if all.is_empty() {
        return;
    }
    output::line("");
    output::line("not replayed:");
    for it in all {
        output::line(format_args!("  {}: {}", it.what, it.why));
    }
}

fn shell(arguments: &Arguments, snapshot: Snapshot, probe: PathBuf) -> Result<ExitCode> {
    let asked: Vec<String> = Plan::targets(&snapshot).into_iter().chain(Plan::arguments(&snapshot)).collect();
    not_replayed(replay::Plan::of(&snapshot).not_replayed());
    output::talk(format_args!("hint: openshell-probe explain {}", asked.join(" ")));
    let file = ScenarioFile::of_snapshot(arguments.file.clone(), snapshot);
    let progress = std::sync::Arc::new(Progress::begin());
    let shown = progress.clone();
    let options = StandOptions::default().probe(probe).on_progress(move |what| shown.show(what));
    let options = if arguments.trust { options.trust_snapshots() } else { options };
    let program = Program { task: Task::Shell, inside: Inside::Host };
    let code = run_fresh(&file, &options, &program, || progress.clear(), output::talk_error);
    progress.clear();
    Ok(ExitCode::from(code?))
}

/// The two files of a scenario.
struct Out {
    scenario: PathBuf,
    snapshot: PathBuf,
    /// The snapshot's name beside the scenario.
    name: String,
    /// It is there already: the very file that was read.
    in_place: bool,
    force: bool,
}

impl Out {
    /// Looked at before a host is made.
    fn new(path: &Path, source: &Path, force: bool) -> Result<Self, String> {
        let shown = path.display();
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(format!("--as-scenario {shown}: a scenario's name ends in .toml"));
        }
        let snapshot = path.with_extension("snapshot");
        let name = snapshot.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| format!("--as-scenario {shown}: its name is no UTF-8"))?;
        // The natural name for both: what was read is beside its scenario already.
        let in_place = match (fs::canonicalize(&snapshot), fs::canonicalize(source)) {
            (Ok(there), Ok(source)) => there == source && !snapshot.is_symlink(),
            _ => false,
        };
        for file in [path, &snapshot] {
            if in_place && file == snapshot {
                continue;
            }
            match fs::symlink_metadata(file) {
                Ok(found) if force && found.is_file() => {}
                Ok(found) if force && !found.is_file() => {
                    return Err(format!("{} is no file that could be replaced", file.display()));
                }
                Ok(_) => return Err(format!("{} exists\nhint: --force replaces it", file.display())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", file.display())),
            }
        }
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(format!("--as-scenario {shown}: there is no folder {}", folder.display()));
        }
        Ok(Self { scenario: path.to_owned(), snapshot, name, in_place, force })
    }

    /// The snapshot is written anew, from what was read of it.
    fn write(&self, text: &str, snapshot: &Snapshot) -> Result<()> {
        if !self.in_place {
            self.put(&self.snapshot, &snapshot::to_bytes(snapshot)?)?;
        }
        self.put(&self.scenario, text.as_bytes())?;
        output::talk(format_args!("written: {} and {}", self.scenario.display(), self.snapshot.display()));
        output::talk(format_args!("hint: openshell-harness run {}", self.scenario.display()));
        Ok(())
    }

    fn put(&self, path: &Path, content: &[u8]) -> Result<()> {
        let context = || path.display().to_string();
        if self.force {
            // As a whole, so that nobody sees half of it, and a link is replaced rather than followed.
            let partial = path.with_extension(format!("partial-{}", std::process::id()));
            fs::write(&partial, content).and_then(|()| fs::rename(&partial, path)).with_context(context)?;
            return Ok(());
        }
        let mut file = fs::File::create_new(path).with_context(context)?;
        file.write_all(content).with_context(context)
    }
}
