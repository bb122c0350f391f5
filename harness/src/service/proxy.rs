//! The proxy that stands between sandboxes and Ollama and asks for a token.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use super::MARKER;
use super::process::{Service, ServiceError};
use super::stand_in::{accept, announce, say};
use crate::host::Host;

/// What it is called.
pub(super) const NAME: &str = "ollama-auth-proxy";

/// NemoClaw's variable for the port.
pub(super) const PORT_VARIABLE: &str = "NEMOCLAW_OLLAMA_PROXY_PORT";
/// The stand-in's variable for the token.
pub(super) const TOKEN_VARIABLE: &str = "OLLAMA_PROXY_TOKEN";

/// The one path that needs no token when it is read, so that onboarding can ask whether the proxy runs.
pub(super) const TAGS: &str = "/api/tags";

/// Describes a stand-in for the Ollama auth proxy; [`start`](Self::start) starts it.
///
/// It speaks HTTP/1.1 and answers `GET /api/tags` with no models, everything else with 401 or, with the token, 200.
#[derive(Clone, Debug)]
pub struct OllamaProxy {
    config: Config,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Config {
    address: SocketAddr,
    token: String,
}

impl OllamaProxy {
    /// The default of `NEMOCLAW_OLLAMA_PROXY_PORT`.
    pub const PORT: u16 = 11435;

    /// The token unless another is said.
    pub const TOKEN: &'static str = "stand-in-token";

    /// Listens on 0.0.0.0:11435.
    #[must_use]
    pub fn new() -> Self {
        let address = (Ipv4Addr::UNSPECIFIED, Self::PORT).into();
        Self { config: Config { address, token: Self::TOKEN.to_owned() } }
    }

    /// Listens at this address instead of 0.0.0.0.
    #[must_use]
    pub fn bind_address(mut self, address: impl Into<IpAddr>) -> Self {
        self.config.address.set_ip(address.into());
        self
    }

    /// Listens on this port instead of 11435.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.config.address.set_port(port);
        self
    }

    /// Asks for this token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = token.into();
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead, as it does when it cannot bind its address: [`ServiceError::Ended`], with the reason in its
    /// log.
    pub async fn start(self, host: &Host) -> Result<Service, ServiceError> {
        Service::start(host, NAME, &self.config).await
    }
}

impl Default for OllamaProxy {
    fn default() -> Self {
        Self::new()
    }
}

/// The process of a stand-in with a creator.
pub(super) async fn run(config: Config) -> Result<Infallible, String> {
    serve(config, |address| announce(&[address])).await
}

/// The process of one without, which is told everything by its environment.
pub(super) async fn run_by_contract() -> Result<Infallible, String> {
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let port = variable(PORT_VARIABLE)?;
    let port: u16 = port.parse().map_err(|_| format!("{PORT_VARIABLE}={port:?} is no port"))?;
    let address = (Ipv4Addr::UNSPECIFIED, port).into();
    serve(Config { address, token: variable(TOKEN_VARIABLE)? }, |_| Ok(())).await
}

async fn serve(
    config: Config,
    listening: impl FnOnce(SocketAddr) -> Result<(), String>,
) -> Result<Infallible, String> {
    let Config { address, token } = config;
    let listener =
        TcpListener::bind(address).await.map_err(|error| format!("failed to bind to {address}: {error}"))?;
    say(format_args!("Ollama auth proxy listening on {address}"));
    listening(address)?;
    let expected = format!("Bearer {token}");
    let error = accept(listener, |stream, peer| connection(stream, peer, expected.clone())).await;
    Err(format!("accept at {address}: {error}"))
}

pub(super) async fn connection(stream: TcpStream, peer: SocketAddr, expected: String) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new());
    let answer = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &expected);
        let (method, path, status) = (request.method(), request.uri().path(), response.status().as_u16());
        say(format_args!("request peer={peer} method={method} path={path:?} status={status}"));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
        say(format_args!("connection failed peer={peer} error={error}"));
    }
}

fn answer<B>(request: &Request<B>, expected: &str) -> Response<Full<Bytes>> {
    let is_tags = request.uri().path() == TAGS;
    let is_exempt = is_tags && request.method() == Method::GET;
    let authorized = request.headers().get(AUTHORIZATION).is_some_and(|value| value == expected);
    let (status, body) = match (is_exempt || authorized, is_tags) {
        (false, _) => (StatusCode::UNAUTHORIZED, r#"{"error":"unauthorized"}"#),
        (true, true) => (StatusCode::OK, r#"{"models":[]}"#),
        (true, false) => (StatusCode::OK, r#"{"done":true}"#),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(MARKER, HeaderValue::from_static(NAME));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, path: &str, authorization: &str) -> u16 {
        let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, authorization);
        answer(&request.body(()).unwrap(), "Bearer secret").status().as_u16()
    }

    #[test]
    fn only_reading_the_tags_needs_no_token() {
        assert_eq!(status(Method::GET, "/api/tags", ""), 200);
        assert_eq!(status(Method::POST, "/api/tags", ""), 401);
        assert_eq!(status(Method::GET, "/api/version", "Bearer other"), 401);
        assert_eq!(status(Method::GET, "/api/version", "secret"), 401);
        assert_eq!(status(Method::POST, "/api/generate", "Bearer secret"), 200);
    }
}
