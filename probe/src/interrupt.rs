//! SIGINT and SIGTERM, as something that a wait can be raced with: what was begun is still undone.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The signals that end a check early.
#[derive(Clone, Debug)]
pub struct Interrupt {
    signal: watch::Receiver<Option<i32>>,
}

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on, instead of dying of them. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let number = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
                _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
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
