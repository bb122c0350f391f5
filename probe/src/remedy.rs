//! The smallest command that opens the path of one target.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::firewall::Tool;

/// A command that opens the path, in both forms from one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Remedy {
    /// The program and its arguments, with `sudo` in front when the caller is not root.
    pub argv: Vec<String>,
    /// The same as a line for a shell.
    pub text: String,
}

impl Remedy {
    /// The command of `tool` that lets `subnet` reach TCP `port` on `address`, and nothing more. `None` where the
    /// engine's subnet is no IPv4 network: nothing that came from elsewhere gets into a command unread.
    ///
    /// The form for UFW is the one that NemoClaw prints, word for word (NVIDIA/NemoClaw #3533). `ufw allow` appends,
    /// which opens the default policy; rules without a manager are first-match, so the accept goes to the top.
    #[must_use]
    pub fn open(tool: Tool, subnet: &str, address: Ipv4Addr, port: u16, root: bool) -> Option<Self> {
        let subnet = ipv4_network(subnet)?;
        let (address, port) = (address.to_string(), port.to_string());
        let words: Vec<&str> = match tool {
            Tool::Ufw => {
                vec!["ufw", "allow", "from", &subnet, "to", &address, "port", &port, "proto", "tcp"]
            }
            Tool::Iptables => vec![
                "iptables", "-I", "INPUT", "-s", &subnet, "-d", &address, "-p", "tcp", "--dport", &port,
                "-j", "ACCEPT",
            ],
        };
        let sudo = (!root).then_some("sudo");
        Some(Self::of(sudo.into_iter().chain(words)))
    }

    /// The command that lets the answers from TCP `port` on `address` out to `subnet`. UFW lets answers out before any rule
    /// of its own (`ufw-before-output` accepts what is established), so it is not UFW that drops them.
    #[must_use]
    pub fn answer(subnet: &str, address: Ipv4Addr, port: u16, root: bool) -> Option<Self> {
        let subnet = ipv4_network(subnet)?;
        let (address, port) = (address.to_string(), port.to_string());
        let words = [
            "iptables", "-I", "OUTPUT", "-s", &address, "-d", &subnet, "-p", "tcp", "--sport", &port, "-j",
            "ACCEPT",
        ];
        let sudo = (!root).then_some("sudo");
        Some(Self::of(sudo.into_iter().chain(words)))
    }

    fn of<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let argv: Vec<String> = words.map(str::to_owned).collect();
        // Every word is made of letters, digits, '-', '.' and '/': no shell gives any of them a meaning.
        let text = argv.join(" ");
        Self { argv, text }
    }
}

/// `a.b.c.d/n` in its canonical form.
fn ipv4_network(subnet: &str) -> Option<String> {
    let (address, prefix) = subnet.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some(format!("{address}/{prefix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

    #[test]
    fn the_ufw_command_is_the_one_nemoclaw_prints() {
        let remedy = Remedy::open(Tool::Ufw, "172.18.0.0/16", GATEWAY, 8080, false).unwrap();
        assert_eq!(remedy.text, "sudo ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp");
        assert_eq!(remedy.argv.join(" "), remedy.text);
        let root = Remedy::open(Tool::Ufw, "172.18.0.0/16", GATEWAY, 11435, true).unwrap();
        assert_eq!(root.text, "ufw allow from 172.18.0.0/16 to 172.18.0.1 port 11435 proto tcp");
    }

    #[test]
    fn the_iptables_command_goes_to_the_top() {
        let remedy = Remedy::open(Tool::Iptables, "172.18.0.0/16", GATEWAY, 8080, false).unwrap();
        let text = "sudo iptables -I INPUT -s 172.18.0.0/16 -d 172.18.0.1 -p tcp --dport 8080 -j ACCEPT";
        assert_eq!(remedy.text, text);
    }

    #[test]
    fn a_subnet_that_is_none_gives_no_command() {
        for subnet in ["", "172.18.0.0", "172.18.0.0/33", "fd00::/64", "172.18.0.0/16; reboot", "$(id)/16"] {
            assert_eq!(Remedy::open(Tool::Ufw, subnet, GATEWAY, 8080, true), None, "{subnet:?}");
        }
    }
}
