//! The gateway: a stand-in for it, and how an onboarding makes sure that one runs.
//!
//! ```text
//!   GatewaySetup::reuse_gateway    a healthy gateway of an earlier run, before anything is started      outer_reuse
//!   GatewaySetup::ensure_gateway   1  a service manager has it: restart                                 managed_service
//!                                  2  our records name the one listener: leave it running               reused
//!                                  3  a listener without records is the gateway: remember it            adopted
//!                                  4  nobody listens: start it                                          fresh
//!                                     every path ends with `openshell-probe preflight`, before it says healthy
//! ```
//!
//! The order and the conditions are those of NemoClaw's `startDockerDriverGateway`. The records are in a folder of the
//! host: a pid file, a marker (process, environment, endpoint, executable, network) and a log. What is started is a real
//! process: the [`GatewayProgram`] is this program standing in, or a gateway of somebody else's.

mod api;
mod contract;
mod ensure;
mod error;
mod healthy;
mod identity;
mod managed;
mod preflight;
mod program;
mod reuse;
mod setup;
mod state;
mod stub;

pub(super) use api::HEALTH;
pub(crate) use contract::run as run_by_contract;
pub use error::{Drift, GatewayError, Stop};
pub use identity::Executable;
pub(super) use identity::{owners, process, settled_owners};
pub use preflight::Passed;
pub(super) use preflight::{Subject, preflight};
pub use program::{GatewayProgram, Health};
pub use reuse::{OuterReuse, StartReason};
pub use setup::{Ensured, GatewaySetup, LifecycleStep};
pub(super) use state::{Lock, end, write_atomically};
pub use state::{Marker, NetworkMark, Records};
pub use stub::{Gateway, GatewayMode};
pub(crate) use stub::{NAME, run};
