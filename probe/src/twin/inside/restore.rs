//! Rules, by the tools that the machine itself has.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use ruleset::pieces;

use super::super::{Programs, RestoreError, Rules};
use crate::sanitize;

/// As much of a tool's talk as is kept.
const TAIL: usize = 4096;
/// What a tool says where the kernel takes no message of this length (`EMSGSIZE`, in the C locale).
const TOO_LONG: &str = "Message too long";

/// The tools and the captured rules.
pub(super) struct Restore<'plan> {
    programs: &'plan Programs,
    captured: &'plan Rules,
}

impl<'plan> Restore<'plan> {
    pub(super) fn new(programs: &'plan Programs, captured: &'plan Rules) -> Self {
        Self { programs, captured }
    }

    /// The captured rules, into a namespace without any.
    pub(super) fn all(&self) -> Result<(), RestoreError> {
        self.feed(self.captured, &[])
    }

    /// A change of the rules that are there.
    pub(super) fn change(&self, rules: &Rules) -> Result<(), RestoreError> {
        self.feed(rules, &["--noflush"])
    }

    /// Takes a change back, or without an undo restores what it has changed from the beginning.
    pub(super) fn take_back(&self, change: &Rules, undo: Option<&Rules>) -> Result<(), RestoreError> {
        if let Some(undo) = undo {
            return self.change(undo);
        }
        let mut again = self.captured.clone();
        // Sets are not changed by rules, and a set that exists cannot be made again.
        again.ipset = None;
        if change.nft.is_some() {
            self.nft(r#"{"nftables": [{"flush": {"ruleset": null}}]}"#)?;
        } else {
            again.nft = None;
            again.ipv4 = again.ipv4.filter(|_| change.ipv4.is_some());
            again.ipv6 = again.ipv6.filter(|_| change.ipv6.is_some());
        }
        self.feed(&again, &[])
    }

    fn feed(&self, rules: &Rules, arguments: &[&str]) -> Result<(), RestoreError> {
        let Programs { ipv4, ipv6, ipset, .. } = self.programs;
        if let Some(text) = &rules.ipset {
            run(ipset.as_deref(), "ipset", &["restore"], text)?;
        }
        if let Some(value) = &rules.nft {
            for piece in pieces::of_document(value) {
                self.nft(&piece.to_string())?;
            }
        }
        if let Some(text) = &rules.ipv4 {
            in_pieces(ipv4.as_deref(), "iptables-nft-restore", arguments, text)?;
        }
        if let Some(text) = &rules.ipv6 {
            in_pieces(ipv6.as_deref(), "ip6tables-nft-restore", arguments, text)?;
        }
        Ok(())
    }

    fn nft(&self, commands: &str) -> Result<(), RestoreError> {
        run(self.programs.nft.as_deref(), "nft", &["-j", "-f", "-"], commands)
    }
}

/// Feeds a tool with pieces that the kernel takes, each of which the tool commits: one after the other in one text.
fn in_pieces(program: Option<&Path>, name: &str, arguments: &[&str], text: &str) -> Result<(), RestoreError> {
    let whole = |pieces: Vec<String>| {
        if !arguments.is_empty() {
            return run(program, name, arguments, &pieces.concat());
        }
        // A text that is committed in pieces flushes nothing by itself: each piece would empty the table of those before.
        run(program, name, &[], &pieces::flush_of(text))?;
        run(program, name, &["--noflush"], &pieces.concat())
    };
    let pieces = pieces::of_restore(text, pieces::MOST);
    let fed = if pieces.len() == 1 { run(program, name, arguments, text) } else { whole(pieces) };
    match fed {
        // What was committed before is flushed with the rest. A change is not, and is one piece.
        Err(error) if arguments.is_empty() && error.stderr.contains(TOO_LONG) => {
            whole(pieces::of_restore(text, pieces::LITTLE))
        }
        fed => fed,
    }
}

/// Feeds a tool; the twin's own deadline ends one that hangs.
fn run(program: Option<&Path>, name: &str, arguments: &[&str], text: &str) -> Result<(), RestoreError> {
    let path = program.unwrap_or(Path::new(name));
    let error = |status: String, stderr: &[u8]| {
        let tail = &stderr[stderr.len().saturating_sub(TAIL)..];
        let stderr = sanitize(&String::from_utf8_lossy(tail));
        RestoreError { program: path.display().to_string(), status, stderr }
    };
    let (status, stderr) = talk(path, arguments, text).map_err(|problem| error(problem.to_string(), b""))?;
    if status.success() { Ok(()) } else { Err(error(status.to_string(), &stderr)) }
}

fn talk(path: &Path, arguments: &[&str], text: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = Command::new(path)
        .args(arguments)
        .env_clear()
        // The legacy tools lock a file even there; `/run` is the twin's own.
        .env("XTABLES_LOCKFILE", "/run/xtables.lock")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let mut said = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A tool that stops reading says why.
            input.map(|mut input| input.write_all(text.as_bytes()))
        });
        if let Some(mut errors) = errors {
            let _ = errors.read_to_end(&mut said);
        }
    });
    Ok((child.wait()?, said))
}
