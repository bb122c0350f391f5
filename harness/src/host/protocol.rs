//! What a creator, the keeper and the init of a host say to each other.
//!
//! The keeper's standard input is a sequenced-packet socket: the first message is [`Boot`], every later one a
//! [`Request`] with descriptors. Its end is the end of the host. The keeper's standard output carries [`Event`]s, a line
//! of JSON each; standard error is the log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::step::BootStep;
use crate::host::cgroup::Cgroups;
use crate::privilege::Rights;

/// `argv[0]` of a program that is to be the keeper of a host instead of itself.
pub(super) const KEEPER: &str = "openshell-harness-keeper";

/// The largest message; a socket buffer takes twice as much.
pub(super) const MESSAGE_LIMIT: usize = 64 * 1024;

/// What a host is to be.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Boot {
    pub(super) hostname: String,
    pub(super) root: Root,
    pub(super) binds: Vec<Bind>,
    pub(super) cgroups: Cgroups,
    pub(super) rights: Rights,
    /// The step at which the boot waits until its creator is gone; for tests of exactly that.
    pub(super) stop_at: Option<BootStep>,
}

/// Where the root filesystem comes from.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Root {
    /// An image: the folder with `rootfs` and `mount`.
    Image(PathBuf),
    /// The machine's own, with the host's tmpfs mounted at this folder.
    Machine(PathBuf),
}

/// A file or folder of the machine that a host is to see.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Bind {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) writable: bool,
}

/// What happens during a boot.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Event {
    /// A step begins.
    Step(BootStep),
    /// The init process exists; its id as the keeper sees it.
    Cloned(i32),
    /// The host takes requests.
    Ready,
    /// The boot failed.
    Failed(String),
}

/// Asks the init of a host to start a program. With it come standard input, output and error, and the socket for the
/// answers, in this order. When the asker's end of that socket closes, the program and its children are ended.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Request {
    /// The program to execute; with `exe` the init's own file.
    pub(super) program: String,
    pub(super) itself: bool,
    pub(super) arg0: Option<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: PathBuf,
    pub(super) user: Option<(u32, u32)>,
    /// It runs on when the asker is gone, until it ends or the host does.
    pub(super) detached: bool,
}

/// What became of a request: a line of JSON each on its socket.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Answer {
    /// It runs; its process id inside the host.
    Started(i32),
    /// It could not be started; the error number.
    NotStarted(i32),
    /// It ended with that code.
    Exited(i32),
    /// It was ended by that signal.
    Signaled(i32),
}
