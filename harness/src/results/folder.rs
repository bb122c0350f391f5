//! The folder of a scenario that went wrong.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::scenario::{Recorded, Row, ScenarioFile, Step};

/// How many folders one scenario can have in a folder of results.
const FOLDERS: usize = 1000;

/// Writes everything about a run into a folder of its own below `results`, and returns that: `FOLDER/NAME` as tables have the
/// scenario's name, with a number behind it when that is there already. Nothing is overwritten.
///
/// | file | what it is |
/// |---|---|
/// | `summary.txt` | what was expected, what was found, and what is wrong |
/// | `scenario.toml` | the scenario |
/// | `timeline.txt` | every step with its time |
/// | `report.json` | the probe's report; `report-NAME.json` of a check event, with a number of checks at the same time |
/// | `rules-before.txt`, `rules-after.txt` | the rules of all backends, links, addresses and routes, before the last check and at the end |
/// | `trace.txt` | what the kernel says of dials like a sandbox's |
/// | `packets.pcap` | all packets of the host, the first 256 bytes of each |
/// | `engine.log`, `host.log` | what dockerd, and the host's first processes, said |
///
/// With a virtual machine, files of its host have `-vm` in their names. What the host could not tell any more is missing.
///
/// # Errors
/// When something cannot be written.
pub fn keep(results: &Path, file: &ScenarioFile, recorded: &Recorded, rows: &[Row]) -> io::Result<PathBuf> {
    let folder = make(results, &file.name())?;
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes);
    write("summary.txt", summary(file, recorded, rows).as_bytes())?;
    if let Ok(text) = fs::read(&file.path) {
        write("scenario.toml", &text)?;
    }
    write("timeline.txt", timeline(&recorded.steps).as_bytes())?;
    for check in &recorded.checks {
        let at = check.at.as_ref().map(|at| format!("-{}", plain(at))).unwrap_or_default();
        for (index, report) in check.reports.iter().enumerate() {
            let number = if index == 0 { String::new() } else { format!("-{}", index + 1) };
            write(&format!("report{at}{number}.json"), &serde_json::to_vec_pretty(report)?)?;
        }
    }
    for (name, bytes) in &recorded.files {
        write(name, bytes)?;
    }
    Ok(folder)
}

fn make(results: &Path, name: &str) -> io::Result<PathBuf> {
    let wanted = results.join(name);
    fs::create_dir_all(wanted.parent().unwrap_or(results))?;
    for number in 1..=FOLDERS {
        let folder = if number == 1 { wanted.clone() } else { results.join(format!("{name}-{number}")) };
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| folder),
        }
    }
    Err(io::Error::other(format!("{} has {FOLDERS} folders of {name}", results.display())))
}

/// A name that is no path.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

fn summary(file: &ScenarioFile, recorded: &Recorded, rows: &[Row]) -> String {
    let mut text = format!("{}\n{}\n", file.scenario.title, file.path.display());
    if let Err(error) = &recorded.result {
        let _ = write!(text, "\nnot run to its end: {error}\n");
    }
    for row in rows {
        let _ = write!(text, "\n{}\n  expected  {}\n  found     {}\n", row.target, row.expected, row.found);
        let _ = writeln!(text, "  oracle    {}", row.oracle);
        for mismatch in &row.mismatches {
            let _ = writeln!(text, "  WRONG     {}", mismatch.replace('\n', "\n            "));
        }
    }
    text
}

fn timeline(steps: &[Step]) -> String {
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let mut text = "   begun    took\n".to_owned();
    for Step { at_ms, took_ms, what, line, done } in steps {
        let (begun, took) = (seconds(*at_ms), seconds(*took_ms));
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let failed = if *done { "" } else { "  FAILED" };
        let _ = writeln!(text, "{begun:>8} {took:>7}  {line}{what}{failed}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::recorded;

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (file, recorded, rows) = recorded();
        let first = keep(folder.path(), &file, &recorded, &rows).unwrap();
        let second = keep(folder.path(), &file, &recorded, &rows).unwrap();
        assert_eq!(first, folder.path().join(file.name()));
        assert_ne!(first, second);
        assert!(second.to_string_lossy().ends_with("-2"), "{}", second.display());
        assert!(first.join("summary.txt").is_file() && second.join("summary.txt").is_file());
    }

    #[test]
    fn what_is_wrong_is_in_the_summary_and_the_steps_in_the_timeline() {
        let (file, recorded, rows) = recorded();
        let text = summary(&file, &recorded, &rows);
        assert!(text.contains("  WRONG     the probe says tcp_failed (dropped)"), "{text}");
        let text = timeline(&recorded.steps);
        assert!(text.contains("   0.000   0.412  boot\n"), "{text}");
        assert!(text.contains("   0.500   1.200  line 7: { posture = \"ufw_brev\" }\n"), "{text}");
    }

    #[test]
    fn a_check_is_named_so_that_it_is_no_path() {
        assert_eq!(plain("../after restart"), "---after-restart");
    }
}
