//! Where a dial starts.

pub(crate) mod container;
pub(crate) mod host;
mod protocol;

pub use protocol::{DialerOutput, Marked, Neighbour, ProtocolError, Resolution};
