//! Where the machine's root has its standing hosts of others' snapshots: a folder of the id that those hosts have outside.
//!
//! Their caretaker has no right on the machine, so it cannot write where root's other hosts are. What it has written there is believed
//! only about processes of its own.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::entry::Entry;
use super::error::StandingError;
use super::folder::require_own;
use super::name::Name;
use crate::privilege;

/// The folder, and the id to which it belongs.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    pub(super) path: PathBuf,
    owner: u32,
}

impl Foreign {
    /// Each folder of root's has one of its own, which everybody may go to.
    fn of(own: &Path) -> Self {
        let digest = Sha256::digest(own.as_os_str().as_encoded_bytes());
        let tag: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let owner = privilege::roots();
        Self { path: PathBuf::from(format!("/run/openshell-harness-{owner}-{tag}")), owner }
    }

    /// The one beside root's own folder, if it was made.
    pub(super) fn beside(own: &Path) -> Result<Option<Self>, StandingError> {
        let foreign = Self::of(own);
        if foreign.path.symlink_metadata().is_err() {
            return Ok(None);
        }
        require_own(&foreign.path, foreign.owner, 0o077)?;
        Ok(Some(foreign))
    }

    /// The same, made when it is missing.
    pub(super) fn make(own: &Path) -> Result<Self, StandingError> {
        let foreign = Self::of(own);
        match fs::DirBuilder::new().mode(0o700).create(&foreign.path) {
            Ok(()) => chown(&foreign.path, Some(foreign.owner), Some(foreign.owner))
                .map_err(StandingError::io(&foreign.path))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StandingError::io(&foreign.path)(error)),
        }
        require_own(&foreign.path, foreign.owner, 0o077)?;
        Ok(foreign)
    }

    pub(super) fn entry(&self, name: &Name) -> Entry {
        Entry { name: name.clone(), path: self.path.join(name.as_str()), only: Some(self.owner) }
    }
}
