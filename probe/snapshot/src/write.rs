//! A snapshot as a file.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};

use crate::limits;
use crate::model::Snapshot;
use crate::read::{ReadError, read_json};

/// Why a snapshot cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It would be refused by the reader: a host with more than a snapshot may have.
    #[error("this host does not fit into a snapshot: {0}")]
    Unreadable(#[source] ReadError),
    /// It cannot be made into JSON.
    #[error("a snapshot cannot be written: {0}")]
    Json(#[source] serde_json::Error),
    /// It cannot be compressed.
    #[error("a snapshot cannot be compressed: {0}")]
    Gzip(#[source] std::io::Error),
    /// It is too large.
    #[error("this host does not fit into a snapshot: it has more than {} MiB", limits::COMPRESSED >> 20)]
    Large,
}

/// The bytes of a file: gzip without a name or a time, so that the same snapshot is the same file.
///
/// # Errors
/// When the reader would refuse it.
pub fn to_bytes(snapshot: &Snapshot) -> Result<Vec<u8>, WriteError> {
    let text = to_json(snapshot)?;
    read_json(&text).map_err(WriteError::Unreadable)?;
    let mut file = GzBuilder::new().write(Vec::new(), Compression::best());
    file.write_all(&text).map_err(WriteError::Gzip)?;
    let bytes = file.finish().map_err(WriteError::Gzip)?;
    if bytes.len() as u64 > limits::COMPRESSED {
        return Err(WriteError::Large);
    }
    Ok(bytes)
}

/// What is compressed: JSON on one line. Rules have no text in it.
///
/// # Errors
/// When it cannot be made into JSON.
pub fn to_json(snapshot: &Snapshot) -> Result<Vec<u8>, WriteError> {
    let mut snapshot = snapshot.clone();
    for table in snapshot.rules.iter_mut().flat_map(|rules| &mut rules.tables) {
        let rules = table.chains.iter_mut().flat_map(|chain| &mut chain.rules);
        rules.for_each(|rule| rule.text.clear());
    }
    let mut text = serde_json::to_vec(&snapshot).map_err(WriteError::Json)?;
    text.push(b'\n');
    Ok(text)
}
