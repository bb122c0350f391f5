//! Names that users gave, as far as they may be told.

use std::collections::BTreeMap;

use crate::text::{Interface, Name};

/// Words that are everybody's, also where a user or a host has them as a name.
const COMMON: [&str; 12] = [
    "docker",
    "openshell",
    "ubuntu",
    "debian",
    "fedora",
    "root",
    "admin",
    "user",
    "host",
    "input",
    "filter",
    "bridge",
];

/// Keeps names that are harmless, and gives the others numbers: the same name has the same number everywhere.
#[derive(Debug, Default)]
pub struct Names {
    secrets: Vec<String>,
    renamed: BTreeMap<String, usize>,
}

impl Names {
    /// `secrets` are words that no name may have in it: the host's name, and its users'. Words of fewer than four letters
    /// tell nothing.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let secrets = secrets.into_iter().map(|word| word.to_ascii_lowercase());
        let telling = |word: &String| word.len() >= 4 && !COMMON.contains(&word.as_str());
        Self { secrets: secrets.filter(telling).collect(), renamed: BTreeMap::new() }
    }

    /// A name of a table, chain, set or list.
    pub fn name(&mut self, name: &str) -> Name {
        match Name::new(name) {
            Ok(kept) if self.is_harmless(name) => kept,
            _ => Name::numbered(self.number(name)),
        }
    }

    /// A name of an interface.
    pub fn interface(&mut self, name: &str) -> Interface {
        match Interface::new(name) {
            Ok(kept) if self.is_harmless(name) => kept,
            _ => Interface::numbered(self.number(name)),
        }
    }

    /// How many were not kept.
    #[must_use]
    pub fn renamed(&self) -> usize {
        self.renamed.len()
    }

    fn number(&mut self, name: &str) -> usize {
        let next = self.renamed.len() + 1;
        *self.renamed.entry(name.to_owned()).or_insert(next)
    }

    /// What looks like one of ours is none of theirs.
    pub(crate) fn is_harmless(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        let secret = |word: &String| {
            lower.match_indices(word.as_str()).any(|(at, _)| {
                let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
                let bytes = lower.as_bytes();
                let before = at.checked_sub(1).and_then(|at| bytes.get(at));
                !letter(before) && !letter(bytes.get(at + word.len()))
            })
        };
        !name.starts_with("renamed-") && !self.secrets.iter().any(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_names_stay_and_the_others_have_numbers() {
        let mut names =
            Names::new(["Build-07".to_owned(), "alice".to_owned(), "docker".to_owned(), "bob".to_owned()]);
        for kept in ["ufw-user-input", "DOCKER-USER", "openshell-docker", "malice", "bob"] {
            assert_eq!(names.name(kept).as_str(), kept);
        }
        assert_eq!(names.name("wg-alice").as_str(), "renamed-1");
        assert_eq!(names.name("build-07_in").as_str(), "renamed-2");
        assert_eq!(names.name("$(id)").as_str(), "renamed-3");
        assert_eq!(names.name("wg-alice").as_str(), "renamed-1", "the same again");
        assert_eq!(names.interface("wg-alice").as_str(), "renamed-1");
        assert_eq!(names.interface("a-name-too-long-for-one").as_str(), "renamed-4");
        assert_eq!(names.name("renamed-1").as_str(), "renamed-5", "ours is nobody's");
        assert_eq!(names.renamed(), 5);
    }
}
