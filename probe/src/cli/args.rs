//! Arguments, and the request they make.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::check::{DEFAULT_DEADLINE, DEFAULT_TIMEOUT, Request};
use crate::engine::Environment;
use crate::identity::{Authority, AuthorityError, Owner, OwnerSpec};
use crate::preflight::{LifecyclePath, PREFLIGHT_DEADLINE, Preflight};
use crate::route::{DEFAULT_NETWORK, OPENSHELL_ALIAS};
use crate::sanitize::sanitize;
use crate::target::{PortSpec, Protocol, Target};
use crate::vantage::Via;

/// OpenShell's and NemoClaw's variable for the sandbox network.
const NETWORK_VARIABLE: &str = "OPENSHELL_DOCKER_NETWORK_NAME";

/// Can sandboxes reach the services of their own host, and if not, why
#[derive(Debug, Parser)]
#[command(name = "openshell-probe", version = concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("OPENSHELL_BUILD_ID"), ")"))]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Dial the host from a sandbox's place and say what stands in the way
    Check(CheckArguments),
    /// Check, and say which rule of which firewall decides, how sure that is, and which setting it stems from
    Explain(ExplainArguments),
    /// Open the path where UFW closes it: shows what it does and asks, checks again, and can take it back
    Fix(FixArguments),
    /// Write what decides on this host into one file, to be looked at and judged elsewhere
    Snapshot(SnapshotArguments),
    /// Gate an onboarding: silent when sandboxes reach the named ports, else a warning or a stop
    Preflight(PreflightArguments),
    /// Remove the probe's image, and containers that earlier checks left behind
    Clean(CleanArguments),
    /// Print a report that was kept (check --format json) in words
    Show(ShowArguments),
    /// Print the JSON schema of the report
    Schema,
    /// Print the digest of the sources that this program was built from
    #[command(hide = true)]
    BuildId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For machines; see 'openshell-probe schema'
    Json,
}

/// By what a sandbox's place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum How {
    /// A container
    Container,
    /// A network namespace on the network's bridge
    Netns,
}

/// Where sandboxes are and how the answer is wanted: what `check` and `preflight` share.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// The network that sandboxes join [default: $OPENSHELL_DOCKER_NETWORK_NAME, or openshell-docker]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// The name that sandboxes dial
    #[arg(long, value_name = "NAME", default_value = OPENSHELL_ALIAS)]
    alias: String,
    /// How long one connect may take, for example 3.5s or 800ms
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3.5s")]
    timeout: Duration,
    /// The engine, as unix:///path or tcp://host:port, instead of DOCKER_HOST and the local sockets
    #[arg(long, value_name = "ENDPOINT")]
    host: Option<String>,
    /// The address of OpenShell's setting host_gateway_ip, when it is set
    #[arg(long, value_name = "ADDRESS")]
    host_gateway_ip: Option<Ipv4Addr>,
    /// The PEM file of the authority that signs the gateway's certificate: one of another is the wrong service's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Whose a port's socket must be, as in 8080=openshell or 8080=1000: another user's is the wrong service's
    #[arg(long = "owner", value_name = "PORT=USER|UID")]
    owners: Vec<OwnerSpec>,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 reachable, 1 not reachable, 2 wrong arguments, 3 could not be found out."
)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) asked: Asked,
    /// Print the engine calls, make only those that change nothing, and dial nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing of the machine is changed, but for what --via netns says. Reading the rules takes root; without it no rule is named, and what is said of
firewalls is inferred from files that everybody may read.
Exit codes: 0 reachable, 1 not reachable, 2 wrong arguments, 3 could not be found out."
)]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    pub(super) asked: Asked,
    /// Send nothing but the check's own dials, and leave the rules' counters out: otherwise a port whose packets a rule stops is sent
    /// three SYNs more, which counters can tell from others
    #[arg(long)]
    no_packets: bool,
    /// Judge the rules of a snapshot instead of this host's; nothing is dialled, and what was to be checked is in it
    #[arg(long, value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing of the machine is changed. What may not be read is left out, and named. Proxies, mirrors, environments, command
