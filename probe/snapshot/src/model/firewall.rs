//! The settings of the tools that write rules.

use serde::{Deserialize, Serialize};

use crate::text::{Interface, Name, Net, Ports, Word};

/// UFW's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ufw {
    /// `ENABLED` of `ufw.conf`.
    pub enabled: bool,
    /// `DEFAULT_INPUT_POLICY`: `accept`, `drop`, `reject`.
    pub input: Option<Word>,
    /// `DEFAULT_OUTPUT_POLICY`.
    pub output: Option<Word>,
    /// `DEFAULT_FORWARD_POLICY`.
    pub forward: Option<Word>,
    /// `IPV6`.
    pub ipv6: Option<bool>,
    /// `MANAGE_BUILTINS`.
    pub manage_builtins: Option<bool>,
    /// `LOGLEVEL`.
    pub log_level: Option<Word>,
    /// The rules that users gave, IPv4; `None` where they were not read.
    pub rules: Option<Vec<UfwRule>>,
}

/// A rule that a user gave to UFW.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UfwRule {
    /// What it does.
    pub action: UfwAction,
    /// Whether it is for what passes through (`ufw route`).
    pub route: bool,
    /// `tcp`, `udp`, `any`, …
    pub protocol: Word,
    /// The ports it goes to.
    pub to_port: Ports,
    /// Where it goes.
    pub to: Net,
    /// The ports it comes from.
    pub from_port: Ports,
    /// Where it comes from.
    pub from: Net,
    /// Its direction.
    pub direction: Direction,
    /// The interface that it is bound to.
    pub interface: Option<Interface>,
    /// How many rules of `ufw-user-input` it made.
    pub lines: u32,
}

impl UfwRule {
    /// As UFW has it in its file of rules: a comment, above the lines that it made.
    #[must_use]
    pub fn tuple(&self) -> String {
        let address = |net: Net| {
            let whole = if net.address().is_ipv4() { 32 } else { 128 };
            if net.length() == whole { net.address().to_string() } else { net.to_string() }
        };
        let route = if self.route { "route:" } else { "" };
        let direction = if self.direction == Direction::In { "in" } else { "out" };
        let interface = self.interface.as_ref().map_or_else(String::new, |name| format!("_{name}"));
        format!(
            "### tuple ### {route}{} {} {} {} {} {} {direction}{interface}",
            self.action.name(),
            self.protocol,
            self.to_port,
            address(self.to),
            self.from_port,
            address(self.from),
        )
    }
}

/// What a rule of UFW does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UfwAction {
    /// Lets pass.
    Allow,
    /// Drops.
    Deny,
    /// Refuses.
    Reject,
    /// Lets six pass in 30 seconds.
    Limit,
}

impl UfwAction {
    /// As UFW spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Limit => "limit",
        }
    }
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the host.
    In,
    /// Out of it.
    Out,
}

/// firewalld's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FirewallD {
    /// The zone of what belongs to no other.
    pub default_zone: Option<Name>,
    /// The zones that are in use.
    pub zones: Vec<Zone>,
}

/// A zone of firewalld.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Zone {
    /// Its name.
    pub name: Name,
    /// What becomes of what nothing allows: `default`, `accept`, `drop`, `reject`.
    pub target: Word,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Its sources.
    pub sources: Vec<Net>,
    /// What it lets in by name.
    pub services: Vec<Name>,
    /// What it lets in by number.
    pub ports: Vec<PortRange>,
    /// Whether its interfaces may talk to each other.
    pub forward: bool,
    /// Whether it translates sources.
    pub masquerade: bool,
}

/// Ports of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PortRange {
    /// `tcp`, `udp`, …
    pub protocol: Word,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}
