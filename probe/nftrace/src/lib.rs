//! Which rule of nf_tables decided about a packet, from the kernel's own trace.
//!
//! ```text
//!  SYN ─▶ device ─▶ our own chain: set nftrace ─▶ every chain that it meets ─▶ socket
//!                          │                          │
//!                          └──────── events ──────────┴──▶ Tracer ─▶ Trace (one flow) ─▶ Decision
//! ```
//!
//! A [`Tracer`] makes a table of its own with one chain that sets `nftrace` for the packets to follow, and reads what the
//! kernel then says about them, over netlink and without the program `nft`. The table is *owned*: the kernel removes it
//! when the tracer's socket is closed, also when the process is killed. Nothing else of the ruleset is touched.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = netns::Namespace::current()?;
//! let mut tracer = host.run(|| nftrace::Tracer::on("veth0", &[8080]))??;
//! // ... somebody behind veth0 dials port 8080 ...
//! for trace in tracer.drain()?.iter() {
//!     match trace.decision() {
//!         Some(decision) => println!("{}: {decision}", trace.flow()),
//!         None => println!("{}: nothing decided by nf_tables", trace.flow()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything acts in the network namespace of the calling thread; a tracer stays in the one where it was made, whichever
//! thread reads it. It takes CAP_NET_ADMIN there, and Linux 5.12 (owned tables).
//!
//! # What a trace shows, and what not
//!
//! - Rules of iptables-nft, ip6tables-nft, firewalld, Docker and everything else that lives in nf_tables. **The legacy
//!   tables of iptables give no events**: with them a flow is seen and nothing is decided.
//! - Packets from one side. The answer (a SYN-ACK, a reset) is another packet, which is not traced.
//! - `REJECT` and `reject` as a drop: the refusal is another packet.
//! - Nothing beyond the network namespace: the mark does not go through a veth pair.

mod error;
mod event;
mod netlink;
mod packet;
mod place;
mod rules;
mod trace;
mod tracer;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use event::{Event, Family, Kind, Verdict};
pub use packet::{Flow, Packet};
pub use place::{Packets, Place, is_own};
pub use rules::{generation, handles, position, tables};
pub use trace::{Decision, Trace, Traces};
pub use tracer::Tracer;
