//! The control groups of a host: one folder of its own per hierarchy, below its creator's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use crate::privilege::Rights;

/// Every folder of ours begins so; the boot id, the keeper's process id and its start time follow.
const PREFIX: &str = "openshell-harness.";

/// Which control groups a host sees.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Cgroups {
    /// What the machine's container engines would use: v1 where its controllers are mounted, else v2.
    #[default]
    Auto,
    /// The machine's v1 hierarchies; the boot fails where there are none.
    V1,
    /// One v2 tree. On a machine that gives its controllers to v1 it has none, so there are no limits.
    V2,
}

/// A mounted hierarchy of the machine.
#[derive(Debug)]
struct Hierarchy {
    /// The options that name it, such as `cpu,cpuacct`; `None` is v2.
    v1: Option<String>,
    /// The folder of this process in it.
    folder: PathBuf,
    /// Its folder below `/sys/fs/cgroup` in a host.
    name: String,
}

/// The folders of one host.
#[derive(Debug)]
pub(super) struct HostCgroups {
    hierarchies: Vec<Hierarchy>,
    name: String,
}

impl HostCgroups {
    /// Makes the folders, named after the calling process, which is to remove them. An ordinary user's host has none: the
    /// machine's are not the user's, and a rootless engine outside of systemd uses none.
    pub(super) fn create(kind: Cgroups, rights: Rights) -> io::Result<Self> {
        if rights == Rights::User {
            return Ok(Self { hierarchies: Vec::new(), name: String::new() });
        }
        let mut hierarchies = mounted()?;
        let has_v1 = hierarchies.iter().any(|hierarchy| hierarchy.v1.is_some());
        let v1 = match kind {
            Cgroups::Auto => has_v1,
            Cgroups::V1 if !has_v1 => return Err(io::Error::other("this machine mounts no cgroup v1")),
            Cgroups::V1 => true,
            Cgroups::V2 => false,
        };
        hierarchies.retain(|hierarchy| hierarchy.v1.is_some() == v1);
        if hierarchies.is_empty() {
            return Err(io::Error::other("this machine mounts no cgroup v2"));
        }
        let name = own_name()?;
        let made = Self { hierarchies, name };
        for hierarchy in &made.hierarchies {
            let folder = hierarchy.folder.join(&made.name);
            let result = fs::create_dir(&folder).and_then(|()| prepare(hierarchy, &folder));
            if let Err(error) = result {
                made.remove();
                return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
            }
        }
        Ok(made)
    }

    /// Puts the calling process into them; its cgroup namespace is to be made next.
    pub(super) fn join(&self) -> io::Result<()> {
        self.hierarchies.iter().try_for_each(|it| enter(&it.folder.join(&self.name)))
    }

    /// In v2 only leaves have processes: moves the calling process to one, so that an engine can make groups with
    /// controllers beside it, below the namespace's empty root.
    pub(super) fn settle(&self) -> io::Result<()> {
        for hierarchy in self.hierarchies.iter().filter(|hierarchy| hierarchy.v1.is_none()) {
            let leaf = hierarchy.folder.join(&self.name).join("init");
            fs::create_dir(&leaf)?;
            enter(&leaf)?;
        }
        Ok(())
    }

    /// Mounts the hierarchies at `target` as the calling process's cgroup namespace shows them.
    pub(super) fn mount_at(&self, target: &Path) -> Result<(), Errno> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if self.hierarchies.is_empty() {
            // For programs that look what kind of control groups there is; nothing can be made in it.
            let flags = flags | MsFlags::MS_RDONLY;
            return mount(Some("cgroup2"), target, Some("cgroup2"), flags, None::<&str>)
                .or_else(|_| mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some("mode=755,size=64k")));
        }
        if self.hierarchies.iter().any(|hierarchy| hierarchy.v1.is_none()) {
            return mount(Some("cgroup2"), target, Some("cgroup2"), flags, None::<&str>);
        }
        mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some("mode=755,size=64k"))?;
        for hierarchy in &self.hierarchies {
            let folder = target.join(&hierarchy.name);
            fs::create_dir(&folder).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
            mount(Some("cgroup"), &folder, Some("cgroup"), flags, hierarchy.v1.as_deref())?;
        }
        mount(
            None::<&str>,
            target,
            None::<&str>,
            flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
            None::<&str>,
        )
    }

    /// Removes the folders, which takes that no process is left in them.
    pub(super) fn remove(&self) {
        for hierarchy in &self.hierarchies {
            remove_tree(&hierarchy.folder.join(&self.name));
        }
    }
}

fn enter(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), "0")
}

