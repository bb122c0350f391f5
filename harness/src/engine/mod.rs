//! Engines: the real daemon of a host's image, with our own configuration only.

mod docker;
mod happening;
mod intercept;
mod network;

pub(crate) use docker::connect;
pub use docker::{Docker, EngineError};
pub use intercept::{Intercept, InterceptBuilder, Interference};
pub(crate) use network::ensure_bridge_network;
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
