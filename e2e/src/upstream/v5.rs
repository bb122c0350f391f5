//! NemoClaw's newest probes: the gateway's (since #5754), and that of its other host services, which has a table of its own.
//!
//! The gateway's fetches its image first, knows four kinds of trouble with Docker by their texts, and tries a failure through
//! the host gateway ten times. On a bridge it tries once, and exit code 1 is a firewall: a drop, a REJECT, a gateway that does
//! not run and one that listens elsewhere are the same to it.
//!
//! The other one knows `ok`, `tcp_failed` and `probe_unavailable` only. Its caller stops at `tcp_failed` and says nothing at
//! all to `probe_unavailable`. That it waits for a Docker that never answers is assumed from the gateway's.

use super::Conclusion;
use super::answer::{Answer, Reason};
use super::observation::{Command, ImageCache, Observation};
use super::route::{self, Route};
use super::v2;

/// The port of the gateway, by NemoClaw's default. Every other one is a host service.
pub const GATEWAY_PORT: u16 = 8080;

/// How often a failure through the host gateway is tried, a second apart.
pub const ATTEMPTS: usize = 10;

/// Texts of an engine that is not there, in lower case.
const DAEMON_TEXTS: [&str; 3] =
    ["cannot connect to the docker daemon", "is the docker daemon running", "docker daemon is not running"];

/// What it says of the port: as the gateway's probe of 8080, as that of host services of every other.
#[must_use]
pub fn decide(seen: &Observation) -> Answer {
    if seen.port == GATEWAY_PORT { gateway(seen) } else { host_service(seen) }
}

/// The gateway's probe.
#[must_use]
pub fn gateway(seen: &Observation) -> Answer {
    if seen.inspect.status.is_none() || seen.info.status.is_none() {
        return Answer::HANGS;
    }
    let Some(route) = route::resolve(&seen.inspect, &seen.info) else { return Answer::WARNS };
    match seen.image {
        ImageCache::Cached => {}
        ImageCache::InspectUnavailable => return Answer::stops(Reason::DockerDaemonUnreachable),
        ImageCache::PullFailed | ImageCache::PullTimedOut => return Answer::WARNS,
    }
    let attempts = if route == Route::HostGateway { ATTEMPTS } else { 1 };
    let mut answer = Answer::NOT_OBSERVED;
    for run in seen.with_alias.iter().take(attempts) {
        answer = classify(&run.command, &route);
        if answer.reason != Reason::TcpFailed {
            break;
        }
    }
    answer
}

fn classify(command: &Command, route: &Route) -> Answer {
    if command.status == Some(0) {
        return Answer::OK;
    }
    let text = command.text();
    if text.contains("veth pair") && text.contains("operation not supported") {
        return Answer::stops(Reason::VethUnsupported);
    }
    if command.status.is_none() {
        return Answer::stops(Reason::ProbeTimeout);
    }
    let during_connect = text.contains("error during connect") && text.contains("dial unix");
    if during_connect || DAEMON_TEXTS.iter().any(|known| text.contains(known)) {
        return Answer::stops(Reason::DockerDaemonUnreachable);
    }
    v2::of(command, route)
}

/// The probe of other host services, with its caller's silence.
#[must_use]
pub fn host_service(seen: &Observation) -> Answer {
    const SILENT: Answer = Answer { conclusion: Conclusion::HEALTHY, ..Answer::WARNS };
    if seen.inspect.status.is_none() || seen.info.status.is_none() {
        return Answer::HANGS;
    }
    let Some(route) = route::resolve_for_service(&seen.inspect, &seen.info) else { return SILENT };
    match (seen.image, seen.with_alias.first()) {
        (ImageCache::Cached, None) => Answer::NOT_OBSERVED,
        (ImageCache::Cached, Some(run)) => match run.command.status {
            Some(0) => Answer::OK,
            Some(1) if !v2::speaks_of_names(&run.command) && route != Route::HostGateway => Answer::BLAMES,
            _ => SILENT,
        },
        // Nothing is fetched beforehand: `docker run` fails with 125.
        _ => SILENT,
    }
}