lines, comments, string patterns, host and user names are never in it; other addresses than the sandboxes' are replaced.
Exit codes: 0 written or shown, whatever was found; 2 wrong arguments, or a file that is none; 3 it could not be made."
)]
pub(super) struct SnapshotArguments {
    #[command(flatten)]
    pub(super) asked: Asked,
    /// The file; '-' is standard output [default: openshell.snapshot, or none with --show]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    pub(super) force: bool,
    /// Print everything that is in it
    #[arg(long)]
    pub(super) show: bool,
    /// Show a file that was written instead of making one
    #[arg(long, value_name = "FILE", requires = "show", conflicts_with_all = ["output", "force"])]
    pub(super) from: Option<PathBuf>,
}

/// What is to be checked: what `check`, `explain` and `fix` share.
#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    pub(super) common: Common,
    /// A port that must be reachable. Without any: 8080=gateway and 11435=ollama-proxy, both optional
    #[arg(long = "port", value_name = "PORT[=LABEL][/PROTOCOL]")]
    ports: Vec<PortSpec>,
    /// A port that must be reachable if anything listens on it
    #[arg(long = "optional-port", value_name = "PORT[=LABEL][/PROTOCOL]")]
    optional_ports: Vec<PortSpec>,
    /// How long the whole check may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    deadline: Duration,
    /// How to dial: 'container' by one on the sandbox network; 'netns' by a network namespace with a port on the network's
    /// bridge: faster, without an image, for root on the engine's own host. It changes this host's links while it dials, and
    /// does not see whether the name resolves in a container
    #[arg(long, value_enum, default_value_t = How::Container, hide_possible_values = true, value_name = "container|netns")]
    via: How,
    /// Where nothing listens yet, listen for the time of the dial: would sandboxes reach a service there?
    #[arg(long)]
    stand_in: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 go on (silently, or with a warning when it could not be found out), 1 stop: not reachable,
2 wrong arguments, 3 stop: --strict and it could not be found out, or the network is missing where it must exist,
129, 130 and 143 a signal ended it."
)]
pub(super) struct PreflightArguments {
    #[command(flatten)]
    common: Common,
    /// A port that must be reachable: 8080=gateway for a gateway, 11435=ollama-proxy before an inference route
    #[arg(long = "port", value_name = "PORT[=LABEL][/PROTOCOL]", required = true)]
    ports: Vec<PortSpec>,
    /// What the onboarding is about to call healthy
    #[arg(long, value_enum, default_value_t = LifecyclePath::Fresh)]
    path: LifecyclePath,
    /// Stop also when it could not be found out
    #[arg(long)]
    strict: bool,
    /// How long all attempts may take together
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    deadline: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 it is shown, 2 wrong arguments, or the file is no report.")]
pub(super) struct ShowArguments {
    /// The report; '-' is standard input
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// With the packets' way through the rules, as 'explain' prints it
    #[arg(long)]
    pub(super) walks: bool,
}

#[derive(Debug, Args)]
pub(super) struct CleanArguments {
    /// The engine, as unix:///path or tcp://host:port, instead of DOCKER_HOST and the local sockets
    #[arg(long, value_name = "ENDPOINT")]
    pub(super) host: Option<String>,
    /// Print the engine calls, and make only those that change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Only UFW's rules are changed, and only by a command that is proven in a twin; elsewhere it is printed.
Exit codes: 0 reachable, or undone; 1 not reachable, or nothing was changed; 2 wrong arguments; 3 could not be found out
or done; 129, 130 and 143 a signal ended it, and what was begun is taken back."
)]
pub(super) struct FixArguments {
    #[command(flatten)]
    pub(super) asked: Asked,
    /// Do not ask; OPENSHELL_PROBE_AUTO_FIX=1 says the same
    #[arg(long)]
    pub(super) yes: bool,
    /// Remove what fixes added, and nothing else
    #[arg(long, conflicts_with_all = ["dry_run", "interface"])]
    pub(super) undo: bool,
    /// Allow only what comes in by the sandboxes' bridge
    #[arg(long)]
    pub(super) interface: bool,
    /// Show what would be run, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Arguments that are well-formed each but make no sense together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UsageError {
    #[error("--ca: {0}")]
    Authority(#[from] AuthorityError),
    #[error("--ca has no use: no port speaks gRPC; name its protocol, as in 8443=name/grpc")]
    UnusedAuthority,
    #[error("--owner {port}={user} has no port: name it with --port {port} too")]
    OwnerOfNothing { port: u16, user: u32 },
    #[error("--owner names the port {port} twice: name it once")]
    TwoOwners { port: u16 },
    #[error("the command line names the port {port} twice: name it once")]
    Duplicate { port: u16 },
    #[error(
        "--timeout {} s leaves no time within --deadline {} s: make the deadline at least 1 s longer",
        .timeout.as_secs_f64(), .deadline.as_secs_f64()
    )]
    NoTime { timeout: Duration, deadline: Duration },
    #[error(
        "--via netns takes root: it joins a network namespace to the network's bridge; run it with sudo, or dial by a container"
    )]
    NetnsWithoutRoot,
    #[error("--timeout must be more than 0")]
    NoTimeout,
    #[error("--timeout must not be more than 10 minutes")]
    LongTimeout,
    #[error(
        "--timeout {timeout:?} is too short for a gate: TCP repeats itself after 1 s, and no silence before that is an answer"
    )]
    ShortTimeout { timeout: Duration },
    #[error("--host {host:?} is no endpoint: unix:///path or tcp://host:port")]
    Host { host: String },
    #[error("{argument} must be 1 to 253 letters, digits, '-', '_' or '.'")]
    Name { argument: &'static str },
}

