//! Images: the pristine userlands that hosts have as their root filesystem.
//!
//! An image is a Debian suite and a list of packages, built once by `mmdebstrap` into the cache and shared read-only by
//! all hosts. It has a folder of its own there:
//!
//! ```text
//! images/debian-13-1f0c…/
//!   rootfs/          the userland
//!   mount/           empty; in a host's mount namespace its private tmpfs is mounted here
//!   manifest.toml    what it was built from, its packages, and the digest of the tree
//! ```

mod archive;
mod build;
mod cache;
mod definition;
mod handover;
mod tree;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde::{Deserialize, Serialize};

pub use cache::Cache;
pub(crate) use cache::closed_above;
pub use definition::Definition;
pub use handover::Handover;

use crate::privilege::PrivilegeError;

/// Why there is no such image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No definition has this name.
    #[error("there is no image definition {name:?}; there are: {known}")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A definition is not what its format says.
    #[error("image definition {origin}: {message}")]
    BadDefinition {
        /// The file, or the name of a built-in definition.
        origin: String,
        /// What is wrong and where.
        message: String,
    },
    /// The cache has no folder to be in.
    #[error(
        "there is no place for the cache: neither OPENSHELL_HARNESS_CACHE, XDG_CACHE_HOME nor HOME is set"
    )]
    NoCache,
    /// The image has not been built.
    #[error("image {name} is not in the cache {}\nhint: openshell-harness image build {name}", .cache.display())]
    NotBuilt {
        /// The image's name.
        name: String,
        /// The cache, which depends on the caller's environment.
        cache: PathBuf,
    },
    /// The files of an image belong to many users, whom a process has to have.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// The tree in the cache belongs to ids that the caller does not have.
    #[error(
        "the files in {} are not the caller's: another user made them\nhint: openshell-harness image remove {name} && openshell-harness image build {name}, or another OPENSHELL_HARNESS_CACHE", .folder.display()
    )]
    Foreign {
        /// The image's name.
        name: String,
        /// Where it is.
        folder: PathBuf,
    },
    /// An archive has no system in it.
    #[error(
        "what was unpacked for image {name} has no /usr and /etc\nhint: openshell-harness image export {name} writes such an archive"
    )]
    NoUserland {
        /// The image's name.
        name: String,
    },
    /// The tool that builds images is missing.
    #[error("mmdebstrap is not installed\nhint: sudo apt-get install mmdebstrap")]
    NoBuilder,
    /// The tool that makes images failed.
    #[error("{tool} failed with {status} at image {name}:\n{tail}")]
    BuildFailed {
        /// The tool.
        tool: &'static str,
        /// The image's name.
        name: String,
        /// Its exit status.
        status: String,
        /// The end of what it said.
        tail: String,
    },
    /// The tree in the cache is not the tree that was built.
    #[error(
        "image {name} is not as it was built ({expected} then, {found} now)\nhint: openshell-harness image remove {name} && openshell-harness image build {name}"
    )]
    Changed {
        /// The image's name.
        name: String,
        /// The digest in the manifest.
        expected: String,
        /// The digest of the tree now.
        found: String,
    },
    /// A file of the cache could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ImageError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    fn failed(tool: &'static str, definition: &Definition, output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        Self::BuildFailed {
            tool,
            name: definition.name().to_owned(),
            status: output.status.to_string(),
            tail,
        }
    }
}

/// What an image was built from and what it holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// The name of the definition.
    pub name: String,
    /// The Debian suite.
    pub suite: String,
    /// SHA-256 over the path, type, mode, owner and content of every file of the tree.
    pub tree_sha256: String,
    /// The size of all regular files, in bytes.
    pub bytes: u64,
    /// The installed packages, as `name version`.
    pub packages: Vec<String>,
}

/// A userland that hosts can have as their root filesystem.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    source: Source,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A folder of the cache.
    Built(PathBuf),
    /// The machine's own userland; the folder is where a host's tmpfs is mounted.
    Machine(PathBuf),
}

impl Image {
    /// The default: Debian 13 with Docker 26.1.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn debian_13() -> Result<Self, ImageError> {
        Self::named("debian-13")
    }

    /// The built image of the definition `name`.
    ///
    /// # Errors
    /// When there is no such definition, or it has not been built.
    pub fn named(name: &str) -> Result<Self, ImageError> {
        Cache::open()?.find(&Definition::named(name)?)
    }

    /// The machine's own userland, as an overlay: its programs run, and what they write is in the host's memory.
    ///
    /// Its configuration is masked (`/etc/docker`, `/etc/ufw`), and so are `/home`, `/root`, other file systems and the
    /// engine's data. This is how a host runs the engine of the machine.
    ///
    /// # Errors
    /// When the cache cannot hold the folder it is mounted on.
    pub fn machine() -> Result<Self, ImageError> {
        let mount = Cache::open()?.machine_mount()?;
        Ok(Self { name: "machine".to_owned(), source: Source::Machine(mount) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its manifest; the machine's own userland has none.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn manifest(&self) -> Result<Option<Manifest>, ImageError> {
        match &self.source {
            Source::Built(folder) => cache::read_manifest(folder).map(Some),
            Source::Machine(_) => Ok(None),
        }
    }

    /// Whether its files belong to the ids that the calling process has.
    pub(crate) fn check_owner(&self) -> Result<(), ImageError> {
        let rootfs = self.rootfs();
        match std::fs::metadata(&rootfs) {
            Ok(metadata) if metadata.uid() == 0 => Ok(()),
            Ok(_) => Err(ImageError::Foreign { name: self.name.clone(), folder: rootfs }),
            Err(error) => Err(ImageError::io(&rootfs)(error)),
        }
    }

    /// Compares the tree in the cache with the one that was built; reads all of it (about a second).
    ///
    /// # Errors
    /// When they differ.
    pub fn verify(&self) -> Result<(), ImageError> {
        let Source::Built(folder) = &self.source else { return Ok(()) };
        let expected = cache::read_manifest(folder)?.tree_sha256;
        let found = tree::digest(&folder.join("rootfs"))?.sha256;
        if found == expected {
            return Ok(());
        }
        Err(ImageError::Changed { name: self.name.clone(), expected, found })
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn built(name: &str, folder: PathBuf) -> Self {
        Self { name: name.to_owned(), source: Source::Built(folder) }
    }

    /// The root of the userland, for reading.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        match &self.source {
            Source::Built(folder) => folder.join("rootfs"),
            Source::Machine(_) => PathBuf::from("/"),
        }
    }
}
