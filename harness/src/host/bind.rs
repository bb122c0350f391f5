//! Files and folders of the machine in a host's root.
//!
//! The root is nobody's root yet when they are mounted: an absolute link in it would lead out to the machine. So a place is looked up
//! with the root as the end of every path, and links lead to where they will lead for the host.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use netns::sys::protect_mounts;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};

use super::filesystem::{Failure, remount_read_only};
use super::protocol::Bind;

/// How often a look-up is repeated that the kernel gave up because something was renamed or mounted meanwhile.
const ATTEMPTS: u32 = 100;

/// Mounts what `bind` names, with all that is mounted below it, in the root file system at `root`.
pub(super) fn mount_bind(root: &Path, bind: &Bind) -> Result<(), Failure> {
    let failed = |what: &'static str| {
        move |errno: Errno| format!("{what} {}: {}", bind.target.display(), errno.desc())
    };
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(failed("open the root for"))?;
    let place = make(&root, &bind.target, bind.source.is_dir()).map_err(failed("make"))?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&bind.source), &by_descriptor(&place), None::<&str>, flags, None::<&str>)
        .map_err(failed("bind at"))?;
    if bind.writable {
        return Ok(());
    }
    // What was opened is below the new mount.
    let mounted = find(&root, &bind.target).map_err(failed("look at"))?;
    match protect_mounts(&mounted) {
        // Before Linux 5.12.
        Err(Errno::ENOSYS) => protect_one(&mounted),
        other => other.map_err(failed("make read-only")),
    }
}

/// Only this mount, and none where that would leave some of it writable.
fn protect_one(mounted: &OwnedFd) -> Result<(), Failure> {
    let read = |path: &Path| fs::read_link(path).map_err(|error| format!("{}: {error}", path.display()));
    let path = read(&by_descriptor(mounted))?;
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    match mount_below(&table, &path) {
        Some(below) => Err(format!(
            "{} is mounted below a read-only bind and would stay writable: that takes Linux 5.12\nhint: bind a folder without it, or \
             for writing",
            below.display()
        )),
        None => remount_read_only(&path),
    }
}

/// The first mount below a path, by the text of `/proc/PID/mountinfo`.
fn mount_below(table: &str, path: &Path) -> Option<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| {
        // The kernel writes a space so, and what else would end the field.
        let point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
        PathBuf::from(point.replace("\\134", "\\"))
    });
    points.into_iter().find(|point| point != path && point.starts_with(path))
}

fn by_descriptor(place: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// A place in the root, made where it is missing: an empty folder or an empty file, in folders.
fn make(root: &OwnedFd, path: &Path, folder: bool) -> nix::Result<OwnedFd> {
    match find(root, path) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let parent = make(root, path.parent().unwrap_or(Path::new("/")), true)?;
    if folder {
        // A link that leads nowhere is there already, and refused.
        mkdirat(&parent, path.file_name().unwrap_or(OsStr::new(".")), Mode::from_bits_truncate(0o755))?;
    } else {
        let how =
            OpenHow::new().flags(OFlag::O_CREAT | OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC);
        in_root(root, path, how.mode(Mode::from_bits_truncate(0o644)))?;
    }
    find(root, path)
}

fn find(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    in_root(root, path, OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC))
}

fn in_root(root: &OwnedFd, path: &Path, how: OpenHow) -> nix::Result<OwnedFd> {
    let how = how.resolve(ResolveFlag::RESOLVE_IN_ROOT);
    for _ in 0..ATTEMPTS {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(folder: &Path) -> OwnedFd {
        open(folder, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    }

    /// Links lead within the root, wherever they would lead on the machine.
    #[test]
    fn a_place_is_made_inside_the_root() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |path: &str| inside.path().join(path);
        fs::create_dir_all(at("run")).unwrap();
        fs::create_dir_all(at(outside.path().strip_prefix("/").unwrap().to_str().unwrap())).unwrap();
        fs::create_dir(at("var")).unwrap();
        symlink("/run", at("var/run")).unwrap();
        symlink("../../../run", at("var/up")).unwrap();
        symlink(outside.path(), at("out")).unwrap();
        symlink("/run/target", at("dangling")).unwrap();
        let root = root(inside.path());
        let make = |path: &str, folder| make(&root, Path::new(path), folder);
        make("/var/run/a/b", true).unwrap();
        make("/var/up/a/file", false).unwrap();
        make("/out/file", false).unwrap();
        make("/dangling", false).unwrap();
        assert!(at("run/a/b").is_dir() && at("run/a/file").is_file() && at("run/target").is_file());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "nothing of the machine was made");
        symlink("/nowhere", at("lost")).unwrap();
        assert_eq!(make("/lost", true).unwrap_err(), Errno::EEXIST);
        assert_eq!(make("/run/target/below", true).unwrap_err(), Errno::ENOTDIR);
    }

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let inside = tempfile::tempdir().unwrap();
        fs::write(inside.path().join("file"), "kept").unwrap();
        make(&root(inside.path()), Path::new("/file"), false).unwrap();
        assert_eq!(fs::read_to_string(inside.path().join("file")).unwrap(), "kept");
    }

    #[test]
    fn a_mount_below_is_found_by_its_name() {
        let table = "21 1 0:19 / / rw - overlay overlay rw\n\
                     22 21 0:20 / /mnt/a\\040b rw - tmpfs tmpfs rw\n\
                     23 22 0:21 / /mnt/a\\040b/c rw - tmpfs tmpfs rw\n";
        let below = |path: &str| mount_below(table, Path::new(path));
        assert_eq!(below("/mnt/a b"), Some(PathBuf::from("/mnt/a b/c")));
        assert_eq!(below("/mnt"), Some(PathBuf::from("/mnt/a b")));
        assert_eq!(below("/mnt/a b/c"), None);
        assert_eq!(below("/mn"), None);
    }
}
