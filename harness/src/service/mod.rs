//! Services: small real processes inside a host, standing in for those that sandboxes have to reach.
//!
//! ```text
//!  start() ── host.command(..).itself() ──▶ the creator's own program once more, under the service's name
//!     ▲                                        │ an ELF constructor recognises the name and the variable
//!     └──────── "listening on …" ◀─────────────┘ binds, announces, serves, ends when its standard input does
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use harness::service::{Gateway, GatewayMode, OllamaProxy, health, tags};
//! use harness::{Engine, Host, Network};
//!
//! let host = Host::builder().engine(Engine::Docker).start().await?;
//! let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
//! let gateway = Gateway::on(network.gateway).mode(GatewayMode::Plain).start(&host).await?;
//! let proxy = OllamaProxy::new().start(&host).await?;
//! health(&host, gateway.addresses()[0]).await?;
//! tags(&host, ([127, 0, 0, 1], OllamaProxy::PORT).into()).await?;
//! gateway.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! These end with their creator. How an onboarding starts, finds, adopts and checks a gateway that stays is in [`gateway`],
//! and what it does for inference in [`inference`].
//!
//! What they answer is what a caller can tell apart: transport, status codes and who is refused. They keep no state, and
//! no message of theirs has a content.

mod client;
mod dns;
pub mod gateway;
mod grpc;
pub mod inference;
mod manager;
mod other;
mod process;
mod proxy;
mod refusal;
mod stand_in;
mod tls;
mod wire;

/// The header in which a stand-in says its name, in every answer. No real service has it, and no program under test may
/// look at it: it is for those who have to know the right service from another of its kind.
pub const MARKER: &str = "x-openshell-stand-in";

pub use client::{Answer, CheckError, Client, GrpcStatus, Identity, health, health_over_tls, tags};
pub use dns::NameServer;
pub use gateway::{Gateway, GatewayMode};
pub use manager::{ServiceManager, UnitStatus};
pub use other::{Behaviour, OtherService};
pub use process::{Service, ServiceError};
pub use proxy::OllamaProxy;
pub(crate) use stand_in::accept;
pub(crate) use stand_in::{VARIABLE as STAND_IN_VARIABLE, say, start_if_asked as start_stand_in_if_asked};
pub use tls::TLS_FOLDER;
