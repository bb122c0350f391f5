//! Which engine to ask.
//!
//! The order, and why:
//! 1. `--host`: the user says so.
//! 2. `DOCKER_HOST`: the user said so for every Docker program. It is final: a probe that quietly asked another engine
//!    than the one named would judge the wrong network. (OpenShell tries it first too, where it is a `unix://` one.)
//! 3. OpenShell's own order of local sockets, the first that answers as a Docker engine and not as Podman:
//!    `/var/run/docker.sock`, `~/.docker/run/docker.sock`, `$XDG_RUNTIME_DIR/docker.sock`
//!    (`detect_docker_socket` in `crates/openshell-core`).
//! 4. The docker CLI's context (`DOCKER_CONTEXT`, or `currentContext` of its configuration). OpenShell does not know
//!    contexts, so an engine found only here is one that OpenShell does not use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{EngineError, EngineTrouble};
use super::ping::{self, Address, PING_TIMEOUT, Pong};
use crate::deadline::Deadline;
use crate::sanitize::sanitize;

/// The engine's socket on nearly every machine.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where an engine listens and how that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// `unix:///path` or `tcp://host:port`.
    pub url: String,
    /// How it was chosen.
    pub chosen_by: ChosenBy,
}

/// How an endpoint was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChosenBy {
    /// `--host`.
    Flag,
    /// The environment variable `DOCKER_HOST`.
    DockerHost,
    /// The first local socket, in OpenShell's order, that answered.
    LocalSocket,
    /// The docker CLI's current context.
    CliContext,
}

impl ChosenBy {
    /// In words, after the endpoint.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Flag => "--host",
            Self::DockerHost => "DOCKER_HOST",
            Self::LocalSocket => "first local socket that answers",
            Self::CliContext => "docker context",
        }
    }
}

/// What the environment says about engines.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// The docker CLI's configuration folder: `DOCKER_CONFIG`, or `~/.docker`.
    pub docker_config: Option<PathBuf>,
    /// The sockets to try, in order.
    pub sockets: Vec<PathBuf>,
}

impl Environment {
    /// This process's environment.
    #[must_use]
    pub fn current() -> Self {
        let filled = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| filled(name).map(|value| value.to_string_lossy().trim().to_owned());
        let home = filled("HOME").map(PathBuf::from);
        let mut sockets = vec![PathBuf::from(DEFAULT_SOCKET)];
        sockets.extend(home.as_ref().map(|home| home.join(".docker/run/docker.sock")));
        sockets
            .extend(filled("XDG_RUNTIME_DIR").map(|folder: OsString| Path::new(&folder).join("docker.sock")));
        Self {
            docker_host: text("DOCKER_HOST").filter(|value| !value.is_empty()),
            docker_context: text("DOCKER_CONTEXT").filter(|value| !value.is_empty()),
            docker_config: filled("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or(home.map(|home| home.join(".docker"))),
            sockets,
        }
    }
}

/// An engine that answered.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The newest API version it speaks.
    pub(super) api: (usize, usize),
}

/// Finds the engine to ask. `flag` is `--host`.
///
/// # Errors
/// When no engine answers: the error is about the endpoint that the user named, or about the local socket that came
/// closest to an answer.
pub async fn discover(
    flag: Option<&str>,
    environment: &Environment,
    deadline: Deadline,
) -> Result<Discovery, EngineError> {
    let named = flag.map(|url| (url, ChosenBy::Flag));
    let named = named.or(environment.docker_host.as_deref().map(|url| (url, ChosenBy::DockerHost)));
    if let Some((url, chosen_by)) = named {
        return ask(url, chosen_by, deadline).await;
    }
    let mut closest: Option<EngineError> = None;
    for socket in &environment.sockets {
        match ask_local(socket, deadline).await {
            Ok(discovery) => return Ok(discovery),
            Err(error) if rank(&error) > closest.as_ref().map_or(-1, rank) => closest = Some(error),
            Err(_) => {}
        }
    }
    if let Some(url) = context_endpoint(environment) {
        match ask(&url, ChosenBy::CliContext, deadline).await {
            Ok(discovery) => return Ok(discovery),
            Err(error) if rank(&error) > closest.as_ref().map_or(-1, rank) => closest = Some(error),
            Err(_) => {}
        }
    }
    Err(closest.unwrap_or_else(|| {
        fault("no socket to try", EngineTrouble::Unreachable { detail: "no socket is known".to_owned() })
    }))
}

