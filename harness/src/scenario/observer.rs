//! Looking at a scenario's host besides the probe and the oracle.

use std::pin::Pin;

use super::format::Expect;
use crate::host::Host;

/// What an observer does while the scenario waits for it.
pub type Look<'a> =
    Pin<Box<dyn Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'a>>;

/// Somebody who looks at the hosts of scenarios, for another purpose than the scenario's own.
pub trait Observer: Sync {
    /// The host has booted and its engine works; no event has happened.
    fn booted<'a>(&'a self, host: &'a Host) -> Look<'a>;

    /// The probe has given its answer of a check, and the oracle is not asked yet.
    fn checked<'a>(&'a self, moment: Moment<'a>) -> Look<'a>;
}

/// A check that the probe has made.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The host.
    pub host: &'a Host,
    /// What is expected of this check, with each place in the scenario's list.
    pub expected: &'a [(usize, &'a Expect)],
    /// The user and group that the probe ran as, unless root.
    pub user: Option<(u32, u32)>,
    /// The network that the probe was told, unless OpenShell's own.
    pub network: Option<&'a str>,
}
