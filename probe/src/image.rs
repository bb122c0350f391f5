//! The image that holds the dialer and nothing else: carried in this program, loaded once, known by its digest.

use crate::engine::{Engine, EngineError, EngineInfo, ImageFacts};

/// The archive, from the build script.
pub(crate) const ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/image.tar"));
/// The id in Docker's classic store.
const CONFIG_DIGEST: &str = env!("OPENSHELL_IMAGE_CONFIG");
/// The id in the containerd store.
const MANIFEST_DIGEST: &str = env!("OPENSHELL_IMAGE_MANIFEST");
/// The digest of the only layer.
const LAYER_DIGEST: &str = env!("OPENSHELL_IMAGE_LAYER");
/// `amd64` or `arm64`.
const ARCHITECTURE: &str = env!("OPENSHELL_IMAGE_ARCHITECTURE");
/// The label that marks containers and images of this program.
pub const OWNER_LABEL: &str = env!("OPENSHELL_OWNER_LABEL");
/// The value of [`OWNER_LABEL`].
pub const OWNER: &str = env!("OPENSHELL_OWNER");

/// Why the image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The engine runs programs of another processor.
    #[error("this program carries a dialer for {ours}, the engine runs {theirs}")]
    Architecture {
        /// What the dialer is built for.
        ours: String,
        /// What the engine says of itself.
        theirs: String,
    },
    /// The engine loaded the archive and then did not know either id that it can have.
    #[error("the engine loaded the probe's image but does not know it by its digest")]
    NotFound,
    /// The engine knows the id but describes another content.
    #[error("the engine's image {id} is not the one this program carries")]
    Mismatch {
        /// The id that was asked for.
        id: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The id of the image in the engine's store, if it is there and is ours.
///
/// # Errors
/// When the engine fails, or describes another content under our digest.
pub(crate) async fn find(engine: &impl Engine) -> Result<Option<String>, ImageError> {
    let (classic, containerd) = tokio::join!(engine.image(CONFIG_DIGEST), engine.image(MANIFEST_DIGEST));
    // One store knows only one of the two, and may refuse the other.
    match (classic, containerd) {
        (Ok(Some(image)), _) | (_, Ok(Some(image))) => verified(&image).map(Some),
        (Err(error), _) | (_, Err(error)) => Err(error.into()),
        (Ok(None), Ok(None)) => Ok(None),
    }
}

/// The id of the image after making sure that the engine has it. `found` is an earlier answer of [`find`].
///
/// # Errors
/// See [`ImageError`].
pub(crate) async fn ensure(
    engine: &impl Engine,
    info: &EngineInfo,
    found: Option<String>,
) -> Result<String, ImageError> {
    check_architecture(&info.architecture)?;
    if let Some(id) = found {
        return Ok(id);
    }
    load(engine).await
}

/// Loads the image and returns its id.
///
/// # Errors
/// See [`ImageError`].
pub(crate) async fn load(engine: &impl Engine) -> Result<String, ImageError> {
    engine.load_image(ARCHIVE).await?;
    find(engine).await?.ok_or(ImageError::NotFound)
}

/// The image that this program carries, as Docker's classic store describes it once it is loaded.
#[must_use]
pub fn carried() -> ImageFacts {
    ImageFacts {
        id: CONFIG_DIGEST.to_owned(),
        architecture: ARCHITECTURE.to_owned(),
        layers: vec![LAYER_DIGEST.to_owned()],
    }
}

fn verified(image: &ImageFacts) -> Result<String, ImageError> {
    let known = image.id == CONFIG_DIGEST || image.id == MANIFEST_DIGEST;
    // The layer is what runs; its digest is the kernel of the matter, the id only its wrapping.
    if known && image.layers == [LAYER_DIGEST] && image.architecture == ARCHITECTURE {
        Ok(image.id.clone())
    } else {
        Err(ImageError::Mismatch { id: crate::sanitize::sanitize(&image.id) })
    }
}

fn check_architecture(engine: &str) -> Result<(), ImageError> {
    let theirs = match engine {
        "x86_64" | "amd64" => "amd64",
        "aarch64" | "arm64" => "arm64",
        other => other,
    };
    if theirs == ARCHITECTURE {
        return Ok(());
    }
    Err(ImageError::Architecture { ours: ARCHITECTURE.to_owned(), theirs: crate::sanitize::sanitize(theirs) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_processor_is_refused_by_name() {
        assert!(check_architecture(if ARCHITECTURE == "amd64" { "x86_64" } else { "aarch64" }).is_ok());
        let error = check_architecture("riscv64").unwrap_err();
        assert!(error.to_string().ends_with("the engine runs riscv64"));
    }

    #[test]
    fn an_image_is_ours_only_with_our_layer() {
        let ours = carried();
        assert_eq!(verified(&ours), Ok(CONFIG_DIGEST.to_owned()));
        assert!(verified(&ImageFacts { layers: vec!["sha256:0".to_owned()], ..ours.clone() }).is_err());
        assert!(verified(&ImageFacts { id: "sha256:0".to_owned(), ..ours }).is_err());
    }
}
