//! The end of a standing host, and of what is left of it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::entry::Entry;
use super::error::StandingError;
use super::process::ProcessId;
use super::record::Record;
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
        if let Ok(record) = self.record()
            && !self.end(&record)
        {
            let message =
                format!("host {} does not end: process {} is still there", self.name, record.caretaker.pid);
            return Err(StandingError::Left(message));
        }
        sweep();
        remove(&self.path)?;
        if let (Some(_), Some(folder)) = (self.only, self.path.parent()) {
            // The last one: nothing else needs it.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

impl Entry {
    /// Ends the processes of a record, and says whether they are gone. Those of a record that somebody else has written are only
    /// ended where they are that user's.
    fn end(&self, record: &Record) -> bool {
        let is_meant = |process: &ProcessId| self.only.is_none_or(|user| process.user() == Some(user));
        let mut gone = !is_meant(&record.caretaker) || record.caretaker.end(END_PATIENCE);
        // They end with their caretaker; one that is stopped could still be on its way.
        for host in &record.hosts {
            gone &= !is_meant(&host.init) || host.init.kill();
        }
        gone
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::record::{HostRecord, Stage, VERSION};
    use super::*;

    #[test]
    fn a_record_of_somebody_else_ends_no_process_of_ours() {
        let mut children = [(); 2].map(|()| Command::new("sleep").arg("600").spawn().unwrap());
        let [caretaker, init] = [0, 1].map(|at: usize| ProcessId::of(children[at].id() as i32).unwrap());
        let record = Record {
            version: VERSION,
            name: "host".parse().unwrap(),
            source: String::new(),
            title: String::new(),
            image: String::new(),
            started_at: 0,
            caretaker,
            stage: Stage::Ready,
            hosts: vec![HostRecord { hostname: "host-1".to_owned(), engine: true, init }],
            network: None,
        };
        let user = nix::unistd::geteuid().as_raw();
        let entry = |only| Entry { name: record.name.clone(), path: "/none".into(), only };
        assert!(entry(Some(user + 1)).end(&record), "nothing of that user is there");
        assert!(record.caretaker.is_alive() && record.hosts[0].init.is_alive());
        assert!(entry(Some(user)).end(&record));
        assert!(!record.caretaker.is_alive() && !record.hosts[0].init.is_alive());
        for child in &mut children {
            child.wait().unwrap();
        }
    }
}
