//! Services that are none of OpenShell's: what else may listen on a port.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::stand_in::{accept, announce, say};
use super::{Service, ServiceError, grpc, proxy};
use crate::host::Host;

/// Its process.
pub(super) const NAME: &str = "other-service";

/// How many connections may wait to be accepted, as tokio's own listeners have it.
const BACKLOG: u32 = 1024;

/// How long a slow service takes.
const DELAY: Duration = Duration::from_secs(1);

/// What a service does with a connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Answers every request of HTTP/1.1 with 200 and a text.
    Http,
    /// Answers every call of gRPC with `UNIMPLEMENTED`.
    Grpc,
    /// Answers as the Ollama auth proxy does.
    Proxy,
    /// The same, a second after it was asked.
    Slow,
    /// Greets first, as an SSH server does, and waits.
    Banner,
    /// Takes the connection and never says anything.
    Silent,
    /// Takes the connection and ends it, as a forwarder does whose service is gone.
    HangsUp,
}

/// A service that is none of OpenShell's.
#[derive(Clone, Debug)]
pub struct OtherService {
    config: Config,
    user: Option<u32>,
}

/// What it is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Config {
    behaviour: Behaviour,
    addresses: Vec<IpAddr>,
    port: u16,
    /// Whether the wildcard of IPv6 takes no IPv4 connections.
    v6_only: bool,
    /// Whether the host need not have the addresses.
    lost: bool,
    /// A file for the network namespace that it listens in, instead of the host's.
    namespace: Option<PathBuf>,
}

impl OtherService {
    /// One on all IPv4 addresses.
    #[must_use]
    pub fn new(behaviour: Behaviour, port: u16) -> Self {
        let addresses = vec![Ipv4Addr::UNSPECIFIED.into()];
        Self {
            config: Config { behaviour, addresses, port, v6_only: false, lost: false, namespace: None },
            user: None,
        }
    }

    /// Listens on these addresses instead.
    #[must_use]
    pub fn bind_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.config.addresses = addresses.into_iter().collect();
        self
    }

    /// Takes no IPv4 connections on addresses of IPv6.
    #[must_use]
    pub fn v6_only(mut self) -> Self {
        self.config.v6_only = true;
        self
    }

    /// Binds its addresses also where the host has them no more, as a service does that was there before they went.
    #[must_use]
    pub fn on_lost_addresses(mut self) -> Self {
        self.config.lost = true;
        self
    }

    /// Listens in the network namespace of a process of the host, such as a container's.
    #[must_use]
    pub fn beside(mut self, pid: i32) -> Self {
        self.config.namespace = Some(PathBuf::from(format!("/proc/{pid}/ns/net")));
        self
    }

    /// Runs as this user, and the group of the same number, instead of root.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead, as it does when it cannot bind its addresses.
    pub async fn start(self, host: &Host) -> Result<Service, ServiceError> {
        Service::start_as(host, NAME, &self.config, self.user).await
    }
}

/// The process of a stand-in.
pub(super) async fn run(config: Config) -> Result<Infallible, String> {
    let Config { behaviour, addresses, port, v6_only, lost, namespace } = config;
    if let Some(path) = namespace {
        // On the only thread of this process; its sockets are made after that.
        let entered = File::open(&path).map(|file| setns(file, CloneFlags::CLONE_NEWNET));
        match entered {
            Ok(Ok(())) => {}
            Ok(Err(errno)) => return Err(format!("enter {}: {}", path.display(), errno.desc())),
            Err(error) => return Err(format!("open {}: {error}", path.display())),
        }
    }
    let mut listeners = Vec::new();
    for ip in addresses {
        let address = SocketAddr::new(ip, port);
        listeners.push(
            bind(address, v6_only, lost).map_err(|error| format!("failed to bind to {address}: {error}"))?,
        );
    }
    let bound: Result<Vec<SocketAddr>, _> = listeners.iter().map(TcpListener::local_addr).collect();
    announce(&bound.map_err(|error| error.to_string())?)?;
    let serving =
        listeners.into_iter().map(|listener| accept(listener, move |stream, _| serve(stream, behaviour)));
    let (error, ..) = futures_util::future::select_all(serving.map(Box::pin)).await;
    Err(format!("accept: {error}"))
}

fn bind(address: SocketAddr, v6_only: bool, lost: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() && v6_only {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if lost && address.is_ipv4() {
        setsockopt(&socket, sockopt::IpFreebind, &true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour) {
    let served = match behaviour {
        Behaviour::Http => http(stream).await,
        Behaviour::Grpc => calls(stream).await,
        Behaviour::Proxy | Behaviour::Slow => {
            if behaviour == Behaviour::Slow {
                let _ = stream.readable().await;
                #[expect(clippy::disallowed_methods, reason = "to be slow is what it is for")]
                tokio::time::sleep(DELAY).await;
            }
            if let Ok(peer) = stream.peer_addr() {
                proxy::connection(stream, peer, String::new()).await;
            }
            Ok(())
        }
        Behaviour::Banner => match stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await {
            Ok(()) => hold(stream).await,
            Err(error) => Err(error.to_string()),
        },
        Behaviour::Silent => hold(stream).await,
        Behaviour::HangsUp => {
            drop(stream);
            Ok(())
        }
    };
    if let Err(error) = served {
        say(format_args!("connection failed error={error}"));
    }
}

async fn http(stream: TcpStream) -> Result<(), String> {
    let answer = service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"another service\n"))))
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new());
    server.serve_connection(TokioIo::new(stream), answer).await.map_err(|error| error.to_string())
}

async fn calls(stream: TcpStream) -> Result<(), String> {
    let answer = service_fn(|request: hyper::Request<Incoming>| async {
        // What is sent is taken, or the caller waits for room to send it.
        let _ = request.into_body().collect().await;
        Ok::<_, Infallible>(grpc::refusal(grpc::UNIMPLEMENTED, "unknown service"))
    });
    let server = http2::Builder::new(TokioExecutor::new());
    server.serve_connection(TokioIo::new(stream), answer).await.map_err(|error| error.to_string())
}

/// Keeps the connection until the peer ends it, and at most an hour, reading nothing into the answer.
async fn hold(mut stream: TcpStream) -> Result<(), String> {
    let mut ignored = [0; 256];
    let until_it_ends = async { while stream.read(&mut ignored).await.is_ok_and(|length| length > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(3600), until_it_ends).await;
    Ok(())
}
