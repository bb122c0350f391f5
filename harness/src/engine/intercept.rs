//! A relay before an engine that disturbs chosen calls.
//!
//! ```text
//!  probe ──▶ /run/docker.sock (the relay) ──▶ /run/docker-engine.sock (dockerd)
//!                   │ POST /images/load: refused, delayed, cut off, left without an answer, or the answer altered
//! ```
//!
//! The engine behind it is the real one, and every call that no rule names gets its own answer.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::EngineError;
use crate::background::Background;
use crate::host::{Host, give_same_access};

/// The place where everybody looks for the engine.
const SOCKET: &str = "/run/docker.sock";
/// The engine's own socket meanwhile.
const ENGINE: &str = "/run/docker-engine.sock";
/// Where the relay binds before it takes the engine's place.
const BESIDE: &str = "/run/docker-intercept.sock";

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// What happens to a call.
#[derive(Clone)]
#[non_exhaustive]
pub enum Interference {
    /// The engine never sees it; it is answered with this status and message, as the engine words its errors.
    Refuse(StatusCode, String),
    /// The engine sees it so much later.
    Delay(Duration),
    /// The engine never sees it, and its connection ends without an answer.
    Cut,
    /// The engine never sees it, and no answer comes.
    Hang,
    /// The engine's answer, which has to be JSON, is altered.
    Alter(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

impl Interference {
    /// The engine fails inside: status 500.
    #[must_use]
    pub fn fail(message: impl Into<String>) -> Self {
        Self::Refuse(StatusCode::INTERNAL_SERVER_ERROR, message.into())
    }

    /// Alters the engine's answer.
    #[must_use]
    pub fn alter(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Alter(Arc::new(change))
    }

    /// The answer about a network has these IPAM entries, each a subnet and a gateway that may be missing. An engine makes
    /// no bridge network with a gateway that is no address, with two IPv4 subnets, or (before Docker 28) without IPv4.
    #[must_use]
    pub fn ipam(entries: &[(&str, Option<&str>)]) -> Self {
        let entry = |(subnet, gateway): &(&str, Option<&str>)| match gateway {
            Some(gateway) => json!({ "Subnet": subnet, "Gateway": gateway }),
            None => json!({ "Subnet": subnet }),
        };
        let config: Vec<Value> = entries.iter().map(entry).collect();
        Self::alter(move |network| network["IPAM"]["Config"] = Value::Array(config.clone()))
    }

    /// The engine's answer has these values (RFC 7396): objects are merged key by key, `null` removes a key, and everything
    /// else is replaced.
    #[must_use]
    pub fn merge(patch: Value) -> Self {
        Self::alter(move |answer| merge(answer, &patch))
    }
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    let Value::Object(value) = value else { return };
    for (key, patch) in patch {
        if patch.is_null() {
            value.remove(key);
        } else {
            merge(value.entry(key.as_str()).or_insert(Value::Null), patch);
        }
    }
}

impl fmt::Debug for Interference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse(status, message) => f.debug_tuple("Refuse").field(status).field(message).finish(),
            Self::Delay(delay) => f.debug_tuple("Delay").field(delay).finish(),
            Self::Cut => f.write_str("Cut"),
            Self::Hang => f.write_str("Hang"),
            Self::Alter(_) => f.write_str("Alter"),
        }
    }
}

#[derive(Clone, Debug)]
struct Rule {
    method: String,
    path: String,
    interference: Interference,
}

impl Rule {
    fn is_about(&self, call: &str) -> bool {
        call.split_once(' ').is_some_and(|(method, path)| method == self.method && matches(&self.path, path))
    }
}

/// Whether a path is one that the pattern stands for: `*` in it is anything.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        Some((beginning, end)) => path.strip_prefix(beginning).is_some_and(|rest| rest.ends_with(end)),
        None => path == pattern,
    }
}

