//! `openshell-harness up`, `list`, `down`, `logs` and `clean`: hosts that stay.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use harness::Privilege;
use harness::standing::{Entry, Folder, Listed, Name, StandingError, State, start};

use super::enclose::Barred;
use super::output::{self, Progress};
use super::source::{HostArguments, Source, Usage};

#[derive(Args)]
pub(super) struct UpArguments {
    /// A preset (see `presets`), or a scenario file
    #[arg(value_name = "PRESET|FILE")]
    source: String,
    /// The host's name, that of the preset or the file unless said
    #[arg(long)]
    name: Option<Name>,
    #[command(flatten)]
    host: HostArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct DownArguments {
    /// The hosts' names
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    names: Vec<Name>,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
pub(super) struct CleanArguments {
    /// Hosts that run too, not only what is left of dead ones
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Only list what would be removed
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

pub(super) fn up(arguments: &UpArguments, privilege: Privilege) -> Result<ExitCode> {
    let named = Source::read(&arguments.source).and_then(|source| {
        let name = arguments.name.clone().map_or_else(|| source.name(), Ok)?;
        Ok((source, name))
    });
    let (source, name) = match named {
        Ok(named) => named,
        Err(Usage(message)) => return Ok(output::refuse(message)),
    };
    let foreign = source.file.snapshot.is_some() && !arguments.host.trust;
    // While all of the caller's hosts can be seen.
    if let Ok(entry) = Folder::open()?.find(&name) {
        return Err(StandingError::Exists { name, state: entry.look().state }.into());
    }
    let folder = if foreign { Some(Folder::for_foreign()?) } else { None };
    let probe = match source.enter(privilege, &arguments.host) {
        Ok(probe) => probe,
        Err(Barred::Refused(message)) => return Ok(output::refuse(message)),
        Err(Barred::Failed(error)) => return Err(error),
    };
    let order = match source.order(name, &arguments.host, probe) {
        Ok(order) => order,
        Err(Usage(message)) => return Ok(output::refuse(message)),
    };
    let title = source.file.scenario.title;
    let folder = folder.map_or_else(Folder::open, Ok)?;
    let progress = Progress::begin();
    let entry = start(&folder, &order, |what| progress.show(what))?;
    let elapsed = progress.end();
    let name = &order.name;
    if arguments.json {
        output::line(serde_json::to_string_pretty(&entry.look())?);
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format_args!("{name} is up after {elapsed}: {title}"));
    if order.probe.is_some() {
        output::line(format_args!("  openshell-harness exec {name} -- openshell-probe check"));
    } else {
        output::talk("there is no openshell-probe of this build beside this program, so the host has none");
    }
    output::line(format_args!("  openshell-harness shell {name}"));
    output::line(format_args!("  openshell-harness shell {name} --in sandbox"));
    output::line(format_args!("  openshell-harness down {name}"));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(json: bool) -> Result<ExitCode> {
    let hosts: Vec<Listed> = Folder::open()?.entries()?.iter().map(Entry::look).collect();
    if json {
        output::line(serde_json::to_string_pretty(&hosts)?);
        return Ok(ExitCode::SUCCESS);
    }
    if hosts.is_empty() {
        output::talk("there is no host; `openshell-harness up PRESET` makes one");
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let width = hosts.iter().map(|host| host.name.len()).max().unwrap_or(0);
    for host in hosts {
        let age = host.started_at.map_or_else(|| "?".to_owned(), |start| age(now.saturating_sub(start)));
        let about = host.why.or(host.title).unwrap_or_default();
        let about = about.lines().next().unwrap_or_default();
        output::line(format_args!("{:width$}  {:11}  {age:>6}  {about}", host.name, host.state.word()));
    }
    Ok(ExitCode::SUCCESS)
}

/// A time in one number.
fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(super) fn down(arguments: &DownArguments) -> Result<ExitCode> {
    let folder = Folder::open()?;
    let entries = if arguments.all {
        folder.entries()?
    } else {
        // All names are looked up before the first host ends.
        match arguments.names.iter().map(|name| folder.find(name)).collect::<Result<_, _>>() {
            Ok(entries) => entries,
            Err(error @ StandingError::Unknown { .. }) => return Ok(output::refuse(error)),
            Err(error) => return Err(error.into()),
        }
    };
    let mut code = ExitCode::SUCCESS;
    for entry in entries {
        match entry.down() {
            Ok(()) => output::talk(format_args!("{} is gone", entry.name)),
            Err(error) => {
                output::error(&error.into());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

pub(super) fn logs(name: &Name) -> Result<ExitCode> {
    let entry = match Folder::open()?.find(name) {
        Ok(entry) => entry,
        Err(error @ StandingError::Unknown { .. }) => return Ok(output::refuse(error)),
        Err(error) => return Err(error.into()),
    };
    let text = std::fs::read_to_string(entry.log()).with_context(|| entry.log().display().to_string())?;
    output::line(text.trim_end());
    // One that is gone has said its last words above.
    if let Ok(client) = entry.connect() {
        output::line(client.log().with_context(|| format!("ask the caretaker of {name}"))?.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn clean(arguments: &CleanArguments) -> Result<ExitCode> {
    let folder = Folder::open()?;
    let mut hosts = Vec::new();
    for entry in folder.entries()? {
        let listed = entry.look();
        let is_left = matches!(listed.state, State::Dead | State::Unreadable);
        if is_left || arguments.all {
            hosts.push((entry, listed));
        }
    }
    let abandoned: Vec<PathBuf> = folder.abandoned()?;
    if hosts.is_empty() && abandoned.is_empty() {
        output::talk(format_args!("nothing of yours is left in {}", folder.path().display()));
        return Ok(ExitCode::SUCCESS);
    }
    for (entry, listed) in &hosts {
        let why = listed.why.as_deref().or(listed.title.as_deref()).unwrap_or_default();
        output::line(format_args!("host {} ({}): {why}", entry.name, listed.state.word()));
    }
    for path in &abandoned {
        output::line(format_args!("folder {}: of a host that never came to be", path.display()));
    }
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes {
        if !std::io::stdin().is_terminal() {
            return Ok(output::refuse("there is nobody to ask\nhint: --yes removes them without asking"));
        }
        output::ask("remove them? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            output::talk("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut code = ExitCode::SUCCESS;
    for (entry, _) in &hosts {
        if let Err(error) = entry.down() {
            output::error(&error.into());
            code = ExitCode::FAILURE;
        }
    }
    for path in abandoned {
        std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    Ok(code)
}
