//! Image definitions are data: a suite and a list of packages.

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::ImageError;

/// The definitions that come with the crate: every `harness/images/*.toml`.
const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// What an image is built from.
///
/// ```
/// let definition = harness::image::Definition::named("debian-13")?;
/// assert_eq!(definition.suite(), "trixie");
/// # Ok::<(), harness::image::ImageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Definition {
    name: String,
    fields: Fields,
    digest: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    suite: String,
    packages: Vec<String>,
    #[serde(default)]
    apt_options: Vec<String>,
}

impl Definition {
    /// The names of the built-in definitions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in definition `name`, or the file at that path when `name` ends in `.toml`.
    ///
    /// # Errors
    /// When there is none, or it is not what the format says.
    pub fn named(name: &str) -> Result<Self, ImageError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, name, text);
        }
        let path = Path::new(name);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(path).map_err(ImageError::io(path))?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Self::parse(&stem, name, &text);
        }
        let known = Self::names().collect::<Vec<_>>().join(", ");
        Err(ImageError::UnknownName { name: name.to_owned(), known })
    }

    fn parse(name: &str, origin: &str, text: &str) -> Result<Self, ImageError> {
        let bad = |message: String| ImageError::BadDefinition { origin: origin.to_owned(), message };
        let fields: Fields = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:".contains(c))
        };
        for value in fields.packages.iter().chain([&fields.suite]) {
            if !word(value) {
                return Err(bad(format!("{value:?} is not the name of a suite or a package")));
            }
        }
        if !word(name) {
            return Err(bad(format!("{name:?} cannot name an image: letters, digits and +-.: only")));
        }
        let digest: String = Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name: name.to_owned(), fields, digest })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Debian suite that it is made of.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.fields.suite
    }

    pub(super) fn packages(&self) -> String {
        self.fields.packages.join(",")
    }

    pub(super) fn apt_options(&self) -> &[String] {
        &self.fields.apt_options
    }

    /// The name of its folder in the cache, which changes with the definition.
    pub(super) fn folder(&self) -> String {
        format!("{}-{}", self.name, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_definition_parses() {
        let names: Vec<_> = Definition::names().collect();
        assert!(names.contains(&"debian-13"));
        for name in names {
            Definition::named(name).unwrap();
        }
    }

    #[test]
    fn a_definition_with_an_unknown_key_or_a_hostile_word_is_refused() {
        let parse = |text| Definition::parse("x", "x.toml", text).unwrap_err().to_string();
        assert!(parse("suite = 'sid'\npackages = []\nmirror = 'x'").contains("unknown field `mirror`"));
        assert!(parse("suite = '--setup-hook=id'\npackages = []").contains("is not the name"));
        assert!(parse("suite = 'sid'\npackages = ['a b']").contains("is not the name"));
    }
}
