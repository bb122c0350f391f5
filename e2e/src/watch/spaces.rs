//! The machine's namespaces and devices, as they were when the watch began.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

/// What is not the program's own.
pub(super) struct Spaces {
    namespaces: BTreeSet<u64>,
    devices: BTreeSet<u64>,
}

impl Spaces {
    /// Those of all processes that are seen from here. Every inode of a namespace is in one number space.
    pub(super) fn now() -> Result<Self> {
        let mut namespaces = BTreeSet::new();
        for process in fs::read_dir("/proc").context("read /proc")? {
            let path = process?.path();
            for name in ["net", "mnt", "uts", "pid"] {
                // Others end meanwhile.
                namespaces.extend(fs::metadata(path.join("ns").join(name)).map(|it| it.ino()));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
        let device = |line: &str| {
            let (major, minor) = line.split_whitespace().nth(2)?.split_once(':')?;
            Some(nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?))
        };
        Ok(Self { namespaces, devices: mounts.lines().filter_map(device).collect() })
    }

    /// Whether a thread is in a namespace of the machine's. Where that is not to be seen, it is.
    pub(super) fn hold(&self, thread: Pid, kind: &str) -> bool {
        self.inode(thread, kind).is_none_or(|inode| self.namespaces.contains(&inode))
    }

    /// The namespace of a thread.
    pub(super) fn inode(&self, thread: Pid, kind: &str) -> Option<u64> {
        fs::metadata(format!("/proc/{thread}/ns/{kind}")).ok().map(|it| it.ino())
    }

    /// Whether a namespace is the machine's.
    pub(super) fn has(&self, namespace: u64) -> bool {
        self.namespaces.contains(&namespace)
    }

    /// Whether a device is the machine's: a file there is, in whatever mount namespace it is written.
    pub(super) fn has_device(&self, device: u64) -> bool {
        self.devices.contains(&device)
    }
}
