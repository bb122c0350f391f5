//! What the host itself sees of a service: the checks that stay green while a firewall cuts the sandboxes off.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, TE};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use netns::Namespace;

use super::gateway::HEALTH;
use super::grpc;
use super::proxy::TAGS;
use super::refusal::Refusal;
use super::tls::TLS_FOLDER;
use super::wire::{Wire, whole, wrong};
use crate::host::Host;

/// How long a whole check may take: NemoClaw gives its health call 3 000 ms.
const DEADLINE: Duration = Duration::from_secs(3);

/// Why a check did not show a healthy service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// There is no connection.
    #[error("connect to {address}: {source}")]
    Connect {
        /// The service.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The whole check did not end in time, whichever step it was at.
    #[error("{address} did not answer within {deadline:?}")]
    TimedOut {
        /// The service.
        address: SocketAddr,
        /// How long it was given.
        deadline: Duration,
    },
    /// There is a connection, but no trust: in the handshake or, for a client's certificate, right after it.
    #[error("TLS with {address}: {message}")]
    Tls {
        /// The service.
        address: SocketAddr,
        /// What one side refused.
        message: String,
    },
    /// It does not speak HTTP, or not that version.
    #[error("HTTP with {address}: {message}")]
    Http {
        /// The service.
        address: SocketAddr,
        /// What was wrong, with its causes.
        message: String,
    },
    /// It answered with an HTTP status that is not 200.
    #[error("{address} answered with HTTP status {status}")]
    Status {
        /// The service.
        address: SocketAddr,
        /// The status.
        status: u16,
    },
    /// It answered well, but with something else.
    #[error("{address} answered with {found:?} instead of {expected}")]
    Unexpected {
        /// The service.
        address: SocketAddr,
        /// What a service of this kind says.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// It answered with a gRPC status that is not 0.
    #[error("{address} answered with gRPC status {} ({:?})", .status.code, .status.message)]
    Grpc {
        /// The service.
        address: SocketAddr,
        /// The status.
        status: GrpcStatus,
    },
    /// The files with the certificates could not be used.
    #[error("read the certificates of the gateway: {0}")]
    Certificates(#[source] io::Error),
    /// The host's network namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
}

/// Who a client of a TLS gateway is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// The client whose certificate the gateway left in [`TLS_FOLDER`].
    Client,
}

/// How a gRPC call ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrpcStatus {
    /// 0 is success; 7 is `PERMISSION_DENIED`, 12 `UNIMPLEMENTED`.
    pub code: u16,
    /// The reason; empty for success.
    pub message: String,
}

/// The answer to a plain HTTP request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most 64 KiB of it.
    pub body: String,
}

/// A client in a host's network namespace. Every call has one deadline for all of it, 3 seconds unless said.
#[derive(Clone, Debug)]
pub struct Client<'host> {
    host: &'host Host,
    tls: Option<Identity>,
    deadline: Duration,
}

/// The gateway's health as the host sees it over plain HTTP/2.
///
/// # Errors
/// When it is not healthy, with what it showed instead.
pub async fn health(host: &Host, address: SocketAddr) -> Result<(), CheckError> {
    Client::of(host).health(address).await
}

/// The gateway's health as the host sees it over TLS.
///
/// # Errors
/// When it is not healthy, with what it showed instead.
pub async fn health_over_tls(host: &Host, address: SocketAddr, identity: Identity) -> Result<(), CheckError> {
    Client::of(host).over_tls(identity).health(address).await
}

/// The proxy's health as the host sees it: `GET /api/tags` without a token.
///
/// # Errors
/// When it does not answer with a list of models.
pub async fn tags(host: &Host, address: SocketAddr) -> Result<(), CheckError> {
    let answer = Client::of(host).get(address, TAGS, None).await?;
    if answer.status != 200 {
        return Err(CheckError::Status { address, status: answer.status });
    }
    match serde_json::from_str::<serde_json::Value>(&answer.body) {
        Ok(value) if value["models"].is_array() => Ok(()),
        _ => Err(CheckError::Unexpected { address, expected: "a list of models", found: answer.body }),
    }
}

impl<'host> Client<'host> {
    /// A client without TLS.
    #[must_use]
    pub fn of(host: &'host Host) -> Self {
        Self { host, tls: None, deadline: DEADLINE }
    }

    /// Speaks TLS and trusts the authority in [`TLS_FOLDER`] of the host.
    #[must_use]
    pub fn over_tls(mut self, identity: Identity) -> Self {
        self.tls = Some(identity);
        self
    }

