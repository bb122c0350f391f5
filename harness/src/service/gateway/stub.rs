//! The stand-in for the gateway: its listeners are those of OpenShell's, fixed when it starts.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::api;
use crate::host::Host;
use crate::service::process::{Service, ServiceError};
use crate::service::stand_in::{accept, announce, say};
use crate::service::tls;

/// What the real program is called.
pub(crate) const NAME: &str = "openshell-gateway";

/// How long a client may take to shake hands.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How many connections may wait to be accepted, as tokio's own listeners have it.
const BACKLOG: u32 = 1024;

/// What the gateway speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum GatewayMode {
    /// HTTP/2 without TLS, by prior knowledge.
    #[default]
    Plain,
    /// TLS; the certificates are in [`TLS_FOLDER`](crate::service::TLS_FOLDER) of the host.
    Tls,
    /// TLS, and only for clients with the certificate of that folder.
    MutualTls,
}

/// Describes a stand-in for OpenShell's gateway; [`start`](Self::start) starts it.
///
/// It answers the health call and the unary calls of a sandbox with an empty message, other gRPC methods with
/// `UNIMPLEMENTED`, and all other HTTP with 404.
#[derive(Clone, Debug)]
pub struct Gateway {
    config: Config,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Config {
    primary: IpAddr,
    callback: Option<IpAddr>,
    port: u16,
    mode: GatewayMode,
    restricted: bool,
    marker: String,
}

impl Gateway {
    /// NemoClaw's `GATEWAY_PORT`.
    pub const PORT: u16 = 8080;

    /// Listens on 127.0.0.1 and, for sandboxes, at this address: the gateway address of their bridge network. Whether
    /// it is the right one is not checked.
    #[must_use]
    pub fn on(bridge: impl Into<IpAddr>) -> Self {
        let mut gateway = Self::on_loopback();
        gateway.config.callback = Some(bridge.into());
        gateway
    }

    /// Listens on 127.0.0.1 only, where no sandbox reaches it.
    #[must_use]
    pub fn on_loopback() -> Self {
        Self {
            config: Config {
                primary: Ipv4Addr::LOCALHOST.into(),
                callback: None,
                port: Self::PORT,
                mode: GatewayMode::default(),
                restricted: false,
                marker: NAME.to_owned(),
            },
        }
    }

    pub(super) fn into_config(self) -> Config {
        self.config
    }

    /// Listens at this address instead of 127.0.0.1 (`OPENSHELL_BIND_ADDRESS`). When it is the wildcard of the bridge
    /// address' family, it is the only listener.
    #[must_use]
    pub fn bind_address(mut self, address: impl Into<IpAddr>) -> Self {
        self.config.primary = address.into();
        self
    }

    /// Listens on this port instead of 8080 (`OPENSHELL_SERVER_PORT`).
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.config.port = port;
        self
    }

    /// Speaks this instead of plain HTTP/2.
    #[must_use]
    pub fn mode(mut self, mode: GatewayMode) -> Self {
        self.config.mode = mode;
        self
    }

    /// Serves on the bridge only what sandboxes may call, as OpenShell does since its #2492 (2026-07-31): other gRPC is
    /// answered with `PERMISSION_DENIED`, the health call too, and HTTP with 403.
    #[must_use]
    pub fn restricted_bridge(mut self) -> Self {
        self.config.restricted = true;
        self
    }

    /// Says this of itself in its answers' header [`MARKER`](crate::service::MARKER), instead of its name: for a second
    /// gateway that is not the one that sandboxes are to reach.
    #[must_use]
    pub fn marker(mut self, marker: impl Into<String>) -> Self {
        self.config.marker = marker.into();
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead, as it does when it cannot bind one of its addresses: [`ServiceError::Ended`], with the
    /// reason in its log.
    pub async fn start(self, host: &Host) -> Result<Service, ServiceError> {
        Service::start(host, NAME, &self.config).await
    }
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// Everything.
    Full,
    /// What sandboxes may call.
    SandboxCallable,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Listener {
    address: SocketAddr,
    purpose: &'static str,
    scope: Scope,
}

impl Config {
    fn listeners(&self) -> Vec<Listener> {
        let primary = Listener {
            address: SocketAddr::new(self.primary, self.port),
            purpose: "primary",
            scope: Scope::Full,
        };
        let covered = |callback: &IpAddr| {
            *callback == self.primary
                || self.primary.is_unspecified() && callback.is_ipv4() == self.primary.is_ipv4()
        };
        let scope = if self.restricted { Scope::SandboxCallable } else { Scope::Full };
        let callback = self.callback.filter(|callback| !covered(callback)).map(|callback| Listener {
            address: SocketAddr::new(callback, self.port),
            purpose: "compute-driver-callback",
            scope,
        });
        [primary].into_iter().chain(callback).collect()
    }

    /// The addresses by which clients may call it.
    fn names(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.primary), self.callback].into_iter().flatten().filter(|address| !address.is_unspecified())
    }
}

