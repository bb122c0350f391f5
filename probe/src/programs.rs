//! The machine's administration programs, run read-only: by absolute path, with an environment of ours, for so long.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::sanitize::sanitize;

/// Where administration programs are. The caller's PATH is not asked: under sudo it may be anything.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Reading ten thousand rules takes 0.1 s.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{program} did not end within {} s", PATIENCE.as_secs())]
    Slow { program: String },
    #[error("{program} failed: {said}")]
    Failed { program: String, said: String },
}

/// The program of this name, where administration programs are.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// What it writes to standard output.
pub(crate) async fn read(program: &Path, arguments: &[&str]) -> Result<Vec<u8>, ProgramError> {
    let name = || program.display().to_string();
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", FOLDERS.join(":"))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .map_err(|_| ProgramError::Slow { program: name() })?
        .map_err(|source| ProgramError::Start { program: name(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(ProgramError::Failed { program: name(), said: sanitize(last) })
}
