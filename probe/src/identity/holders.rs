//! Which process has a socket open. Root sees all, another user only their own.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Holder;
use crate::listeners::Listener;
use crate::sanitize::sanitize;

/// Some hosts have very many open files: what was not found by then stays without a name.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who holds `sockets`, in their order.
pub(crate) fn holders(sockets: &[&Listener]) -> Vec<Holder> {
    let found = find(Path::new("/proc"), &sockets.iter().map(|socket| socket.inode).collect::<Vec<_>>());
    let holder = |socket: &&Listener| {
        let process = found.get(&socket.inode);
        Holder {
            inode: socket.inode,
            uid: socket.uid,
            pid: process.map(|(pid, _)| *pid),
            program: process.and_then(|(_, program)| program.clone()),
        }
    };
    sockets.iter().map(holder).collect()
}

/// The first process that has each inode, and its program.
fn find(proc: &Path, inodes: &[u32]) -> HashMap<u32, (i32, Option<String>)> {
    let wanted: HashMap<String, u32> =
        inodes.iter().map(|inode| (format!("socket:[{inode}]"), *inode)).collect();
    let mut found = HashMap::new();
    let began = Instant::now();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        if found.len() == wanted.len() || began.elapsed() > PATIENCE {
            break;
        }
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        for file in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(file.path()) else { continue };
            if let Some(inode) = target.to_str().and_then(|target| wanted.get(target)) {
                found.entry(*inode).or_insert_with(|| (pid, program(&process.path())));
            }
        }
    }
    found
}

/// The name of a process's executable, or its own where that may not be read. A file that was replaced since the start is
/// called by its name.
fn program(process: &Path) -> Option<String> {
    let executable = fs::read_link(process.join("exe")).ok().and_then(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(name.trim_end_matches(" (deleted)").to_owned())
    });
    let name = executable.or_else(|| fs::read_to_string(process.join("comm")).ok())?;
    Some(sanitize(name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_its_own_socket() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let table = crate::listeners::read().unwrap();
        let own: Vec<&Listener> = table.iter().filter(|listener| listener.port == port).collect();
        let holders = holders(&own);
        assert_eq!(holders.len(), 1);
        assert_eq!(holders[0].pid, Some(i32::try_from(std::process::id()).unwrap()));
        assert_eq!(holders[0].uid, nix::unistd::geteuid().as_raw());
        let program = std::env::current_exe().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(holders[0].program.as_ref(), Some(&program));
    }

    #[test]
    fn a_socket_that_nobody_has_open_is_without_a_program() {
        assert!(find(Path::new("/proc"), &[0]).is_empty());
        assert!(find(Path::new("/nonexistent"), &[1]).is_empty());
    }
}
