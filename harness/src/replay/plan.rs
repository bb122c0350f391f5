//! What a snapshot's host is to be, as values; nothing is done here.

mod links;
mod modules;
mod network;
mod rules;
mod services;
mod settings;
mod translation;
mod ufw;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use snapshot::{Role, RouteKind, Snapshot, Target, What, Why};

pub(super) use links::Line;
pub(super) use network::NetworkPlan;
pub(super) use rules::{Feed, RulesPlan, Tool};
pub(super) use services::{Kind, ServicePlan};
pub(super) use settings::Setting;
pub(super) use ufw::UfwFiles;

/// Something of the captured host that the replayed one has not.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NotReplayed {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What a snapshot's host is to be, and what it will not be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether an engine answers.
    pub(super) engine: bool,
    /// What dockerd is told about its own bridge.
    pub(super) engine_arguments: Vec<String>,
    pub(super) networks: Vec<NetworkPlan>,
    /// For `ip -batch`: interfaces and addresses, then what is of one family.
    pub(super) links: Vec<Line>,
    pub(super) routes_v4: Vec<Line>,
    pub(super) routes_v6: Vec<Line>,
    pub(super) settings: Vec<Setting>,
    pub(super) services: Vec<ServicePlan>,
    pub(super) rules: RulesPlan,
    /// What UFW's own files say, where it was there.
    pub(super) ufw: Option<UfwFiles>,
    /// What the kernel must have loaded for the rules.
    pub(super) modules: Vec<&'static str>,
    not_replayed: Vec<NotReplayed>,
}

/// Collects what is not replayed.
#[derive(Default)]
struct Left(Vec<NotReplayed>);

impl Left {
    fn push(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let left = NotReplayed { what: what.into(), why: why.into() };
        if !self.0.contains(&left) {
            self.0.push(left);
        }
    }
}

impl Plan {
    /// The plan for a snapshot that was read.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut left = Left::default();
        left_out(snapshot, &mut left);
        let mut networks = network::networks(snapshot, &mut left);
        let engine_arguments = network::engine_arguments(snapshot, &mut left);
        let lines = links::lines(snapshot, &networks, &mut left);
        let bridges: Vec<&str> = networks.iter().filter_map(|it| it.bridge.as_deref()).collect();
        let settings = settings::settings(snapshot, &bridges, &mut left);
        let services = services::services(snapshot, &mut left);
        let rules = rules::rules(snapshot, &mut left);
        let ufw = ufw::files(snapshot, &mut left);
        if snapshot.firewalld.is_some() {
            left.push("firewalld's settings", "its rules are replayed, and no file of its own is written");
        }
        for target in &snapshot.check.targets {
            if let Some(why) = hindrance(snapshot, target) {
                left.push(format!("what decides about port {}", target.port), why);
            }
        }
        if snapshot.engine.is_none() {
            networks.clear();
        }
        Self {
            engine: snapshot.engine.is_some(),
            engine_arguments,
            networks,
            links: lines.links,
            routes_v4: lines.v4,
            routes_v6: lines.v6,
            settings,
            services,
            rules,
            ufw,
            modules: snapshot.rules.as_ref().map(modules::modules).unwrap_or_default(),
            not_replayed: left.0,
        }
    }

    /// What the host will not have, with the reasons.
    #[must_use]
    pub fn not_replayed(&self) -> &[NotReplayed] {
        &self.not_replayed
    }

    /// The arguments of `openshell-probe check` besides the targets, as the snapshot's check had them.
    #[must_use]
    pub fn arguments(snapshot: &Snapshot) -> Vec<String> {
        let mut arguments = Vec::new();
        let sandboxes = snapshot.networks.iter().find(|it| it.role == Role::Sandboxes);
        if let Some(network) = sandboxes.filter(|it| it.name.as_str() != probe::DEFAULT_NETWORK) {
            arguments.extend(["--network".to_owned(), network.name.to_string()]);
        }
        let gateways = || sandboxes.into_iter().flat_map(|it| &it.pools).filter_map(|pool| pool.gateway);
        let bridged = snapshot.check.route.as_ref().is_some_and(|route| route.as_str() == "bridge_gateway");
        if let Some(dialled) = snapshot.check.dialled
            && bridged
            && gateways().all(|gateway| gateway != IpAddr::V4(dialled))
        {
            arguments.extend(["--host-gateway-ip".to_owned(), dialled.to_string()]);
        }
        arguments
    }

    /// The targets as `openshell-probe` is told them.
    #[must_use]
    pub fn targets(snapshot: &Snapshot) -> Vec<String> {
        let words = |target: &Target| {
            let option = if target.required { "--port" } else { "--optional-port" };
            [option.to_owned(), spec(target)]
        };
        snapshot.check.targets.iter().flat_map(words).collect()
    }
}

/// A target as `--port` has it: words that this program knows, and a number.
pub(super) fn spec(target: &Target) -> String {
    let label = ["gateway", "ollama-proxy"];
    let label = label.into_iter().find(|it| target.label.as_ref().is_some_and(|own| own.as_str() == *it));
    let label = label.map(|it| format!("={it}")).unwrap_or_default();
    format!("{}{label}/{}", target.port, protocol(target))
}

/// What is spoken there; what is not known is as little as can be.
pub(super) fn protocol(target: &Target) -> &'static str {
    ["grpc", "http"].into_iter().find(|it| target.protocol.as_str() == *it).unwrap_or("tcp")
}

