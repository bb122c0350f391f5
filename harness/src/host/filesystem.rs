//! The root filesystem of a host: an overlay in memory, and the kernel's own filesystems mounted anew.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

use super::bind::mount_bind;
use super::cgroup::HostCgroups;
use super::protocol::{Boot, Root};
use crate::privilege::Rights;

/// A step of the file system's making that failed.
pub(super) type Failure = String;

/// What a host that runs the machine's own userland does not see of it: people's files, other disks, the engine's data,
/// and what is in the way of a clean start.
const HIDDEN: [&str; 12] = [
    "/home",
    "/root",
    "/mnt",
    "/media",
    "/srv",
    "/boot",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/log",
    "/var/tmp",
    "/etc/docker",
    "/etc/ufw",
];

/// Files of `/proc` that act on the whole machine.
const MACHINE_WIDE: [&str; 4] = ["sysrq-trigger", "kcore", "kmsg", "irq"];

/// Mounts the host's tmpfs and its root filesystem; returns the path of the latter.
pub(super) fn mount_root(root: &Root) -> Result<PathBuf, Failure> {
    // Nothing that happens here reaches the machine; what the machine unmounts is let go here too.
    try_mount(None, "/", None, MsFlags::MS_REC | MsFlags::MS_SLAVE, None)?;
    let (lower, memory) = match root {
        Root::Image(folder) => (folder.join("rootfs"), folder.join("mount")),
        Root::Machine(mount) => (PathBuf::from("/"), mount.clone()),
    };
    try_mount(Some("tmpfs"), &memory, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    for folder in ["upper", "work", "root", "docker", "containerd"] {
        make_folder(&memory.join(folder))?;
    }
    // Relative paths keep `:` and `,` in the cache's own path out of the options.
    chdir(&memory).map_err(failed("enter", &memory))?;
    let lower = match root {
        Root::Image(_) => "../rootfs".to_owned(),
        Root::Machine(_) => lower.display().to_string(),
    };
    let options = format!("lowerdir={lower},upperdir=upper,workdir=work");
    let target = memory.join("root");
    try_mount(Some("overlay"), Path::new("root"), Some("overlay"), MsFlags::empty(), Some(&options))?;
    if matches!(root, Root::Machine(_)) {
        hide_the_machines_files(&target)?;
    }
    // An engine's overlay needs a file system that is no overlay itself.
    for (source, mount_point) in [("docker", "var/lib/docker"), ("containerd", "var/lib/containerd")] {
        let mount_point = target.join(mount_point);
        make_folder(&mount_point)?;
        let source = memory.join(source);
        try_mount(source.to_str(), &mount_point, None, MsFlags::MS_BIND, None)?;
    }
    Ok(target)
}

/// Mounts the kernel's file systems and the binds, and writes the few files that name the host.
pub(super) fn furnish(root: &Path, boot: &Boot, cgroups: &HostCgroups) -> Result<(), Failure> {
    let hostname = &boot.hostname;
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for folder in ["proc", "sys", "dev", "run", "tmp"] {
        make_folder(&root.join(folder))?;
    }
    try_mount(Some("proc"), root.join("proc"), Some("proc"), strict, None)?;
    protect_proc(&root.join("proc"))?;
    try_mount(Some("sysfs"), root.join("sys"), Some("sysfs"), strict | MsFlags::MS_RDONLY, None)?;
    let target = root.join("sys/fs/cgroup");
    cgroups.mount_at(&target).map_err(failed("mount the control groups at", &target))?;
    make_devices(&root.join("dev"), boot.rights)?;
    let nosuid = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    try_mount(Some("tmpfs"), root.join("run"), Some("tmpfs"), nosuid, Some("mode=755"))?;
    make_folder(&root.join("run/lock"))?;
    try_mount(Some("tmpfs"), root.join("tmp"), Some("tmpfs"), nosuid, Some("mode=1777"))?;
    write(&root.join("etc/hostname"), &format!("{hostname}\n"))?;
    let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {hostname}\n");
    write(&root.join("etc/hosts"), &hosts)?;
    write(&root.join("etc/resolv.conf"), "# a hermetic host has no resolver\n")?;
    boot.binds.iter().try_for_each(|bind| mount_bind(root, bind))
}

/// Makes `root` the root and lets go of the machine's file systems.
pub(super) fn pivot(root: &Path) -> Result<(), Failure> {
    chdir(root).map_err(failed("enter", root))?;
    pivot_root(".", ".").map_err(failed("pivot to", root))?;
    // The old root lies on top of the new one now.
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("let go of the old root above", root))?;
    chdir("/").map_err(failed("enter the new", Path::new("/")))
}