/// The process of a stand-in with a creator: binds everything or ends, makes certificates, announces, serves.
pub(crate) async fn run(config: Config) -> Result<Infallible, String> {
    serve_all(config, announce).await
}

/// The same, with what is to be done once it listens.
pub(super) async fn serve_all(
    config: Config,
    listening: impl FnOnce(&[SocketAddr]) -> Result<(), String>,
) -> Result<Infallible, String> {
    let specs = config.listeners();
    let mut bound = Vec::new();
    for spec in &specs {
        // A wildcard of IPv6 would take the IPv4 address of the other listener.
        let only_v6 = specs.iter().any(|other| other.address.is_ipv4());
        let listener = bind(spec.address, only_v6)
            .map_err(|error| format!("transport error: failed to bind to {}: {error}", spec.address))?;
        let scope = match spec.scope {
            Scope::Full => "full-multiplexed-api",
            Scope::SandboxCallable => "sandbox-callable-grpc-only",
        };
        say(format_args!(
            "Gateway listener bound address={} listener_purpose={:?} authorization_scope={scope:?}",
            spec.address, spec.purpose,
        ));
        bound.push((listener, *spec));
    }
    // Only now: a gateway that cannot bind leaves the certificates of the one in its way alone.
    let tls = match config.mode {
        GatewayMode::Plain => None,
        mode => Some(tls::acceptor(config.names(), mode == GatewayMode::MutualTls)?),
    };
    let marker = HeaderValue::try_from(&config.marker);
    let marker = marker.map_err(|error| format!("{:?} as a header: {error}", config.marker))?;
    listening(&specs.iter().map(|spec| spec.address).collect::<Vec<_>>())?;
    let mut serving = JoinSet::new();
    for (listener, spec) in bound {
        let (tls, marker) = (tls.clone(), marker.clone());
        serving.spawn(async move {
            let connection = |stream, peer| connection(stream, peer, spec, marker.clone(), tls.clone());
            let error = accept(listener, connection).await;
            format!("accept at {}: {error}", spec.address)
        });
    }
    // There is always one listener, and serving it has no end but an error.
    Err(serving.join_next().await.map_or_else(String::new, |ended| ended.unwrap_or_else(|e| e.to_string())))
}

fn bind(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() && only_v6 {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Listener,
    marker: HeaderValue,
    tls: Option<TlsAcceptor>,
) {
    match tls {
        None => serve(stream, peer, listener, marker).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, peer, listener, marker).await,
            Ok(Err(error)) => say(format_args!("TLS handshake failed peer={peer} error={error}")),
            Err(_) => say(format_args!("TLS handshake timed out peer={peer}")),
        },
    }
}

/// Serves HTTP/2 and HTTP/1.1 as the client begins, for the gateway takes both.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    listener: Listener,
    marker: HeaderValue,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        say(format_args!(
            "request listener={} peer={peer} method={} path={:?}",
            listener.address,
            request.method(),
            request.uri().path(),
        ));
        api::answer(listener.scope, marker.clone(), request)
    });
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
        say(format_args!("connection failed peer={peer} error={error}"));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

    fn listeners(gateway: &Gateway) -> Vec<(String, Scope)> {
        gateway.config.listeners().iter().map(|l| (l.address.to_string(), l.scope)).collect()
    }

    #[test]
    fn it_listens_on_loopback_and_the_bridge() {
        let full = |address: &str| (address.to_owned(), Scope::Full);
        assert_eq!(listeners(&Gateway::on(BRIDGE)), [full("127.0.0.1:8080"), full("172.18.0.1:8080")]);
        assert_eq!(listeners(&Gateway::on_loopback().port(17670)), [full("127.0.0.1:17670")]);
        let v6 = Gateway::on_loopback().bind_address(Ipv6Addr::LOCALHOST);
        assert_eq!(listeners(&v6), [full("[::1]:8080")]);
    }

    #[test]
    fn a_wildcard_covers_the_bridge_of_its_family() {
        let gateway = Gateway::on(BRIDGE).restricted_bridge();
        let v4 = listeners(&gateway.clone().bind_address(Ipv4Addr::UNSPECIFIED));
        assert_eq!(v4, [("0.0.0.0:8080".to_owned(), Scope::Full)]);
        let v6 = listeners(&gateway.bind_address(Ipv6Addr::UNSPECIFIED));
        let bridge = ("172.18.0.1:8080".to_owned(), Scope::SandboxCallable);
        assert_eq!(v6, [("[::]:8080".to_owned(), Scope::Full), bridge]);
    }
}
