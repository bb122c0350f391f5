//! Stands in for `newuidmap` and `newgidmap` where a machine has not installed them: it maps what `/etc/subuid` and
//! `/etc/subgid` give user 1000, and what is its own. Tests copy it under these names, set-user-ID root, into a mount
//! namespace of theirs; only there it can do anything.

#![allow(clippy::print_stderr, reason = "its error is what it says")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    match map(&name, &arguments.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{name}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn map(name: &str, arguments: &[String]) -> Result<(), String> {
    let (file, map) = match name {
        "newuidmap" => ("/etc/subuid", "uid_map"),
        "newgidmap" => ("/etc/subgid", "gid_map"),
        _ => return Err("it is called by another name than the two that it knows".to_owned()),
    };
    let numbers: Option<Vec<u32>> = arguments.iter().map(|argument| argument.parse().ok()).collect();
    let (process, stretches) = match numbers.as_deref() {
        Some([process, stretches @ ..]) if stretches.len() % 3 == 0 => (process, stretches.chunks(3)),
        _ => return Err("usage: PID (INSIDE OUTSIDE COUNT)...".to_owned()),
    };
    let given = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let given: Vec<(u32, u32)> = given
        .lines()
        .filter_map(|line| line.strip_prefix("1000:")?.split_once(':'))
        .filter_map(|(first, count)| Some((first.parse().ok()?, count.parse().ok()?)))
        .collect();
    let mut text = String::new();
    for stretch in stretches {
        let (inside, first, count) = (stretch[0], stretch[1], stretch[2]);
        let is_own = (first, count) == (1000, 1);
        if !is_own && !given.iter().any(|(from, many)| *from <= first && first + count <= from + many) {
            return Err(format!("range [{inside}-{}) -> {first} is not allowed", inside + count));
        }
        text += &format!("{inside} {first} {count}\n");
    }
    let path = format!("/proc/{process}/{map}");
    fs::write(&path, text).map_err(|error| format!("{path}: {error}"))
}
