//! `snapshot`: what decides on this host in a file; and what a file says where its host is not.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use snapshot::{LeftOut, ReadError, Snapshot};

use super::args::{Format, SnapshotArguments};
use super::{USAGE, answer, interrupted, say, text, trouble};
use crate::check::Request;
use crate::interrupt::Interrupt;
use crate::sanitize::sanitize;
use crate::snapshot::{Offline, SnapshotError, take};

/// The file, where none is named.
const FILE: &str = "openshell.snapshot";

/// Where a snapshot goes.
enum Output {
    Stdout,
    File(PathBuf),
    Nowhere,
}

pub(super) async fn run(arguments: &SnapshotArguments, request: Request) -> ExitCode {
    if let Some(file) = &arguments.from {
        return match open(file) {
            Ok(snapshot) => shown(&snapshot),
            Err(code) => code,
        };
    }
    let output = match output(arguments) {
        Ok(output) => output,
        Err(problem) => {
            say(&format!("error: {problem}"));
            return ExitCode::from(USAGE);
        }
    };
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return trouble(&format!("failed to listen for signals: {error}")),
    };
    let snapshot = match take(&request, &interrupt).await {
        Ok(snapshot) => snapshot,
        Err(SnapshotError::Interrupted) => {
            return interrupted(&interrupt).unwrap_or_else(|| trouble("interrupted"));
        }
        Err(error) => return trouble(&error.to_string()),
    };
    let bytes = match snapshot::to_bytes(&snapshot) {
        Ok(bytes) => bytes,
        Err(error) => return trouble(&error.to_string()),
    };
    let place = match &output {
        Output::Stdout => {
            let mut out = io::stdout().lock();
            match out.write_all(&bytes).and_then(|()| out.flush()) {
                Ok(()) => "standard output".to_owned(),
                Err(error) => return trouble(&format!("failed to write the snapshot: {error}")),
            }
        }
        Output::File(file) => match write(file, &bytes, arguments.force) {
            Ok(()) => sanitize(&file.display().to_string()),
            Err(error) => {
                return trouble(&format!(
                    "failed to write {}: {error}",
                    sanitize(&file.display().to_string())
                ));
            }
        },
        Output::Nowhere => String::new(),
    };
    if !place.is_empty() {
        say(&format!("wrote {} bytes to {place}", bytes.len()));
    }
    say(&left_out(&snapshot.left_out));
    if arguments.show {
        return shown(&snapshot);
    }
    if let Output::File(file) = &output {
        let file = sanitize(&file.display().to_string());
        say(&format!(
            "\nhint: see everything in it before you send it: openshell-probe snapshot --from {file} --show"
        ));
    }
    ExitCode::SUCCESS
}

/// `explain --from`: the rules of a file, judged here.
pub(super) fn explain(file: &Path, format: Format) -> ExitCode {
    let snapshot = match open(file) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    let offline = Offline::judge(&snapshot);
    let shown = match format {
        Format::Text => text::offline(&offline),
        Format::Json => serde_json::to_string_pretty(&offline).unwrap_or_default() + "\n",
    };
    answer(&shown, offline.exit_code)
}

fn open(file: &Path) -> Result<Snapshot, ExitCode> {
    snapshot::read_file(file).map_err(|error| {
        let name = sanitize(&file.display().to_string());
        let verb = if matches!(error, ReadError::Io(_)) { "cannot be read" } else { "is refused" };
        let said = match &error {
            ReadError::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        say(&format!(
            "error: {name} {verb}: {}\n\nhint: a snapshot is what 'openshell-probe snapshot' wrote, unchanged",
            sanitize(&said)
        ));
        ExitCode::from(USAGE)
    })
}

fn shown(snapshot: &Snapshot) -> ExitCode {
    match snapshot::show(snapshot) {
        Ok(text) => answer(&text, 0),
        Err(error) => trouble(&error.to_string()),
    }
}

/// Looked at before anything is gathered: a check takes seconds.
fn output(arguments: &SnapshotArguments) -> Result<Output, String> {
    match &arguments.output {
        Some(file) if file.as_os_str() == "-" => {
            if arguments.show {
                return Err("--show and '-o -' both want standard output: name a file".to_owned());
            }
            if io::stdout().is_terminal() {
                return Err(
                    "a snapshot is no text for a terminal: use -o FILE, --show, or send '-o -' into a pipe"
                        .to_owned(),
                );
            }
            Ok(Output::Stdout)
        }
        None if arguments.show => Ok(Output::Nowhere),
        file => {
            let file = file.clone().unwrap_or_else(|| PathBuf::from(FILE));
            if !arguments.force && file.symlink_metadata().is_ok() {
                let name = sanitize(&file.display().to_string());
                return Err(format!("{name} exists: use another name, or --force to replace it"));
            }
            Ok(Output::File(file))
        }
    }
}

/// Writes a file that was not there, or puts a whole one in its place. It is its caller's alone, also under sudo.
fn write(file: &Path, bytes: &[u8], force: bool) -> io::Result<()> {
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    if !force {
        let made = create(file)?;
        return fill(made, bytes).inspect_err(|_| drop(std::fs::remove_file(file)));
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let made = create(&beside)?;
    fill(made, bytes)
        .and_then(|()| std::fs::rename(&beside, file))
        .inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if let (true, Some(user), Some(group)) =
        (nix::unistd::geteuid().is_root(), number("SUDO_UID"), number("SUDO_GID"))
    {
        // Whoever called sudo is to send it.
        let _ = std::os::unix::fs::fchown(&file, Some(user), Some(group));
    }
    file.sync_all()
}

/// What is not in it, on one line.
fn left_out(list: &[LeftOut]) -> String {
    if list.is_empty() {
        return "nothing was left out".to_owned();
    }
    let one = |it: &LeftOut| {
        let count = it.count.map_or_else(String::new, |count| format!("{count} "));
        format!("{count}{} ({})", spelled(&it.what), spelled(&it.why))
    };
    format!("left out: {}", list.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A word of an enumeration, as the file has it.
fn spelled(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().replace('_', " ")
}