fn hide_the_machines_files(root: &Path) -> Result<(), Failure> {
    let templates = Path::new("/usr/share/ufw");
    let has_ufw = templates.join("iptables").is_dir();
    for hidden in HIDDEN {
        let path = root.join(hidden.trim_start_matches('/'));
        if path.is_dir() {
            try_mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755"))?;
        }
    }
    if has_ufw {
        restore_ufw(root, templates).map_err(|error| format!("make a pristine /etc/ufw: {error}"))?;
    }
    Ok(())
}

/// A pristine `/etc/ufw` and `/etc/default/ufw` from the templates that the package installs.
fn restore_ufw(root: &Path, templates: &Path) -> io::Result<()> {
    let ufw = root.join("etc/ufw");
    // A machine may have the package without its folder.
    fs::create_dir_all(ufw.join("applications.d"))?;
    for folder in [templates.to_owned(), templates.join("iptables")] {
        for entry in fs::read_dir(folder)?.flatten().filter(|entry| entry.path().is_file()) {
            let target = ufw.join(entry.file_name());
            fs::copy(entry.path(), &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o640))?;
        }
    }
    fs::write(ufw.join("ufw.conf"), "ENABLED=no\nLOGLEVEL=low\n")?;
    let defaults = root.join("etc/default/ufw");
    let template = templates.join("ufw.default");
    if template.exists() {
        fs::copy(template, defaults)?;
    }
    Ok(())
}

/// Settings that are not the network namespace's own stay as they are: an engine raises limits of the whole machine
/// when it can (dockerd raises `kernel.keys.root_maxkeys` where it is low).
fn protect_proc(proc: &Path) -> Result<(), Failure> {
    let settings = proc.join("sys");
    let own = settings.join("net");
    try_mount(settings.to_str(), &settings, None, MsFlags::MS_BIND, None)?;
    try_mount(own.to_str(), &own, None, MsFlags::MS_BIND, None)?;
    remount_read_only(&settings)?;
    for name in MACHINE_WIDE {
        let path = proc.join(name);
        if path.exists() {
            try_mount(path.to_str(), &path, None, MsFlags::MS_BIND, None)?;
            remount_read_only(&path)?;
        }
    }
    Ok(())
}

fn make_devices(dev: &Path, rights: Rights) -> Result<(), Failure> {
    let options = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    try_mount(Some("tmpfs"), dev, Some("tmpfs"), options, Some("mode=755,size=64k"))?;
    let devices =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    for (name, major, minor) in devices {
        let path = dev.join(name);
        if rights == Rights::User {
            // A user namespace makes no devices; the machine's own are as good.
            File::create(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
            let machines = Path::new("/dev").join(name);
            try_mount(machines.to_str(), &path, None, MsFlags::MS_BIND, None)?;
            continue;
        }
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))
            .map_err(failed("make", &path))?;
        // Not subject to the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(|error| error.to_string())?;
    }
    for folder in ["pts", "shm", "mqueue"] {
        make_folder(&dev.join(folder))?;
    }
    let pts = "newinstance,ptmxmode=0666,mode=0620";
    try_mount(Some("devpts"), dev.join("pts"), Some("devpts"), options, Some(pts))?;
    let shm = dev.join("shm");
    try_mount(Some("tmpfs"), &shm, Some("tmpfs"), options | MsFlags::MS_NODEV, Some("mode=1777"))?;
    try_mount(Some("mqueue"), dev.join("mqueue"), Some("mqueue"), options | MsFlags::MS_NODEV, None)?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    links
        .into_iter()
        .try_for_each(|(name, target)| symlink(target, dev.join(name)))
        .map_err(|error| format!("link devices: {error}"))
}

pub(super) fn remount_read_only(path: &Path) -> Result<(), Failure> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    // In a user namespace the machine's own restrictions of a mount are locked: they have to be repeated.
    let machines = statvfs(path).map_err(failed("look at", path))?.flags();
    let locked = [(FsFlags::ST_NODEV, MsFlags::MS_NODEV), (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC)];
    let locked = locked.into_iter().filter(|(has, _)| machines.contains(*has)).map(|(_, flag)| flag);
    try_mount(None, path, None, locked.fold(flags, MsFlags::union), None)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| format!("make {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // A link here would lead out of the host before the pivot (Ubuntu's resolv.conf is one).
    let _ = fs::remove_file(path);
    fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
}

fn try_mount(
    source: Option<&str>,
    target: impl AsRef<Path>,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), Failure> {
    let target = target.as_ref();
    mount(source, target, kind, flags, options)
        .map_err(failed(kind.map_or("bind or remount", |kind| mounting(kind)), target))
}

fn mounting(kind: &str) -> &'static str {
    match kind {
        "overlay" => "mount an overlay at",
        "proc" => "mount proc at",
        "sysfs" => "mount sysfs at",
        "devpts" => "mount devpts at",
        "mqueue" => "mount mqueue at",
        _ => "mount a tmpfs at",
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> Failure {
    move |errno| format!("{what} {}: {}", path.display(), errno.desc())
}