impl Asked {
    /// The request that these arguments make.
    pub(super) fn request(&self) -> Result<Request, UsageError> {
        let targets = targets_or_defaults(&self.ports, &self.optional_ports)?;
        let request = self.common.request(targets, self.deadline)?;
        let via = match self.via {
            How::Container => Via::Container,
            How::Netns if nix::unistd::geteuid().is_root() => Via::Netns,
            How::Netns => return Err(UsageError::NetnsWithoutRoot),
        };
        Ok(Request { via, stand_in: self.stand_in, ..request })
    }
}

impl ExplainArguments {
    /// The check, with what the rules' counters need unless that is left out.
    pub(super) fn request(&self) -> Result<Request, UsageError> {
        Ok(Request { mark: !self.no_packets, ..self.asked.request()? })
    }
}

impl FixArguments {
    /// The check that the fix follows from, as an explanation makes it.
    pub(super) fn request(&self) -> Result<Request, UsageError> {
        Ok(Request { mark: true, ..self.asked.request()? })
    }
}

impl PreflightArguments {
    /// The gate that these arguments describe.
    pub(super) fn preflight(&self) -> Result<Preflight, UsageError> {
        // What is about to be called healthy, unless its name says otherwise.
        let label = if self.path == LifecyclePath::Inference { "ollama-proxy" } else { "gateway" };
        let named = |port: &PortSpec| {
            let label = port.label.clone().unwrap_or_else(|| label.to_owned());
            PortSpec { label: Some(label), ..port.clone() }
        };
        let ports: Vec<PortSpec> = self.ports.iter().map(named).collect();
        let request = self.common.request(targets(&ports, &[])?, self.deadline)?;
        if request.timeout <= Duration::from_secs(1) {
            return Err(UsageError::ShortTimeout { timeout: request.timeout });
        }
        Ok(Preflight { request, path: self.path, strict: self.strict })
    }

    pub(super) fn format(&self) -> Format {
        self.common.format
    }
}

