//! What a run leaves for the next one, in a folder of the host.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::GatewayError;
use super::identity::{Executable, Running, has_ended};
use crate::host::Host;

/// How long another run may take; its preflight alone may take a minute.
const LOCK_DEADLINE: Duration = Duration::from_secs(120);

/// How long a process may take to end after SIGTERM, before SIGKILL.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// How often a condition is looked at that the kernel does not tell.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The gateway that an earlier run has left running.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Marker {
    /// Its process id in the host.
    pub pid: i32,
    /// When that process started, in clock ticks since the machine's boot.
    pub started: u64,
    /// What was wanted of its environment.
    pub environment: BTreeMap<String, String>,
    /// Where the command line calls it.
    pub endpoint: String,
    /// The file that it executes.
    pub program: Executable,
    /// The sandbox network as it was then.
    pub network: Option<NetworkMark>,
}

/// A network, so that one that takes its name later is told from it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NetworkMark {
    /// The engine's id.
    pub id: String,
    /// The address of its bridge.
    pub gateway: Ipv4Addr,
}

/// The records of one gateway: `openshell-gateway.pid`, `runtime.json` and `openshell-gateway.log` in one folder.
#[derive(Clone, Debug)]
pub struct Records {
    /// The folder as the machine sees it.
    folder: PathBuf,
}

impl Records {
    pub(super) fn of(host: &Host, folder: &Path) -> Self {
        Self { folder: host.path(folder) }
    }

    /// The process id in the pid file.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }

    /// The marker; one that cannot be read is none.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        serde_json::from_slice(&fs::read(self.marker_file()).ok()?).ok()
    }

    /// All that the gateways of this folder have said.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// When the pid file and the marker were written, each `None` when it is not there. Equal stamps mean that no run
    /// has touched them.
    #[must_use]
    pub fn stamps(&self) -> [Option<std::time::SystemTime>; 2] {
        let stamp = |file: PathBuf| fs::metadata(file).and_then(|found| found.modified()).ok();
        [stamp(self.pid_file()), stamp(self.marker_file())]
    }

    pub(super) fn remember(&self, marker: &Marker) -> Result<(), GatewayError> {
        let text = serde_json::to_vec_pretty(marker)
            .map_err(|error| GatewayError::File { path: self.marker_file(), source: error.into() })?;
        write_atomically(&self.marker_file(), &text)?;
        write_atomically(&self.pid_file(), format!("{}\n", marker.pid).as_bytes())
    }

    /// Removes the pid file and the marker; the log stays.
    pub(super) fn forget(&self) -> Result<(), GatewayError> {
        for path in [self.pid_file(), self.marker_file()] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(GatewayError::File { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens the log to append to it.
    pub(super) fn open_log(&self) -> Result<File, GatewayError> {
        let path = self.log_file();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| GatewayError::File { path, source })
    }

    pub(super) fn make(&self) -> Result<(), GatewayError> {
        fs::create_dir_all(&self.folder)
            .map_err(|source| GatewayError::File { path: self.folder.clone(), source })
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), GatewayError> {
        write_atomically(&self.folder.join(name), text.as_bytes())
    }

    /// Waits until no other run is at these records.
    pub(super) async fn lock(&self) -> Result<Lock, GatewayError> {
        self.make()?;
        Lock::take(self.folder.join("lock")).await
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("openshell-gateway.pid")
    }

    fn marker_file(&self) -> PathBuf {
        self.folder.join("runtime.json")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("openshell-gateway.log")
    }
}

/// One run at a time; let go when it is dropped, or by the kernel.
#[derive(Debug)]
pub(in crate::service) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    pub(in crate::service) async fn take(path: PathBuf) -> Result<Self, GatewayError> {
        let failed = |source| GatewayError::File { path: path.clone(), source };
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let taken = async {
            loop {
                tick.tick().await;
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(locked) => return Ok(Self { _file: locked }),
                    Err((back, Errno::EWOULDBLOCK)) => file = back,
                    Err((_, errno)) => return Err(failed(errno.into())),
                }
            }
        };
        timeout(LOCK_DEADLINE, taken).await.unwrap_or(Err(GatewayError::Busy { path: path.clone() }))
    }
}

/// A reader finds the old content or the new one, never a part.
pub(in crate::service) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), GatewayError> {
    let failed = |source| GatewayError::File { path: path.to_owned(), source };
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

/// Ends a process of the host, by asking and then by force, unless another one has its id by now.
pub(in crate::service) async fn end(host: &Host, running: &Running) -> Result<(), GatewayError> {
    for signal in ["-TERM", "-KILL"] {
        if has_ended(host, running) {
            return Ok(());
        }
        // One that fails has come too late, or the wait for it runs out.
        host.command("kill").args([signal.to_owned(), running.pid.to_string()]).output().await?;
        let mut tick = interval(LOOK);
        let gone = async {
            while !has_ended(host, running) {
                tick.tick().await;
            }
        };
        if timeout(END_DEADLINE, gone).await.is_ok() {
            return Ok(());
        }
    }
    Err(GatewayError::NotEnded { pid: running.pid })
}
