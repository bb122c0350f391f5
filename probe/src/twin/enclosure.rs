//! The namespaces that a twin is, and nobody's identity in them.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Gid, Pid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};

use super::{Failure, Obstacle};

/// Always a user namespace too: also root's twin has no right outside. With the process id namespace everything in the
/// twin ends with its first process.
pub(super) const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS);

/// Whose rights root's twin has outside: the user that owns nothing (`nobody`, also the kernel's overflow user).
const NOBODY: u32 = 65534;

/// Root leaves its groups: the twin has those of this process, and could not leave them any more.
pub(super) fn leave_roots_groups() -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Ok(());
    }
    setgroups(&[]).map_err(|errno| forbidden("leave root's groups", errno))
}

/// Where the new process waits until its user namespace has users.
pub(super) struct Gate {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Gate {
    pub(super) fn new() -> Result<Self, Failure> {
        let (reader, writer) = std::io::pipe().map_err(|error| Failure::kernel("make a pipe", error))?;
        Ok(Self { reader, writer })
    }

    /// Gives the process's user namespace its one user, and lets the process go on. Its root is the caller outside, or
    /// nobody if the caller is root.
    pub(super) fn open_for(self, process: Pid) -> Result<(), Failure> {
        let outside = |own: u32| if geteuid().is_root() { NOBODY } else { own };
        let write = |name: &str, text: &str| {
            fs::write(format!("/proc/{process}/{name}"), text).map_err(|error| {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                forbidden("give the twin's user namespace a user", errno)
            })
        };
        write("setgroups", "deny")?;
        write("uid_map", &format!("0 {} 1\n", outside(geteuid().as_raw())))?;
        write("gid_map", &format!("0 {} 1\n", outside(getegid().as_raw())))?;
        let Self { reader, mut writer } = self;
        drop(reader);
        writer.write_all(b"1").map_err(|error| Failure::kernel("let the twin go on", error))
    }

    /// Waits in the new process, which is root of its namespaces then and nothing outside of them.
    pub(super) fn pass(self) -> Result<(), Failure> {
        let Self { mut reader, writer } = self;
        drop(writer);
        let mut byte = [0];
        reader.read_exact(&mut byte).map_err(|error| Failure::kernel("wait for the twin's user", error))?;
        let root = (Gid::from_raw(0), Uid::from_raw(0));
        setresgid(root.0, root.0, root.0)
            .and_then(|()| setresuid(root.1, root.1, root.1))
            .and_then(|()| set_dumpable(true))
            .map_err(|errno| forbidden("become the root of the twin's namespaces", errno))
    }
}

/// Proves that this process is not in the asker's network namespace, and says in which one it is.
pub(super) fn prove(asker: u64) -> Result<u64, Failure> {
    let own = fs::metadata("/proc/thread-self/ns/net")
        .map_err(|error| Failure::kernel("see the twin's network namespace", error))?
        .ino();
    if is_apart(own, asker) { Ok(own) } else { Err(Failure::NotIsolated) }
}

fn is_apart(own: u64, asker: u64) -> bool {
    own != 0 && asker != 0 && own != asker
}

/// What the tools write (their lock) goes into memory of the twin's own.
pub(super) fn private_files() -> Result<(), Failure> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(|errno| forbidden("make the twin's mounts private", errno))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, Some("size=16m,mode=755")) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(forbidden("mount the twin's own /run", errno)),
    }
}

/// The kernel's refusal of a step that needs a user namespace, with what it comes from.
pub(super) fn forbidden(step: &str, errno: Errno) -> Failure {
    let obstacle = match errno {
        Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS => obstacle(errno, Path::new("/proc")),
        _ => return Failure::kernel(step, errno),
    };
    Failure::Forbidden { step: format!("failed to {step}"), message: errno.to_string(), obstacle }
}

/// What the files below `proc` say about it.
fn obstacle(errno: Errno, proc: &Path) -> Obstacle {
    let setting = |name: &str, value: &str| {
        fs::read_to_string(proc.join("sys").join(name)).is_ok_and(|it| it.trim() == value)
    };
    let filtered = || {
        let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
        status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]))
    };
    if setting("user/max_user_namespaces", "0") {
        Obstacle::MaxUserNamespaces
    } else if matches!(errno, Errno::ENOSPC | Errno::EUSERS) {
        Obstacle::Limit
    } else if setting("kernel/unprivileged_userns_clone", "0") {
        Obstacle::UnprivilegedUsernsClone
    } else if setting("kernel/apparmor_restrict_unprivileged_userns", "1") {
        Obstacle::AppArmor
    } else if filtered() {
        Obstacle::Seccomp
    } else {
        Obstacle::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_in_the_askers_network_namespace() {
        let own = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        assert_eq!(prove(own), Err(Failure::NotIsolated));
        assert_eq!(prove(0), Err(Failure::NotIsolated));
        assert_eq!(prove(own + 1), Ok(own));
    }

    /// As Ubuntu 24.04 refuses: the namespace is made, and what needs a right in it fails.
    #[test]
    fn the_obstacle_is_what_this_kernels_settings_say() {
        let proc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = proc.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let of = |errno: Errno| obstacle(errno, proc.path());
        assert_eq!(of(Errno::EACCES), Obstacle::Unknown);
        write("self/status", "Name:\tx\nSeccomp:\t2\n");
        assert_eq!(of(Errno::EPERM), Obstacle::Seccomp);
        let apparmor = "sys/kernel/apparmor_restrict_unprivileged_userns";
        write(apparmor, "0\n");
        assert_eq!(of(Errno::EACCES), Obstacle::Seccomp);
        write(apparmor, "1\n");
        assert_eq!(of(Errno::EACCES), Obstacle::AppArmor);
        let said = of(Errno::EACCES).to_string();
        assert!(said.contains("kernel.apparmor_restrict_unprivileged_userns"), "{said}");
        write("sys/user/max_user_namespaces", "0\n");
        assert_eq!(of(Errno::ENOSPC), Obstacle::MaxUserNamespaces);
    }

    #[test]
    fn another_refusal_than_a_right_is_no_obstacle() {
        assert!(matches!(forbidden("x", Errno::ENOMEM), Failure::Kernel { .. }));
        assert!(matches!(forbidden("x", Errno::EPERM), Failure::Forbidden { .. }));
    }
}
