//! Whose process it is: by the file that it executes and by the sockets that it holds. A name is no proof of either.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::GatewayError;
use super::state::LOOK;
use crate::host::Host;

/// How often a socket whose holder is not there, or not wholly, is looked at again, [`LOOK`] apart: half a second.
const SETTLING: u32 = 100;

/// A file that is executed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Executable {
    /// Where it is in the host. It counts too: one file may be several programs by its name.
    pub path: PathBuf,
    /// The device and the inode that tell it from a file that takes its place later.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
}

impl Executable {
    /// The file at a path of the host.
    pub(crate) fn at(host: &Host, path: &str) -> std::io::Result<Self> {
        let found = fs::metadata(host.path(path))?;
        Ok(Self { path: path.into(), device: found.dev(), inode: found.ino() })
    }
}

/// A process that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    /// In clock ticks since the machine's boot: tells it from a later process with the same id.
    pub(crate) started: u64,
    pub(crate) executable: Executable,
}

/// The process with that id in the host, unless it has ended or is about to.
pub(crate) fn process(host: &Host, pid: i32) -> Option<Running> {
    let started = start_of(host, pid)?;
    let link = host.path(format!("/proc/{pid}/exe"));
    let file = fs::metadata(&link).ok()?;
    let path = fs::read_link(&link).ok()?;
    // The kernel's mark of a file whose name is gone or leads to another file by now.
    let path =
        path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(path.clone(), PathBuf::from);
    Some(Running { pid, started, executable: Executable { path, device: file.dev(), inode: file.ino() } })
}

/// Whether nothing of a process is left but what its parent has to reap. A process that ends has no executable any more
/// before its sockets are closed, so [`process`] tells too early.
pub(crate) fn has_ended(host: &Host, running: &Running) -> bool {
    start_of(host, running.pid) != Some(running.started)
}

/// When the process with that id started; `None` when there is none or it waits to be reaped.
fn start_of(host: &Host, pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(host.path(format!("/proc/{pid}/stat"))).ok()?;
    // The name before it may have spaces and parentheses. From there on: state, ppid, … starttime is the 20th.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Every process of the host.
pub(crate) fn all_processes(host: &Host) -> impl Iterator<Item = Running> {
    let entries = fs::read_dir(host.path("/proc")).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    pids.filter_map(|pid| process(host, pid))
}

/// The environment that a process was started with; it may be unreadable or gone.
pub(crate) fn environment(host: &Host, pid: i32) -> BTreeMap<String, String> {
    let bytes = fs::read(host.path(format!("/proc/{pid}/environ"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .split('\0')
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A listening socket and who holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    pub(crate) address: IpAddr,
    /// `None` when no process of the host has it, such as a socket of the machine's in the host's network.
    pub(crate) pid: Option<i32>,
}

/// Who listens on a port of the host, at whichever address.
pub(crate) fn owners(host: &Host, port: u16) -> Result<Vec<Owner>, GatewayError> {
    let table = host.network_namespace().run(probe::read_listeners);
    let table = table
        .map_err(|error| GatewayError::Listeners(error.into()))?
        .map_err(|error| GatewayError::Listeners(error.into()))?;
    let sockets: Vec<_> = table.into_iter().filter(|listener| listener.port == port).collect();
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let holders = holders(host);
    let owner = |inode: u32| holders.get(&u64::from(inode)).copied();
    Ok(sockets
        .into_iter()
        .map(|listener| Owner { address: listener.address, pid: owner(listener.inode) })
        .collect())
}

/// The same, once it is steady. A process that is just ending holds its sockets a moment longer than its executable, and then
/// they have no holder for a moment.
pub(crate) async fn settled_owners(host: &Host, port: u16) -> Result<Vec<Owner>, GatewayError> {
    let mut tick = tokio::time::interval(LOOK);
    let mut seen = owners(host, port)?;
    for _ in 0..SETTLING {
        if seen.iter().all(|owner| owner.pid.is_some_and(|pid| process(host, pid).is_some())) {
            break;
        }
        tick.tick().await;
        seen = owners(host, port)?;
    }
    Ok(seen)
}

/// The process that holds each socket of the host.
fn holders(host: &Host) -> HashMap<u64, i32> {
    let mut holders = HashMap::new();
    for entry in fs::read_dir(host.path("/proc")).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        for descriptor in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
            if let Some(inode) = socket(&descriptor.path()) {
                holders.insert(inode, pid);
            }
        }
    }
    holders
}

/// `socket:[4711]`.
fn socket(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
