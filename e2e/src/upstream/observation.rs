//! The neutral observation of one port on one host: what upstream's commands and dials met, and no opinion about it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The errno of Linux for a refused connection.
pub const ECONNREFUSED: i32 = 111;
/// The errno of Linux for a host that is not reached.
pub const EHOSTUNREACH: i32 = 113;

/// Everything that one of the probes looks at.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The port that is asked about.
    pub port: u16,
    /// The network as NemoClaw calls it.
    pub network: String,
    /// `docker network inspect --format '{{json .IPAM.Config}}' NETWORK`.
    pub inspect: Command,
    /// `docker info --format '{{.OperatingSystem}}\n{{range .Labels}}{{.}}\n{{end}}'`.
    pub info: Command,
    /// What became of the probe's image.
    pub image: ImageCache,
    /// A container on the network that is given no names, as v0 and v1 have it. `None` where none was tried.
    pub without_alias: Option<Run>,
    /// A container with the names that NemoClaw injects since #3459; where it retries, one for each attempt. None where
    /// NemoClaw finds no route.
    pub with_alias: Vec<Run>,
    /// The host dials its own 127.0.0.1.
    pub host_loopback: Dial,
    /// The host dials the network's gateway address, where there is one.
    pub host_gateway: Option<Dial>,
}

/// A command of Docker's and how it ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The exit code, `None` when it did not end in the time that upstream gives it, or in the recorder's where
    /// upstream gives it forever.
    pub status: Option<i32>,
    /// Its standard output.
    #[serde(default)]
    pub stdout: String,
    /// Its standard error.
    #[serde(default)]
    pub stderr: String,
}

/// `docker run … sh -c 'nc -zw5 NAME PORT'`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How the command ended: Docker's own failure, or what upstream's busybox would have said of what was seen.
    pub command: Command,
    /// What was seen in the container; `None` when none ran.
    pub seen: Option<Seen>,
}

/// What a container saw of a name and a port.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The name is in `/etc/hosts`.
    pub alias_present: bool,
    /// What it resolved to; empty when it did not.
    pub addresses: Vec<IpAddr>,
    /// How long that took, in milliseconds.
    pub resolve_ms: u64,
    /// The dial of the first address, as busybox makes it.
    pub dial: Option<Dial>,
}

/// One connect.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// Who was dialled.
    pub address: IpAddr,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// How a connect ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Connected.
    Connected,
    /// The kernel said no, with this errno.
    Errno(i32),
    /// Nothing came back while the recorder waited, which is longer than the first repetition of the SYN.
    NoAnswer,
}

/// What became of `docker image inspect` and, where that found nothing, `docker pull`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageCache {
    /// The image is there. The hosts reach no registry, and the machines that they stand for do.
    #[default]
    Cached,
    /// The engine did not say whether it is.
    InspectUnavailable,
    /// It is not there and cannot be had: no network, a rate limit.
    PullFailed,
    /// It is not there, and the pull took more than 60 s.
    PullTimedOut,
}

impl Command {
    /// It ended well and said this.
    #[must_use]
    pub fn said(stdout: impl Into<String>) -> Self {
        Self { status: Some(0), stdout: stdout.into(), stderr: String::new() }
    }

    /// It ended with this code and this text on standard error.
    #[must_use]
    pub fn failed(status: i32, stderr: impl Into<String>) -> Self {
        Self { status: Some(status), stdout: String::new(), stderr: stderr.into() }
    }

    /// It did not end.
    #[must_use]
    pub fn hung() -> Self {
        Self { status: None, stdout: String::new(), stderr: String::new() }
    }

    /// Both outputs in lower case, which is how texts are searched.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}", self.stderr, self.stdout).to_lowercase()
    }
}