/// Why a target's answer cannot be the same on a host that is made from a snapshot, where that can be said.
pub(super) fn hindrance(snapshot: &Snapshot, target: &Target) -> Option<&'static str> {
    let cause = target.cause.as_ref().map_or("", |cause| cause.as_str());
    let elsewhere = snapshot.engine.is_some()
        && snapshot.check.route.as_ref().is_some_and(|route| route.as_str() == "host_gateway");
    Some(match cause {
        _ if elsewhere => "the engine was on another machine than the one that the snapshot is of",
        "unknown_from_here" => "the engine was on another machine than the one that the snapshot is of",
        "daemon_unreachable" | "permission_denied" | "engine_error" | "image_unavailable" => {
            "it is what happened to the engine, and a snapshot does not have that"
        }
        "probe_timeout"
        | "probe_failed"
        | "vantage_unavailable"
        | "interrupted"
        | "inconclusive"
        | "undetermined" => "it is what happened during the check, and a snapshot does not have that",
        "listener_changed" => "sockets changed during the check",
        "name_resolution" | "alias_mismatch" => "names and resolvers of sandboxes are not in a snapshot",
        "traffic_control" => "filters and queues of traffic control are not in a snapshot",
        "accept_queue_full" => "connections that wait are not in a snapshot",
        "other_owner" | "other_certificate" => {
            "whose the right service is was declared, and is not in a snapshot"
        }
        "redirected" => CONTAINERS,
        "invalid_gateway" => "what an engine answers besides addresses is not in a snapshot",
        "not_a_bridge" => "networks of other drivers are not replayed",
        "wsl" => "what the host was taken for is not in a snapshot",
        "no_ipv4_gateway" if lacks_v4(snapshot) => "an engine of its own gives every bridge network IPv4",
        "reverse_path" if is_left_out(snapshot, &[What::PolicyRules, What::Routes]) => {
            "a route, or a rule of policy routing, is of a kind that is not in a snapshot"
        }
        "link_down" if has_no_address(snapshot) => {
            "a bridge without an address is known by its network's id, which every engine chooses anew"
        }
        _ if translation::to_a_container(snapshot, target.port) => CONTAINERS,
        _ => return None,
    })
}

const CONTAINERS: &str = "containers are not in a snapshot";

/// Whether the sandboxes' network has pools, and none of IPv4.
fn lacks_v4(snapshot: &Snapshot) -> bool {
    let sandboxes = snapshot.networks.iter().find(|it| it.role == Role::Sandboxes);
    let subnets: Vec<_> =
        sandboxes.into_iter().flat_map(|it| &it.pools).filter_map(|pool| pool.subnet).collect();
    !subnets.is_empty() && subnets.iter().all(|net| net.address().is_ipv6())
}

/// Whether the sandboxes' bridge has no IPv4 address.
fn has_no_address(snapshot: &Snapshot) -> bool {
    let bridge =
        snapshot.networks.iter().find(|it| it.role == Role::Sandboxes).and_then(|it| it.bridge.as_ref());
    let own = |it: &snapshot::Address| Some(&it.interface) == bridge && it.address.address().is_ipv4();
    bridge.is_some() && !snapshot.addresses.iter().any(own)
}

fn is_left_out(snapshot: &Snapshot, what: &[What]) -> bool {
    snapshot.left_out.iter().any(|it| what.contains(&it.what))
}

/// What the snapshot itself has not.
fn left_out(snapshot: &Snapshot, left: &mut Left) {
    for it in &snapshot.left_out {
        // These have their own words, with their places.
        if matches!(it.what, What::PartsOfRules | What::Names) {
            continue;
        }
        let count = it.count.map(|count| format!(" ({count})")).unwrap_or_default();
        left.push(format!("{}{count}", word(it.what)), format!("not in the snapshot: {}", reason(it.why)));
    }
    if snapshot.engine.is_none() {
        left.push("an engine", "none answered there, so the host has none");
    }
    let local = snapshot.routes.iter().filter(|it| matches!(it.kind, RouteKind::Local)).count();
    if local > 0 {
        left.push(format!("local routes ({local})"), "the kernel makes them of addresses");
    }
}

fn word(what: What) -> &'static str {
    match what {
        What::Rules => "firewall rules",
        What::SomeRules => "what one of the programs that print rules would have said",
        What::PartsOfRules => "parts of rules",
        What::Names => "names",
        What::Links => "interfaces and addresses",
        What::Routes => "routes",
        What::PolicyRules => "rules of policy routing",
        What::Ufw => "UFW's settings",
        What::UfwRules => "rules of UFW",
        What::FirewallD => "firewalld's settings",
        What::RichRules => "rich rules of firewalld, as settings",
        What::ZoneSources => "sources of firewalld's zones, as settings",
        What::Networks => "other networks of the engine",
        What::NetworkOptions => "options of networks",
        What::Listeners => "listening sockets",
        _ => "something of a later version",
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::NeedsRoot => "reading it takes root",
        Why::Unreadable => "it could not be read",
        Why::NoProgram => "the program that shows it was not there",
        Why::NotAllowed => "it is not on the allow list",
        Why::Changing => "it changed while it was read",
        Why::TooMuch => "there was too much of it",
        _ => "a reason of a later version",
    }
}

#[cfg(test)]
mod tests;
