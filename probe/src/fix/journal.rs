//! What this program added, on disk before it is added: root's folder, no symlinks, typed values.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, major, minor, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};

use super::FixError;
use crate::explain::UfwRule;

/// UFW's rules outlive a reboot, so does what is known of them.
const FOLDERS: [&str; 4] = ["var", "lib", "openshell-probe", "fixes"];
/// The same as a path.
pub(super) const PLACE: &str = "/var/lib/openshell-probe/fixes";
/// The folders from here on are this program's.
const OWN: usize = 2;
/// An entry takes 300 bytes.
const MAX_ENTRY: u64 = 4096;
/// The form of an entry. A change that an older program would misread takes the next number.
const FORM: u32 = 1;

/// How far a fix came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// The rule was not there, and is about to be added.
    Planned,
    /// It was added.
    Applied,
}

/// One rule that is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    form: u32,
    /// The program's.
    version: String,
    /// Whose rule it is: `/etc/machine-id`, where there is one.
    machine: Option<String>,
    /// Seconds since 1970.
    time: u64,
    pub(super) state: State,
    pub(super) ufw: UfwRule,
}

/// What every form of an entry has.
#[derive(Deserialize)]
struct AnyForm {
    form: u32,
    version: String,
}

/// The folder of entries, locked until this is dropped and every program has ended that [`held`](Journal::held) it.
pub(super) struct Journal {
    folder: File,
}

impl Entry {
    /// A rule that is about to be added.
    pub(super) fn new(time: u64, ufw: UfwRule) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { form: FORM, version, machine: machine(), time, state: State::Planned, ufw }
    }

    /// One name for one rule: there cannot be two entries of it.
    fn name(&self) -> String {
        let UfwRule { from, prefix, to, port, interface } = &self.ufw;
        let interface = interface.as_ref().map_or_else(String::new, |name| format!("-{name}"));
        format!("ufw-{from}-{prefix}-{to}-{port}{interface}.json")
    }

    /// From a file of that name.
    fn parse(name: &str, text: &[u8]) -> Result<Self, FixError> {
        let no_entry = || FixError::NoEntry { name: crate::sanitize(name) };
        let any: AnyForm = serde_json::from_slice(text).map_err(|_| no_entry())?;
        if any.form > FORM {
            return Err(FixError::Newer {
                name: crate::sanitize(name),
                version: crate::sanitize(&any.version),
            });
        }
        let entry: Self = serde_json::from_slice(text).map_err(|_| no_entry())?;
        if entry.form != FORM || !entry.ufw.is_sound() || entry.name() != name {
            return Err(no_entry());
        }
        match (&entry.machine, machine()) {
            (Some(there), Some(here)) if *there != here => {
                Err(FixError::Elsewhere { name: name.to_owned(), rule: Box::new(entry.ufw) })
            }
            _ => Ok(entry),
        }
    }
}

/// Who this machine is. A new installation, and a copy that was told so, is another one.
fn machine() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim();
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

