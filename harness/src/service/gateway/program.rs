//! The program that is the gateway, and how it is started: data, so that a gateway of somebody else's needs no code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::GatewayError;
use crate::host::HostBuilder;
use crate::service::stand_in;

/// How the gateway of OpenShell itself is started, and the stand-in too.
const OPENSHELL: &str = include_str!("../../../gateways/openshell.toml");

/// How a gateway is asked whether it is well.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// By OpenShell's own call, over HTTP/2 without TLS.
    Grpc,
    /// By any request: whatever it answers, it answers in HTTP/2.
    Http2,
    /// By a connection.
    Tcp,
}

/// A file such as `harness/gateways/openshell.toml`, which explains the fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    creates_network: bool,
    health: Health,
    #[serde(default)]
    prepare: Vec<Vec<String>>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    config: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

/// A gateway to be started in a host, as one file there.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use harness::Host;
/// use harness::service::gateway::GatewayProgram;
///
/// let program = GatewayProgram::file("/opt/release/openshell-gateway");
/// let host = Host::builder().gateway_program(&program)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GatewayProgram {
    definition: Definition,
    /// The machine's file; this program itself where there is none.
    file: Option<PathBuf>,
    path: String,
    /// The host has it already.
    is_there: bool,
}

/// What the placeholders of a definition stand for.
pub(super) struct Values<'a> {
    pub(super) port: u16,
    pub(super) network: &'a str,
    pub(super) state: &'a Path,
    pub(super) bridge: Option<String>,
}

/// A start, ready to be made.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) args: Vec<String>,
    /// What is wanted of its environment: what a drift is measured by.
    pub(super) environment: BTreeMap<String, String>,
    pub(super) prepare: Vec<Vec<String>>,
    pub(super) config: Option<String>,
}

impl GatewayProgram {
    /// Where the program is in a host.
    pub const PATH: &'static str = "/usr/local/bin/openshell-gateway";

    /// This program standing in for the gateway, by the same environment and configuration as the real one.
    #[must_use]
    pub fn stand_in() -> Self {
        let program =
            Self { definition: openshell(), file: None, path: Self::PATH.to_owned(), is_there: false };
        program.marked()
    }

    /// Without its mark, a program that stands in would be itself.
    fn marked(mut self) -> Self {
        if self.is_stand_in() {
            let (name, value) = stand_in::CONTRACT;
            self.definition.environment.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// A gateway of somebody else's: a file of the machine that runs in the host's userland, started as OpenShell's is.
    #[must_use]
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self {
            definition: openshell(),
            file: Some(file.into()),
            path: Self::PATH.to_owned(),
            is_there: false,
        }
    }

    /// Starts it as this text says instead, in the form of `harness/gateways/openshell.toml`.
    ///
    /// # Errors
    /// When it is not of that form; the error names the line.
    pub fn defined_by(mut self, text: &str) -> Result<Self, GatewayError> {
        self.definition =
            toml::from_str(text).map_err(|error| GatewayError::Definition { message: error.to_string() })?;
        // With no values, an unknown placeholder is still one.
        let values = Values { port: 1, network: "n", state: Path::new("/s"), bridge: Some("b".to_owned()) };
        self.launch(&values)?;
        Ok(self.marked())
    }

    /// The gateway that the environment names: `OPENSHELL_GATEWAY_BIN`, a file, and `OPENSHELL_GATEWAY_DEFINITION`, a
    /// file that says how it is started. Without the first it is the stand-in.
    ///
    /// # Errors
    /// When a file cannot be read, or the definition is none.
    pub fn from_environment() -> Result<Self, GatewayError> {
        let file = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let Some(program) = file("OPENSHELL_GATEWAY_BIN") else { return Ok(Self::stand_in()) };
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| GatewayError::File { path, source }
        };
        std::fs::metadata(&program).map_err(unreadable(&program))?;
        let gateway = Self::file(program);
        match file("OPENSHELL_GATEWAY_DEFINITION") {
            None => Ok(gateway),
            Some(definition) => {
                let text = std::fs::read_to_string(&definition).map_err(unreadable(&definition))?;
                gateway.defined_by(&text)
            }
        }
    }

