//! What is said of a text that is not what it should be.

use crate::printable;

/// A captured text that cannot be read as what it is said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// One line is not of the format.
    #[error("{source_name} line {line}: expected {expected}, found \"{fragment}\"")]
    Line {
        /// What was read, such as `iptables-save`.
        source_name: &'static str,
        /// The line's number, from 1.
        line: usize,
        /// What the format has there.
        expected: &'static str,
        /// The beginning of the line, safe to print.
        fragment: String,
    },
    /// A JSON document that is none, or not nft's.
    #[error("{source_name} line {line}: expected {expected}: {fragment}")]
    Json {
        /// What was read.
        source_name: &'static str,
        /// The line's number, from 1; 0 where the document has none.
        line: usize,
        /// What the format has there.
        expected: &'static str,
        /// What was found, safe to print.
        fragment: String,
    },
    /// `nft`'s own tables are not read from a save text.
    #[error("a save text is of iptables-legacy or iptables-nft, not of nft's own tables")]
    NotASave,
}

impl ParseError {
    pub(crate) fn line(source_name: &'static str, line: usize, expected: &'static str, found: &[u8]) -> Self {
        Self::Line { source_name, line, expected, fragment: fragment(found) }
    }

    pub(crate) fn json(line: usize, expected: &'static str, found: &str) -> Self {
        Self::Json { source_name: "nft JSON", line, expected, fragment: fragment(found.as_bytes()) }
    }
}

/// A line's beginning, enough to find it by.
fn fragment(found: &[u8]) -> String {
    const MOST: usize = 80;
    let text = printable(found);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
