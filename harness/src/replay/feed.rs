//! Texts of ours for tools of the host, on their standard input: no argument depends on a snapshot.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::plan::{Feed, Line, NotReplayed, Tool};
use crate::host::{ExecError, Host};

/// How long one piece may take; 250 rules take 30 ms.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a tool said on standard error; `None` where it did its work.
pub(super) async fn feed(host: &Host, piece: &Feed) -> Result<Option<String>, ExecError> {
    let (program, mut arguments) = match piece.tool {
        Tool::IpSet => ("ipset", vec!["restore"]),
        Tool::Nft => ("nft", vec!["-j", "-f", "-"]),
        Tool::Restore(program) => (program, Vec::new()),
    };
    if piece.more && matches!(piece.tool, Tool::Restore(_)) {
        arguments.push("--noflush");
    }
    talk(host, program, &arguments, &piece.text).await
}

/// Makes all lines that can be made, and says which could not.
pub(super) async fn lines(
    host: &Host,
    family: Option<&'static str>,
    lines: &[Line],
) -> Result<Vec<NotReplayed>, ExecError> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let mut arguments: Vec<&str> = family.into_iter().collect();
    arguments.extend(["-force", "-batch", "-"]);
    let text: String = lines.iter().map(|line| format!("{}\n", line.text)).collect();
    let said = talk(host, "ip", &arguments, &text).await?.unwrap_or_default();
    Ok(refused(lines, &said))
}

/// `ip` says what the kernel answered, and then `Command failed -:3` with the number of the line.
fn refused(lines: &[Line], said: &str) -> Vec<NotReplayed> {
    let (mut refused, mut why) = (Vec::new(), String::new());
    for line in said.lines() {
        let Some(number) = line.strip_prefix("Command failed -:") else {
            line.trim().clone_into(&mut why);
            continue;
        };
        let at = number.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        if let Some(line) = at.and_then(|at| lines.get(at)) {
            refused.push(NotReplayed { what: line.what.clone(), why: std::mem::take(&mut why) });
        }
    }
    refused
}

async fn talk(
    host: &Host,
    program: &str,
    arguments: &[&str],
    text: &str,
) -> Result<Option<String>, ExecError> {
    let stdin =
        in_memory(text).map_err(|source| ExecError::NotStarted { argv: program.to_owned(), source })?;
    let command = host.command(program).args(arguments.iter().copied()).stdin(stdin).deadline(DEADLINE);
    let output = command.output().await?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Some(if said.trim().is_empty() { output.status.to_string() } else { said }))
}

fn in_memory(text: &str) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("openshell-replay", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// The beginning of what was said, on one line: an error's own words come before the logs that are added to them.
pub(super) fn words(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).take(2).collect();
    probe::sanitize(&lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_the_kernel_refuses_is_named_with_its_reason() {
        let line = |what: &str| Line { text: String::new(), what: what.to_owned() };
        let said = "RTNETLINK answers: File exists\nCommand failed -:2\nRTNETLINK answers: Network is unreachable\nCommand failed -:3\n";
        let refused = refused(&[line("a"), line("b"), line("c")], said);
        let found: Vec<_> = refused.iter().map(|it| (it.what.as_str(), it.why.as_str())).collect();
        assert_eq!(
            found,
            [("b", "RTNETLINK answers: File exists"), ("c", "RTNETLINK answers: Network is unreachable")]
        );
    }
}
