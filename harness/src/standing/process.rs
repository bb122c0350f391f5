//! Processes that are never mistaken for others.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::host::cgroup::{boot_id, start_time};

/// A process by its id, its start time and the boot: an id alone is given out again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProcessId {
    /// The id, as the machine sees it.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks from the boot to its start.
    pub start: String,
    /// The beginning of the boot's id.
    pub boot: String,
}

impl ProcessId {
    /// The process that has this id now; `None` when there is none, or a dead one that nobody has waited for.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start: start_time(&format!("/proc/{pid}/stat"))?, boot: boot_id().ok()? })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// The user that it runs as, when it still runs.
    pub(super) fn user(&self) -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let user =
            status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse();
        // The id is still the right process's.
        self.is_alive().then_some(user.ok()?)
    }

    /// A descriptor of it, when it still runs. It stays this process's, whatever becomes of the id.
    fn open(&self) -> Option<OwnedFd> {
        let descriptor = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // The descriptor came first: when the process is still the right one now, the descriptor is of the right one too.
        self.is_alive().then_some(descriptor)
    }

    /// Tells its end. A thread waits for it, which ends with this process at the latest.
    pub(super) fn ended(&self) -> oneshot::Receiver<()> {
        let (tell, ended) = oneshot::channel();
        if let Some(descriptor) = self.open() {
            std::thread::spawn(move || {
                while !ends_within(&descriptor, Duration::MAX) {}
                let _ = tell.send(());
            });
        }
        ended
    }

    /// Ends it: politely, and after `patience` by SIGKILL. Returns whether it is gone.
    #[must_use]
    pub fn end(&self, patience: Duration) -> bool {
        let Some(descriptor) = self.open() else { return true };
        let _ = pidfd_send_signal(&descriptor, Signal::TERM);
        // One that was stopped hears of it only when it goes on.
        let _ = pidfd_send_signal(&descriptor, Signal::CONT);
        ends_within(&descriptor, patience) || self.kill()
    }

    /// Ends it by SIGKILL. Returns whether it is gone.
    #[must_use]
    pub fn kill(&self) -> bool {
        let Some(descriptor) = self.open() else { return true };
        let _ = pidfd_send_signal(&descriptor, Signal::KILL);
        ends_within(&descriptor, KILL_PATIENCE)
    }
}

/// How long the kernel may take to end a process with all of a host; measured: 20 ms.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A descriptor of a process is readable when the process has ended.
fn ends_within(descriptor: &OwnedFd, patience: Duration) -> bool {
    let begun = Instant::now();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => return ready > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a recycled id looks like: the id is somebody's, and the start time is another one.
    #[test]
    fn a_recycled_id_is_another_process_and_is_left_alone() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = ProcessId::of(child.id() as i32).unwrap();
        assert!(process.is_alive());
        let other = ProcessId { start: "1".to_owned(), ..process.clone() };
        assert!(!other.is_alive());
        assert!(other.end(Duration::ZERO) && other.kill(), "it is gone already");
        let other = ProcessId { boot: "00000000".to_owned(), ..process.clone() };
        assert!(other.kill());
        assert!(process.is_alive(), "the process that has the id now");
        assert!(process.end(Duration::from_secs(10)));
        child.wait().unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn who_does_not_listen_is_killed() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' TERM; echo; exec sleep 600"]);
        let mut child = shell.stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let process = ProcessId::of(child.id() as i32).unwrap();
        assert!(process.end(Duration::from_millis(50)));
        assert!(!process.is_alive(), "a zombie is gone");
        child.wait().unwrap();
    }
}
