//! `openshell-probe preflight` in the host, as an onboarding runs it.

use probe::{LifecyclePath, Report};

use super::error::{GatewayError, Stop};
use crate::host::Host;

/// A preflight that let through.
#[derive(Clone, Debug)]
pub struct Passed {
    /// All that was found.
    pub report: Report,
    /// What the probe told the user: nothing, unless it could not find out.
    pub talk: String,
}

/// What is about to be called healthy.
pub(in crate::service) struct Subject<'a> {
    /// The probe's program in the host.
    pub(in crate::service) probe: &'a str,
    /// `8080=gateway`.
    pub(in crate::service) target: String,
    /// The sandbox network.
    pub(in crate::service) network: &'a str,
    /// Whether it stops also when it could not be found out.
    pub(in crate::service) strict: bool,
}

/// Runs it, and turns its stop into an error.
pub(in crate::service) async fn preflight(
    host: &Host,
    subject: &Subject<'_>,
    path: LifecyclePath,
) -> Result<Passed, GatewayError> {
    let path_argument = path.name().replace('_', "-");
    let arguments = ["preflight", "--port", &subject.target, "--path", &path_argument];
    let mut command = host
        .command(subject.probe)
        .args(arguments)
        .args(["--network", subject.network, "--format", "json"])
        // Its own deadline is a minute.
        .deadline(std::time::Duration::from_secs(90));
    if subject.strict {
        command = command.arg("--strict");
    }
    let output = command.output().await?;
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong = |message: String| GatewayError::Probe { program: subject.probe.to_owned(), message };
    let Some(code) = output.status.code() else {
        return Err(wrong(format!("it was killed ({}): {talk}", output.status)));
    };
    let report: Report = serde_json::from_slice(&output.stdout)
        .map_err(|error| wrong(format!("it ended with {code} and gave no report ({error}): {talk}")))?;
    if i32::from(report.exit_code) != code {
        return Err(wrong(format!("it ended with {code}, and its report says {}", report.exit_code)));
    }
    match code {
        0 => Ok(Passed { report, talk }),
        1 | 3 => Err(GatewayError::Preflight(Box::new(Stop { path, code, report, talk }))),
        _ => Err(wrong(format!("it ended with {code}: {talk}"))),
    }
}
