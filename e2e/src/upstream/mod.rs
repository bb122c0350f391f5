//! NemoClaw's probes as they were and are, each as a pure function of one neutral observation.
//!
//! ```text
//!   a host, live ──record──► Observation ─┬─ loopback ─┐
//!                                         ├─ v0, v1 …  ├─► Answer ──score──► right, false blame, false healthy, …
//!                                         └─ v5 ───────┘      ▲
//!                                                           Truth: reached? a firewall's fault?
//! ```
//!
//! The rules are written from descriptions of what those programs do, with their constants and their order, and are nobody's
//! code. [`record`] takes an observation of a host as it is at that moment; what a scenario expects has no part in it. So the
//! table says what each probe would have told a user there.

pub mod answer;
pub mod busybox;
pub mod corpus;
pub mod live;
pub mod loopback;
pub mod observation;
pub mod record;
pub mod route;
pub mod table;
pub mod v0;
pub mod v1;
pub mod v2;
pub mod v5;

#[cfg(test)]
mod tests;

use std::fmt;

pub use answer::{Answer, Reason};
pub use harness::conform::{Conclusion, Score, Truth};
pub use observation::Observation;

/// A probe of NemoClaw's, in the order in which they came.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Probe {
    /// The host dials its own 127.0.0.1, as all did before #3441.
    Loopback,
    /// The host dials the network's gateway address, which goes over `lo` all the same.
    GatewayAddress,
    /// The first commit of #3441.
    V0,
    /// #3441 as it was merged.
    V1,
    /// #3459, which came after the revert.
    V2,
    /// Since #5754, the newest.
    V5,
}

impl Probe {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Loopback, Self::GatewayAddress, Self::V0, Self::V1, Self::V2, Self::V5];

    /// What it would have answered.
    #[must_use]
    pub fn ask(self, seen: &Observation) -> Answer {
        match self {
            Self::Loopback => loopback::loopback(seen),
            Self::GatewayAddress => loopback::gateway_address(seen),
            Self::V0 => v0::decide(seen),
            Self::V1 => v1::decide(seen),
            Self::V2 => v2::decide(seen),
            Self::V5 => v5::decide(seen),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::GatewayAddress => "gateway address",
            Self::V0 => "v0",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V5 => "v5",
        })
    }
}
