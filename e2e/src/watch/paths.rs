//! Calls that change files, and whose files those are.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::libc::{self, c_long};

use super::call::Call;
use super::spaces::Spaces;

/// Which operand is the folder's descriptor, where there is one, and which the path.
type Named = (c_long, Option<usize>, usize);

/// What is not in `libc` yet.
const FCHMODAT2: c_long = 452;

/// Calls that change what a path names.
const BY_PATH: &[Named] = &[
    (libc::SYS_unlinkat, Some(0), 1),
    (libc::SYS_mkdirat, Some(0), 1),
    (libc::SYS_mknodat, Some(0), 1),
    (libc::SYS_renameat2, Some(2), 3),
    (libc::SYS_renameat, Some(2), 3),
    (libc::SYS_linkat, Some(2), 3),
    (libc::SYS_symlinkat, Some(1), 2),
    (libc::SYS_fchmodat, Some(0), 1),
    (FCHMODAT2, Some(0), 1),
    (libc::SYS_fchownat, Some(0), 1),
    (libc::SYS_utimensat, Some(0), 1),
    (libc::SYS_truncate, None, 0),
    (libc::SYS_setxattr, None, 0),
    (libc::SYS_lsetxattr, None, 0),
    (libc::SYS_removexattr, None, 0),
    (libc::SYS_lremovexattr, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, None, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, None, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, None, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utime, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utimes, None, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_futimesat, Some(0), 1),
];

/// Calls that change an open file otherwise than by writing to it, which its opening has shown.
const BY_DESCRIPTOR: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
];

/// A file that a call is about to change.
pub(super) struct Touched {
    pub(super) path: PathBuf,
    /// Whether it is the machine's.
    pub(super) machines: bool,
}

/// The file that a call would change if it succeeds.
pub(super) fn touched(call: &Call, spaces: &Spaces) -> Option<Touched> {
    let number = call.number;
    let written = |flags: u64| {
        let flags = i32::try_from(flags).unwrap_or(libc::O_RDWR);
        let changes = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
        flags & changes != 0 && flags & libc::O_PATH == 0
    };
    let path = if number == libc::SYS_openat {
        written(call.operands[2]).then(|| named(call, Some(0), 1))?
    } else if number == libc::SYS_openat2 {
        written(call.word(call.operands[2])).then(|| named(call, Some(0), 1))?
    } else if let Some((_, folder, path)) = BY_PATH.iter().find(|(known, ..)| *known == number) {
        named(call, *folder, *path)
    } else if BY_DESCRIPTOR.contains(&number) {
        descriptor(call, 0)
    } else {
        #[cfg(target_arch = "x86_64")]
        if number == libc::SYS_open {
            return of(call, written(call.operands[1]).then(|| named(call, None, 0))?, spaces);
        }
        return None;
    };
    of(call, path, spaces)
}

fn of(call: &Call, path: PathBuf, spaces: &Spaces) -> Option<Touched> {
    if is_nobodys(&path) {
        return None;
    }
    let machines = if path.starts_with("/proc/sys/net") {
        // Those of the namespace of who opens them.
        spaces.hold(call.caller, "net")
    } else {
        device(call, &path).is_none_or(|device| spaces.has_device(device))
    };
    Some(Touched { path, machines })
}

/// A path of the caller's, made absolute.
pub(super) fn named(call: &Call, folder: Option<usize>, path: usize) -> PathBuf {
    let text = call.text(call.operands[path]);
    let base = match folder {
        Some(at) if call.int(at) != libc::AT_FDCWD => descriptor(call, at),
        _ => fs::read_link(call.proc("cwd")).unwrap_or_default(),
    };
    // Without a text it is the descriptor's own file.
    if text.is_empty() { base } else { base.join(text) }
}

fn descriptor(call: &Call, at: usize) -> PathBuf {
    fs::read_link(call.proc(&format!("fd/{}", call.int(at)))).unwrap_or_default()
}

/// Writing there changes nothing: what has no name, and the user namespace of a process of one's own.
fn is_nobodys(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let special = ["/dev/null", "/dev/tty", "/dev/zero", "/dev/full"].contains(&&*text);
    let nameless = ["pipe:", "socket:", "anon_inode:", "/memfd:"].iter().any(|it| text.starts_with(it));
    let process = text.strip_prefix("/proc/").and_then(|rest| rest.split_once('/'));
    let users = process.is_some_and(|(_, file)| ["setgroups", "uid_map", "gid_map"].contains(&file));
    special || nameless || users || path.starts_with("/dev/pts")
}

/// The device of the folder that a file is in, as its process sees it. Files of an overlay have devices of their own.
fn device(call: &Call, path: &Path) -> Option<u64> {
    let seen = Path::new(&call.proc("root")).join(path.strip_prefix("/").unwrap_or(path));
    fs::metadata(seen.parent().unwrap_or(&seen)).ok().map(|it| it.dev())
}
