//! An image from root's cache to that of hosts which root makes without its rights: their ids cannot read root's files.

use std::process::{Child, Stdio};

use super::{Cache, Definition, Image, ImageError, archive};
use crate::privilege::{Privilege, roots};

/// An image on its way. It begins in root's process before that enters a user namespace, and is taken over after it.
#[derive(Debug)]
pub struct Handover {
    definition: Definition,
    tar: Child,
}

impl Handover {
    /// Begins to hand over an image. `None` where there is nothing to do: the caller is not root, or the image is there already.
    ///
    /// # Errors
    /// When root does not have it either, or `tar` cannot be started.
    pub fn begin(definition: &Definition) -> Result<Option<Self>, ImageError> {
        if !Privilege::is_machines_root() || Cache::of(Some(roots()))?.find(definition).is_ok() {
            return Ok(None);
        }
        let rootfs = Cache::open()?.find(definition)?.rootfs();
        let mut command = archive::writing(&rootfs);
        let tar = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let tar = tar.map_err(ImageError::io("tar".as_ref()))?;
        Ok(Some(Self { definition: definition.clone(), tar }))
    }

    /// Unpacks it: a few seconds.
    ///
    /// # Errors
    /// When the process has not entered, or `tar` fails. Nothing of it is left then.
    pub fn finish(mut self) -> Result<Image, ImageError> {
        let imported = match self.tar.stdout.take() {
            Some(archive) => Cache::open()?.import(&self.definition, archive),
            None => Err(ImageError::io("tar".as_ref())(std::io::ErrorKind::BrokenPipe.into())),
        };
        let ended = self.tar.wait();
        let image = imported?;
        match ended {
            Ok(status) if status.success() => Ok(image),
            Ok(status) => {
                // What came may not be all of it.
                let _ = Cache::open()?.remove(&self.definition);
                let source = std::io::Error::other(format!("it ended with {status}"));
                Err(ImageError::io("tar".as_ref())(source))
            }
            Err(source) => Err(ImageError::io("tar".as_ref())(source)),
        }
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.tar.kill();
        let _ = self.tar.wait();
    }
}
