//! The digest of a tree of files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::ImageError;

/// What is known of a tree after it was read.
pub(super) struct Tree {
    /// SHA-256 over every entry, in the order of their names.
    pub(super) sha256: String,
    /// The size of all regular files.
    pub(super) bytes: u64,
}

/// Reads the tree below `root`: paths, types, modes, owners, link targets and contents count; times do not.
pub(super) fn digest(root: &Path) -> Result<Tree, ImageError> {
    let mut digest = Sha256::new();
    let mut bytes = 0;
    add(root, root, &mut digest, &mut bytes)?;
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Tree { sha256, bytes })
}

fn add(root: &Path, folder: &Path, digest: &mut Sha256, bytes: &mut u64) -> Result<(), ImageError> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .map_err(ImageError::io(folder))?;
    entries.sort();
    for path in entries {
        let metadata = fs::symlink_metadata(&path).map_err(ImageError::io(&path))?;
        let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes();
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
        for number in [metadata.mode(), metadata.uid(), metadata.gid()] {
            digest.update(number.to_le_bytes());
        }
        if metadata.is_dir() {
            add(root, &path, digest, bytes)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).map_err(ImageError::io(&path))?;
            digest.update(target.as_os_str().as_bytes());
        } else if metadata.is_file() {
            digest.update(metadata.len().to_le_bytes());
            *bytes += metadata.len();
            let mut file = File::open(&path).map_err(ImageError::io(&path))?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                match file.read(&mut buffer).map_err(ImageError::io(&path))? {
                    0 => break,
                    length => digest.update(&buffer[..length]),
                }
            }
        }
    }
    Ok(())
}
