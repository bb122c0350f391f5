//! The side that asks for a twin.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::process::{Order, Reply};
use super::{Answer, COMMAND, MARK, Plan, TwinError};
use crate::sanitize;

/// More than an answer about 64 trials can have.
const MOST_ANSWER: u64 = 16 * 1024 * 1024;

/// As much of the twin's talk as is kept.
const MOST_TALK: u64 = 64 * 1024;

/// Replays `plan` in a twin and says what was seen, within `budget`.
///
/// The twin is `program`, which is an `openshell-probe`, or without one this very program, which has to call
/// [`hook`](super::hook). It ends with the thread that polls this, and with this process, however that ends.
///
/// # Errors
/// When the plan is wrong, this machine forbids namespaces, the rules could not be restored, or the time is over.
pub async fn run(plan: &Plan, program: Option<&Path>, budget: Duration) -> Result<Answer, TwinError> {
    plan.check()?;
    if std::env::var_os(MARK).is_some() {
        return Err(TwinError::Recursion);
    }
    let not_started = |source| TwinError::NotStarted { source };
    let own = std::fs::metadata("/proc/thread-self/ns/net").map_err(not_started)?.ino();
    let millis = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
    let order = Order { namespace: own, budget_ms: millis, plan: plan.clone() };
    let mut line = serde_json::to_vec(&order).map_err(|error| not_started(error.into()))?;
    line.push(b'\n');
    let mut child = Command::new(program.unwrap_or(Path::new("/proc/self/exe")))
        .arg(COMMAND)
        .env_clear()
        .env(MARK, "1")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_started)?;
    match tokio::time::timeout(budget, converse(&mut child, &line)).await {
        Ok(Ok((status, answer, talk))) => understand(status, &answer, &talk),
        Ok(Err(source)) => Err(TwinError::NotStarted { source }),
        Err(_) => Err(TwinError::TimedOut { budget }),
    }
}

/// Its standard input stays open while it works: the end of it is the twin's end.
async fn converse(child: &mut Child, line: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let missing = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let mut input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    let errors = child.stderr.take().ok_or_else(missing)?;
    let (mut answer, mut talk) = (Vec::new(), Vec::new());
    let (mut output, mut errors) = (output.take(MOST_ANSWER), errors.take(MOST_TALK));
    let said = async { tokio::try_join!(output.read_to_end(&mut answer), errors.read_to_end(&mut talk)) };
    let told = async {
        // A twin that has ended before it has read everything says why.
        let _ = input.write_all(line).await;
        Ok(input)
    };
    let (_, input) = tokio::try_join!(said, told)?;
    let status = child.wait().await?;
    drop(input);
    Ok((status, answer, talk))
}

fn understand(status: ExitStatus, answer: &[u8], talk: &[u8]) -> Result<Answer, TwinError> {
    match serde_json::from_slice(answer) {
        Ok(Reply::Answer(answer)) => Ok(*answer),
        Ok(Reply::Failure(failure)) => Err(failure.into()),
        Err(_) => {
            let stderr = sanitize(&String::from_utf8_lossy(talk));
            Err(TwinError::NoAnswer { status: status.to_string(), stderr })
        }
    }
}
