//! Hosts of what somebody else has written: they have no right on the machine, also where root makes them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use harness::image::{Cache, Definition, Handover};
use harness::{Privilege, PrivilegeError};

use super::output;

/// Why hosts cannot be made.
pub(super) enum Barred {
    /// The caller has to say something else.
    Refused(String),
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Barred {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The way out where there is no user namespace.
const TRUST: &str = "hint: as root, --trust gives the host root's rights, for a file that you trust";

/// Lets this process make hosts: with the rights that were asked for where their source is `trusted`, else without any. Called
/// with one thread. `programs` become paths that the hosts can be given.
pub(super) fn enter(privilege: Privilege, trusted: bool, programs: &mut [PathBuf]) -> Result<(), Barred> {
    if trusted {
        return Ok(privilege.enter()?);
    }
    if privilege == Privilege::Root {
        let message = "a host that is made of a snapshot has no rights on the machine, and --privilege root asks for them";
        return Err(Barred::Refused(format!("{message}\n{TRUST}")));
    }
    if !Privilege::is_machines_root() {
        return Privilege::User.enter().map_err(refused);
    }
    let handover = Handover::begin(&Definition::named("debian-13")?)?;
    // Root's files are out of reach afterwards, but for what is in memory.
    let contents = programs.iter().map(|path| closed(path).then(|| fs::read(path)).transpose());
    let contents = contents.collect::<Result<Vec<_>, _>>()?;
    Privilege::User.enter().map_err(refused)?;
    if let Some(handover) = handover {
        output::talk("copying the image for hosts without root's rights; this takes a few seconds, once");
        handover.finish()?;
    }
    for (path, content) in programs.iter_mut().zip(contents) {
        if let Some(content) = content {
            *path = keep(path, &content)?;
        }
    }
    Ok(())
}

fn refused(error: PrivilegeError) -> Barred {
    Barred::Refused(format!("{error}\n{TRUST}"))
}

/// Whether somebody who owns nothing cannot run the file.
fn closed(path: &Path) -> bool {
    let lacks = |path: &Path, mode: u32| {
        fs::metadata(path).map_or(true, |found| found.permissions().mode() & mode != mode)
    };
    lacks(path, 0o005) || path.ancestors().skip(1).any(|folder| lacks(folder, 0o001))
}

/// A copy of a program in the cache, whose folder is this process's own.
fn keep(path: &Path, content: &[u8]) -> Result<PathBuf, Barred> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = Cache::open()?.folder().join("programs");
    fs::create_dir_all(&folder)?;
    let (kept, partial) = (folder.join(&name), folder.join(format!("{name}.{}", std::process::id())));
    // The same program is left in its place: a host that runs may have it.
    let same = fs::metadata(&kept).is_ok_and(|found| found.size() == content.len() as u64)
        && fs::read(&kept).is_ok_and(|own| own == content);
    if !same {
        fs::write(&partial, content)?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
        fs::rename(&partial, &kept)?;
    }
    Ok(kept)
}
