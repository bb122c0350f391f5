//! Where standing hosts are written down: a private folder of the user.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::error::StandingError;
use super::foreign::Foreign;
use super::name::Name;
use super::record::Record;
use crate::privilege::{self, Privilege};

/// The folder's name in `$XDG_RUNTIME_DIR`, and the beginning of that in `/run`.
const FOLDER: &str = "openshell-harness";

/// The beginning of the names of folders that are being made; no host's name has a dot.
const NEW: &str = ".new-";

/// The folder with the records of this user's hosts.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// For the machine's root: where its hosts of others' snapshots are, once there was one.
    foreign: Option<Foreign>,
}

impl Folder {
    /// The caller's: `openshell-harness` in `$XDG_RUNTIME_DIR`, or in `/run/user/UID` for an ordinary user without that variable, where
    /// that is the caller's own; else `/run/openshell-harness-UID`. It is made when it is missing.
    ///
    /// # Errors
    /// When it is not private: another user's, a link, or open to others.
    pub fn open() -> Result<Self, StandingError> {
        let mut folder = Self::own()?;
        if Privilege::is_machines_root() {
            folder.foreign = Foreign::beside(&folder.path)?;
        }
        Ok(folder)
    }

    /// For hosts of others' snapshots, made by a process that has entered a user namespace afterwards: for the machine's root a folder
    /// that belongs to an id that owns nothing else, for everybody else the same one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn for_foreign() -> Result<Self, StandingError> {
        let own = Self::own()?;
        if !Privilege::is_machines_root() {
            return Ok(own);
        }
        Ok(Self { path: Foreign::make(&own.path)?.path, foreign: None })
    }

    fn own() -> Result<Self, StandingError> {
        let user = nix::unistd::geteuid().as_raw();
        // Who has entered a user namespace is root there, and has the same hosts as before.
        let outside = privilege::owner().unwrap_or(user);
        let variable = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let owner = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.uid());
        if let Some(own) = runtime_folder(user, outside, variable, owner) {
            // What it shows is the names in it only; what is below is private.
            require_own(&own, user, 0o022)?;
            return Self::at(own.join(FOLDER), user);
        }
        Self::at(PathBuf::from(format!("/run/{FOLDER}-{outside}")), user)
    }

    pub(super) fn at(path: PathBuf, user: u32) -> Result<Self, StandingError> {
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let hint = "XDG_RUNTIME_DIR has to name a folder of your own, such as /run/user/UID: mkdir -m 700 makes one";
                return Err(StandingError::Folder {
                    path,
                    message: format!("make the folder: {error}"),
                    hint,
                });
            }
        }
        require_own(&path, user, 0o077)?;
        Ok(Self { path, foreign: None })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The host of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &Name) -> Result<Entry, StandingError> {
        let own = self.entry(name);
        let foreign = self.foreign.as_ref().map(|foreign| foreign.entry(name));
        let is_there = |entry: &Entry| entry.path.symlink_metadata().is_ok_and(|found| found.is_dir());
        if let Some(entry) = [Some(own), foreign].into_iter().flatten().find(is_there) {
            return Ok(entry);
        }
        let names: Vec<String> = self.entries()?.iter().map(|entry| entry.name.to_string()).collect();
        let known = match names[..] {
            [] => "; there is none".to_owned(),
            _ => format!("; there are: {}", names.join(", ")),
        };
        Err(StandingError::Unknown { name: name.clone(), known })
    }

    /// All hosts, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, StandingError> {
        let mut entries: Vec<Entry> =
            names(&self.path)?.iter().filter_map(|name| Some(self.entry(&name.parse().ok()?))).collect();
        if let Some(foreign) = &self.foreign {
            let names = names(&foreign.path)?;
            entries.extend(names.iter().filter_map(|name| Some(foreign.entry(&name.parse().ok()?))));
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Folders of hosts that never came to have a name, because their caretaker was killed at once.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn abandoned(&self) -> Result<Vec<PathBuf>, StandingError> {
        let mut found = Vec::new();
        for folder in [Some(&self.path), self.foreign.as_ref().map(|it| &it.path)].into_iter().flatten() {
            let left = names(folder)?.into_iter().filter(|name| name.starts_with(NEW));
            found.extend(left.map(|name| folder.join(name)));
        }
        let mut paths: Vec<PathBuf> = found
            .into_iter()
            .filter(|path| !Record::read(path).is_ok_and(|record| record.caretaker.is_alive()))
            .collect();
        paths.sort();
        Ok(paths)
    }

    fn entry(&self, name: &Name) -> Entry {
        Entry { name: name.clone(), path: self.path.join(name.as_str()), only: None }
    }

    /// Makes a host's folder, which has its record from the first moment on.
    pub(super) fn claim(&self, record: &Record) -> Result<Entry, StandingError> {
        let entry = self.entry(&record.name);
        let new = self.path.join(format!("{NEW}{}-{}", record.caretaker.pid, record.caretaker.start));
        fs::DirBuilder::new().mode(0o700).create(&new).map_err(StandingError::io(&new))?;
        let claimed = record
            .write(&new)
            .and_then(|()| fs::rename(&new, &entry.path).map_err(StandingError::io(&entry.path)));
        if claimed.is_ok() {
            return Ok(entry);
        }
        let _ = fs::remove_dir_all(&new);
        // The rename refuses a folder that has something in it.
        if entry.path.exists() {
            return Err(StandingError::Exists { name: record.name.clone(), state: entry.look().state });
        }
        claimed.map(|()| entry)
    }
}

