//! The machine's fingerprint: what hosts must leave as it was.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::image::{Cache, Image, ImageError};

/// Folders whose files no run may touch.
const FOLDERS: [&str; 5] = ["/etc", "/usr", "/var", "/opt", "/root"];

/// What other programs of a machine write there all the time.
const BUSY: [&str; 6] =
    ["/var/log", "/var/cache", "/var/tmp", "/var/lib/apt", "/var/lib/systemd", "/var/lib/dpkg"];

/// Settings that change by themselves: counters, random numbers, and what follows the load.
const COUNTERS: [&str; 12] = [
    "dentry-state",
    "file-nr",
    "inode-nr",
    "inode-state",
    "random/",
    "pty/nr",
    "ns_last_pid",
    "nf_conntrack_count",
    "aio-nr",
    "quota/",
    "keys/",
    "binfmt_misc",
];

/// How long a machine may take to come to rest: the kernel ends the last namespaces of a host within a second.
const REST_WITHIN: Duration = Duration::from_secs(20);

/// Why a fingerprint could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// Rulesets and other processes' namespaces are root's to read.
    #[error("a fingerprint can only be taken by root\nhint: run this with sudo")]
    NotRoot,
    /// A part of the machine could not be read.
    #[error("{what}: {source}")]
    Io {
        /// Which part.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The tools that read the rulesets come from an image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A tool that reads a ruleset failed.
    #[error("{command}: {stderr}")]
    Tool {
        /// The command line.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// Something of the machine changes all the time.
    #[error(
        "the machine does not come to rest within {patience:?}: {differences:?}\nhint: end what is still running, or wait for its end"
    )]
    Restless {
        /// How long it was looked at.
        patience: Duration,
        /// What differed last.
        differences: Vec<String>,
    },
}

/// What hosts must leave as it was, section by section, as text that can be compared line by line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fingerprint {
    /// When it was taken, in seconds since 1970.
    pub taken: u64,
    /// The sections by name.
    pub sections: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Takes the machine's fingerprint. Nothing is changed: rulesets are read by the `-save` tools of the image, which
    /// make no table, and only where the kernel has the backend loaded.
    ///
    /// # Errors
    /// When a part cannot be read; it takes root.
    pub fn take() -> Result<Self, FingerprintError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(FingerprintError::NotRoot);
        }
        let mut sections = BTreeMap::new();
        for (name, command) in ruleset_commands() {
            sections.insert(name, with_the_images_tools(&command)?);
        }
        sections.insert("links and addresses".to_owned(), with_the_images_tools(&["ip", "-o", "address"])?);
        sections.insert("interfaces".to_owned(), interfaces()?);
        for (name, family) in [("routes v4", "-4"), ("routes v6", "-6")] {
            let routes = with_the_images_tools(&["ip", family, "route", "show", "table", "all"])?;
            sections.insert(name.to_owned(), routes);
        }
        sections.insert("routing rules".to_owned(), with_the_images_tools(&["ip", "rule"])?);
        sections.insert("sysctls".to_owned(), sysctls());
        sections.insert("mounts".to_owned(), mounts()?);
        sections.insert("modules".to_owned(), modules());
        sections.insert("apparmor profiles".to_owned(), apparmor());
        sections.insert("control groups".to_owned(), control_groups()?);
        sections.insert("namespaces".to_owned(), namespaces()?);
        Ok(Self { taken: seconds(SystemTime::now()), sections })
    }

    /// Takes the fingerprint of a machine at rest: the first of which the one before was the same. What is only about to vanish, such as
    /// the namespaces of a host that has just ended, is no part of it then.
    ///
    /// # Errors
    /// As [`Fingerprint::take`], and when no two in a row are the same.
    pub fn at_rest() -> Result<Self, FingerprintError> {
        first_of_rest(Self::take, REST_WITHIN)
    }

    /// What differs in a later fingerprint, as lines for a reader; empty when nothing does. Also named: files below
    /// `/etc`, `/usr`, `/var`, `/opt` and `/root` that were written since, outside the cache and `allowed`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn differences(&self, later: &Self, allowed: &[PathBuf]) -> Result<Vec<String>, FingerprintError> {
        let mut found = self.changed_lines(later);
        let since = UNIX_EPOCH + Duration::from_secs(self.taken);
        let mut allowed = allowed.to_vec();
        allowed.push(Cache::open()?.folder().to_owned());
        for folder in FOLDERS {
            written_since(Path::new(folder), since, &allowed, &mut found);
        }
        Ok(found)
    }

    fn changed_lines(&self, later: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, before) in &self.sections {
            let after = later.sections.get(name).map_or("", String::as_str);
            let missing = before.lines().filter(|line| !after.lines().any(|it| it == *line));
            found.extend(missing.map(|line| format!("{name}: - {line}")));
            let added = after.lines().filter(|line| !before.lines().any(|it| it == *line));
            found.extend(added.map(|line| format!("{name}: + {line}")));
        }
        found
    }
}

/// Looks until two in a row are the same. A look takes a few tenths of a second.
fn first_of_rest(
    mut look: impl FnMut() -> Result<Fingerprint, FingerprintError>,
    patience: Duration,
) -> Result<Fingerprint, FingerprintError> {
    let begun = Instant::now();
    let mut before = look()?;
    loop {
        let now = look()?;
        if now.sections == before.sections {
            return Ok(now);
        }
        if begun.elapsed() >= patience {
            return Err(FingerprintError::Restless { patience, differences: before.changed_lines(&now) });
        }
        before = now;
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs())
}

