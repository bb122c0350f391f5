//! A rule of UFW's as typed values: the text to show, the arguments to run and UFW's own record all come from it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// `ufw allow` of one port of one address for one subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UfwRule {
    /// The subnet's first address.
    pub from: Ipv4Addr,
    /// The subnet's length.
    pub prefix: u8,
    /// The host's address on the bridge.
    pub to: Ipv4Addr,
    /// The TCP port.
    pub port: u16,
    /// Only what comes in by this bridge.
    pub interface: Option<String>,
}

/// What UFW is to do, and what has to be known for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UfwRemedy {
    /// The rule.
    pub rule: UfwRule,
    /// It has to come before all others.
    pub first: bool,
    /// The very rule exists, too late to have an effect: somebody else's, to be moved by its owner.
    pub there: bool,
    /// The bridge that the packets come in by.
    pub bridge: String,
}

impl UfwRule {
    /// From a subnet as in `172.18.0.0/16`. `None` where it is none, or too large to be a sandbox network.
    pub(super) fn new(subnet: &str, to: Ipv4Addr, port: u16) -> Option<Self> {
        let (address, prefix) = subnet.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix.into())?)?;
        let rule = Self { from: (u32::from(address) & mask).into(), prefix, to, port, interface: None };
        rule.is_sound().then_some(rule)
    }

    /// Whether it may become arguments: also a rule that was read back from a file.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let plain = |name: &String| {
            (1..=15).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        (8..=32).contains(&self.prefix) && self.port != 0 && self.interface.as_ref().is_none_or(plain)
    }

    /// The rule as UFW's arguments, from `allow` on.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut words = vec!["allow".to_owned()];
        if let Some(interface) = &self.interface {
            words.extend(["in".to_owned(), "on".to_owned(), interface.clone()]);
        }
        let (from, to, port) =
            (format!("{}/{}", self.from, self.prefix), self.to.to_string(), self.port.to_string());
        words.extend(["from", &from, "to", &to, "port", &port, "proto", "tcp"].map(str::to_owned));
        words
    }

    /// UFW's arguments that remove it.
    #[must_use]
    pub fn deleting(&self) -> Vec<String> {
        std::iter::once("delete".to_owned()).chain(self.arguments()).collect()
    }

    /// The line under which UFW keeps it in `user.rules`.
    #[must_use]
    pub fn record(&self) -> String {
        let prefix = if self.prefix == 32 { String::new() } else { format!("/{}", self.prefix) };
        let way = self.interface.as_ref().map_or_else(|| "in".to_owned(), |name| format!("in_{name}"));
        format!("### tuple ### allow tcp {} {} any {}{prefix} {way}", self.port, self.to, self.from)
    }
}

impl UfwRemedy {
    /// The arguments that add the rule.
    #[must_use]
    pub fn adding(&self) -> Vec<String> {
        let verb = self.first.then(|| "prepend".to_owned());
        verb.into_iter().chain(self.rule.arguments()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_one_text_and_one_record() {
        let mut rule = UfwRule::new("172.18.3.0/16", Ipv4Addr::new(172, 18, 0, 1), 8080).unwrap();
        assert_eq!(rule.arguments().join(" "), "allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp");
        assert_eq!(rule.record(), "### tuple ### allow tcp 8080 172.18.0.1 any 172.18.0.0/16 in");
        rule.interface = Some("br-1".to_owned());
        assert_eq!(rule.record(), "### tuple ### allow tcp 8080 172.18.0.1 any 172.18.0.0/16 in_br-1");
        for wrong in ["-x", "a b", "", "$(id)", "longer-than-fifteen"] {
            rule.interface = Some(wrong.to_owned());
            assert!(!rule.is_sound(), "{wrong}");
        }
        assert_eq!(UfwRule::new("0.0.0.0/0", Ipv4Addr::LOCALHOST, 1), None);
    }
}
