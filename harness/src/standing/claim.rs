//! A caretaker's hold on its host's folder: whoever removes the folder gives the host up, because no list has it any more.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;
use tokio::time::{MissedTickBehavior, interval};

use super::entry::Entry;
use super::process::ProcessId;

/// How often the folder is looked at where the kernel does not tell of changes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A host's folder, and whose it is to be.
pub(super) struct Claim<'entry> {
    entry: &'entry Entry,
    caretaker: ProcessId,
    /// Nothing where this user has as many of them as the system allows (`fs.inotify.max_user_instances`).
    changes: Option<pipe::Receiver>,
}

impl<'entry> Claim<'entry> {
    /// Begins to watch a folder. It takes a runtime.
    pub(super) fn new(entry: &'entry Entry, caretaker: ProcessId) -> Self {
        let changes = watch(&entry.path).inspect_err(|error| {
            crate::service::say(format_args!("its record is looked at every {LOOK_AGAIN:?}: {error}"));
        });
        Self { entry, caretaker, changes: changes.ok() }
    }

    /// Returns when the folder is gone, or is another caretaker's.
    pub(super) async fn lost(&self) {
        let mut looks = interval(LOOK_AGAIN);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.entry.is_of(&self.caretaker) {
            match &self.changes {
                Some(changes) if changes.readable().await.is_ok() => {
                    // What has changed is seen by looking. Another wait may have read it already.
                    let _ = changes.try_read(&mut [0; 4096]);
                }
                _ => {
                    looks.tick().await;
                }
            }
        }
    }
}

/// Tells of whatever vanishes from the folder, and of the folders in which it is. A name that vanishes is told at once; the end of a
/// folder itself is not as long as somebody has a socket in it.
fn watch(folder: &Path) -> io::Result<pipe::Receiver> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let vanishing = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_ONLYDIR;
    for folder in folder.ancestors().take(3) {
        inotify.add_watch(folder, vanishing)?;
    }
    // It is no pipe, and read as one.
    pipe::Receiver::from_owned_fd_unchecked(inotify.into())
}
