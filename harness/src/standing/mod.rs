//! Standing hosts: hosts that stay when the command that started them has ended.
//!
//! ```text
//!  openshell-harness up ──▶ caretaker (a session of its own) ── Host ──▶ init, dockerd, services, firewall
//!                             │  ▲
//!                             │  └── socket ◀── list, logs, shell, exec, pcap (with their descriptors)
//!                             └───── record.json, log
//! ```
//!
//! A host belongs to its caretaker, as every host belongs to its creator: when the caretaker ends, however it ends, the kernel
//! ends the host. What is left then is a folder of a few small files, which says what has happened until it is removed.
//!
//! A host whose folder is removed ends, because nobody would find it any more.
//!
//! The folders are in [`Folder`], a private place of the user who runs the command. Processes are named by id, start time and
//! boot, so an id that has been given out again is never taken for the process that once had it.

mod capture;
mod caretaker;
mod claim;
mod client;
mod entry;
mod error;
mod folder;
mod foreign;
mod name;
mod process;
mod program;
mod protocol;
mod record;
mod removal;
mod sandbox;
mod server;
mod signals;
mod terminal;

pub use capture::Capture;
pub use caretaker::{Order, caretaker_if_asked, start};
pub use client::{Client, FreshError, run_fresh};
pub use entry::Entry;
pub use error::StandingError;
pub use folder::Folder;
pub use name::{BadName, Name};
pub use process::ProcessId;
pub use program::{Inside, Program, Task};
pub use record::{HostRecord, Listed, NetworkRecord, Record, Stage, State};

/// Runs what a program of the harness is to be inside a host instead of itself; called before `main`.
pub(crate) fn start_if_asked(name: &str, config: &str) {
    let result = match name {
        terminal::NAME => terminal::run(config),
        capture::NAME => capture::run(config),
        _ => return,
    };
    let code = result.unwrap_or_else(|message| {
        crate::service::say(message);
        1
    });
    std::process::exit(code)
}
