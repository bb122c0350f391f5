//! Runs a program and all that it starts under `ptrace`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Seen;
use super::call::Call;
use super::judge::{Deed, Judge};
use super::spaces::Spaces;

/// A signal for the program, just before one of its changes of the machine. What it has started goes on.
///
/// Its points are: each call by which the program itself would change the machine, each program that it starts and that is
/// none of the known readers, and the end of such a program.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// What it gets.
    pub signal: Signal,
    /// At which point, from 0.
    pub at: usize,
}

/// Lets the parent trace this process, waits for it, and becomes the program. Returns only when that fails.
#[must_use]
pub fn stop_and_become(command: &[String]) -> std::io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return std::io::ErrorKind::InvalidInput.into();
    };
    match ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP)) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(errno) => errno.into(),
    }
}

/// Runs a program to its end and to that of all that it has started, and says what it did. `itself` are the words that
/// make the calling program call [`stop_and_become`].
///
/// # Errors
/// When it cannot be traced.
pub fn run(itself: &[&str], command: &[String], kill: Option<Kill>) -> Result<Seen> {
    let spaces = Spaces::now()?;
    let mut child = Command::new("/proc/self/exe");
    let child = child.args(itself).args(command).spawn().context("start the program")?;
    let leader = Pid::from_raw(child.id().try_into().context("its process")?);
    let first = waitpid(leader, None).context("wait for the program")?;
    ensure!(first == WaitStatus::Stopped(leader, Signal::SIGSTOP), "it did not stop: {first:?}");
    let follow = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    let others = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(leader, follow | others).context("trace the program")?;
    let mut watch = Watch {
        leader,
        kill,
        judge: Judge::new(spaces),
        threads: HashMap::from([(leader, Thread::default())]),
        begun: false,
        seen: Seen::default(),
    };
    watch.judge.family.insert(leader);
    resume(leader, None);
    watch.follow()?;
    Ok(Seen { programs: watch.judge.programs, requests: watch.judge.requests, ..watch.seen })
}

/// A thread of the watched.
#[derive(Default)]
struct Thread {
    /// The call that it is in, and what that changes.
    inside: Option<(Call, Vec<Deed>)>,
    /// It is a program of the leader's that changes the machine.
    changes: bool,
}

struct Watch {
    leader: Pid,
    kill: Option<Kill>,
    judge: Judge,
    threads: HashMap<Pid, Thread>,
    /// The program itself runs by now.
    begun: bool,
    seen: Seen,
}

/// A thread that was killed meanwhile is no trouble: its end is reported.
fn resume(thread: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(thread, signal);
}

impl Watch {
    fn follow(&mut self) -> Result<()> {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for the watched"),
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    // Between its stop and this look it may have been killed.
                    if let Err(error) = self.call(thread)
                        && error.downcast_ref() != Some(&Errno::ESRCH)
                    {
                        return Err(error);
                    }
                    resume(thread, None);
                }
                Ok(WaitStatus::PtraceEvent(thread, _, event)) => {
                    self.begun |= event == Event::PTRACE_EVENT_EXEC as i32;
                    resume(thread, None);
                }
                Ok(WaitStatus::Stopped(thread, signal)) => {
                    let new = !self.threads.contains_key(&thread);
                    self.threads.entry(thread).or_default();
                    self.judge.family.insert(thread);
                    // A new one begins with a stop that is the kernel's and not for it.
                    resume(thread, Some(signal).filter(|signal| !(new && *signal == Signal::SIGSTOP)));
                }
                Ok(WaitStatus::Exited(thread, code)) => self.ended(thread, Some(code)),
                Ok(WaitStatus::Signaled(thread, ..)) => self.ended(thread, None),
                Ok(_) => {}
            }
        }
    }

    fn ended(&mut self, thread: Pid, code: Option<i32>) {
        if thread == self.leader {
            self.seen.code = code;
        }
        let changed = self.threads.remove(&thread).is_some_and(|it| it.changes);
        self.judge.family.remove(&thread);
        if changed {
            self.point("the end of it".to_owned());
        }
    }

    /// A thread begins a call, or comes out of one.
    fn call(&mut self, thread: Pid) -> Result<()> {
        let state = self.threads.entry(thread).or_default();
        if let Some((call, deeds)) = state.inside.take() {
            let result = Call::result(thread)?;
            self.judge.left(&call, result);
            for deed in deeds.into_iter().filter(|it| it.if_done && result >= 0) {
                self.done(deed);
            }
            return Ok(());
        }
        let call = Call::of(thread)?;
        if !self.begun {
            state.inside = Some((call, Vec::new()));
            return Ok(());
        }
        self.seen.calls += 1;
        let deeds = self.judge.entering(&call);
        if let Some(deed) = deeds.iter().find(|it| it.machines) {
            self.changes_soon(&call, &deed.what.clone());
        }
        for deed in deeds.iter().filter(|it| !it.if_done) {
            self.done(deed.clone());
        }
        if let Some(state) = self.threads.get_mut(&thread) {
            state.inside = Some((call, deeds));
        }
        Ok(())
    }

    fn done(&mut self, deed: Deed) {
        let list = if deed.machines { &mut self.seen.changes } else { &mut self.seen.apart };
        list.push(deed.what);
    }

    /// The leader's own calls are points, and the beginnings of its programs.
    fn changes_soon(&mut self, call: &Call, what: &str) {
        let status = fs::read_to_string(call.proc("status")).unwrap_or_default();
        let has = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|it| it.trim().parse().ok()).map(Pid::from_raw) == Some(self.leader)
        };
        let (its, childs) = (has("Tgid:"), has("PPid:") && call.number == libc::SYS_execve);
        if childs && let Some(state) = self.threads.get_mut(&call.caller) {
            state.changes = true;
        }
        if its || childs {
            self.point(what.to_owned());
        }
    }

    fn point(&mut self, what: String) {
        if let Some(Kill { signal, at }) = self.kill
            && at == self.seen.points.len()
        {
            // It may have ended.
            let _ = kill(self.leader, signal);
        }
        self.seen.points.push(what);
    }
}
