//! The end of a standing host, and of what is left of it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::entry::Entry;
use super::error::StandingError;
use crate::host::cgroup;
use crate::image::Cache;

/// How long a caretaker may take to end its host; measured: 40 ms.
const END_PATIENCE: Duration = Duration::from_secs(15);

impl Entry {
    /// Ends the host and removes all that is left of it, whoever of its processes is gone already.
    ///
    /// # Errors
    /// When something is left.
    pub fn down(&self) -> Result<(), StandingError> {
        if let Ok(record) = self.record() {
            let mut gone = record.caretaker.end(END_PATIENCE);
            // They end with their caretaker; one that is stopped could still be on its way.
            for host in &record.hosts {
                gone &= host.init.kill();
            }
            if !gone {
                let message = format!(
                    "host {} does not end: process {} is still there",
                    self.name, record.caretaker.pid
                );
                return Err(StandingError::Left(message));
            }
        }
        sweep();
        remove(&self.path)
    }
}

/// Removes control groups that killed hosts have left behind.
fn sweep() {
    if let Ok(_lock) = Cache::open().and_then(|cache| cache.lock("cgroups")) {
        let _ = cgroup::sweep();
    }
}

/// Removes a host's folder; one that its caretaker has removed is removed.
///
/// # Errors
/// When it cannot be.
pub(super) fn remove(path: &Path) -> Result<(), StandingError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StandingError::io(path)(error)),
        _ => Ok(()),
    }
}
