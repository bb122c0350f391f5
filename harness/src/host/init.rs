//! The first process of a host: furnishes it, starts what lives in it, reaps, and ends with its creator.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use super::cgroup::HostCgroups;
use super::filesystem;
use super::keeper::{NAMESPACE_NAMES, announce, namespace_inodes, reach};
use super::privileges;
use super::protocol::{Answer, Boot, Event, MESSAGE_LIMIT, Request};
use super::step::BootStep;
use netns::sys::receive_with_descriptors;

/// Boots the host and serves it; it ends when the creator's end of `control` closes.
pub(super) fn run(boot: &Boot, cgroups: &HostCgroups, control: OwnedFd, machine: &[u64; 5]) -> ! {
    let result = furnish(boot, cgroups, &control, machine).and_then(|()| {
        announce(&Event::Ready);
        serve(&control)
    });
    if let Err(message) = result {
        announce(&Event::Failed(message));
        std::process::exit(1);
    }
    std::process::exit(0)
}

fn furnish(boot: &Boot, cgroups: &HostCgroups, control: &OwnedFd, machine: &[u64; 5]) -> Result<(), String> {
    let said = |what: &'static str| move |errno: Errno| format!("{what}: {}", errno.desc());
    // Nobody ends the keeper alone, but if it happens the host goes with it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(said("follow the keeper"))?;
    prove_isolation(machine)?;
    reach(BootStep::Isolated, boot, control);

    umask(Mode::from_bits_truncate(0o022));
    netns::sys::reset_signals().map_err(said("reset the signals' dispositions"))?;
    cgroups.join().map_err(|error| format!("join the control groups: {error}"))?;
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(said("make a control group namespace"))?;
    cgroups.settle().map_err(|error| format!("join the control groups: {error}"))?;
    reach(BootStep::CgroupsJoined, boot, control);

    let root = filesystem::mount_root(&boot.root)?;
    reach(BootStep::RootMounted, boot, control);
    filesystem::furnish(&root, boot, cgroups)?;
    reach(BootStep::Furnished, boot, control);
    filesystem::pivot(&root)?;
    reach(BootStep::Pivoted, boot, control);

    sethostname(&boot.hostname).map_err(said("set the host's name"))?;
    netns::sys::bring_loopback_up().map_err(|error| format!("set the loopback interface up: {error}"))?;
    privileges::drop_unneeded().map_err(|error| format!("drop privileges: {error}"))?;
    reach(BootStep::PrivilegesDropped, boot, control);
    reach(BootStep::Ready, boot, control);
    Ok(())
}

/// Before the first change: every namespace of this process is another one than the machine's. `/proc` is still the
/// machine's here and knows this process by its id there, which `self` resolves.
fn prove_isolation(machine: &[u64; 5]) -> Result<(), String> {
    let own = namespace_inodes().map_err(|error| format!("read the host's namespaces: {error}"))?;
    for ((own, machine), name) in own.iter().zip(machine).zip(NAMESPACE_NAMES) {
        if own == machine {
            return Err(format!("the {name} namespace is still the machine's"));
        }
    }
    Ok(())
}

/// A program that was started on request, and where its answers go.
struct Running {
    answers: File,
}

fn serve(control: &OwnedFd) -> Result<(), String> {
    let said = |what: &'static str| move |errno: Errno| format!("{what}: {}", errno.desc());
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(said("block SIGCHLD"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(said("watch for SIGCHLD"))?;
    let mut running: HashMap<i32, Running> = HashMap::new();
    let mut buffer = vec![0; MESSAGE_LIMIT];
    loop {
        let pids: Vec<i32> = running.keys().copied().collect();
        let mut watched = vec![
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        for pid in &pids {
            watched.push(PollFd::new(running[pid].answers.as_fd(), PollFlags::empty()));
        }
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("wait for requests: {}", errno.desc())),
        }
        let happened = |index: usize| watched[index].revents().is_some_and(|events| !events.is_empty());
        let abandoned: Vec<i32> =
            pids.iter().enumerate().filter(|(index, _)| happened(index + 2)).map(|(_, pid)| *pid).collect();
        let (has_request, has_signal) = (happened(0), happened(1));
        if has_signal {
            while let Ok(Some(_)) = signals.read_signal() {}
            reap(&mut running);
        }
        for pid in abandoned {
            if running.remove(&pid).is_some() {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        if has_request {
            match receive_with_descriptors(control, &mut buffer) {
                Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(()),
                Ok((length, descriptors)) => start(&buffer[..length], descriptors, &mut running),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(format!("read a request: {}", errno.desc())),
            }
        }
    }
}

fn reap(running: &mut HashMap<i32, Running>) {
    loop {
        let (pid, answer) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Answer::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Answer::Signaled(signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(_) => continue,
        };
        // Others are orphans of what was started, which nobody asks about.
        if let Some(mut ended) = running.remove(&pid.as_raw()) {
            tell(&mut ended.answers, &answer);
        }
    }
}

fn start(message: &[u8], descriptors: Vec<OwnedFd>, running: &mut HashMap<i32, Running>) {
    let Ok([stdin, stdout, stderr, answers]) = <[OwnedFd; 4]>::try_from(descriptors) else { return };
    let mut answers = File::from(answers);
    let Ok(request) = serde_json::from_slice::<Request>(message) else {
        tell(&mut answers, &Answer::NotStarted(Errno::EINVAL as i32));
        return;
    };
    // The init's own file lies outside the host; the kernel's link to it leads there nevertheless.
    let program = if request.itself { "/proc/self/exe" } else { &request.program };
    let mut command = Command::new(program);
    command
        .args(&request.args)
        .env_clear()
        .envs(request.env)
        .current_dir(&request.cwd)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .process_group(0);
    if let Some(arg0) = &request.arg0 {
        command.arg0(arg0);
    }
    if let Some((user, group)) = request.user {
        command.uid(user).gid(group);
    }
    match command.spawn() {
        Ok(child) => {
            let pid = child.id() as i32;
            tell(&mut answers, &Answer::Started(pid));
            if !request.detached {
                running.insert(pid, Running { answers });
            }
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(Errno::EINVAL as i32);
            tell(&mut answers, &Answer::NotStarted(errno));
        }
    }
}

/// An asker that is gone needs no answer.
fn tell(answers: &mut File, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let _ = answers.write_all(&line);
    }
}
