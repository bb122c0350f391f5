//! Presets: hosts that have a name, to be used without a file. Each is a scenario file that this program carries.

use std::path::Path;

use crate::scenario::{FileError, ScenarioFile, edits};

/// The files of `harness/presets`, by their names.
const FILES: [(&str, &str); 6] = [
    ("brev-ufw", include_str!("../presets/brev-ufw.toml")),
    ("clean", include_str!("../presets/clean.toml")),
    ("firewalld", include_str!("../presets/firewalld.toml")),
    ("k3s-legacy", include_str!("../presets/k3s-legacy.toml")),
    ("nft-only", include_str!("../presets/nft-only.toml")),
    ("vm-desktop", include_str!("../presets/vm-desktop.toml")),
];

/// A name that differs in so many letters is likely meant to be the other one.
const TYPOS: usize = 3;

/// A host that has a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The scenario file, word for word.
    pub text: &'static str,
}

/// No preset has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no preset {name:?}; there are: {}{}", known(), meant(.name))]
pub struct UnknownPreset {
    /// What was asked for.
    pub name: String,
}

impl Preset {
    /// All of them, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        FILES.into_iter().map(|(name, text)| Self { name, text })
    }

    /// The one of that name.
    ///
    /// # Errors
    /// When there is none; the error names those that there are.
    pub fn named(name: &str) -> Result<Self, UnknownPreset> {
        Self::all().find(|preset| preset.name == name).ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }

    /// What it is, as a scenario. Its title is its meaning in one line.
    ///
    /// # Errors
    /// When the file is no scenario, which a test excludes.
    pub fn file(self) -> Result<ScenarioFile, FileError> {
        ScenarioFile::parse(Path::new(&format!("presets/{}.toml", self.name)), self.text)
    }
}

fn known() -> String {
    FILES.map(|(name, _)| name).join(", ")
}

fn meant(name: &str) -> String {
    match closest(name, FILES.iter().map(|(known, _)| *known)) {
        Some(known) => format!("\nhint: did you mean {known}?"),
        None => "\nhint: `openshell-harness presets` says what each is".to_owned(),
    }
}

/// Which of the known names is likely meant.
pub(crate) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &str| edits(name.as_bytes(), known.as_bytes());
    let (distance, best) = known.map(|known| (distance(known), known)).min()?;
    (distance <= TYPOS.min(name.len() / 2)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_scenario_of_one_line_of_meaning() {
        let mut names = Vec::new();
        for preset in Preset::all() {
            let title = preset.file().unwrap().scenario.title;
            assert!(!title.contains('\n') && title.len() <= 120, "{}: {title}", preset.name);
            names.push(preset.name);
        }
        assert!(names.is_sorted());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/presets");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), names.len(), "each file is a preset");
    }

    #[test]
    fn a_misspelt_preset_is_answered_with_the_one_that_is_meant() {
        let error = Preset::named("brev-ufv").unwrap_err().to_string();
        assert!(error.ends_with("\nhint: did you mean brev-ufw?"), "{error}");
        let error = Preset::named("x").unwrap_err().to_string();
        assert!(
            error.contains("there are: brev-ufw, clean,") && error.contains("`openshell-harness presets`")
        );
    }
}
