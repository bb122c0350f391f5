//! A snapshot read back. The file may be anything: nothing in it is believed, and no text of it reaches a tool.
//!
//! ```text
//!  bytes ─► decompressed, up to a limit ─► UTF-8 ─► depth, count, lengths ─► schema ─► typed values ─► each text
//!                                                                                      and number looked at ─► Snapshot
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use serde::Deserialize;

use crate::model::{SCHEMA_VERSION, Snapshot};
use crate::scan::{self, Excess};
use crate::{limits, spell, validate};

/// Why a file is refused. Each says what is wrong, where, and which limit it breaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[source] io::Error),
    /// It is no regular file, whose end may never come.
    #[error("it is no regular file")]
    NotAFile,
    /// The file is too large.
    #[error("it has more than {} MiB", limits::COMPRESSED >> 20)]
    Large,
    /// What is in it is too large.
    #[error("it has more than {} MiB after decompression", limits::DECOMPRESSED >> 20)]
    Bomb,
    /// It is not compressed by gzip, or is damaged.
    #[error("it is no gzip file, or damaged after {after} decompressed bytes: {problem}")]
    Gzip {
        /// How much could be read.
        after: usize,
        /// What the decompression says.
        problem: String,
    },
    /// It ends too early.
    #[error("it is cut off after {after} decompressed bytes")]
    Truncated {
        /// How much could be read.
        after: usize,
    },
    /// Something follows what is compressed.
    #[error("something follows the compressed data")]
    Trailing,
    /// It is not UTF-8.
    #[error("byte {at} of it (decompressed) is not UTF-8")]
    NotUtf8 {
        /// Which one.
        at: usize,
    },
    /// It breaks a limit.
    #[error("{limit}, at {place}")]
    Limit {
        /// Which one.
        limit: String,
        /// Where.
        place: String,
    },
    /// It is of another version.
    #[error("its schema is {found:?}, and this program reads {}.x", SCHEMA_VERSION.split('.').next().unwrap_or_default())]
    Schema {
        /// Of which one, cut.
        found: String,
    },
    /// It is no snapshot.
    #[error("at {place}: {problem}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong there.
        problem: String,
    },
}

/// Reads a file.
///
/// # Errors
/// [`ReadError`], for anything that is no snapshot, or one that is larger than [`limits`].
pub fn read_file(path: &Path) -> Result<Snapshot, ReadError> {
    // A pipe or a device would be waited for at the opening.
    if !std::fs::metadata(path).map_err(ReadError::Io)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    read(File::open(path).map_err(ReadError::Io)?)
}

/// Reads what is compressed.
///
/// # Errors
/// As [`read_file`].
pub fn read(input: impl Read) -> Result<Snapshot, ReadError> {
    read_json(&decompress(input)?)
}

/// Reads what was compressed.
///
/// # Errors
/// As [`read_file`].
pub fn read_json(text: &[u8]) -> Result<Snapshot, ReadError> {
    std::str::from_utf8(text).map_err(|error| ReadError::NotUtf8 { at: error.valid_up_to() })?;
    scan::check(text).map_err(|(excess, at)| {
        let limit = match excess {
            Excess::Depth => format!("values are more than {} deep in each other", limits::DEPTH),
            Excess::Values => format!("there are more than {} values", limits::VALUES),
            Excess::Text => format!("a text has more than {} bytes", limits::TEXT),
        };
        ReadError::Limit { limit, place: place(text, at) }
    })?;
    let head: Head = typed(text)?;
    if head.schema.split_once('.').map(|(major, _)| major)
        != SCHEMA_VERSION.split_once('.').map(|(major, _)| major)
    {
        return Err(ReadError::Schema { found: head.schema.chars().take(20).collect() });
    }
    let mut snapshot: Snapshot = typed(text)?;
    validate::snapshot(&snapshot)
        .map_err(|invalid| ReadError::Value { place: invalid.place, problem: invalid.problem })?;
    if let Some(rules) = &mut snapshot.rules {
        spell::write_texts(rules);
    }
    Ok(snapshot)
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

fn typed<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ReadError> {
    serde_json::from_slice(text).map_err(|error| {
        let at = offset(text, error.line(), error.column());
        let problem = error.to_string();
        // Its own "at line 1 column 12345" helps nobody.
        let problem = problem.split(" at line ").next().unwrap_or_default();
        let problem: String = problem.chars().flat_map(char::escape_default).take(200).collect();
        ReadError::Value { place: place(text, at), problem }
    })
}

fn place(text: &[u8], at: usize) -> String {
    let path = scan::path_at(text, at);
    if path.is_empty() { format!("byte {at}") } else { format!("{path} (byte {at})") }
}

/// The byte of a line and a column, both from 1.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let before = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    before.map(<[u8]>::len).sum::<usize>() + column.saturating_sub(1)
}

/// Reads at most as many bytes as a file may have, and knows whether there were more.
struct Bounded<R> {
    inner: R,
    left: u64,
    more: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            self.more = self.inner.read(&mut [0])? > 0;
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= u64::try_from(read).unwrap_or(self.left);
        Ok(read)
    }
}

/// What is in the file, and no more of it than it may have.
fn decompress(input: impl Read) -> Result<Vec<u8>, ReadError> {
    let bounded = Bounded { inner: input, left: limits::COMPRESSED, more: false };
    let mut decoder = GzDecoder::new(io::BufReader::new(bounded));
    let mut text = Vec::new();
    let mut chunk = [0; 1 << 16];
    loop {
        match decoder.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) if text.len() + read > limits::DECOMPRESSED => {
                let _ = read;
                return Err(ReadError::Bomb);
            }
            Ok(read) => text.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if decoder.get_ref().get_ref().more => return Err(ReadError::Large),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::Truncated { after: text.len() });
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) =>
            {
                return Err(ReadError::Gzip { after: text.len(), problem: error.to_string() });
            }
            Err(error) => return Err(ReadError::Io(error)),
        }
    }
    let mut rest = decoder.into_inner();
    match rest.read(&mut [0]).map_err(ReadError::Io)? {
        0 if rest.get_ref().more => Err(ReadError::Large),
        0 => Ok(text),
        _ => Err(ReadError::Trailing),
    }
}