impl Common {
    fn request(&self, targets: Vec<Target>, deadline: Duration) -> Result<Request, UsageError> {
        if self.timeout.as_millis() == 0 {
            return Err(UsageError::NoTimeout);
        }
        if self.timeout > Duration::from_secs(600) {
            return Err(UsageError::LongTimeout);
        }
        if self.timeout + Duration::from_secs(1) > deadline {
            return Err(UsageError::NoTime { timeout: self.timeout, deadline });
        }
        if let Some(host) = &self.host
            && !["unix://", "tcp://"].iter().any(|scheme| host.starts_with(scheme))
        {
            return Err(UsageError::Host { host: sanitize(host) });
        }
        let (network, argument) = self.network_name();
        if !is_name(&network) {
            return Err(UsageError::Name { argument });
        }
        if !is_name(&self.alias) {
            return Err(UsageError::Name { argument: "--alias" });
        }
        let owners = self.owners(&targets)?;
        let authority = self.ca.as_deref().map(Authority::read).transpose()?;
        if authority.is_some() && !targets.iter().any(|target| target.protocol == Protocol::Grpc) {
            return Err(UsageError::UnusedAuthority);
        }
        Ok(Request {
            network,
            alias: self.alias.clone(),
            targets,
            timeout: self.timeout,
            deadline,
            host_gateway_ip: self.host_gateway_ip,
            via: Via::Container,
            stand_in: false,
            mark: false,
            authority,
            owners,
            host: self.host.clone(),
            environment: Environment::current(),
        })
    }

    /// Whose each port must be, each port once.
    fn owners(&self, targets: &[Target]) -> Result<BTreeMap<u16, Owner>, UsageError> {
        let mut owners = BTreeMap::new();
        for OwnerSpec { port, owner } in &self.owners {
            if !targets.iter().any(|target| target.port == *port) {
                return Err(UsageError::OwnerOfNothing { port: *port, user: owner.uid });
            }
            if owners.insert(*port, owner.clone()).is_some() {
                return Err(UsageError::TwoOwners { port: *port });
            }
        }
        Ok(owners)
    }

    /// The network, and what named it.
    fn network_name(&self) -> (String, &'static str) {
        if let Some(network) = &self.network {
            return (network.clone(), "--network");
        }
        match std::env::var_os(NETWORK_VARIABLE).filter(|value| !value.is_empty()) {
            Some(network) => (network.to_string_lossy().into_owned(), NETWORK_VARIABLE),
            None => (DEFAULT_NETWORK.to_owned(), "--network"),
        }
    }
}

/// The targets that the command line names, each port once.
fn targets(required: &[PortSpec], optional: &[PortSpec]) -> Result<Vec<Target>, UsageError> {
    let mut targets: Vec<Target> = Vec::new();
    let named = required.iter().map(|spec| (spec, true));
    for (spec, required) in named.chain(optional.iter().map(|spec| (spec, false))) {
        if targets.iter().any(|target| target.port == spec.port) {
            return Err(UsageError::Duplicate { port: spec.port });
        }
        targets.push(Target::new(spec.clone(), required));
    }
    Ok(targets)
}

fn targets_or_defaults(required: &[PortSpec], optional: &[PortSpec]) -> Result<Vec<Target>, UsageError> {
    let targets = targets(required, optional)?;
    Ok(if targets.is_empty() { Target::defaults() } else { targets })
}

/// A name that can go into a URL and onto a command line as it is. Docker's own names are of these characters.
fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// `3.5s`, `800ms`, `2m`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 3.5s, 800ms or 2m".to_owned();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => match (text.strip_suffix('s'), text.strip_suffix('m')) {
            (Some(number), _) => (number, 1.0),
            (_, Some(number)) => (number, 60.0),
            _ => (text, 1.0),
        },
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 =
        Some(number).filter(|_| plain).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

const _: () = {
    // The help text spells the defaults out.
    assert!(DEFAULT_TIMEOUT.as_millis() == 3500 && DEFAULT_DEADLINE.as_secs() == 30);
    assert!(PREFLIGHT_DEADLINE.as_secs() == 60);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("3.5s"), Ok(Duration::from_millis(3500)));
        assert_eq!(duration("800ms"), Ok(Duration::from_millis(800)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "-1s", "1e9s", "inf", "NaN", "1h", "1..2s", "99999999999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
