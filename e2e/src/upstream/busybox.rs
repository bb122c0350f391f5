//! What upstream's busybox says of what a container saw: `nc -zw5 NAME PORT`.
//!
//! Measured with the official image: the exit code is 0 or 1, and standard error stays empty whether a connect is refused, is
//! not answered or meets an ICMP message; only a name that does not resolve has a text. So a drop, a REJECT, a closed port and
//! a dead link are one and the same to whoever reads exit code and text.

use std::net::IpAddr;

use super::observation::{Command, Outcome, Seen};

/// `-w5`, in milliseconds: what a dial without an answer takes upstream, however short the recorder's own was.
pub const PATIENCE_MS: u64 = 5_000;

/// What upstream gives `docker run`, in milliseconds: `-w5` and ten seconds for everything else. Resolving a name is not
/// bounded by `-w`.
pub const SPAWN_LIMIT_MS: u64 = 15_000;

/// How `nc -zw5 NAME PORT` ends, or that its `docker run` is ended by upstream.
#[must_use]
pub fn nc(name: &str, seen: &Seen) -> Command {
    if elapsed_ms(seen) >= SPAWN_LIMIT_MS {
        return Command::hung();
    }
    match &seen.dial {
        None => Command::failed(1, format!("nc: bad address '{name}'\n")),
        Some(dial) if dial.outcome == Outcome::Connected => Command::said(""),
        Some(_) => Command::failed(1, ""),
    }
}

/// How long upstream's command takes, in milliseconds.
#[must_use]
pub fn elapsed_ms(seen: &Seen) -> u64 {
    let dial = match &seen.dial {
        None => 0,
        Some(dial) if dial.outcome == Outcome::NoAnswer => PATIENCE_MS,
        Some(dial) => dial.elapsed_ms.min(PATIENCE_MS),
    };
    seen.resolve_ms.saturating_add(dial)
}

/// What busybox dials of several addresses: the first.
#[must_use]
pub fn dialled(addresses: &[IpAddr]) -> Option<IpAddr> {
    addresses.first().copied()
}
