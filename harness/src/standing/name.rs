//! The names of standing hosts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, which is the longest host name too.
const LIMIT: usize = 63;

/// A standing host's name: 1 to 63 letters, digits and hyphens of ASCII, and no hyphen first. So it is never a path, an option
/// or anything that a terminal would not print.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is no name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no name of a host: 1 to {LIMIT} letters, digits and hyphens, and no hyphen first")]
pub struct BadName(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_label = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if text.is_empty() || text.len() > LIMIT || text.starts_with('-') || !is_label {
            return Err(BadName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path_an_option_or_a_control_sequence() {
        for good in ["a", "brev-ufw", "B2", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let long = "x".repeat(64);
        for bad in
            ["", ".", "..", "../x", "a/b", "-a", "a b", "a\nb", "bräv", "a\0", "\u{1b}[2J", "a_b", &long]
        {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
