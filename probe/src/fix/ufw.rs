//! UFW, run with typed arguments, and its record of its rules.

use std::process::Stdio;
use std::time::Duration;

use super::FixError;
use super::journal::Journal;
use crate::explain::UfwRule;
use crate::programs;
use crate::sanitize::sanitize;

/// UFW waits for the lock of the tables.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where UFW keeps the users' rules for IPv4.
const RECORD: &str = "/etc/ufw/user.rules";

/// Runs UFW. After its time it is left to itself: ended in the middle it leaves half of its chains. It holds the journal's
/// lock as long as it runs.
pub(super) async fn run(arguments: &[String], journal: &Journal) -> Result<(), FixError> {
    let program = programs::find("ufw").ok_or(FixError::NoUfw)?;
    let held = journal.held()?;
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        // A Ctrl-C is for this program, which takes back what was begun.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| FixError::Ufw { said: error.to_string() })?;
    drop(held);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_| FixError::Slow)?
        .map_err(|error| FixError::Ufw { said: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    Err(FixError::Ufw { said: sanitize(String::from_utf8_lossy(&said).trim()) })
}

/// At which places UFW has the very rule, from 0. With a comment it is the same to UFW. Without UFW there are no rules of its.
pub(super) fn places(rule: &UfwRule) -> Result<Vec<usize>, FixError> {
    match std::fs::read_to_string(RECORD) {
        Ok(text) => Ok(places_in(&text, rule)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(FixError::Record { why: error.to_string() }),
    }
}

fn places_in(text: &str, rule: &UfwRule) -> Vec<usize> {
    let wanted = rule.record();
    let commented = format!("{wanted} comment=");
    let records = text.lines().filter(|line| line.starts_with("### tuple ###")).enumerate();
    records
        .filter(|(_, it)| it.trim_end() == wanted || it.starts_with(&commented))
        .map(|(at, _)| at)
        .collect()
}
