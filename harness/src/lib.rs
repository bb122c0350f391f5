//! Hermetic Linux hosts with a real engine and a real firewall, in about a second.
//!
//! ```text
//!  Image (a pristine userland) ─▶ Host (namespaces, overlay in memory, init) ─▶ Engine ─▶ Network
//!                                   │                                                       │
//!                                   └─▶ services: gateway, proxy            Posture: UFW, iptables, proven from the bridge
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use harness::{Engine, Host, Network};
//!
//! let host = Host::builder().engine(Engine::Docker).start().await?;
//! let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
//! println!("sandboxes reach their host at {}", network.gateway);
//! host.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # In your tests
//!
//! With `harness` and `tokio` as dev-dependencies this is a complete test file. It takes the image,
//! `openshell-harness image build debian-13`, and root, or what [`privilege`] says.
//!
//! ```no_run
#![doc = include_str!("../doc/firewall.rs")]
//! ```
//!
//! Link your tests statically, by `.cargo/config.toml`. A stand-in such as [`service::Gateway`] is your own program,
//! started again inside the host, where your machine's libraries are not:
//!
//! ```toml
#![doc = include_str!("../doc/config.toml")]
//! ```

mod background;
pub mod conform;
pub mod engine;
mod form;
pub mod host;
pub mod image;
pub mod machine;
pub mod noise;
mod packets;
pub mod posture;
pub mod preset;
pub mod privilege;
pub mod replay;
pub mod results;
pub mod scenario;
pub mod service;
pub mod standing;
pub mod trace;
pub mod vm;

pub use engine::{Docker, Engine, EngineError, Network, NetworkInfo};
pub use host::{BootError, BootStep, Cgroups, ExecError, Host, HostBuilder, HostCommand, Process};
pub use image::{Image, ImageError};
pub use machine::Fingerprint;
pub use noise::Noise;
pub use posture::{Passage, Posture, PostureError, Ufw};
pub use preset::{Preset, UnknownPreset};
pub use privilege::{Privilege, PrivilegeError};
pub use trace::{Decided, HostTrace, TraceError, TracedDial};

/// The digest of the sources and the lock file that this library was built from; `openshell-harness build-id` prints that
/// of the program.
pub const BUILD_ID: &str = env!("OPENSHELL_BUILD_ID");
