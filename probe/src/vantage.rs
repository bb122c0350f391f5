//! Where a dial starts.

pub mod container;
pub mod host;
mod protocol;

pub use protocol::{DialerOutput, Neighbour, ProtocolError, Resolution};
