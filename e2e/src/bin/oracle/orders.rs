//! What the two halves of the oracle say to each other: orders in, answers out, both as JSON.

use std::io::Write;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// What the supervisor is to do.
#[derive(Deserialize, Serialize)]
pub(crate) struct Orders {
    /// The name that it dials.
    pub(crate) alias: String,
    /// How often it tries, at most.
    pub(crate) attempts: u32,
    /// What all of its times are multiplied with.
    pub(crate) scale: f64,
    /// What a gateway with TLS is called with.
    pub(crate) tls: Option<Tls>,
    /// What it dials, all at the same time.
    pub(crate) targets: Vec<Target>,
}

/// Certificates, PEM each.
#[derive(Deserialize, Serialize)]
pub(crate) struct Tls {
    /// Who has to have signed the gateway's certificate.
    pub(crate) authority: String,
    /// The client's certificate and its key.
    pub(crate) client: Option<(String, String)>,
}

/// A port and what should be behind it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) label: String,
    pub(crate) kind: Kind,
    /// The name that the answer has to have in its header `x-openshell-stand-in`, if any.
    pub(crate) marker: Option<String>,
}

/// How a service is called.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Kind {
    /// gRPC over plain HTTP/2, by prior knowledge.
    Grpc,
    /// gRPC over TLS.
    GrpcTls,
    /// HTTP/1.1.
    Http,
}

/// What a sandbox meets at a target.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Experience {
    /// The service answered.
    Reached,
    /// Nobody answered, or not to the end.
    NotReached,
    /// Somebody else answered.
    OtherService,
    /// There is no network to stand in.
    NetworkMissing,
}

/// One line of the oracle.
#[derive(Deserialize, Serialize)]
pub(crate) struct Answer {
    pub(crate) port: u16,
    pub(crate) label: String,
    pub(crate) experience: Experience,
    /// How often the supervisor tried.
    pub(crate) attempts: u32,
    /// What the last attempt met, for people.
    pub(crate) detail: String,
}

impl Answer {
    pub(crate) fn new(target: &Target, experience: Experience, attempts: u32, detail: &str) -> Self {
        let Target { port, label, .. } = target;
        Self { port: *port, label: label.clone(), experience, attempts, detail: detail.to_owned() }
    }

    /// Prints it as a line.
    pub(crate) fn print(&self) -> Result<()> {
        let line = serde_json::to_string(self)?;
        Ok(writeln!(std::io::stdout(), "{line}")?)
    }
}
