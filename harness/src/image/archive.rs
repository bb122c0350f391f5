//! Images as `tar` archives: how one comes to a user who cannot read another user's, or has no network.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Cache, Definition, ImageError};

/// Entries that only the machine's root can make. No host uses an image's own: it mounts a `/dev`.
const DEVICES: &str = "./dev/*";

impl Cache {
    /// Writes the tree of an image to `archive`, with the numbers of its owners, for [`import`](Self::import).
    ///
    /// # Errors
    /// When it has not been built, cannot be read by the caller, or `tar` is missing or fails.
    pub fn export(&self, definition: &Definition, archive: impl Into<Stdio>) -> Result<(), ImageError> {
        let rootfs = self.find(definition)?.rootfs();
        run(writing(&rootfs).stdout(archive), definition)
    }
}

/// Unpacks an archive into that folder, which is not there yet.
pub(super) fn unpack(rootfs: &Path, definition: &Definition, archive: Stdio) -> Result<(), ImageError> {
    fs::create_dir(rootfs).map_err(ImageError::io(rootfs))?;
    let mut command = tar(rootfs);
    // GNU tar itself refuses names that lead out of the folder.
    command.arg(format!("--exclude={DEVICES}")).args(["--extract", "--preserve-permissions", "--same-owner"]);
    run(command.stdin(archive).stdout(Stdio::null()), definition)?;
    if rootfs.join("usr").is_dir() && rootfs.join("etc").is_dir() {
        return Ok(());
    }
    Err(ImageError::NoUserland { name: definition.name().to_owned() })
}

/// Writes the tree to its standard output.
pub(super) fn writing(rootfs: &Path) -> Command {
    let mut command = tar(rootfs);
    command.arg(format!("--exclude={DEVICES}")).args(["--create", "."]).stdin(Stdio::null());
    command
}

fn tar(folder: &Path) -> Command {
    let mut command = Command::new("tar");
    command.arg("--directory").arg(folder).args(["--numeric-owner", "--file=-"]);
    command
}

fn run(command: &mut Command, definition: &Definition) -> Result<(), ImageError> {
    let child = command.stderr(Stdio::piped()).spawn();
    let output = child.and_then(std::process::Child::wait_with_output);
    let output = output.map_err(ImageError::io(Path::new("tar")))?;
    if output.status.success() { Ok(()) } else { Err(ImageError::failed("tar", definition, &output)) }
}
