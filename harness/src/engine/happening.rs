//! What happens to an engine while a host runs.

use std::fs::{self, DirEntry, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::docker::every;
use super::{Docker, EngineError};
use crate::host::Host;

/// How long a daemon may take to end or to stop after its signal; measured: 10 ms.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often it is looked for meanwhile.
const INTERVAL: Duration = Duration::from_millis(3);

async fn until(call: &str, otherwise: &str, is_so: impl Fn() -> bool) -> Result<(), EngineError> {
    let wait = async {
        let mut tick = every(INTERVAL);
        while !is_so() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.map_err(|_| EngineError::Unexpected {
        call: call.to_owned(),
        message: format!("{otherwise} within {DEADLINE:?}"),
    })
}

/// Whether every thread below a `/proc/PID/task` is stopped by a signal. The state comes after the name, which may have
/// parentheses (proc_pid_stat(5)).
fn are_stopped(threads: &Path) -> bool {
    let is_stopped = |thread: std::io::Result<DirEntry>| {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        Ok::<_, std::io::Error>(stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T')))
    };
    fs::read_dir(threads).is_ok_and(|all| all.map(is_stopped).all(|one| one.unwrap_or(false)))
}

impl Host {
    /// Kills dockerd and waits until it has ended. Its socket's file stays, and connections to it are refused; containers
    /// run on.
    ///
    /// # Errors
    /// When the host has no engine, or the daemon does not end.
    pub async fn kill_engine(&self) -> Result<(), EngineError> {
        let pid = self.engine()?.pid();
        self.signal_engine("-KILL").await?;
        let process = self.path(format!("/proc/{pid}"));
        until("kill dockerd", "it did not end", || !process.exists()).await
    }

    /// Kills dockerd, if it still runs, and starts it again on its data: networks and images are those from before, and
    /// containers that ran are ended. An [`Intercept`](super::Intercept) that stood before it is passed by from now on.
    ///
    /// # Errors
    /// When the host has no engine, or the daemon does not end or does not answer again.
    pub async fn restart_engine(&self) -> Result<(), EngineError> {
        let docker = self.engine()?;
        if self.path(format!("/proc/{}", docker.pid())).exists() {
            self.kill_engine().await?;
        }
        docker.start_again(self).await
    }

    /// Stops dockerd by SIGSTOP, and waits until it has stopped: the kernel goes on accepting connections for it, and nobody
    /// answers.
    ///
    /// # Errors
    /// When the host has no engine, or the daemon has ended.
    pub async fn freeze_engine(&self) -> Result<(), EngineError> {
        let pid = self.engine()?.pid();
        self.signal_engine("-STOP").await?;
        // A thread that has not heard of it yet may still answer.
        let threads = self.path(format!("/proc/{pid}/task"));
        until("freeze dockerd", "it did not stop", || are_stopped(&threads)).await
    }

    /// Lets a frozen dockerd go on; it answers what has waited.
    ///
    /// # Errors
    /// When the host has no engine, or the daemon has ended.
    pub async fn thaw_engine(&self) -> Result<(), EngineError> {
        self.signal_engine("-CONT").await
    }

    /// Takes the engine's socket away from everybody but root, as on a machine where a user is not in the group `docker`.
    ///
    /// # Errors
    /// When the host has no engine, or its socket is not there.
    pub fn deny_engine(&self) -> Result<(), EngineError> {
        let path = self.engine()?.socket().to_owned();
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(|source| EngineError::Config { path, source })
    }

    async fn signal_engine(&self, signal: &str) -> Result<(), EngineError> {
        let pid = self.engine().map(Docker::pid)?;
        self.command("kill").args([signal.to_owned(), pid.to_string()]).run().await?;
        Ok(())
    }
}
