//! The setting that a deciding rule stems from, in the words of the tool that a user knows.
//!
//! UFW's chains are those of Debian's package, 0.36; firewalld's those of its nftables backend, 1.0 and later.

use ruleset::{Backend, Place, Ruleset, TableFamily};
use serde::{Deserialize, Serialize};

use crate::sanitize::sanitize;
use crate::textfile;

/// UFW's default policies.
const UFW_DEFAULTS: &str = "/etc/default/ufw";
/// The rules that a user gave to UFW.
const UFW_RULES: &str = "/etc/ufw/user.rules";
/// nftables' own configuration, as Debian and Fedora name it.
const NFT_FILES: [&str; 2] = ["/etc/nftables.conf", "/etc/sysconfig/nftables.conf"];

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Setting {
    /// The setting, in its tool's words.
    pub text: String,
    /// The file that it is in, if it is in one.
    pub file: Option<String>,
}

impl Setting {
    fn of(text: impl Into<String>, file: Option<&str>) -> Self {
        Self { text: text.into(), file: file.map(str::to_owned) }
    }
}

/// The files that settings are in, as far as they could be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) ufw_rules: Option<String>,
    pub(crate) nftables: Vec<(&'static str, String)>,
}

impl Files {
    /// Those of this host. A user's rules are root's to read.
    pub(super) fn read() -> Self {
        let nftables = NFT_FILES.into_iter().filter_map(|path| Some((path, textfile::read(path)?)));
        Self { ufw_rules: textfile::read(UFW_RULES), nftables: nftables.collect() }
    }
}

/// The setting that put `place` there, where one is known. `way` are the chains that the packet came through before.
pub(super) fn setting(place: &Place, way: &[&str], rules: &Ruleset, files: &Files) -> Option<Setting> {
    if place.backend == Backend::Native {
        return native(place, way, files);
    }
    if is_ufw(rules)
        && place.table == "filter"
        && let Some(setting) = ufw(place, files)
    {
        return Some(setting);
    }
    let program = if place.family == TableFamily::Ip6 { "ip6tables" } else { "iptables" };
    if place.chain.starts_with("DOCKER") {
        return Some(Setting::of("a rule of the engine's own", None));
    }
    if place.rule.is_none() && place.text.ends_with("DROP") {
        return Some(Setting::of(format!("{program} -P {} DROP", sanitize(&place.chain)), None));
    }
    let table =
        if place.table == "filter" { String::new() } else { format!("-t {} ", sanitize(&place.table)) };
    let number = place.rule?;
    let chain = sanitize(&place.chain);
    Some(Setting::of(
        format!("a rule by hand or of another tool: {program} {table}-L {chain} {number}"),
        None,
    ))
}

/// Whether UFW's chains are called, and have rules: `ufw disable` leaves them emptied.
pub(super) fn is_ufw(rules: &Ruleset) -> bool {
    let chain = |name: &str| {
        rules
            .tables
            .iter()
            .filter(|table| table.name == "filter" && table.family == TableFamily::Ip)
            .flat_map(|table| &table.chains)
            .any(|chain| chain.name == name && !chain.rules.is_empty())
    };
    chain("ufw-before-input")
}

fn ufw(place: &Place, files: &Files) -> Option<Setting> {
    let v6 = place.family == TableFamily::Ip6;
    let file = |name: &'static str, six: &'static str| Some(if v6 { six } else { name });
    Some(match (place.chain.as_str(), place.rule) {
        ("INPUT", None) => {
            Setting::of("DEFAULT_INPUT_POLICY=\"DROP\" (ufw default deny incoming)", Some(UFW_DEFAULTS))
        }
        ("OUTPUT", None) => {
            Setting::of("DEFAULT_OUTPUT_POLICY=\"DROP\" (ufw default deny outgoing)", Some(UFW_DEFAULTS))
        }
        ("ufw-reject-input", _) => {
            Setting::of("DEFAULT_INPUT_POLICY=\"REJECT\" (ufw default reject incoming)", Some(UFW_DEFAULTS))
        }
        ("ufw-user-input" | "ufw6-user-input", Some(number)) => user_rule(number, v6, files),
        ("ufw-user-limit" | "ufw6-user-limit", _) => Setting::of("a rule 'ufw limit'", Some(UFW_RULES)),
        ("ufw-before-input" | "ufw-not-local" | "ufw6-before-input", _) => Setting::of(
            "UFW's rules before the user's",
            file("/etc/ufw/before.rules", "/etc/ufw/before6.rules"),
        ),
        (
            "ufw-after-input" | "ufw-skip-to-policy-input" | "ufw6-after-input" | "ufw6-skip-to-policy-input",
            _,
        ) => {
            Setting::of("UFW's rules after the user's", file("/etc/ufw/after.rules", "/etc/ufw/after6.rules"))
        }
        _ => return None,
    })
}

/// The n-th rule of the user's chain, by what `ufw status numbered` calls it.
fn user_rule(number: usize, v6: bool, files: &Files) -> Setting {
    let unknown =
        || Setting::of(format!("the user's rule {number} of UFW (ufw status numbered)"), Some(UFW_RULES));
    let Some(text) = files.ufw_rules.as_deref().filter(|_| !v6) else { return unknown() };
    match tuple_of(text, number) {
        Some((at, words)) => {
            Setting::of(format!("[{at}] of 'ufw status numbered': {}", sanitize(&words)), Some(UFW_RULES))
        }
        None => unknown(),
    }
}

