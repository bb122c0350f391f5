//! `openshell-harness doctor`.

use std::process::ExitCode;

use anyhow::Result;
use harness::Privilege;
use harness::machine::{Severity, examine};

use super::output;

/// Fails when no host can be made here.
pub(super) fn run(json: bool, privilege: Privilege) -> Result<ExitCode> {
    let findings = examine(privilege);
    if json {
        output::line(serde_json::to_string_pretty(&findings)?);
    } else {
        for finding in &findings {
            let mark = match finding.severity {
                Severity::Ok => "ok",
                Severity::Limited => "limited",
                Severity::Blocked => "blocked",
            };
            output::line(format_args!("{mark:8} {}: {}", finding.what, finding.found));
            if finding.severity != Severity::Ok {
                output::line(format_args!("         disables {}", finding.disables));
                output::line(format_args!("         hint: {}", finding.way_out));
            }
        }
    }
    let blocked = findings.iter().any(|finding| finding.severity == Severity::Blocked);
    Ok(if blocked { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