/// A relay before a host's engine. Dropping it gives the engine its place back.
#[derive(Debug)]
pub struct Intercept {
    /// The relay's own socket by its inode, and the paths of both as the machine sees them.
    inode: u64,
    socket: PathBuf,
    engine: PathBuf,
    calls: watch::Receiver<Vec<String>>,
    background: Option<Background>,
}

/// Describes an [`Intercept`]; [`start`](Self::start) puts it in place.
#[derive(Clone, Debug, Default)]
pub struct InterceptBuilder {
    rules: Vec<Rule>,
}

impl InterceptBuilder {
    /// What happens to calls of that method and path. The path has no API version in front, and one `*` in it stands for
    /// anything. The first rule for a call counts.
    #[must_use]
    pub fn when(mut self, method: &str, path: &str, interference: Interference) -> Self {
        self.rules.push(Rule { method: method.to_owned(), path: path.to_owned(), interference });
        self
    }

    /// Takes the engine's place, without a moment in which nobody listens there.
    ///
    /// # Errors
    /// When the host has no engine, or its socket cannot be taken over.
    pub fn start(self, host: &Host) -> Result<Intercept, EngineError> {
        host.engine()?;
        let paths = [SOCKET, ENGINE, BESIDE].map(|path| host.path(path));
        let [socket, engine, beside] = &paths;
        let listen = || -> io::Result<(StdUnixListener, u64)> {
            let listener = StdUnixListener::bind(beside)?;
            listener.set_nonblocking(true)?;
            give_same_access(socket, beside)?;
            fs::hard_link(socket, engine)?;
            fs::rename(beside, socket)?;
            Ok((listener, fs::metadata(socket)?.ino()))
        };
        let (listener, inode) =
            listen().map_err(|source| EngineError::Config { path: socket.clone(), source })?;
        let (record, calls) = watch::channel(Vec::new());
        let relay = Relay { rules: self.rules.into(), engine: engine.clone(), calls: Arc::new(record) };
        let [socket, engine, _] = paths;
        let mut intercept = Intercept { inode, socket, engine, calls, background: None };
        let namespace = host.own_network_namespace();
        let started = namespace
            .and_then(|namespace| Background::start(namespace, async move || relay.run(listener).await));
        intercept.background = Some(started.map_err(|error| EngineError::Unexpected {
            call: "take the engine's place".to_owned(),
            message: error.to_string(),
        })?);
        Ok(intercept)
    }
}

impl Intercept {
    /// Describes one that changes nothing.
    #[must_use]
    pub fn builder() -> InterceptBuilder {
        InterceptBuilder::default()
    }

    /// The calls until now, such as `POST /images/load`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    /// Waits for the first call of that method and path, with `*` as in a rule. It may have been made long ago.
    pub async fn called(&self, method: &str, path: &str) {
        let rule = Rule { method: method.to_owned(), path: path.to_owned(), interference: Interference::Cut };
        let is_made = |calls: &Vec<String>| calls.iter().any(|call| rule.is_about(call));
        // It ends with this value at the latest.
        let _ = self.calls.clone().wait_for(is_made).await;
    }
}

impl Drop for Intercept {
    fn drop(&mut self) {
        self.background = None;
        // An engine that was started again has taken its place itself.
        let is_ours = fs::metadata(&self.socket).is_ok_and(|socket| socket.ino() == self.inode);
        let _ = if is_ours { fs::rename(&self.engine, &self.socket) } else { fs::remove_file(&self.engine) };
    }
}

#[derive(Clone)]
struct Relay {
    rules: Arc<[Rule]>,
    engine: PathBuf,
    calls: Arc<watch::Sender<Vec<String>>>,
}

