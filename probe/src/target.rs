//! What a sandbox must be able to reach: a port of its host and what lives there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A TCP port of the host that sandboxes must reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Target {
    /// The TCP port, never 0.
    pub port: u16,
    /// What lives there, in the user's word.
    pub label: String,
    /// What it is greeted in.
    #[serde(default)]
    pub protocol: Protocol,
    /// A required target fails when nothing listens. An optional one is then skipped, and judged like a required one
    /// as soon as something listens for it anywhere.
    pub required: bool,
}

/// What a service speaks, so that it can be greeted: a handshake alone is the kernel's, and completes for a service that
/// hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// gRPC, over TLS or without.
    Grpc,
    /// HTTP/1.1.
    Http,
    /// Not known. Bytes might do harm, so nothing is said, and only the connection's end has to be acknowledged.
    #[default]
    Tcp,
}

impl Protocol {
    /// The services that OpenShell and NemoClaw put on a host, by the labels that they usually have.
    fn of_label(label: &str) -> Self {
        match label {
            "gateway" | "openshell-gateway" => Self::Grpc,
            "ollama-proxy" | "ollama-auth-proxy" | "ollama" | "model-router" | "router" | "llama.cpp" => {
                Self::Http
            }
            _ => Self::Tcp,
        }
    }

    /// Its word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

impl Target {
    /// The targets of an OpenShell host when the user names none: the gateway at NemoClaw's default port and the
    /// Ollama auth proxy, both optional because either may be unused.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        vec![
            Self { port: 8080, label: "gateway".to_owned(), protocol: Protocol::Grpc, required: false },
            Self { port: 11435, label: "ollama-proxy".to_owned(), protocol: Protocol::Http, required: false },
        ]
    }

    /// A target from `spec` as the command line has it: `8080`, `8080=gateway` or `8443=gateway/grpc`.
    ///
    /// # Errors
    /// When the port is not 1 to 65535, the label is empty, longer than 40 characters or has other characters than
    /// letters, digits, `-`, `_` and `.`, or the protocol is none of `grpc`, `http` and `tcp`.
    pub fn parse(spec: &str, required: bool) -> Result<Self, TargetError> {
        Ok(Self::new(spec.parse()?, required))
    }

    /// The target of `spec`, labelled `service` where that names no label.
    #[must_use]
    pub fn new(spec: PortSpec, required: bool) -> Self {
        let label = spec.label.unwrap_or_else(|| "service".to_owned());
        let protocol = spec.protocol.unwrap_or_else(|| Protocol::of_label(&label));
        Self { port: spec.port, label, protocol, required }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.port, self.label)
    }
}

/// `PORT[=LABEL][/PROTOCOL]`, before it is known whether the target is required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// The TCP port, never 0.
    pub port: u16,
    /// The label, when one was given.
    pub label: Option<String>,
    /// The protocol, when one was given; otherwise the label tells.
    pub protocol: Option<Protocol>,
}

impl FromStr for PortSpec {
    type Err = TargetError;

    fn from_str(spec: &str) -> Result<Self, TargetError> {
        let (spec, protocol) = match spec.split_once('/') {
            None => (spec, None),
            Some((spec, word)) => {
                let known = [Protocol::Grpc, Protocol::Http, Protocol::Tcp];
                let found = known.into_iter().find(|protocol| protocol.word() == word);
                (spec, Some(found.ok_or(TargetError::Protocol)?))
            }
        };
        let (port, label) = match spec.split_once('=') {
            Some((port, label)) => (port, Some(label)),
            None => (spec, None),
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port =
            Some(port).filter(|_| digits).and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
        let port = port.ok_or(TargetError::Port)?;
        let well_formed = |label: &str| {
            (1..=40).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match label {
            Some(label) if !well_formed(label) => Err(TargetError::Label),
            label => Ok(Self { port, label: label.map(str::to_owned), protocol }),
        }
    }
}

/// Why a `PORT[=LABEL][/PROTOCOL]` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not a TCP port that a service can listen on.
    #[error("the port must be a number from 1 to 65535, as in 8080 or 8080=gateway")]
    Port,
    /// Not a word that can stand in a table.
    #[error("the label must be 1 to 40 letters, digits, '-', '_' or '.', as in 8080=gateway")]
    Label,
    /// Not a protocol that a service can be greeted in.
    #[error("the protocol must be grpc, http or tcp, as in 8080=gateway/grpc")]
    Protocol,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_carry_a_label() {
        let target = Target::parse("8080=gateway", true).unwrap();
        assert_eq!(
            target,
            Target { port: 8080, label: "gateway".to_owned(), protocol: Protocol::Grpc, required: true }
        );
        assert_eq!(Target::parse("4000", false).unwrap().label, "service");
    }

    #[test]
    fn a_protocol_is_named_or_comes_with_the_label() {
        let protocol = |spec: &str| Target::parse(spec, true).map(|target| target.protocol);
        assert_eq!(protocol("9000=gateway"), Ok(Protocol::Grpc));
        assert_eq!(protocol("9000=mine"), Ok(Protocol::Tcp));
        assert_eq!(protocol("9000=mine/http"), Ok(Protocol::Http));
        assert_eq!(protocol("9000/grpc"), Ok(Protocol::Grpc));
        assert_eq!(protocol("9000=gateway/tcp"), Ok(Protocol::Tcp));
        for spec in ["9000/", "9000=a/HTTP", "9000=a/http/2"] {
            assert_eq!(protocol(spec), Err(TargetError::Protocol), "{spec:?}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for spec in ["", "0", "65536", "-1", "+80", "8080x", "=gateway", " 80"] {
            assert_eq!(Target::parse(spec, true), Err(TargetError::Port), "{spec:?}");
        }
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for spec in ["80=", "80=a b", "80=\u{1b}[31m", "80=a=b"] {
            assert_eq!(Target::parse(spec, true), Err(TargetError::Label), "{spec:?}");
        }
    }
}
