//! A task that goes on beside its creator's own work, on a thread of its own.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use netns::{Error, Namespace};
use tokio::sync::oneshot;

/// A task in a network namespace. It ends when this is dropped, and what it has opened is closed then.
///
/// It does not wait for its creator's runtime: a test that blocks its only thread would otherwise wait for itself.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Background {
    /// Starts `task` in that namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub(crate) fn start(
        namespace: Namespace,
        task: impl AsyncFnOnce() + Send + 'static,
    ) -> Result<Self, Error> {
        let (stop, stopped) = oneshot::channel();
        let (entered, has_entered) = mpsc::channel();
        let thread = thread::spawn(move || {
            namespace.block_on(async move || {
                let _ = entered.send(());
                tokio::select! {
                    _ = stopped => {}
                    () = task() => {}
                }
            })
        });
        if has_entered.recv().is_ok() {
            return Ok(Self { stop: Some(stop), thread: Some(thread) });
        }
        // Nobody is left to send: it ended without having entered.
        match thread.join() {
            Ok(ended) => ended.map(|()| Self { stop: None, thread: None }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
