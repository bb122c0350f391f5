//! A terminal of the host's own for a program in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use netns::sys::{Side, clone_into};
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pause, setpgid, setsid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::protocol::Window;
use crate::host::Host;
use crate::service::STAND_IN_VARIABLE;

/// What the program is called until it is itself.
pub(super) const NAME: &str = "openshell-harness-terminal";

/// A new terminal of the host's: the end that a person has, and the end that the program has. It is of the host's own
/// `/dev/pts`, so `tty` in the host knows it.
pub(super) fn open(host: &Host, window: &Window) -> io::Result<(OwnedFd, OwnedFd)> {
    let path = host.path("/dev/pts/ptmx");
    let master: OwnedFd = File::options().read(true).write(true).open(path)?.into();
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    resize(&master, window.rows, window.columns)?;
    Ok((master, slave))
}

/// Gives a terminal a size; its programs hear of it.
pub(super) fn resize(master: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(master, size)?)
}

/// Runs in place of `main`, in the host: makes standard input the terminal of a session of its own, and becomes the program.
pub(super) fn run(config: &str) -> Result<i32, String> {
    let argv: Vec<String> = serde_json::from_str(config).map_err(|error| error.to_string())?;
    let (program, arguments) = argv.split_first().ok_or("no program")?;
    begin_session().map_err(|errno| format!("begin a session: {}", errno.desc()))?;
    rustix::process::ioctl_tiocsctty(io::stdin())
        .map_err(|error| format!("take the terminal: {}", io::Error::from(error)))?;
    let error = Command::new(program).args(arguments).env_remove(STAND_IN_VARIABLE).exec();
    crate::service::say(refusal(program, &error));
    Ok(code_of(&error).into())
}

/// The init has made this process the leader of a process group, and no leader can begin a session. So it joins the group of a
/// child for a moment.
fn begin_session() -> nix::Result<()> {
    match clone_into(CloneFlags::empty())? {
        Side::Child => {
            let _ = prctl::set_pdeathsig(Signal::SIGKILL);
            pause();
            std::process::exit(0)
        }
        Side::Parent(child) => {
            let begun = setpgid(child, child)
                .and_then(|()| setpgid(Pid::from_raw(0), child))
                .and_then(|()| setsid().map(drop));
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
            begun
        }
    }
}

/// What a shell says of a program that could not be started.
pub(super) fn refusal(program: &str, error: &io::Error) -> String {
    let name = Path::new(program).display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{name}: not found in the host"),
        _ => format!("{name}: {error}"),
    }
}

/// The exit code that a shell has for it.
pub(super) fn code_of(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}