    /// Uses a program that is already there in the host, instead of letting the host see one of the machine.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self.is_there = true;
        self
    }

    /// Whether it is this program standing in.
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        self.file.is_none()
    }

    /// Where it is in a host.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it makes the sandbox network itself when it starts.
    #[must_use]
    pub fn creates_network(&self) -> bool {
        self.definition.creates_network
    }

    /// How it is asked whether it is well.
    #[must_use]
    pub fn health(&self) -> Health {
        self.definition.health
    }

    pub(super) fn launch(&self, values: &Values<'_>) -> Result<Launch, GatewayError> {
        let config = values.state.join("gateway.toml").display().to_string();
        let fill = |text: &String| fill(text, &self.path, &config, values);
        let all = |texts: &Vec<String>| texts.iter().map(fill).collect::<Result<Vec<_>, _>>();
        Ok(Launch {
            args: all(&self.definition.args)?,
            environment: self
                .definition
                .environment
                .iter()
                .map(|(name, value)| Ok((name.clone(), fill(value)?)))
                .collect::<Result<_, GatewayError>>()?,
            prepare: self.definition.prepare.iter().map(all).collect::<Result<_, _>>()?,
            config: self.definition.config.as_ref().map(fill).transpose()?,
        })
    }
}

impl HostBuilder {
    /// Lets the host see the gateway's program at its path, unless the host has it already.
    ///
    /// # Errors
    /// When this program's own file, which stands in, cannot be found.
    pub fn gateway_program(self, program: &GatewayProgram) -> std::io::Result<Self> {
        if program.is_there {
            return Ok(self);
        }
        let file = match &program.file {
            Some(file) => file.clone(),
            None => std::env::current_exe()?,
        };
        Ok(self.bind(file, GatewayProgram::PATH))
    }
}

fn openshell() -> Definition {
    toml::from_str(OPENSHELL).expect("the definition in this crate is well-formed")
}

/// Puts values in the place of `{name}`. A brace that begins no placeholder (`{ key = 1 }`) stays.
fn fill(text: &str, program: &str, config: &str, values: &Values<'_>) -> Result<String, GatewayError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find('{') {
        filled.push_str(&rest[..begin]);
        rest = &rest[begin + 1..];
        let end = rest.find('}').filter(|end| rest[..*end].bytes().all(|byte| byte.is_ascii_lowercase()));
        let Some(end) = end.filter(|end| *end > 0) else {
            filled.push('{');
            continue;
        };
        let wrong = |message: String| GatewayError::Definition { message };
        let value = match &rest[..end] {
            "program" => program.to_owned(),
            "config" => config.to_owned(),
            "port" => values.port.to_string(),
            "network" => values.network.to_owned(),
            "state" => values.state.display().to_string(),
            "bridge" => values.bridge.clone().ok_or_else(|| {
                wrong("{bridge} is not known before the gateway has created the network".to_owned())
            })?,
            other => {
                return Err(wrong(format!(
                    "there is no {{{other}}}; there are: {{program}} {{config}} {{port}} {{network}} {{state}} {{bridge}}"
                )));
            }
        };
        filled.push_str(&value);
        rest = &rest[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values<'static> {
        Values { port: 8080, network: "openshell-docker", state: Path::new("/state"), bridge: None }
    }

    #[test]
    fn openshells_own_definition_names_its_port_network_and_state() {
        let launch = GatewayProgram::file("/x").launch(&values()).unwrap();
        assert_eq!(launch.environment["OPENSHELL_SERVER_PORT"], "8080");
        assert_eq!(launch.environment["OPENSHELL_GATEWAY_CONFIG"], "/state/gateway.toml");
        let config = launch.config.unwrap();
        assert!(config.contains("network_name = \"openshell-docker\""), "{config}");
        assert_eq!(launch.prepare[0][..2], ["/usr/local/bin/openshell-gateway", "generate-certs"]);
        let stand_in = GatewayProgram::stand_in().launch(&values()).unwrap();
        assert_eq!(stand_in.environment.len(), launch.environment.len() + 1);
        let defined = GatewayProgram::stand_in().defined_by(OPENSHELL).unwrap();
        assert_eq!(defined.launch(&values()).unwrap().environment, stand_in.environment);
    }

    #[test]
    fn a_definition_that_is_none_names_the_place() {
        let text = "creates_network = false\nhealth = \"http2\"\nargs = [\"{port}\"]\n";
        let defined = |text: &str| GatewayProgram::file("/x").defined_by(text);
        assert_eq!(defined(text).unwrap().launch(&values()).unwrap().args, ["8080"]);
        let unknown = defined(&format!("{text}colour = 1\n")).unwrap_err().to_string();
        assert!(unknown.contains("line 4") && unknown.contains("colour"), "{unknown}");
        let placeholder = defined(&text.replace("{port}", "{prot}")).unwrap_err().to_string();
        assert!(placeholder.contains("there is no {prot}"), "{placeholder}");
    }

    #[test]
    fn a_brace_that_begins_no_placeholder_stays() {
        let filled = |text: &str| fill(text, "/p", "/c", &values()).unwrap();
        assert_eq!(filled("{ a } {} {A} {port} {"), "{ a } {} {A} 8080 {");
        let early = fill("{bridge}", "/p", "/c", &values()).unwrap_err().to_string();
        assert!(early.contains("not known before"), "{early}");
    }
}
