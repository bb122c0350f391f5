//! An ordinary user of the machine, for hosts without root.
//!
//! It is user 1000 in a mount namespace of its own, where the machine's `/etc/subuid` and `/etc/subgid` give it ids, and
//! where `newuidmap` and `newgidmap` are: the machine's, or stand-ins (`bin/idmapper`) where it has not installed them. Its
//! cache is in memory. Nothing of the machine is changed, and all of it is gone with the user's last process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::Privilege;

use crate::programs;

/// Where the programs of the suite are for it.
const PROGRAMS: &str = "/mnt/programs";

/// Where the corpus is for it.
pub const SCENARIOS: &str = "/mnt/scenarios";

/// Set in a test that runs as the user.
const INSIDE: &str = "OPENSHELL_E2E_ORDINARY";

/// Which ids the machine's files give the user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ids {
    /// As many as a Debian has.
    Both,
    /// No groups.
    UsersOnly,
    /// A thousand.
    Few,
    /// None.
    Neither,
}

/// Whether there are `newuidmap` and `newgidmap`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tools {
    /// They are there.
    There,
    /// They are there and not set-user-ID.
    Powerless,
    /// They are not installed.
    Missing,
}

/// A user of the machine.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Its further ids.
    pub ids: Ids,
    /// What maps them.
    pub tools: Tools,
    /// Whether it has an image, unpacked from root's.
    pub image: bool,
}

impl User {
    /// A user with all that hosts take.
    pub const COMPLETE: Self = Self { ids: Ids::Both, tools: Tools::There, image: true };

    /// Describes a program of the suite that runs as this user, with an environment of its own that has also these variables.
    /// The process that is started becomes that program. The corpus is in [`SCENARIOS`].
    ///
    /// # Errors
    /// When the programs are missing or stale.
    pub fn command(self, program: &str, environment: &[(&str, &str)]) -> Result<Command> {
        let built = programs::harness()?;
        let folder = built.parent().context("openshell-harness is in no folder")?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", include_str!("ordinary.sh"), "sh"]);
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(Path::new(PROGRAMS).join(program));
        command.env("OPENSHELL_E2E_PROGRAMS", folder);
        command.env("OPENSHELL_E2E_SCENARIOS", programs::checkout().join("scenarios"));
        command.env("OPENSHELL_E2E_IMAGE", if self.image { "yes" } else { "no" });
        command.env(
            "OPENSHELL_E2E_IDS",
            match self.ids {
                Ids::Both => "both",
                Ids::UsersOnly => "users-only",
                Ids::Few => "few",
                Ids::Neither => "neither",
            },
        );
        command.env(
            "OPENSHELL_E2E_TOOLS",
            match self.tools {
                Tools::There => "there",
                Tools::Powerless => "powerless",
                Tools::Missing => "missing",
            },
        );
        Ok(command)
    }
}

/// What a host without root cannot show: a name of a scenario or a test, and the reason, a line.
const SKIPS: &str = include_str!("../scenarios/allowed-skips-without-root.txt");

/// The names that may be skipped without root.
pub fn allowed_skips() -> impl Iterator<Item = (&'static str, &'static str)> {
    SKIPS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(char::is_whitespace))
}

/// Whether the test of that name is to be skipped, because it runs without root and the list says why it cannot.
#[must_use]
#[expect(clippy::print_stdout, reason = "the log of a test says what was skipped")]
pub fn skips(test: &str) -> bool {
    let reason = allowed_skips().find(|(name, _)| *name == test).filter(|_| Privilege::has_entered());
    if let Some((_, reason)) = reason {
        println!("skipped: {test}: {}", reason.trim());
    }
    reason.is_some()
}

/// Runs the calling test once more, as an ordinary user. It returns whether it has: then that is all that there is to do.
///
/// # Errors
/// When the test fails there.
#[expect(clippy::print_stdout, reason = "the log of a test has what it said there")]
pub fn has_run_there() -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(false);
    }
    let thread = std::thread::current();
    let test = thread.name().context("a test's thread has no name")?;
    let own = std::env::current_exe().context("find the test program")?;
    let name = own.file_name().context("the test program has no name")?;
    let program = PathBuf::from("deps").join(name).display().to_string();
    let output = User::COMPLETE
        .command(&program, &[(INSIDE, "1"), (Privilege::VARIABLE, "auto")])?
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .output()
        .context("run unshare")?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    println!("{stdout}");
    ensure!(output.status.success(), "as an ordinary user ({}): {stdout}\n{stderr}", output.status);
    // A name that is none runs nothing, which is no failure there.
    ensure!(stdout.contains("test result: ok. 1 passed"), "{test} was not run: {stdout}\n{stderr}");
    Ok(true)
}
