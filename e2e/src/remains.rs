//! What hosts leave on the machine: processes, namespaces, mounts, interfaces, control groups, files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything that a host could have left, as lines that tell what and where.
#[must_use]
pub fn of_hosts() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    processes_and_namespaces(&mut found);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().map(|line| format!("mount {line}")));
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        found.insert(format!("interface {}", entry.file_name().to_string_lossy()));
    }
    control_groups(Path::new("/sys/fs/cgroup"), &mut found);
    if let Ok(cache) = harness::image::Cache::open() {
        for image in fs::read_dir(cache.folder().join("images")).into_iter().flatten().flatten() {
            files(&image.path().join("mount"), &mut found);
        }
        files(&cache.folder().join("machine"), &mut found);
    }
    for folder in ["/run/netns", "/run/docker", "/var/lib/docker"] {
        files(Path::new(folder), &mut found);
    }
    found
}

/// What there is now and was not in `before`, once nothing changes any more for the better or the patience is over.
#[must_use]
pub fn since(before: &BTreeSet<String>, patience: Duration) -> Vec<String> {
    let start = Instant::now();
    loop {
        let left: Vec<String> = of_hosts().difference(before).cloned().collect();
        if left.is_empty() || start.elapsed() > patience {
            return left;
        }
        std::thread::yield_now();
    }
}

/// Processes that are a host's: by name before they have joined control groups, by control group afterwards.
fn processes_and_namespaces(found: &mut BTreeSet<String>) {
    let Ok(machine) = fs::metadata("/proc/self/ns/net") else { return };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let pid = name.to_string_lossy();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let read = |file: &str| fs::read_to_string(process.path().join(file)).unwrap_or_default();
        let command = read("cmdline").replace('\0', " ");
        let groups = read("cgroup");
        let is_theirs = ["openshell-harness-keeper", "openshell-harness-caretaker"]
            .iter()
            .any(|name| command.starts_with(name));
        if is_theirs || groups.contains("/openshell-harness.") {
            found.insert(format!("process {pid} {command}"));
        }
        let foreign = fs::metadata(process.path().join("ns/net"))
            .is_ok_and(|namespace| namespace.ino() != machine.ino());
        if foreign {
            found.insert(format!("process {pid} in another network namespace: {command}"));
        }
        // A namespace also lives as long as somebody has a descriptor of it.
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            if let Ok(target) = fs::read_link(descriptor.path()) {
                let target = target.to_string_lossy();
                if target.starts_with("net:[") || target.starts_with("mnt:[") {
                    found.insert(format!("descriptor of {target} in process {pid}"));
                }
            }
        }
    }
}

/// Those of hosts and of engines; a machine's services and sessions make others all the time.
fn control_groups(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path().display().to_string();
            if ["openshell", "docker", "containerd"].iter().any(|name| path.contains(name)) {
                found.insert(format!("control group {path}"));
            }
            control_groups(&entry.path(), found);
        }
    }
}

fn files(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.insert(format!("file {}", entry.path().display()));
    }
}