fn names(folder: &Path) -> Result<Vec<String>, StandingError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(StandingError::io(folder))? {
        let entry = entry.map_err(StandingError::io(folder))?;
        // A link is nobody's host.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// The folder of the caller's session, if it has one. `user` is its number as files have it here, `outside` that of the machine.
fn runtime_folder(
    user: u32,
    outside: u32,
    variable: Option<PathBuf>,
    owner: impl Fn(&Path) -> Option<u32>,
) -> Option<PathBuf> {
    // Root's hosts are in one place, whether root has a session or not.
    let session = (outside != 0).then(|| PathBuf::from(format!("/run/user/{outside}")));
    // `sudo -E` keeps another user's variable.
    variable.into_iter().chain(session).find(|path| path.is_absolute() && owner(path) == Some(user))
}

/// A folder of that user's, in which nobody else has the permissions of `others`. It is looked at itself, and not what a link
/// leads to.
pub(super) fn require_own(path: &Path, user: u32, others: u32) -> Result<(), StandingError> {
    let refuse = |message: String, hint: &'static str| {
        Err(StandingError::Folder { path: path.to_owned(), message, hint })
    };
    let found = fs::symlink_metadata(path).map_err(StandingError::io(path))?;
    if found.is_symlink() || !found.is_dir() {
        return refuse("it is no folder, or a link to one".to_owned(), "remove it");
    }
    if found.uid() != user {
        let message = format!("it belongs to user {}, and this is user {user}", found.uid());
        return refuse(
            message,
            "it is another user's: leave it, and set XDG_RUNTIME_DIR to a folder of your own",
        );
    }
    let mode = found.mode() & 0o7777;
    if mode & others != 0 {
        return refuse(format!("others may use it (mode {mode:o})"), "chmod 700, when all in it is yours");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::record::{Stage, State, VERSION};
    use super::super::removal::remove;
    use super::*;

    fn user() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn record(name: &str) -> Record {
        Record {
            version: VERSION,
            name: name.parse().unwrap(),
            source: "clean".to_owned(),
            title: "a test".to_owned(),
            image: "debian-13".to_owned(),
            started_at: 0,
            caretaker: super::super::ProcessId::of(std::process::id() as i32).unwrap(),
            stage: Stage::Booting,
            hosts: Vec::new(),
            network: None,
        }
    }

    /// A record whose caretaker is no more.
    fn dead(name: &str) -> Record {
        let mut record = record(name);
        record.caretaker.start = "1".to_owned();
        record
    }

    #[test]
    fn a_user_has_the_same_place_with_and_without_a_user_namespace() {
        // The first is as root's files look from there.
        let in_namespace = |path: &Path| Some(if path == Path::new("/run/user/1000") { 0 } else { 65534 });
        let before = |path: &Path| Some(if path == Path::new("/run/user/1000") { 1000 } else { 0 });
        let session = Some(PathBuf::from("/run/user/1000"));
        for variable in [session.clone(), None, Some("relative".into()), Some("/run/user/0".into())] {
            assert_eq!(runtime_folder(1000, 1000, variable.clone(), before), session);
            assert_eq!(runtime_folder(0, 1000, variable, in_namespace), session);
        }
        let variable = Some(PathBuf::from("/run/user/0"));
        assert_eq!(runtime_folder(0, 0, variable.clone(), before), variable);
        assert_eq!(runtime_folder(0, 0, None, before), None, "root without the variable");
        assert_eq!(runtime_folder(0, 0, session, before), None, "sudo -E");
        assert_eq!(runtime_folder(1000, 1000, None, |_| None), None, "no session");
    }

    #[test]
    fn a_place_that_is_not_private_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let refused = |path: &Path, user| Folder::at(path.to_owned(), user).unwrap_err().to_string();
        let real = place.path().join("real");
        assert_eq!(Folder::at(real.clone(), user()).unwrap().path(), real);
        assert_eq!(real.metadata().unwrap().mode() & 0o777, 0o700);

        let link = place.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(refused(&link, user()).contains("a link to one"));
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(refused(&file, user()).contains("it is no folder"));
        assert!(refused(&real, user() + 1).contains("another user's: leave it"));
        fs::set_permissions(&real, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(refused(&real, user()).contains("others may use it (mode 750)"));
        assert!(refused(Path::new("/no/such/place"), user()).contains("XDG_RUNTIME_DIR has to name"));
    }

    #[test]
    fn a_name_is_taken_once_and_a_link_is_nobodys_host() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(place.path().join("hosts"), user()).unwrap();
        let entry = folder.claim(&dead("one")).unwrap();
        assert_eq!(entry.look().state, State::Dead);
        let error = folder.claim(&record("one")).unwrap_err();
        assert!(matches!(error, StandingError::Exists { state: State::Dead, .. }), "{error}");
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, folder.path().join("two")).unwrap();
        assert!(folder.find(&"two".parse().unwrap()).is_err());
        let error = folder.find(&"three".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "there is no host three; there are: one");
        assert_eq!(folder.entries().unwrap().len(), 1);
        assert!(folder.abandoned().unwrap().is_empty(), "what was refused is gone");
    }

    #[test]
    fn what_cannot_be_read_is_listed_and_can_be_removed() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(place.path().join("hosts"), user()).unwrap();
        let target = place.path().join("target");
        fs::write(&target, "kept").unwrap();
        for (name, break_it) in [
            ("garbage", &(|path: &Path| fs::write(path, "\u{0}")) as &dyn Fn(&Path) -> io::Result<()>),
            ("empty", &|path| fs::write(path, "")),
            ("missing", &|_| Ok(())),
            ("link", &|path| symlink(&target, path)),
            ("newer", &|path| fs::write(path, serde_json::to_string(&Record { version: 9, ..record("x") })?)),
        ] {
            let entry = folder.claim(&dead(name)).unwrap();
            let path = entry.path.join("record.json");
            fs::remove_file(&path).unwrap();
            break_it(&path).unwrap();
            let listed = entry.look();
            assert_eq!(listed.state, State::Unreadable, "{name}");
            assert!(listed.why.unwrap().contains("record.json"), "{name}");
            remove(&entry.path).unwrap();
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert!(folder.entries().unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_was_never_claimed_is_abandoned_once_its_maker_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(place.path().join("hosts"), user()).unwrap();
        let of_a_living = folder.path().join(".new-1-1");
        let of_a_dead = folder.path().join(".new-2-2");
        for (path, record) in [(&of_a_living, record("a")), (&of_a_dead, dead("b"))] {
            fs::create_dir(path).unwrap();
            record.write(path).unwrap();
        }
        assert_eq!(folder.abandoned().unwrap(), [of_a_dead]);
    }
}