impl Journal {
    /// Opens the folder, and makes it where it is missing if `create`. `None` where it is missing.
    pub(super) fn open(create: bool) -> Result<Option<Self>, FixError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut folder = open("/", flags, Mode::empty()).map_err(|error| broken("/", error))?;
        for (depth, name) in FOLDERS.into_iter().enumerate() {
            if create && depth >= OWN {
                match mkdirat(&folder, name, Mode::S_IRWXU) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(broken(name, error)),
                }
            }
            folder = match openat(&folder, name, flags, Mode::empty()) {
                Ok(folder) => folder,
                Err(Errno::ENOENT) if !create => return Ok(None),
                Err(error) => return Err(broken(name, error)),
            };
            let stat = fstat(&folder).map_err(|error| broken(name, error))?;
            let mode = stat.st_mode & 0o777;
            let safe = if depth >= OWN { mode == 0o700 } else { mode & 0o022 == 0 };
            if stat.st_uid != 0 || !safe {
                return Err(not_ours(name, &stat));
            }
        }
        // Not nix's lock, which is given up where it is dropped: a ufw that goes on after this process keeps it.
        let folder = File::from(folder);
        match folder.try_lock() {
            Ok(()) => Ok(Some(Self { folder })),
            Err(TryLockError::WouldBlock) => Err(FixError::Busy { holder: holder(&folder) }),
            Err(TryLockError::Error(error)) => Err(broken("fixes", error)),
        }
    }

    /// The lock, for a program that is started next: it holds it as long as it runs, whatever becomes of this process.
    pub(super) fn held(&self) -> Result<OwnedFd, FixError> {
        let descriptor = OwnedFd::from(self.folder.try_clone().map_err(|error| broken("fixes", error))?);
        fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|error| broken("fixes", error))?;
        Ok(descriptor)
    }

    /// All entries. A file that is none, or not root's alone, is an error: nothing is guessed.
    pub(super) fn entries(&self) -> Result<Vec<Result<Entry, FixError>>, FixError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut folder = nix::dir::Dir::openat(&self.folder, ".", flags, Mode::empty())
            .map_err(|error| broken("fixes", error))?;
        let mut names = Vec::new();
        for file in folder.iter() {
            let file = file.map_err(|error| broken("fixes", error))?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                names.push(name);
            } else if name.ends_with(".json.new") {
                // What a killed writer left is no entry yet, and never will be: the lock is ours.
                let _ = unlinkat(&self.folder, name.as_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
        names.sort();
        Ok(names.iter().map(|name| self.read(name)).collect())
    }

    /// Writes an entry, or replaces it: it is there as a whole or not at all, whenever this process ends.
    pub(super) fn put(&self, entry: &Entry) -> Result<(), FixError> {
        let (name, new) = (entry.name(), format!("{}.new", entry.name()));
        let _ = unlinkat(&self.folder, new.as_str(), UnlinkatFlags::NoRemoveDir);
        if let Err(error) = self.write(&new, entry) {
            // Half a file has no use, and takes room where there is none.
            let _ = unlinkat(&self.folder, new.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(error);
        }
        renameat(&self.folder, new.as_str(), &self.folder, name.as_str())
            .map_err(|error| broken(&name, error))?;
        self.sync()
    }

    /// Removes an entry.
    pub(super) fn drop_entry(&self, entry: &Entry) -> Result<(), FixError> {
        let name = entry.name();
        unlinkat(&self.folder, name.as_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(|error| broken(&name, error))?;
        self.sync()
    }

    fn read(&self, name: &str) -> Result<Entry, FixError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::empty()).map_err(|error| broken(name, error))?;
        let stat = fstat(&file).map_err(|error| broken(name, error))?;
        let regular = stat.st_mode & 0o170_000 == 0o100_000;
        if stat.st_uid != 0 || stat.st_mode & 0o077 != 0 || !regular {
            return Err(not_ours(name, &stat));
        }
        let mut text = Vec::new();
        File::from(file).take(MAX_ENTRY).read_to_end(&mut text).map_err(|error| broken(name, error))?;
        Entry::parse(name, &text)
    }

    fn write(&self, name: &str, entry: &Entry) -> Result<(), FixError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|error| broken(name, error))?;
        let mut file = File::from(file);
        let text = serde_json::to_vec(entry).map_err(|error| broken(name, error))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(|error| broken(name, error))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), FixError> {
        nix::unistd::fsync(&self.folder).map_err(|error| broken("fixes", error))
    }
}

fn not_ours(name: &str, stat: &FileStat) -> FixError {
    let found = format!("mode {:04o}, owner {}", stat.st_mode & 0o7777, stat.st_uid);
    FixError::Unsafe { name: crate::sanitize(name), found }
}

/// Which process took the lock of that folder, as far as /proc/locks tells.
fn holder(folder: &File) -> Option<u32> {
    let stat = fstat(folder).ok()?;
    let wanted = format!("{:02x}:{:02x}:{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, &wanted)
}

/// From a line as in `7: FLOCK  ADVISORY  WRITE 4711 00:2f:1234 0 EOF`. Process 0 is one that has ended.
fn holder_in(locks: &str, wanted: &str) -> Option<u32> {
    let holder = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, "WRITE", process, inode, ..] if inode == wanted => process.parse().ok(),
            _ => None,
        }
    };
    locks.lines().find_map(holder).filter(|process| *process != 0)
}

fn broken(name: &str, error: impl std::fmt::Display) -> FixError {
    FixError::Journal { name: crate::sanitize(name), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_nothing_else_is_one() {
        let (from, to) = (Ipv4Addr::new(172, 18, 0, 0), Ipv4Addr::new(172, 18, 0, 1));
        let rule = UfwRule { from, prefix: 16, to, port: 8080, interface: None };
        let entry = Entry::new(1, rule);
        let (name, text) = (entry.name(), serde_json::to_string(&entry).unwrap());
        assert_eq!(Entry::parse(&name, text.as_bytes()).unwrap(), entry);
        let said = |text: &str| Entry::parse(&name, text.as_bytes()).unwrap_err().to_string();
        for none in [
            "",
            "{}",
            &text[..text.len() - 1],
            &text.replace("8080", "8081"),
            &text.replace("172.18.0.0", "172.18.0.0 -x"),
            &text.replace("\"time\"", "\"extra\":1,\"time\""),
            &text.replace("\"form\":1", "\"form\":0"),
        ] {
            assert!(said(none).ends_with("is no entry of this program's"), "{none}");
        }
        let newer = text.replace("\"form\":1", "\"form\":2,\"unknown\":[]").replace("0.1.0", "9.9.9");
        assert!(said(&newer).contains("written by openshell-probe 9.9.9"), "{}", said(&newer));
    }

    #[test]
    fn the_holder_of_a_lock_is_in_the_kernels_table() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 00:2f:9 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 00:2f:9 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 4712 00:2f:9 0 EOF\n3: FLOCK  ADVISORY  WRITE 0 00:2f:10 0 EOF\n";
        assert_eq!(holder_in(locks, "00:2f:9"), Some(4711));
        assert_eq!(holder_in(locks, "00:2f:10"), None);
        assert_eq!(holder_in("", "00:2f:9"), None);
    }
}