/// UFW writes each of a user's rules as a comment `### tuple ### WORDS` and the lines that it makes: the number of the tuple that
/// made the n-th line of the user's chain, and its words.
fn tuple_of(text: &str, number: usize) -> Option<(usize, String)> {
    let (mut tuple, mut words, mut line_number) = (0, "", 0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("### tuple ### ") {
            // A comment follows in hexadecimal, if there is one.
            (tuple, words) = (tuple + 1, rest.split(" comment=").next().unwrap_or(rest));
        } else if line.starts_with("-A ufw-user-input ") && tuple > 0 {
            line_number += 1;
            if line_number == number {
                return Some((tuple, words.to_owned()));
            }
        }
    }
    None
}

fn native(place: &Place, way: &[&str], files: &Files) -> Option<Setting> {
    if place.table == "firewalld" {
        // What a zone refuses by default is in a chain for all zones (2.0 and later): the zone is the one that it came from.
        let chains = way.iter().copied().chain([place.chain.as_str()]);
        return Some(match chains.rev().find_map(zone_of) {
            Some(zone) => {
                Setting::of(format!("firewalld's zone {zone} (firewall-cmd --info-zone={zone})"), None)
            }
            None => Setting::of("firewalld", None),
        });
    }
    let head = format!("table {} {}", place.family, place.table);
    let file =
        files.nftables.iter().find(|(_, text)| text.lines().any(|line| line.trim_start().starts_with(&head)));
    let shown =
        format!("nft list chain {} {} {}", place.family, sanitize(&place.table), sanitize(&place.chain));
    Some(Setting::of(shown, file.map(|(path, _)| *path)))
}

/// The zone whose chain for incoming packets it is, without the parts of one (`filter_IN_public_allow`).
pub(super) fn zone_of(chain: &str) -> Option<&str> {
    let zone = chain.strip_prefix("filter_IN_")?;
    let zone = ["_allow", "_deny", "_pre", "_post", "_log"]
        .iter()
        .find_map(|end| zone.strip_suffix(end))
        .unwrap_or(zone);
    let harmless = zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (harmless && !zone.starts_with("policy_")).then_some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruleset::Family;

    const UFW: &str = "*filter\n:INPUT DROP [0:0]\n:ufw-before-input - [0:0]\n:ufw-user-input - [0:0]\n\
        -A INPUT -j ufw-before-input\n-A ufw-before-input -j ufw-user-input\n\
        -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\n-A ufw-user-input -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n";

    fn place(chain: &str, rule: Option<usize>, text: &str) -> Place {
        Place {
            backend: Backend::Nft,
            family: TableFamily::Ip,
            table: "filter".to_owned(),
            chain: chain.to_owned(),
            rule,
            handle: None,
            text: text.to_owned(),
        }
    }

    fn rules(text: &str) -> Ruleset {
        let mut rules = Ruleset::default();
        rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
        rules
    }

    #[test]
    fn the_policy_of_input_is_ufws_default_only_where_ufw_is() {
        let policy = place("INPUT", None, "policy DROP");
        let of = |text: &str| setting(&policy, &[], &rules(text), &Files::default()).unwrap();
        assert_eq!(of(UFW).file.as_deref(), Some(UFW_DEFAULTS));
        assert!(of(UFW).text.contains("ufw default deny incoming"));
        assert_eq!(of("*filter\n:INPUT DROP [0:0]\nCOMMIT\n").text, "iptables -P INPUT DROP");
    }

    #[test]
    fn a_users_rule_has_the_number_that_ufw_shows() {
        let text = "### RULES ###\n\n### tuple ### route:allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-forward -p tcp -j ACCEPT\n\n\
            ### tuple ### allow any 53 0.0.0.0/0 any 0.0.0.0/0 in comment=444e53\n-A ufw-user-input -p tcp --dport 53 -j ACCEPT\n\
            -A ufw-user-input -p udp --dport 53 -j ACCEPT\n\n\
            ### tuple ### deny tcp 8080 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-input -p tcp --dport 8080 -j DROP\n";
        assert_eq!(tuple_of(text, 2), Some((2, "allow any 53 0.0.0.0/0 any 0.0.0.0/0 in".to_owned())));
        let files = Files { ufw_rules: Some(text.to_owned()), ..Files::default() };
        let found = setting(&place("ufw-user-input", Some(3), "-p tcp"), &[], &rules(UFW), &files).unwrap();
        assert_eq!(found.text, "[3] of 'ufw status numbered': deny tcp 8080 0.0.0.0/0 any 0.0.0.0/0 in");
        assert_eq!(tuple_of(text, 4), None);
    }

    #[test]
    fn a_table_of_nftables_own_is_in_its_file_when_the_file_says_so() {
        let place = Place {
            backend: Backend::Native,
            family: TableFamily::Inet,
            ..place("input", None, "policy drop")
        };
        let files =
            Files { nftables: vec![(NFT_FILES[0], "table inet filter {\n".to_owned())], ..Files::default() };
        assert_eq!(
            setting(&place, &[], &Ruleset::default(), &files).unwrap().file.as_deref(),
            Some(NFT_FILES[0])
        );
        assert_eq!(setting(&place, &[], &Ruleset::default(), &Files::default()).unwrap().file, None);
        let zone =
            Place { table: "firewalld".to_owned(), chain: "filter_INPUT_POLICIES".to_owned(), ..place };
        let way = [
            "filter_INPUT_POLICIES",
            "filter_IN_policy_allow-host-ipv6",
            "filter_IN_work",
            "filter_IN_work_post",
        ];
        let found = setting(&zone, &way, &Ruleset::default(), &files).unwrap();
        assert_eq!(found.text, "firewalld's zone work (firewall-cmd --info-zone=work)");
    }
}
