//! The oracle: another program, which says what a real sandbox experiences. Here is only its command line and its answer.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Deserialize;

use super::format::{Call, Event, Expect, Experience, Mode, Scenario};
use crate::engine::NetworkInfo;
use crate::host::{ExecError, Host};
use crate::service::{Behaviour, TLS_FOLDER};

/// Where it is in a host.
pub(super) const ORACLE: &str = "/usr/local/bin/oracle";

/// Its home: an empty folder, so that no configuration of a client's decides anything.
const HOME: &str = "/var/empty/oracle";

/// The engine, named so that it looks for none.
const ENGINE: &str = "unix:///var/run/docker.sock";

/// How long it may take. At a factor of 1 the supervisor's five attempts take about a minute.
const DEADLINE: Duration = Duration::from_secs(150);

/// OpenShell's extra hosts.
const ALIASES: [&str; 2] = [probe::DOCKER_ALIAS, probe::OPENSHELL_ALIAS];

/// Why there is no answer of the oracle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError {
    /// It did not run to its end.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// Its home could not be made.
    #[error("make {HOME} in the host: {0}")]
    Home(#[source] std::io::Error),
    /// It said something that is no answer.
    #[error("the oracle said {line:?}: {source}")]
    Line {
        /// What it said.
        line: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It said nothing of a target.
    #[error("the oracle said nothing of port {port}")]
    Silent {
        /// The target's port.
        port: u16,
    },
}

/// What it says of one target.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Said {
    pub(super) port: u16,
    pub(super) experience: Experience,
    #[serde(default)]
    pub(super) detail: String,
}

/// Runs it in the host for those expectations of the scenario that have an experience.
pub(super) async fn ask(
    host: &Host,
    scenario: &Scenario,
    expected: &[&Expect],
    network: Option<&NetworkInfo>,
) -> Result<Vec<Said>, OracleError> {
    std::fs::create_dir_all(host.path(HOME)).map_err(OracleError::Home)?;
    let arguments = arguments(scenario, expected, network.map(|network| network.gateway));
    let command = host.command(ORACLE).args(arguments).env("HOME", HOME).env("DOCKER_HOST", ENGINE);
    let said = command.deadline(DEADLINE).run().await?;
    let parse = |line: &str| {
        serde_json::from_str(line).map_err(|source| OracleError::Line { line: line.to_owned(), source })
    };
    let said: Vec<Said> =
        said.lines().filter(|line| !line.trim().is_empty()).map(parse).collect::<Result<_, _>>()?;
    for expect in expected {
        if !said.iter().any(|said| said.port == expect.target.port) {
            return Err(OracleError::Silent { port: expect.target.port });
        }
    }
    Ok(said)
}

/// `gateway` is the address of the network's bridge, if there is one.
fn arguments(scenario: &Scenario, expected: &[&Expect], gateway: Option<Ipv4Addr>) -> Vec<String> {
    let option = |name: &str| {
        let after = |pair: &[String]| (pair[0] == name).then(|| pair[1].clone());
        let joined = |one: &String| one.strip_prefix(&format!("{name}=")).map(str::to_owned);
        let found = scenario.check.windows(2).find_map(after);
        found.or_else(|| scenario.check.iter().find_map(joined))
    };
    let network = option("--network").unwrap_or_else(|| probe::DEFAULT_NETWORK.to_owned());
    let mut arguments = vec!["--network".to_owned(), network];
    // Where OpenShell's setting names an address, that is what sandboxes are given.
    let usual = if scenario.persona.machine().is_some() {
        Some("host-gateway".to_owned())
    } else {
        gateway.map(|gateway| gateway.to_string())
    };
    let address = option("--host-gateway-ip").or(usual);
    for alias in ALIASES {
        arguments
            .extend(address.iter().flat_map(|address| ["--host".to_owned(), format!("{alias}:{address}")]));
    }
    if expected.iter().any(|expect| call(scenario, expect) == Call::GrpcTls) {
        // What a sandbox is given: the gateway's authority, and a client's certificate.
        for (option, file) in [("--ca", "ca.crt"), ("--cert", "client/tls.crt"), ("--key", "client/tls.key")]
        {
            arguments.extend([option.to_owned(), format!("{TLS_FOLDER}/{file}")]);
        }
    }
    arguments.extend(scenario.oracle.alias.iter().flat_map(|alias| ["--alias".to_owned(), alias.clone()]));
    arguments.extend(["--scale".to_owned(), scenario.oracle.scale.to_string()]);
    for expect in expected {
        let (port, label, call) = (expect.target.port, &expect.target.label, call(scenario, expect).name());
        arguments.extend(["--target".to_owned(), format!("{port}={label}/{call}")]);
    }
    arguments
}

/// What a sandbox calls at a target.
pub(super) fn call(scenario: &Scenario, expect: &Expect) -> Call {
    if let Some(call) = expect.call {
        return call;
    }
    let port = expect.target.port;
    let over_tls =
        |event: &Event| matches!(event, Event::Gateway(it) if it.port == port && it.mode == Mode::Tls);
    let grpc = |event: &Event| match event {
        Event::Gateway(it) => it.port == port,
        Event::Service(it) => it.port == port && it.kind == Behaviour::Grpc,
        _ => false,
    };
    if scenario.events.iter().any(over_tls) {
        Call::GrpcTls
    } else if expect.target.label == "gateway" || scenario.events.iter().any(grpc) {
        Call::Grpc
    } else {
        Call::Http
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::ScenarioFile;

    /// What the sandbox is told, for a file with these lines more.
    fn told(head: &str, gateway: Option<Ipv4Addr>) -> String {
        let text = include_str!("compare/tests.toml").replace("events = [", &format!("{head}\nevents = ["));
        let file = ScenarioFile::parse("name.toml".as_ref(), &text).unwrap();
        let expected: Vec<&Expect> = file.scenario.expecting(None).collect();
        arguments(&file.scenario, &expected, gateway).join(" ")
    }

    #[test]
    fn a_sandbox_is_given_the_address_that_openshell_gives_it() {
        let bridge = Some(Ipv4Addr::new(172, 18, 0, 1));
        let hosts = |address: &str| {
            format!("--host host.docker.internal:{address} --host host.openshell.internal:{address} ")
        };
        for (head, address) in [
            ("", "172.18.0.1"),
            ("persona = \"wsl2_engine\"", "172.18.0.1"),
            ("persona = \"wsl2\"", "host-gateway"),
            ("check = [\"--host-gateway-ip\", \"10.0.0.1\"]", "10.0.0.1"),
            ("persona = \"wsl2\"\ncheck = [\"--host-gateway-ip=10.0.0.1\"]", "10.0.0.1"),
        ] {
            let told = told(head, bridge);
            assert!(told.contains(&hosts(address)), "{head}: {told}");
        }
        assert!(!told("", None).contains("--host "), "there is no address");
    }

    #[test]
    fn a_sandbox_dials_another_name_only_when_told_so() {
        assert!(!told("check = [\"--alias\", \"other.internal\"]", None).contains("--alias"));
        let told = told("oracle = { alias = \"inference.local\" }", None);
        assert!(told.contains("--alias inference.local --scale 0.02 "), "{told}");
    }
}
