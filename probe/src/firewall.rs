//! The host's firewall, read-only.

mod detect;

pub use detect::detect;
use serde::{Deserialize, Serialize};

/// The tool that a user changes the host's firewall with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tool {
    /// Uncomplicated Firewall.
    Ufw,
    /// Rules without a manager.
    Iptables,
}

/// What is known of the host's firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Firewall {
    /// The tool to change it with.
    pub tool: Tool,
    /// The kernel's rules were read. Otherwise a configuration file says so, or nothing does.
    pub verified: bool,
    /// Where that is known from, in words.
    pub known_from: String,
}
