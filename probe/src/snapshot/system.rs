//! The system, its tools, and the words that name its owner.

use std::collections::BTreeMap;
use std::fs;

use futures_util::future::join_all;
use snapshot::{Privilege, System, Tool, Version, Word};

use super::Gathering;
use crate::programs;
use crate::report::{BUILD_ID, VERSION};

/// Users from here on are people (`login.defs`), up to those that stand for nobody.
const PEOPLE: std::ops::Range<u32> = 1000..60_000;

/// The name of this host and those of its users: no name in a snapshot has one in it.
pub(super) fn secrets() -> Vec<String> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let short = host.split('.').next().unwrap_or_default().to_owned();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let people = users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        PEOPLE.contains(&uid).then(|| name.to_owned())
    });
    [host, short].into_iter().chain(people).collect()
}

pub(super) async fn system(gathering: &Gathering) -> System {
    let os = os_release(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let value = |key: &str| os.get(key).cloned();
    System {
        probe: Version::new(VERSION).unwrap_or_else(|_| zero()),
        // Enough of the digest to tell builds apart.
        build: Word::new(BUILD_ID.chars().take(16).collect::<String>()).unwrap_or_else(|_| unknown()),
        privilege: if gathering.root { Privilege::Root } else { Privilege::User },
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").ok().and_then(|text| numbers(&text)),
        os: value("ID").and_then(|text| Word::new(text).ok()),
        os_version: value("VERSION_ID").and_then(|text| Version::new(text).ok()),
        tools: tools().await,
    }
}

fn zero() -> Version {
    Version::new("0").expect("a digit is a version")
}

fn unknown() -> Word {
    Word::new("unknown").expect("letters are a word")
}

/// The numbers that a kernel's release begins with: what follows is its builder's choice, and may be a name.
fn numbers(release: &str) -> Option<Version> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    Version::new(release[..end].trim_end_matches('.')).ok()
}

/// `KEY=value` and `KEY="value"`, not sourced but read.
pub(super) fn os_release(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
    let plain =
        |value: &str| value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned();
    pairs
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| (key.trim().to_owned(), plain(value)))
        .collect()
}

async fn tools() -> Vec<Tool> {
    const TOOLS: [(&str, &str, &str); 5] = [
        ("iptables", "iptables", "--version"),
        ("nft", "nft", "--version"),
        ("ipset", "ipset", "--version"),
        ("ufw", "ufw", "version"),
        ("iproute2", "ip", "-V"),
    ];
    let asked = TOOLS.iter().map(|(name, program, argument)| async move {
        let program = programs::find(program)?;
        let said = programs::read(&program, &[argument]).await.unwrap_or_default();
        Some(Tool { name: Word::new(*name).ok()?, version: version_in(&String::from_utf8_lossy(&said)) })
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The first word that is a version, as in `iptables v1.8.11 (nf_tables)`.
fn version_in(text: &str) -> Option<Version> {
    let words = text.split_whitespace().map(|word| word.trim_end_matches(','));
    let word = |word: &str| {
        let digits = word.strip_prefix(['v', 'V']).unwrap_or(word);
        let digits = digits.strip_prefix("iproute2-").unwrap_or(digits);
        Version::new(digits).ok().filter(|_| digits.contains('.'))
    };
    words.into_iter().find_map(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_say() {
        let found = |text: &str| version_in(text).map(String::from);
        assert_eq!(found("iptables v1.8.11 (nf_tables)\n").as_deref(), Some("1.8.11"));
        assert_eq!(found("nftables v1.1.3 (Commodore Bullmoose #4)").as_deref(), Some("1.1.3"));
        assert_eq!(found("ipset v7.22, protocol version: 7").as_deref(), Some("7.22"));
        assert_eq!(found("ufw 0.36.2\nCopyright 2008-2023").as_deref(), Some("0.36.2"));
        assert_eq!(found("ip utility, iproute2-6.15.0, libbpf 1.5.0").as_deref(), Some("6.15.0"));
        assert_eq!(found("no such thing"), None);
        assert_eq!(numbers("6.18.0-1012-acme-secret").unwrap().as_str(), "6.18.0");
        assert_eq!(numbers("generic"), None);
    }

    #[test]
    fn settings_are_read_and_not_sourced() {
        let read = os_release("# c\nID=debian\nVERSION_ID=\"13\" # x\nBAD=$(touch /tmp/x)\n");
        assert_eq!(read["ID"], "debian");
        assert_eq!(read["VERSION_ID"], "13");
        assert_eq!(read["BAD"], "$(touch /tmp/x)");
    }
}
