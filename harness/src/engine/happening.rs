//! What happens to an engine while a host runs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::docker::every;
use super::{Docker, EngineError};
use crate::host::Host;

/// How long a killed daemon may take to end; measured: 10 ms.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// How often it is looked for meanwhile.
const END_INTERVAL: Duration = Duration::from_millis(3);

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
        let ended = async {
            let mut tick = every(END_INTERVAL);
            while process.exists() {
                tick.tick().await;
            }
        };
        tokio::time::timeout(END_DEADLINE, ended).await.map_err(|_| EngineError::Unexpected {
            call: "kill dockerd".to_owned(),
            message: format!("it did not end within {END_DEADLINE:?}"),
        })
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

    /// Stops dockerd by SIGSTOP: the kernel goes on accepting connections for it, and nobody answers.
    ///
    /// # Errors
    /// When the host has no engine, or the daemon has ended.
    pub async fn freeze_engine(&self) -> Result<(), EngineError> {
        self.signal_engine("-STOP").await
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
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(|source| EngineError::Config { path, source })
    }

    async fn signal_engine(&self, signal: &str) -> Result<(), EngineError> {
        let pid = self.engine().map(Docker::pid)?;
        self.command("kill").args([signal.to_owned(), pid.to_string()]).run().await?;
        Ok(())
    }
}
