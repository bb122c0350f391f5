//! The keeper: the one process of a host that is outside it.
//!
//! It makes the host's control groups, clones the init into new namespaces, waits for its end and removes the control
//! groups. It has a session of its own and holds no descriptor but the control socket, the events and the log.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::setsid;

use super::cgroup::HostCgroups;
use super::init;
use super::protocol::{Boot, Event, KEEPER, MESSAGE_LIMIT};
use super::step::BootStep;
use netns::sys::{Side, clone_into, close_descriptors_from, ignore_broken_pipes, receive_with_descriptors};

netns::before_main!(start_if_asked);

/// What a host's namespaces are; the control group namespace follows when the control groups are joined.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Their names below `/proc/PID/ns`.
pub(super) const NAMESPACE_NAMES: [&str; 5] = ["net", "mnt", "pid", "uts", "ipc"];

fn start_if_asked() {
    let name = std::env::args_os().next();
    if name.is_some_and(|name| name == KEEPER) {
        let status = match keep() {
            Ok(()) => 0,
            Err(message) => {
                announce(&Event::Failed(message));
                1
            }
        };
        std::process::exit(status);
    }
    crate::service::start_stand_in_if_asked();
}

/// Writes an event to the creator. A creator that is gone is noticed at the control socket.
pub(super) fn announce(event: &Event) {
    let Ok(mut line) = serde_json::to_vec(event) else { return };
    line.push(b'\n');
    let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
}

/// Announces a step, and waits there for the creator's end when it is the one to stop at.
pub(super) fn reach(step: BootStep, boot: &Boot, control: &OwnedFd) {
    announce(&Event::Step(step));
    if boot.stop_at == Some(step) {
        let mut watched = [PollFd::new(control.as_fd(), PollFlags::empty())];
        let _ = poll(&mut watched, PollTimeout::NONE);
    }
}

fn keep() -> Result<(), String> {
    let said = |what: &'static str| move |error: nix::errno::Errno| format!("{what}: {}", error.desc());
    ignore_broken_pipes().map_err(said("ignore broken pipes"))?;
    setsid().map_err(said("begin a session"))?;
    close_descriptors_from(3).map_err(said("close what was inherited"))?;
    let control = io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let mut buffer = vec![0; MESSAGE_LIMIT];
    let (length, _) = receive_with_descriptors(&control, &mut buffer).map_err(said("read what to boot"))?;
    if length == 0 {
        // The creator ended before it said what it wants.
        return Ok(());
    }
    let boot: Boot = serde_json::from_slice(&buffer[..length]).map_err(|error| error.to_string())?;
    reach(BootStep::Keeper, &boot, &control);

    let cgroups = HostCgroups::create(boot.cgroups, boot.rights)
        .map_err(|error| format!("make control groups: {error}"))?;
    reach(BootStep::Cgroups, &boot, &control);
    let machine = namespace_inodes().map_err(|error| format!("read the machine's namespaces: {error}"))?;
    match clone_into(NAMESPACES) {
        Err(errno) => {
            cgroups.remove();
            Err(format!("make namespaces: {}", errno.desc()))
        }
        Ok(Side::Child) => init::run(&boot, &cgroups, control, &machine),
        Ok(Side::Parent(init)) => {
            announce(&Event::Cloned(init.as_raw()));
            drop(control);
            while let Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::EINTR) = waitpid(init, None) {}
            cgroups.remove();
            Ok(())
        }
    }
}

/// The inodes that tell the calling process's namespaces from all others.
pub(super) fn namespace_inodes() -> io::Result<[u64; 5]> {
    let mut inodes = [0; 5];
    for (inode, name) in inodes.iter_mut().zip(NAMESPACE_NAMES) {
        *inode = std::fs::metadata(format!("/proc/self/ns/{name}"))?.ino();
    }
    Ok(inodes)
}