/// Removes folders that killed keepers have left behind: only ours, only empty ones, only when that keeper is gone.
/// The caller holds the cache's lock, so that two sweeps do not meet.
pub(crate) fn sweep() -> io::Result<usize> {
    let boot = boot_id()?;
    let mut swept = 0;
    let mut roots: BTreeSet<PathBuf> = BTreeSet::new();
    for mounted in mount_points()? {
        roots.insert(mounted.point);
    }
    for root in roots {
        sweep_below(&root, &boot, &mut swept);
    }
    Ok(swept)
}

fn sweep_below(folder: &Path, boot: &str, swept: &mut usize) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        match entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)) {
            None => sweep_below(&entry.path(), boot, swept),
            Some(owner) if is_gone(owner, boot) => *swept += usize::from(remove_tree(&entry.path())),
            // What a living host has below its folder is its own affair: a host in it has its own process ids.
            Some(_) => {}
        }
    }
}

fn is_gone(owner: &str, boot: &str) -> bool {
    let mut parts = owner.split('.');
    let (Some(of_boot), Some(pid), Some(start)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let Ok(pid) = pid.parse::<u32>() else { return false };
    of_boot != boot || start_time(&format!("/proc/{pid}/stat")).is_none_or(|now| now != start)
}

/// `rmdir` from the leaves up. The kernel refuses a folder that has a process, so nothing alive is ever removed.
fn remove_tree(folder: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(folder).is_ok()
}

/// A v1 `cpuset` group takes no process before it has processors and memory.
fn prepare(hierarchy: &Hierarchy, folder: &Path) -> io::Result<()> {
    if hierarchy.v1.as_deref().is_some_and(|options| options.split(',').any(|it| it == "cpuset")) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            fs::write(folder.join(file), fs::read(hierarchy.folder.join(file))?)?;
        }
        fs::write(folder.join("cgroup.clone_children"), "1")?;
    }
    Ok(())
}

fn own_name() -> io::Result<String> {
    let start = start_time("/proc/self/stat").ok_or(io::ErrorKind::InvalidData)?;
    Ok(format!("{PREFIX}{}.{}.{start}", boot_id()?, std::process::id()))
}

pub(crate) fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.chars().filter(char::is_ascii_hexdigit).take(8).collect())
}

/// Field 22 of `/proc/PID/stat`, in clock ticks since the boot; `None` when there is no such process, or a dead one that
/// nobody has waited for yet.
pub(crate) fn start_time(stat: &str) -> Option<String> {
    start_time_in(&fs::read_to_string(stat).ok()?)
}

fn start_time_in(stat: &str) -> Option<String> {
    // The name in field 2 may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X");
    if is_dead { None } else { fields.nth(18).map(str::to_owned) }
}

struct MountPoint {
    point: PathBuf,
    root: String,
    /// The hierarchy's controllers and name; empty for v2.
    options: BTreeSet<String>,
    is_v2: bool,
}

fn mount_points() -> io::Result<Vec<MountPoint>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<_> = left.split(' ').collect();
        let right: Vec<_> = right.split(' ').collect();
        let is_v2 = match *right.first()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let options = right.get(2)?.split(',').map(str::to_owned).collect();
        Some(MountPoint {
            point: PathBuf::from(*left.get(4)?),
            root: (*left.get(3)?).to_owned(),
            options,
            is_v2,
        })
    };
    Ok(text.lines().filter_map(parse).collect())
}

fn mounted() -> io::Result<Vec<Hierarchy>> {
    let points = mount_points()?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let point = points.iter().find(|point| {
            point.is_v2 == controllers.is_empty()
                && controllers.split(',').all(|it| it.is_empty() || point.options.contains(it))
        });
        let Some(point) = point else { continue };
        // With a cgroup namespace both paths are relative to its root; bind mounts may show a part only.
        let below = path.strip_prefix(point.root.trim_end_matches('/')).unwrap_or(path);
        found.push(Hierarchy {
            v1: (!point.is_v2).then(|| match controllers.starts_with("name=") {
                true => format!("none,{controllers}"),
                false => controllers.to_owned(),
            }),
            folder: point.point.join(below.trim_start_matches('/')),
            name: controllers.strip_prefix("name=").unwrap_or(controllers).to_owned(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_gone() {
        let stat =
            |state| format!("7 (a) b (c) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21");
        assert_eq!(start_time_in(&stat("S")).as_deref(), Some("4711"));
        assert_eq!(start_time_in(&stat("Z")), None);
    }

    #[test]
    fn a_folder_belongs_to_a_process_of_this_boot_with_that_start_time() {
        let boot = boot_id().unwrap();
        let own = own_name().unwrap();
        let own = own.strip_prefix(PREFIX).unwrap();
        assert!(!is_gone(own, &boot), "this process lives");
        assert!(is_gone(&own.replace(&boot, "00000000"), &boot), "another boot");
        assert!(
            is_gone(&format!("{boot}.{}.1", std::process::id()), &boot),
            "a later process with the same id"
        );
        assert!(!is_gone("not-ours", &boot), "somebody else's name is never swept");
    }
}
