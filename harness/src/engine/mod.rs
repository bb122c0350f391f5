//! Engines: the real daemon of a host's image, with our own configuration only.

mod docker;
mod network;

pub use docker::{Docker, EngineError};
pub use network::{Network, NetworkInfo};

/// Which engine a host has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Engine {
    /// No engine.
    #[default]
    None,
    /// The dockerd of the host's image.
    Docker,
}