/// How much an error has to say: a socket that is there outranks one that is not.
fn rank(error: &EngineError) -> i32 {
    match error.trouble {
        EngineTrouble::PermissionDenied => 3,
        EngineTrouble::Silent { .. } => 2,
        EngineTrouble::Unreachable { .. } => 0,
        _ => 1,
    }
}

async fn ask_local(socket: &Path, deadline: Deadline) -> Result<Discovery, EngineError> {
    let url = format!("unix://{}", socket.display());
    let pong = ping::ping(Address::Unix(socket), deadline.at_most(PING_TIMEOUT)).await;
    let pong = pong.map_err(|trouble| match trouble {
        EngineTrouble::PermissionDenied if is_hidden(socket) => {
            let detail = "permission denied on the folder that would have the socket".to_owned();
            fault(&url, EngineTrouble::Unreachable { detail })
        }
        trouble => fault(&url, trouble),
    })?;
    if pong.podman {
        let detail = "Podman answers there, which OpenShell's Docker driver passes over".to_owned();
        return Err(fault(&url, EngineTrouble::Unsupported { detail }));
    }
    Ok(found(url, ChosenBy::LocalSocket, &pong))
}

/// Whether nobody can say that there is such a socket: its folder may not be entered, as root's home, which a program that
/// runs as another user may still have in `HOME`.
fn is_hidden(socket: &Path) -> bool {
    std::fs::symlink_metadata(socket).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

async fn ask(url: &str, chosen_by: ChosenBy, deadline: Deadline) -> Result<Discovery, EngineError> {
    let shown = sanitize(url);
    let address = address_of(url).map_err(|trouble| fault(&shown, trouble))?;
    let pong = ping::ping(address, deadline.at_most(PING_TIMEOUT)).await;
    let pong = pong.map_err(|trouble| fault(&shown, trouble))?;
    Ok(found(url.to_owned(), chosen_by, &pong))
}

fn found(url: String, chosen_by: ChosenBy, pong: &Pong) -> Discovery {
    Discovery { endpoint: Endpoint { url, chosen_by }, api: pong.api }
}

fn fault(endpoint: &str, trouble: EngineTrouble) -> EngineError {
    EngineError { call: "reach the engine".to_owned(), endpoint: endpoint.to_owned(), trouble }
}

/// The address in an endpoint's URL.
pub(super) fn address_of(url: &str) -> Result<Address<'_>, EngineTrouble> {
    let unsupported = |detail: &str| EngineTrouble::Unsupported { detail: detail.to_owned() };
    if let Some(path) = url.strip_prefix("unix://") {
        if !path.starts_with('/') {
            return Err(unsupported("the path of a unix:// endpoint must begin with '/'"));
        }
        return Ok(Address::Unix(Path::new(path)));
    }
    if let Some(authority) = url.strip_prefix("tcp://").or_else(|| url.strip_prefix("http://")) {
        if std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty()) {
            return Err(unsupported("engines behind TLS (DOCKER_TLS_VERIFY) are not supported"));
        }
        return Ok(Address::Tcp(authority.trim_end_matches('/')));
    }
    Err(unsupported("only unix:// and tcp:// endpoints are supported"))
}

/// The endpoint of the docker CLI's context, when it is not the default one.
fn context_endpoint(environment: &Environment) -> Option<String> {
    let folder = environment.docker_config.as_ref()?;
    let name = match &environment.docker_context {
        Some(name) => name.clone(),
        None => json(&folder.join("config.json"))?.get("currentContext")?.as_str()?.to_owned(),
    };
    if name.is_empty() || name == "default" {
        return None;
    }
    // The CLI files a context under the SHA-256 of its name (docker/cli, cli/context/store).
    let digest: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let meta = json(&folder.join("contexts/meta").join(digest).join("meta.json"))?;
    Some(meta.pointer("/Endpoints/docker/Host")?.as_str()?.to_owned())
}

fn json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