    /// Gives every call that long.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The gateway's health call, judged as NemoClaw does.
    ///
    /// # Errors
    /// When it is not answered with status 0.
    pub async fn health(&self, address: SocketAddr) -> Result<(), CheckError> {
        match self.grpc(address, HEALTH).await? {
            GrpcStatus { code: grpc::OK, .. } => Ok(()),
            status => Err(CheckError::Grpc { address, status }),
        }
    }

    /// Calls a method such as `/package.Service/Method` with one empty message. A status that is missing is 0.
    ///
    /// # Errors
    /// When the answer is not gRPC.
    pub async fn grpc(&self, address: SocketAddr, method: &str) -> Result<GrpcStatus, CheckError> {
        let url = format!("{}://{address}{method}", if self.tls.is_some() { "https" } else { "http" });
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, grpc::MEDIA_TYPE)
            .header(TE, "trailers")
            .body(Full::new(Bytes::from_static(&grpc::EMPTY_FRAME)))
            .map_err(|error| wrong(address, &error))?;
        let wire = self.wire(address);
        let (head, body) = self
            .in_host(address, async move || {
                let stream = TokioIo::new(wire.open(b"h2").await?);
                let handshake = http2::handshake(TokioExecutor::new(), stream).await;
                let (mut sender, connection) = handshake.map_err(|error| wire.broken(&error))?;
                wire.exchange(connection, async move { whole(sender.send_request(request).await?).await })
                    .await
            })
            .await?;
        if head.status != 200 {
            return Err(CheckError::Status { address, status: head.status.as_u16() });
        }
        let unexpected = |expected, found| CheckError::Unexpected { address, expected, found };
        if !grpc::is_grpc(&head.headers) {
            let found = text(&head.headers, &CONTENT_TYPE).unwrap_or_default();
            return Err(unexpected(grpc::MEDIA_TYPE, found));
        }
        let trailers = body.trailers();
        let either =
            |name: HeaderName| trailers.and_then(|t| text(t, &name)).or_else(|| text(&head.headers, &name));
        let code = either(grpc::STATUS).unwrap_or_else(|| "0".to_owned());
        let code = code.parse().map_err(|_| unexpected("a gRPC status", code))?;
        Ok(GrpcStatus { code, message: either(grpc::MESSAGE).unwrap_or_default() })
    }

    /// `GET` by HTTP/1.1, with a bearer token if any.
    ///
    /// # Errors
    /// When the answer is not HTTP.
    pub async fn get(
        &self,
        address: SocketAddr,
        path: &str,
        token: Option<&str>,
    ) -> Result<Answer, CheckError> {
        let mut request = Request::builder().uri(path).header(HOST, address.to_string());
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| wrong(address, &error))?;
        let wire = self.wire(address);
        let (head, body) = self
            .in_host(address, async move || {
                let stream = TokioIo::new(wire.open(b"http/1.1").await?);
                let handshake = http1::handshake(stream).await;
                let (mut sender, connection) = handshake.map_err(|error| wire.broken(&error))?;
                wire.exchange(connection, async move { whole(sender.send_request(request).await?).await })
                    .await
            })
            .await?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Answer { status: head.status.as_u16(), body })
    }

    fn wire(&self, address: SocketAddr) -> Wire {
        Wire { address, tls: self.tls, folder: self.host.path(TLS_FOLDER), refusal: Refusal::default() }
    }

    /// Runs a call with a deadline on a thread in the host's network namespace.
    async fn in_host<T: Send + 'static>(
        &self,
        address: SocketAddr,
        call: impl AsyncFnOnce() -> Result<T, CheckError> + Send + 'static,
    ) -> Result<T, CheckError> {
        let deadline = self.deadline;
        // A handle of its own, for the thread may outlive a caller that does not wait for it.
        let descriptor = self.host.network_namespace().as_fd().as_raw_fd();
        let namespace = Namespace::open(Path::new(&format!("/proc/self/fd/{descriptor}")))?;
        let called = tokio::task::spawn_blocking(move || {
            namespace.block_on(async || {
                let called = tokio::time::timeout(deadline, call()).await;
                called.unwrap_or(Err(CheckError::TimedOut { address, deadline }))
            })
        });
        match called.await {
            Ok(called) => called?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that ends cancels its tasks.
            Err(_) => Err(CheckError::TimedOut { address, deadline }),
        }
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
