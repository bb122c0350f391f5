//! SIGINT, SIGTERM and SIGHUP, as something that a wait can be raced with: what was begun is still undone.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The signals that end a check early.
#[derive(Clone, Debug)]
pub struct Interrupt {
    signal: watch::Receiver<Option<i32>>,
}

impl Interrupt {
    /// Listens for SIGINT, SIGTERM and SIGHUP from now on, instead of dying of them. A SIGHUP that is ignored, as under `nohup`, stays
    /// ignored. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // The terminal is gone, such as that of an ssh session.
        let mut hangup = match is_ignored(SignalKind::hangup().as_raw_value()) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let number = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
                _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
                _ = hung_up => SignalKind::hangup().as_raw_value(),
            };
            // Nobody listening any more is no trouble. The sender stays: a closed channel would look like a signal.
            let _ = sender.send(Some(number));
            sender.closed().await;
        });
        Ok(Self { signal: receiver })
    }

    /// An interrupt that never comes, for callers with their own signal handling.
    #[must_use]
    pub fn never() -> Self {
        let (_, receiver) = watch::channel(None);
        Self { signal: receiver }
    }

    /// The signal that came, if one did.
    #[must_use]
    pub fn number(&self) -> Option<i32> {
        *self.signal.borrow()
    }

    /// Returns when a signal has come.
    pub async fn raised(&self) {
        let mut signal = self.signal.clone();
        if signal.wait_for(Option::is_some).await.is_err() {
            // Without a sender none will come.
            std::future::pending::<()>().await;
        }
    }
}

/// Whether whoever started this process has it ignore the signal of this number.
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

/// Whether a process with this `/proc/PID/status` ignores the signal: `SigIgn` is a set in hexadecimal, the lowest bit for signal 1
/// (proc_pid_status(5)).
fn ignores(status: &str, signal: i32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default();
    u32::try_from(signal - 1).is_ok_and(|bit| set.checked_shr(bit).unwrap_or_default() & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores;

    #[test]
    fn an_ignored_signal_is_seen_in_the_status_of_a_process() {
        let status =
            "Name:\tprobe\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        let ignored: Vec<i32> = (0..70).filter(|signal| ignores(status, *signal)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!ignores("", 1));
    }
}
