//! `openshell-harness exec`, `shell` and `pcap`: programs in hosts.

use std::fs::{self, File};
use std::io::{self, IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use harness::Privilege;
use harness::standing::{Capture, Entry, Folder, Inside, Name, Program, StandingError, Task, run_fresh};

use super::enclose::Barred;
use super::output::{self, Progress};
use super::source::{HostArguments, Source, Usage, is_file};

/// The exit code where the program was not even tried, as `docker run` and `timeout` have it.
const NOT_TRIED: u8 = 125;

#[derive(Args)]
pub(super) struct ExecArguments {
    /// A host that is up; else a preset or a scenario file, of which a host is made for this one command
    #[arg(value_name = "NAME|PRESET|FILE")]
    target: String,
    /// Make a host for the command also where one of that name is up
    #[arg(long)]
    fresh: bool,
    /// Where: `host`, `engine` (the virtual machine, where there is one), `sandbox`, or `sandbox:CONTAINER`
    #[arg(long = "in", value_name = "PLACE", default_value = "host")]
    inside: Inside,
    /// The folder in the host to run it in, `/` unless said
    #[arg(long, value_name = "FOLDER")]
    workdir: Option<String>,
    /// An environment variable for it
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    #[command(flatten)]
    host: HostArguments,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

#[derive(Args)]
pub(super) struct ShellArguments {
    /// A host that is up
    name: Name,
    /// Where: `host`, `engine` (the virtual machine, where there is one), `sandbox`, or `sandbox:CONTAINER`
    #[arg(long = "in", value_name = "PLACE", default_value = "host")]
    inside: Inside,
}

#[derive(Args)]
pub(super) struct PcapArguments {
    /// A host that is up
    name: Name,
    /// The link of a sandbox instead of the bridge: of that container, or of the one that runs
    #[arg(long, value_name = "CONTAINER", num_args = 0..=1, default_missing_value = "", conflicts_with = "link")]
    sandbox: Option<String>,
    /// This link of the host instead of the bridge, such as `lo`
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// The file to write; standard output unless said
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End after so many packets
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so much time: `10s`, `500ms`, `2m`
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
}

pub(super) fn exec(arguments: ExecArguments, privilege: Privilege) -> Result<ExitCode> {
    let task = Task::Command { argv: arguments.command, cwd: arguments.workdir, env: arguments.env };
    let program = Program { task, inside: arguments.inside };
    let fresh = arguments.fresh || !arguments.host.is_empty() || is_file(&arguments.target);
    if !fresh
        && let Ok(name) = arguments.target.parse::<Name>()
        && let Ok(entry) = Folder::open().and_then(|folder| folder.find(&name))
    {
        privilege.enter()?;
        return in_standing(&entry, &program, None);
    }
    let source = match Source::read(&arguments.target) {
        Ok(source) => source,
        Err(Usage(message)) => return Ok(output::refuse(message)),
    };
    let probe = match source.enter(privilege, &arguments.host) {
        Ok(probe) => probe,
        Err(Barred::Refused(message)) => return Ok(output::refuse(message)),
        Err(Barred::Failed(error)) => return Err(error),
    };
    let name = "exec".parse().map_err(Usage::of);
    let order = match name.and_then(|name| source.order(name, &arguments.host, probe)) {
        Ok(order) => order,
        Err(Usage(message)) => return Ok(output::refuse(message)),
    };
    let file = source.file;
    let progress = std::sync::Arc::new(Progress::begin());
    let shown = progress.clone();
    let options = order.options()?.on_progress(move |what| shown.show(what));
    let code = run_fresh(&file, &options, &program, || progress.clear(), output::talk_error);
    progress.clear();
    Ok(code.map(ExitCode::from).unwrap_or_else(|error| {
        output::error(&error.into());
        ExitCode::from(NOT_TRIED)
    }))
}

pub(super) fn shell(arguments: ShellArguments) -> Result<ExitCode> {
    let program = Program { task: Task::Shell, inside: arguments.inside };
    match find(&arguments.name)? {
        Ok(entry) => in_standing(&entry, &program, None),
        Err(code) => Ok(code),
    }
}

pub(super) fn pcap(arguments: PcapArguments) -> Result<ExitCode> {
    if arguments.output.is_none() && stdout().is_terminal() {
        let name = &arguments.name;
        let message = format!(
            "packets are nothing for a terminal\nhint: openshell-harness pcap {name} -o FILE\nhint: openshell-harness pcap {name} | wireshark -k -i -"
        );
        return Ok(output::refuse(message));
    }
    let entry = match find(&arguments.name)? {
        Ok(entry) => entry,
        Err(code) => return Ok(code),
    };
    let capture = Capture {
        link: arguments.link,
        sandbox: arguments.sandbox,
        count: arguments.count,
        duration: arguments.duration,
        replace: false,
    };
    let Some(path) = arguments.output else {
        let program = Program { task: Task::Capture(capture), inside: Inside::Engine };
        return in_standing(&entry, &program, None);
    };
    let (file, is_new) = open_output(&path).with_context(|| path.display().to_string())?;
    let kept = file.try_clone().with_context(|| path.display().to_string())?;
    let capture = Capture { replace: true, ..capture };
    let program = Program { task: Task::Capture(capture), inside: Inside::Engine };
    let code = in_standing(&entry, &program, Some(file));
    // Nothing was captured, not even a file's head.
    if is_new && kept.metadata().is_ok_and(|found| found.len() == 0) {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    code
}

/// The file to write, and whether it was made for that. What is in it stays until the capture begins, which may fail.
fn open_output(path: &Path) -> io::Result<(File, bool)> {
    match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A name that leads nowhere is a file that is to be made there, as for any program.
            Ok((File::options().write(true).create(true).truncate(false).open(path)?, false))
        }
        made => Ok((made?, true)),
    }
}

/// A host that is up; one that is not known is the caller's mistake.
fn find(name: &Name) -> Result<Result<Entry, ExitCode>> {
    match Folder::open()?.find(name) {
        Ok(entry) => Ok(Ok(entry)),
        Err(error @ StandingError::Unknown { .. }) => {
            let way_out = if harness::Preset::named(name.as_str()).is_ok() {
                format!("{error}\nhint: openshell-harness up {name}")
            } else {
                error.to_string()
            };
            Ok(Err(output::refuse(way_out)))
        }
        Err(error) => Err(error.into()),
    }
}

fn in_standing(entry: &Entry, program: &Program, output: Option<File>) -> Result<ExitCode> {
    let client = match entry.connect() {
        Ok(client) => client,
        Err(error) => {
            output::error(&error.into());
            return Ok(ExitCode::from(NOT_TRIED));
        }
    };
    let code = client.run(program, output.map(Into::into), output::talk_error);
    Ok(code.map(ExitCode::from).unwrap_or_else(|error| {
        output::error(&anyhow::Error::from(error).context(format!("host {}", entry.name)));
        ExitCode::from(NOT_TRIED)
    }))
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("what is wanted is NAME=VALUE".to_owned()),
    }
}

/// A time with its unit; without one it is seconds.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        _ => return Err("the units are ms, s and m".to_owned()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| "what is wanted is a time such as 10s".to_owned())?;
    match Duration::try_from_secs_f64(number * factor) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("it has to be more than nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "0s", "-1s", "10h", "s", "1e400s", "NaN"] {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
    }
}
