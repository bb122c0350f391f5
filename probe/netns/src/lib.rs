//! Linux namespaces, for the probe and for the harness.
//!
//! What a hermetic host and a network vantage need from the kernel and what `nix` does not wrap stands in [`sys`], the
//! only file of this crate with `unsafe`. On top of it:
//!
//! - [`Namespace`] is a network namespace held by a descriptor: enter it on a thread of its own, compare it by inode.
//! - [`make_bridge`] makes a bridge, and [`Lan`] an interface with a neighbour and the rest of the world behind it.
//! - [`Vantage`] is a veth pair whose one end is a port of a bridge and whose other end is a namespace of its own, as a
//!   sandbox container would have it, made in about two milliseconds and gone when it is dropped.
//! - [`Queues`] is what traffic control of a bridge and its ports has dropped.
//! - [`Guest`] makes the calling thread such a neighbour, for a dial on a real machine: nothing outlives the process.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let machine = netns::Namespace::current()?;
//! let fresh = netns::Namespace::create()?;
//! assert_ne!(machine.inode(), fresh.inode());
//! let listener = fresh.run(|| std::net::TcpListener::bind("0.0.0.0:8080"))??;
//! # drop(listener);
//! # Ok(())
//! # }
//! ```

mod arp;
mod bridge;
mod guest;
mod lan;
mod links;
mod namespace;
mod queues;
mod ready;
pub mod sys;
mod vantage;

pub use guest::{Guest, remove_port};
pub use lan::{Lan, LanPlan, make_bridge};
pub use namespace::{Error, Namespace};
pub use queues::Queues;
pub use vantage::Vantage;
