//! #3459: it models OpenShell's route, injects the names, and knows the texts of a name that does not resolve.
//!
//! A network that is missing is a warning. Exit code 1 without such a text is a firewall on a bridge. Through the host gateway
//! it stops as well, with the advice to restart Docker and the gateway; that its message had this form from the beginning is
//! read from later versions.

use super::answer::{Answer, Reason};
use super::observation::{Command, Observation};
use super::route::{self, Route};

/// What busybox, musl and glibc say of a name that does not resolve, in lower case.
const NAME_TEXTS: [&str; 5] = [
    "bad address",
    "name or service not known",
    "temporary failure in name resolution",
    "could not resolve",
    "getaddrinfo",
];

/// What it says.
#[must_use]
pub fn decide(seen: &Observation) -> Answer {
    if seen.inspect.status.is_none() || seen.info.status.is_none() {
        return Answer::HANGS;
    }
    let Some(route) = route::resolve(&seen.inspect, &seen.info) else { return Answer::WARNS };
    match seen.with_alias.first() {
        None => Answer::NOT_OBSERVED,
        Some(run) => of(&run.command, &route),
    }
}

/// The last part of the classification, which v5 has kept.
#[must_use]
pub(super) fn of(command: &Command, route: &Route) -> Answer {
    match command.status {
        Some(0) => Answer::OK,
        Some(1) if !speaks_of_names(command) => match route {
            Route::BridgeGateway { .. } => Answer::BLAMES,
            Route::HostGateway => Answer::stops(Reason::TcpFailed),
        },
        _ => Answer::WARNS,
    }
}

/// Whether the command's text is one of those about names.
#[must_use]
pub(super) fn speaks_of_names(command: &Command) -> bool {
    let text = command.text();
    NAME_TEXTS.iter().any(|known| text.contains(known))
}
