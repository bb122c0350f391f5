//! Matches that remember packets: `limit`, `hashlimit`, `recent`, `statistic`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::condition::{Condition, Limit, Recent, RecentDeed, Side};
use crate::place::Family;
use crate::save::options::Opt;

/// What iptables takes without `--limit-burst`.
const BURST: u64 = 5;

pub(super) fn limit(options: &[Opt]) -> Option<Vec<Condition>> {
    // `--limit 3/hour` is what iptables takes without `--limit`.
    let mut limit = Limit { over: false, rate: 3, seconds: 3600, burst: BURST, bytes: false, hashed: false };
    for option in options {
        match (option.key.as_str(), option.negated) {
            ("--limit", false) => (limit.rate, limit.seconds) = rate(option.one()?)?,
            ("--limit-burst", false) => limit.burst = option.one()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(vec![Condition::Limit(limit)])
}

pub(super) fn hashlimit(options: &[Opt]) -> Option<Vec<Condition>> {
    let mut limit = Limit { over: false, rate: 0, seconds: 0, burst: BURST, bytes: false, hashed: true };
    for option in options {
        if option.negated {
            return None;
        }
        match option.key.as_str() {
            key @ ("--hashlimit-upto" | "--hashlimit" | "--hashlimit-above") => {
                (limit.rate, limit.seconds) = rate(option.one()?)?;
                limit.over = key.ends_with("above");
            }
            "--hashlimit-burst" => limit.burst = option.one()?.parse().ok()?,
            "--hashlimit-mode" | "--hashlimit-name" | "--hashlimit-srcmask" | "--hashlimit-dstmask" => {}
            key if key.starts_with("--hashlimit-htable-") => {}
            _ => return None,
        }
    }
    (limit.rate > 0).then(|| vec![Condition::Limit(limit)])
}

/// `3/min`
fn rate(word: &str) -> Option<(u64, u64)> {
    let (count, unit) = word.split_once('/')?;
    let seconds = match unit.chars().next()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return None,
    };
    let count = count.parse().ok()?;
    (count > 0).then_some((count, seconds))
}

pub(super) fn recent(family: Family, options: &[Opt]) -> Option<Vec<Condition>> {
    let all = match family {
        Family::Ip => IpAddr::V4(Ipv4Addr::BROADCAST),
        Family::Ip6 => IpAddr::V6(Ipv6Addr::from(u128::MAX)),
    };
    let (mut deed, mut negated) = (None, false);
    let (mut name, mut side, mut mask) = ("DEFAULT".to_owned(), Side::Source, all);
    let (mut seconds, mut hits) = (None, None);
    for option in options {
        match option.key.as_str() {
            key @ ("--set" | "--rcheck" | "--update" | "--remove") if deed.is_none() => {
                negated = option.negated;
                deed = Some(match key {
                    "--set" => RecentDeed::Set,
                    "--rcheck" => RecentDeed::Check,
                    "--update" => RecentDeed::Update,
                    _ => RecentDeed::Remove,
                });
            }
            "--seconds" => seconds = Some(option.one()?.parse().ok()?),
            "--hitcount" => hits = Some(option.one()?.parse().ok()?),
            "--name" => name = option.one()?.to_owned(),
            "--mask" => mask = option.one()?.parse().ok()?,
            "--rsource" => side = Side::Source,
            "--rdest" => side = Side::Destination,
            _ => return None,
        }
    }
    Some(vec![Condition::Recent(Recent { name, negated, deed: deed?, side, mask, seconds, hits })])
}

/// Chance, unless it is none.
pub(super) fn statistic(options: &[Opt]) -> Option<Vec<Condition>> {
    let certain = options.iter().any(|option| {
        option.key == "--probability"
            && !option.negated
            && option.one().and_then(|p| p.parse().ok()) == Some(1.0)
    });
    certain.then(Vec::new)
}
