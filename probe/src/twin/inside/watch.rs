//! Ends the twin when its asker goes or its time is over.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::Failure;
use super::super::process::{Reply, say};

/// A second of the asker's budget is not the twin's, so that its word comes before it is ended; of a short budget, a tenth.
const SPARE: Duration = Duration::from_secs(1);

/// What the twin is doing, and whether it has spoken.
pub(super) struct Watch {
    step: Arc<Mutex<&'static str>>,
}

impl Watch {
    /// Watches until the twin ends.
    pub(super) fn begin(budget: Duration) -> Self {
        let step = Arc::new(Mutex::new("begin"));
        let left = budget.saturating_sub(SPARE.min(budget / 10)).min(Duration::from_secs(3600));
        let deadline = Instant::now() + left;
        let shared = Arc::clone(&step);
        thread::spawn(move || {
            let asked = watch(deadline);
            let step = lock(&shared);
            if !asked {
                // Nobody is left to be told. With this process everything in the namespaces ends.
                std::process::exit(1);
            }
            let failure = Failure::TimedOut { step: (*step).to_owned() };
            say(&Reply::Failure(failure));
            std::process::exit(3);
        });
        Self { step }
    }

    /// Says what comes now.
    pub(super) fn step(&self, step: &'static str) {
        *lock(&self.step) = step;
    }

    /// Says the twin's only word, unless the time was over before.
    pub(super) fn last_word(&self, reply: &Reply) -> ExitCode {
        // Held to the end, so that there is no second word.
        std::mem::forget(lock(&self.step));
        say(reply)
    }
}

fn lock<'step>(step: &'step Mutex<&'static str>) -> MutexGuard<'step, &'static str> {
    step.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the asker is still there when the time is over.
fn watch(deadline: Instant) -> bool {
    let input = io::stdin();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(input.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            // The asker says nothing more, so this is the end of it.
            _ => return false,
        }
    }
}
