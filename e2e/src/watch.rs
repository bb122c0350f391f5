//! Sees what a program changes: it is run under `ptrace`, with all that it starts, and each call into the kernel is judged.
//!
//! ```text
//!  watcher ─ ptrace ─► openshell-probe explain ─┬─► iptables-nft-save        a change here is the machine's
//!     │                                         └─► twin ─► nft -f -         here it is the twin's own
//!     ▼
//!  Seen: changes, what was changed apart, programs, what the engine was asked
//! ```
//!
//! A change is the **machine's** unless the calling process is in namespaces that did not exist when the watch began: a
//! socket belongs to the network namespace that it was made in, a file to its device, a mount to the mount namespace of its
//! process. What is not known to read counts as a change.
//!
//! It takes a kernel that lets a process trace its children (`kernel.yama.ptrace_scope` below 3). What it does not see: what the kernel does by itself for a call that reads (it may load a module), what the engine does
//! for a request (see [`engine::ALLOWED`] for those that it may get), and anything that is done through a descriptor that
//! the program was given. It is a watch over a program that is ours, and no wall: another thread could change a text
//! between the look and the call.

mod call;
pub mod engine;
mod judge;
pub mod netlink;
mod paths;
mod sockets;
mod spaces;
mod tracer;

use std::path::Path;

use anyhow::Result;
use harness::Network;
use harness::service::{Gateway, OllamaProxy};
use serde::{Deserialize, Serialize};

use crate::lab::{Lab, host_with_probe_and};

pub use tracer::{Kill, run, stop_and_become};

/// Where the watcher is inside a host.
pub const WATCHER: &str = "/usr/local/bin/watcher";

/// A host with all parts, and with the program `watcher` in it.
///
/// # Errors
/// When a part does not start.
pub async fn lab(watcher: &Path) -> Result<Lab> {
    let host = host_with_probe_and(&[(watcher, WATCHER)]).await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let gateway = Some(Gateway::on(network.gateway).start(&host).await?);
    let proxy = Some(OllamaProxy::new().start(&host).await?);
    Ok(Lab { host, network, gateway, proxy })
}

/// What a program did.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Seen {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// How many calls into the kernel were looked at: none means that nothing was watched.
    pub calls: u64,
    /// What it changed on the machine, or tried to, in the order of time.
    pub changes: Vec<String>,
    /// What it changed in namespaces of its own.
    pub apart: Vec<String>,
    /// The programs that it ran in the machine's namespaces, as command lines.
    pub programs: Vec<String>,
    /// What it asked the engine, as `METHOD path`.
    pub requests: Vec<String>,
    /// The points at which it could be killed: see [`Kill`].
    pub points: Vec<String>,
}