fn unreadable(what: &str) -> impl FnOnce(io::Error) -> FingerprintError {
    move |source| FingerprintError::Io { what: what.to_owned(), source }
}

/// Only what is loaded is read: asking for a table of a backend that is not makes the kernel load it.
fn ruleset_commands() -> Vec<(String, Vec<String>)> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut commands = Vec::new();
    let modules = fs::read_to_string("/proc/modules").ok();
    if modules.is_none_or(|text| text.lines().any(|line| line.starts_with("nf_tables "))) {
        commands.push(("nftables".to_owned(), words(&["nft", "--stateless", "list", "ruleset"])));
    }
    for (file, tool) in [
        ("/proc/net/ip_tables_names", "iptables-legacy-save"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
    ] {
        for table in fs::read_to_string(file).unwrap_or_default().lines() {
            commands.push((format!("{tool} {table}"), words(&[tool, "-t", table])));
        }
    }
    commands
}

/// Runs a program of the image in the machine's own namespaces, seeing the image's files.
fn with_the_images_tools(command: &[impl AsRef<str>]) -> Result<String, FingerprintError> {
    let image = Image::debian_13()?;
    let command: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
    let output = Command::new("chroot")
        .arg(image.rootfs())
        .args(&command)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .map_err(unreadable(&command.join(" ")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(FingerprintError::Tool { command: command.join(" "), stderr });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Time stamps, counters and what is left of a lease change by themselves.
    let lasting = |line: &&str| !line.starts_with('#');
    let lines = text.lines().filter(lasting).map(|line| {
        let line = line.split(" valid_lft ").next().unwrap_or(line);
        line.split("\\       valid_lft").next().unwrap_or(line).split(" [").next().unwrap_or(line).to_owned()
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn interfaces() -> Result<String, FingerprintError> {
    let mut names: Vec<_> = fs::read_dir("/sys/class/net")
        .map_err(unreadable("/sys/class/net"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names.join("\n"))
}

fn sysctls() -> String {
    let mut lines = Vec::new();
    collect_sysctls(Path::new("/proc/sys"), &mut lines);
    lines.sort();
    lines.join("\n")
}

fn collect_sysctls(folder: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.to_string_lossy();
        if COUNTERS.iter().any(|counter| name.contains(counter)) {
            continue;
        }
        if path.is_dir() {
            collect_sysctls(&path, lines);
        } else if entry.metadata().is_ok_and(|metadata| metadata.mode() & 0o400 != 0)
            && let Ok(value) = fs::read_to_string(&path)
        {
            lines.push(format!("{name} = {}", value.trim().replace('\n', " ")));
        }
    }
}

fn mounts() -> Result<String, FingerprintError> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(unreadable("/proc/self/mountinfo"))?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

fn modules() -> String {
    let text = fs::read_to_string("/proc/modules").unwrap_or_default();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.join("\n")
}

fn apparmor() -> String {
    fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default()
}

/// What a host or its engine could leave. Those of services and sessions come and go by themselves.
fn control_groups() -> Result<String, FingerprintError> {
    const OURS: [&str; 4] = ["openshell", "docker", "containerd", "runc"];
    let mut found = Vec::new();
    folders_below(Path::new("/sys/fs/cgroup"), &mut found);
    found.retain(|path| OURS.iter().any(|name| path.contains(name)));
    found.sort();
    Ok(found.join("\n"))
}

fn folders_below(folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.push(entry.path().to_string_lossy().into_owned());
        folders_below(&entry.path(), found);
    }
}

/// The namespaces in which processes live.
fn namespaces() -> Result<String, FingerprintError> {
    let mut inodes = std::collections::BTreeSet::new();
    for process in fs::read_dir("/proc").map_err(unreadable("/proc"))?.flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(links) = fs::read_dir(process.path().join("ns")) else { continue };
        inodes.extend(links.flatten().filter_map(|link| fs::read_link(link.path()).ok()));
    }
    Ok(inodes.iter().map(|inode| inode.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n"))
}

fn written_since(folder: &Path, since: SystemTime, allowed: &[PathBuf], found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let busy = BUSY.iter().any(|busy| path.starts_with(busy));
        if busy || allowed.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            written_since(&path, since, allowed, found);
        } else if metadata.is_file() && metadata.modified().is_ok_and(|time| time > since) {
            found.push(format!("file written: {}", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(namespaces: &str) -> Fingerprint {
        let sections = [("namespaces", namespaces), ("sysctls", "a = 1")];
        let sections = sections.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        Fingerprint { taken: 0, sections }
    }

    #[test]
    fn what_vanishes_before_the_machine_is_at_rest_is_no_part_of_it() {
        let mut looks = ["old\nown", "old\nown\nnew", "own", "own", "never"].into_iter();
        let taken = first_of_rest(|| Ok(fingerprint(looks.next().unwrap())), REST_WITHIN).unwrap();
        assert_eq!(taken.sections["namespaces"], "own");
    }

    #[test]
    fn a_machine_that_never_rests_is_named_with_what_changes() {
        let mut looks = (0..).map(|look| fingerprint(&look.to_string()));
        let error = first_of_rest(|| Ok(looks.next().unwrap()), Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("\"namespaces: - 0\", \"namespaces: + 1\""), "{error}");
    }

    #[test]
    fn what_a_machine_at_rest_has_lost_is_a_difference() {
        let lines = fingerprint("own\nother").changed_lines(&fingerprint("own\nnew"));
        assert_eq!(lines, ["namespaces: - other", "namespaces: + new"]);
    }
}
