//! Removes what checks leave with an engine: the image, and containers that are past their expiry.

use std::fmt;

use crate::engine::{Engine, EngineError};
use crate::image::{OWNER, OWNER_LABEL};
use crate::vantage::container;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Images, of this build and of others.
    pub images: usize,
    /// Expired containers.
    pub containers: usize,
    /// Images that another check is using right now.
    pub in_use: usize,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "removed: {} image(s), {} container(s)", self.images, self.containers)?;
        if self.in_use > 0 {
            write!(formatter, "; kept, because a check uses it now: {} image(s)", self.in_use)?;
        }
        Ok(())
    }
}

/// Removes expired containers, then images that nothing uses.
///
/// # Errors
/// When the engine fails.
pub async fn clean(engine: &impl Engine) -> Result<Cleaned, EngineError> {
    let mut cleaned = Cleaned { containers: container::sweep(engine).await?, ..Cleaned::default() };
    for image in engine.labelled_images(OWNER_LABEL, OWNER).await? {
        if engine.remove_image(&image).await? {
            cleaned.images += 1;
        } else {
            cleaned.in_use += 1;
        }
    }
    Ok(cleaned)
}
