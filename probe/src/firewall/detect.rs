//! Which firewall tool is in charge: the kernel's rules where they may be read, UFW's own file otherwise.
//!
//! Only `*-save` programs are run, and without naming a table: `iptables-legacy -L`, `-S`, and even
//! `iptables-legacy-save -t filter` create the very table they list, while the bare `iptables-legacy-save` asks the
//! kernel first which exist.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::{Firewall, Tool};
use crate::programs;
use crate::textfile;

/// Where UFW says whether it is enabled; readable by everyone.
const UFW_CONF: &str = "/etc/ufw/ufw.conf";
/// Both backends can be live at once. The plain name is asked only where neither of the others exists.
const SAVERS: [&str; 2] = ["iptables-nft-save", "iptables-legacy-save"];

/// Finds the tool in charge of this host's firewall. `root` is whether the kernel's rules may be read.
pub async fn detect(root: bool) -> Firewall {
    if root && let Some(firewall) = from_kernel().await {
        return firewall;
    }
    from_ufw_conf(&textfile::read(UFW_CONF).unwrap_or_default())
}

async fn from_kernel() -> Option<Firewall> {
    let mut savers: Vec<PathBuf> = SAVERS.iter().filter_map(|name| programs::find(name)).collect();
    if savers.is_empty() {
        savers.extend(programs::find("iptables-save"));
    }
    let mut read = Vec::new();
    for saver in &savers {
        let Ok(rules) = programs::read(saver, &[]).await else { continue };
        let rules = String::from_utf8_lossy(&rules);
        let name = saver.file_name().unwrap_or(OsStr::new("iptables-save")).to_string_lossy().into_owned();
        if has_ufw(&rules) {
            let known_from = format!("its chains are in the kernel ({name})");
            return Some(Firewall { tool: Tool::Ufw, verified: true, known_from });
        }
        read.push(name);
    }
    if read.is_empty() {
        return None;
    }
    let known_from = format!("no UFW chain in the kernel ({})", read.join(", "));
    Some(Firewall { tool: Tool::Iptables, verified: true, known_from })
}

fn from_ufw_conf(conf: &str) -> Firewall {
    let enabled = textfile::value(conf, "ENABLED").is_some_and(|value| value.eq_ignore_ascii_case("yes"));
    if enabled {
        let known_from = "enabled in ufw.conf, not verified".to_owned();
        Firewall { tool: Tool::Ufw, verified: false, known_from }
    } else {
        let known_from = format!("UFW is not enabled in {UFW_CONF}; the rules were not read");
        Firewall { tool: Tool::Iptables, verified: false, known_from }
    }
}

/// Whether incoming packets go to UFW, and UFW has rules for them: `ufw disable` leaves its chains and the jumps to
/// them in place, emptied.
fn has_ufw(rules: &str) -> bool {
    let jump = rules.lines().any(|line| line.trim_end() == "-A INPUT -j ufw-before-input");
    jump && rules.lines().any(|line| line.starts_with("-A ufw-before-input "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ufw_conf_decides_only_when_it_says_yes() {
        for conf in
            ["ENABLED=yes\n", "# c\nENABLED=\"yes\" # on\n", "ENABLED=no\nENABLED=yes", " ENABLED = YES "]
        {
            let firewall = from_ufw_conf(conf);
            assert_eq!((firewall.tool, firewall.verified), (Tool::Ufw, false), "{conf:?}");
        }
        for conf in ["", "ENABLED=no\n", "#ENABLED=yes\n", "LOGLEVEL=yes\n", "ENABLED=yes\nENABLED=no"] {
            assert_eq!(from_ufw_conf(conf).tool, Tool::Iptables, "{conf:?}");
        }
    }

    #[test]
    fn ufw_is_in_charge_only_when_input_leads_to_it() {
        let jump = "*filter\n:ufw-before-input - [0:0]\n-A INPUT -j ufw-before-input\n";
        assert!(has_ufw(&format!("{jump}-A ufw-before-input -i lo -j ACCEPT\nCOMMIT\n")));
        assert!(!has_ufw(&format!("{jump}COMMIT\n")), "after ufw disable");
        assert!(!has_ufw("*filter\n:INPUT ACCEPT [0:0]\n:ufw-before-input - [0:0]\nCOMMIT\n"));
    }
}