impl Relay {
    async fn run(self, listener: StdUnixListener) {
        let Ok(listener) = UnixListener::from_std(listener) else { return };
        loop {
            let Ok((caller, _)) = listener.accept().await else { return };
            let relay = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| relay.answer(request));
                let mut server = server::Builder::new();
                let served = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(caller), service);
                let _ = served.with_upgrades().await;
            });
        }
    }

    /// An error ends the caller's connection without an answer.
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        let call = format!("{} {}", request.method(), without_version(request.uri().path()));
        let rule = self.rules.iter().find(|rule| rule.is_about(&call));
        self.calls.send_modify(|calls| calls.push(call));
        match rule.map(|rule| &rule.interference) {
            Some(Interference::Refuse(status, message)) => {
                let mut answer = of_json(&json!({ "message": message }));
                *answer.status_mut() = *status;
                Ok(answer)
            }
            Some(Interference::Delay(delay)) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "nothing is waited for: being late is the task"
                )]
                tokio::time::sleep(*delay).await;
                self.forward(request).await
            }
            Some(Interference::Cut) => Err("cut".into()),
            Some(Interference::Hang) => std::future::pending().await,
            Some(Interference::Alter(change)) => {
                let (mut head, body) = self.forward(request).await?.into_parts();
                let mut value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
                change(&mut value);
                head.headers.remove(CONTENT_LENGTH);
                head.headers.remove(TRANSFER_ENCODING);
                Ok(Response::from_parts(head, of_json(&value).into_body()))
            }
            None => self.forward(request).await,
        }
    }

    /// Asks the engine. A connection that stops being HTTP, as that of an attached container does, is carried on byte by
    /// byte.
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Answer, Failure> {
        let caller = hyper::upgrade::on(&mut request);
        let stream = TokioIo::new(UnixStream::connect(&self.engine).await?);
        let (mut sender, connection) = client::handshake(stream).await?;
        tokio::spawn(connection.with_upgrades());
        let mut response = sender.send_request(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let engine = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                let (caller, engine) = tokio::try_join!(caller, engine)?;
                copy_bidirectional(&mut TokioIo::new(caller), &mut TokioIo::new(engine)).await?;
                Ok::<_, Failure>(())
            });
        }
        Ok(response.map(Either::Left))
    }
}

fn of_json(value: &Value) -> Answer {
    let mut answer = Response::new(Either::Right(Full::from(value.to_string())));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// `/v1.45/info` is `/info` of a version.
fn without_version(path: &str) -> &str {
    let rest = path.strip_prefix("/v").and_then(|rest| rest.find('/').map(|end| rest.split_at(end)));
    match rest {
        Some((version, rest)) if version.bytes().all(|c| c.is_ascii_digit() || c == b'.') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_every_version_of_its_path() {
        let is_about = |pattern: &str, path: &str| matches(pattern, without_version(path));
        assert!(is_about("/info", "/v1.45/info") && is_about("/info", "/info"));
        assert!(!is_about("/info", "/v1.45/info/x") && !is_about("/info", "/v1.45/x/info"));
        assert!(is_about("/networks/*", "/v1.24/networks/openshell-docker"));
        assert!(is_about("/containers/*/start", "/containers/0123/start"));
        assert!(!is_about("/containers/*/start", "/containers/0123/attach"));
        assert!(is_about("/volumes", "/volumes"));
    }

    #[test]
    fn a_merge_changes_what_it_names() {
        let merged = |patch: Value| {
            let mut answer = json!({ "Name": "a", "IPAM": { "Driver": "default", "Config": [1, 2] } });
            merge(&mut answer, &patch);
            answer
        };
        let config = json!({ "IPAM": { "Config": [3] } });
        assert_eq!(merged(config), json!({ "Name": "a", "IPAM": { "Driver": "default", "Config": [3] } }));
        assert_eq!(merged(json!({ "IPAM": null, "Id": 1 })), json!({ "Name": "a", "Id": 1 }));
        assert_eq!(
            merged(json!({ "Name": { "b": 1 }, "IPAM": [] })),
            json!({ "Name": { "b": 1 }, "IPAM": [] })
        );
        assert_eq!(merged(json!([])), json!([]));
    }
}
