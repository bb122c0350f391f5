//! The cache: where built images are.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Definition, Image, ImageError, Manifest};

/// The cache of hosts that root makes as an ordinary user, unless a variable says another: root's home is closed to them.
const SHARED: &str = "/var/cache/openshell-harness";

/// The nearest folder above that not everybody may enter, such as root's home; `None` where all may go to it.
pub(crate) fn closed_above(folder: &Path) -> Option<&Path> {
    let is_closed = |above: &&Path| fs::metadata(above).is_ok_and(|it| it.permissions().mode() & 0o001 == 0);
    folder.ancestors().skip(1).find(is_closed)
}

/// The folder that holds what was built once.
///
/// It is `OPENSHELL_HARNESS_CACHE`, else `openshell-harness` in `XDG_CACHE_HOME` or `~/.cache`; for hosts that are not root's,
/// the folder `user-UID` in it: the files of an image belong to the ids of who unpacked it. Those that root makes without its
/// rights are in `/var/cache/openshell-harness` instead of `~/.cache`, or of a folder that is closed to all but its owner.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache of the caller.
    ///
    /// # Errors
    /// When no environment variable says where it is.
    pub fn open() -> Result<Self, ImageError> {
        Self::of(crate::privilege::owner())
    }

    /// The cache of the user with that id outside, or of the machine's root.
    pub(crate) fn of(owner: Option<u32>) -> Result<Self, ImageError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let without_rights = owner.is_some_and(crate::privilege::is_roots);
        let folder = set("OPENSHELL_HARNESS_CACHE")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("openshell-harness")))
            // One in root's home is the scripts' choice for root, and no place for those who own nothing.
            .filter(|folder| {
                !without_rights || std::path::absolute(folder).is_ok_and(|it| closed_above(&it).is_none())
            })
            .or_else(|| without_rights.then(|| SHARED.into()))
            .or_else(|| Some(set("HOME")?.join(".cache/openshell-harness")))
            .ok_or(ImageError::NoCache)?;
        let mut folder = std::path::absolute(&folder).map_err(ImageError::io(&folder))?;
        if let Some(owner) = owner {
            folder.push(format!("user-{owner}"));
        }
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The built image of a definition.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn find(&self, definition: &Definition) -> Result<Image, ImageError> {
        let folder = self.image_folder(definition);
        if !folder.join("manifest.toml").is_file() {
            let name = definition.name().to_owned();
            return Err(ImageError::NotBuilt { name, cache: self.folder.clone() });
        }
        Ok(Image::built(definition.name(), folder))
    }

    /// Removes the image of a definition; whether there was one.
    ///
    /// # Errors
    /// When a file of it cannot be removed.
    pub fn remove(&self, definition: &Definition) -> Result<bool, ImageError> {
        let folder = self.image_folder(definition);
        let _lock = self.lock(definition.name())?;
        if !folder.exists() {
            return Ok(false);
        }
        // Without its manifest it is no image any more, however far the removal comes.
        let manifest = folder.join("manifest.toml");
        if manifest.exists() {
            fs::remove_file(&manifest).map_err(ImageError::io(&manifest))?;
        }
        fs::remove_dir_all(&folder).map_err(ImageError::io(&folder))?;
        Ok(true)
    }

    pub(super) fn image_folder(&self, definition: &Definition) -> PathBuf {
        self.folder.join("images").join(definition.folder())
    }

    /// The empty folder on which a host of the machine's own userland mounts its tmpfs.
    pub(super) fn machine_mount(&self) -> Result<PathBuf, ImageError> {
        let folder = self.folder.join("machine/mount");
        fs::create_dir_all(&folder).map_err(ImageError::io(&folder))?;
        Ok(folder)
    }

    /// Waits for, and holds, the lock of that name until the returned file is dropped.
    pub(crate) fn lock(&self, name: &str) -> Result<File, ImageError> {
        let folder = self.folder.join("locks");
        fs::create_dir_all(&folder).map_err(ImageError::io(&folder))?;
        let path = folder.join(name);
        let file = File::create(&path).map_err(ImageError::io(&path))?;
        file.lock().map_err(ImageError::io(&path))?;
        Ok(file)
    }
}

pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, ImageError> {
    let path = folder.join("manifest.toml");
    let text = fs::read_to_string(&path).map_err(ImageError::io(&path))?;
    toml::from_str(&text).map_err(|error| ImageError::BadDefinition {
        origin: path.display().to_string(),
        message: error.to_string(),
    })
}
