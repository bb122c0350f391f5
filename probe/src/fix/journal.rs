//! What this program added, on disk before it is added: root's folder, no symlinks, typed values.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};

use super::FixError;
use crate::explain::UfwRule;

/// UFW's rules outlive a reboot, so does what is known of them.
const FOLDERS: [&str; 4] = ["var", "lib", "openshell-probe", "fixes"];
/// An entry takes 200 bytes.
const MAX_ENTRY: u64 = 4096;

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
    pub(super) version: String,
    /// Seconds since 1970.
    pub(super) time: u64,
    pub(super) state: State,
    pub(super) ufw: UfwRule,
}

/// The folder of entries, locked for as long as this lives.
pub(super) struct Journal {
    folder: Flock<OwnedFd>,
}

impl Entry {
    /// One name for one rule: there cannot be two entries of it.
    fn name(&self) -> String {
        let UfwRule { from, prefix, to, port, interface } = &self.ufw;
        let interface = interface.as_ref().map_or_else(String::new, |name| format!("-{name}"));
        format!("ufw-{from}-{prefix}-{to}-{port}{interface}.json")
    }
}

impl Journal {
    /// Opens the folder, and makes it where it is missing if `create`. `None` where it is missing.
    pub(super) fn open(create: bool) -> Result<Option<Self>, FixError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut folder = open("/", flags, Mode::empty()).map_err(|error| broken("/", error))?;
        for (depth, name) in FOLDERS.into_iter().enumerate() {
            if create && depth >= 2 {
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
            if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
                return Err(FixError::Unsafe { name: name.to_owned() });
            }
        }
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(folder) => Ok(Some(Self { folder })),
            Err((_, Errno::EWOULDBLOCK)) => Err(FixError::Busy),
            Err((_, error)) => Err(broken("fixes", error)),
        }
    }

    /// All entries. A file that is none, or not root's alone, is an error: nothing is guessed.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, FixError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut folder = nix::dir::Dir::openat(&*self.folder, ".", flags, Mode::empty())
            .map_err(|error| broken("fixes", error))?;
        let mut entries = Vec::new();
        for file in folder.iter() {
            let file = file.map_err(|error| broken("fixes", error))?;
            let name = file.file_name().to_string_lossy().into_owned();
            // What a killed writer left is no entry yet.
            if name.ends_with(".json") {
                entries.push(self.read(&name)?);
            }
        }
        Ok(entries)
    }

    /// Writes an entry, or replaces it: it is there as a whole or not at all, whenever this process ends.
    pub(super) fn put(&self, entry: &Entry) -> Result<(), FixError> {
        let (name, new) = (entry.name(), format!("{}.new", entry.name()));
        let _ = unlinkat(&*self.folder, new.as_str(), UnlinkatFlags::NoRemoveDir);
        self.write(&new, entry)?;
        renameat(&*self.folder, new.as_str(), &*self.folder, name.as_str())
            .map_err(|error| broken(&name, error))?;
        self.sync()
    }

    /// Removes an entry.
    pub(super) fn drop_entry(&self, entry: &Entry) -> Result<(), FixError> {
        let name = entry.name();
        unlinkat(&*self.folder, name.as_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(|error| broken(&name, error))?;
        self.sync()
    }

    fn read(&self, name: &str) -> Result<Entry, FixError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&*self.folder, name, flags, Mode::empty()).map_err(|error| broken(name, error))?;
        let stat = fstat(&file).map_err(|error| broken(name, error))?;
        let regular = stat.st_mode & 0o170_000 == 0o100_000;
        if stat.st_uid != 0 || stat.st_mode & 0o077 != 0 || !regular {
            return Err(FixError::Unsafe { name: crate::sanitize(name) });
        }
        let mut text = Vec::new();
        let read = File::from(file).take(MAX_ENTRY).read_to_end(&mut text);
        let entry: Option<Entry> = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
        entry
            .filter(|entry| entry.ufw.is_sound() && entry.name() == name)
            .ok_or_else(|| FixError::NoEntry { name: crate::sanitize(name) })
    }

    fn write(&self, name: &str, entry: &Entry) -> Result<(), FixError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&*self.folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|error| broken(name, error))?;
        let mut file = File::from(file);
        let text = serde_json::to_vec(entry).map_err(|error| broken(name, error))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(|error| broken(name, error))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), FixError> {
        nix::unistd::fsync(&*self.folder).map_err(|error| broken("fixes", error))
    }
}

fn broken(name: &str, error: impl std::fmt::Display) -> FixError {
    FixError::Journal { name: crate::sanitize(name), why: error.to_string() }
}
