//! One attempt: the real call, and who answered it.

use std::error::Error;
use std::pin::pin;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Collected, Empty, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, TE};
use hyper::http::response::Parts;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::Times;
use super::wire::{self, Opened, Seen, Trouble};
use crate::orders::{Kind, Orders, Target};

/// The gateway's health call.
const HEALTH: &str = "/openshell.v1.OpenShell/Health";

/// The list of models, which the proxy gives without a token.
const TAGS: &str = "/api/tags";

/// A gRPC message without content: not compressed, no bytes.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// gRPC's status for a method that the service does not have.
const UNIMPLEMENTED: &str = "12";

/// By what the services of this workspace say who they are; a real one does not have it.
const MARKER: &str = "x-openshell-stand-in";

/// What the stand-in for a label says there.
const STAND_INS: [(&str, &str); 2] =
    [("gateway", "openshell-gateway"), ("ollama-proxy", "ollama-auth-proxy")];

/// The type of a frame of HTTP/2 that every server begins with, and its place in the frame.
const SETTINGS: (usize, u8) = (3, 4);

/// More than any answer has that is waited for.
const ANSWER_LIMIT: usize = 64 * 1024;

/// What an attempt met, and what showed it.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Met {
    /// The service that the target names, also when it refuses the caller.
    Right(String),
    /// An answer that this service does not give.
    Other(String),
    /// No answer, or not all of one.
    Nobody(String),
}

/// A response with all of its body.
type Whole = (Parts, Collected<Bytes>);

/// Calls a target once.
pub(super) async fn call(orders: &Orders, target: &Target, times: Times) -> Met {
    let opened = tokio::time::timeout(times.connect, wire::open(orders, target)).await;
    let (stream, seen) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(Trouble::Nobody(detail))) => return Met::Nobody(detail),
        Ok(Err(Trouble::Other(detail))) => return Met::Other(detail),
        Err(_) => return Met::Nobody(format!("connect: no answer within {:?}", times.connect)),
    };
    let opened = (stream, seen.clone());
    let exchange = async {
        match target.kind {
            Kind::Grpc | Kind::GrpcTls => health(orders, target, opened).await,
            Kind::Http => tags(orders, target, opened).await,
        }
    };
    let detail = match tokio::time::timeout(times.exchange, exchange).await {
        Ok(Ok(whole)) => return judge(target, whole),
        Ok(Err(error)) => causes(&*error),
        Err(_) => format!("connected, and no answer within {:?}", times.exchange),
    };
    if is_refused_certificate(&detail) {
        return Met::Right(detail);
    }
    if is_another_protocol(target.kind, &seen) {
        let begin = String::from_utf8_lossy(&seen.bytes()).escape_debug().to_string();
        return Met::Other(format!("answered with \"{begin}\" ({detail})"));
    }
    Met::Nobody(detail)
}

type Failed = Box<dyn Error + Send + Sync>;

async fn health(orders: &Orders, target: &Target, (stream, _): Opened) -> Result<Whole, Failed> {
    let scheme = if target.kind == Kind::GrpcTls { "https" } else { "http" };
    let request = Request::post(format!("{scheme}://{}:{}{HEALTH}", orders.alias, target.port))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(Bytes::from_static(&EMPTY_MESSAGE)))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    exchange(connection, async { whole(sender.send_request(request).await?).await }).await
}

async fn tags(orders: &Orders, target: &Target, (stream, _): Opened) -> Result<Whole, Failed> {
    let host = format!("{}:{}", orders.alias, target.port);
    let request = Request::get(TAGS).header(HOST, host).body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    exchange(connection, async { whole(sender.send_request(request).await?).await }).await
}

/// Drives a connection until the answer is there. When it breaks, the connection alone knows why.
async fn exchange(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = Result<Whole, Failed>>,
) -> Result<Whole, Failed> {
    let (mut connection, mut answer) = (pin!(connection), pin!(answer));
    tokio::select! {
        biased;
        done = &mut answer => match (done, connection.now_or_never()) {
            (Err(_), Some(Err(error))) => Err(error.into()),
            (done, _) => done,
        },
        Err(error) = &mut connection => answer.now_or_never().and_then(Result::ok).ok_or_else(|| error.into()),
    }
}

async fn whole(response: Response<Incoming>) -> Result<Whole, Failed> {
    let (head, body) = response.into_parts();
    Ok((head, Limited::new(body, ANSWER_LIMIT).collect().await?))
}

/// Whose a complete answer is.
fn judge(target: &Target, (head, body): Whole) -> Met {
    let status = head.status.as_u16();
    let known = STAND_INS.iter().find(|(label, _)| *label == target.label).map(|(_, name)| *name);
    match (text(&head.headers, MARKER), target.marker.as_deref(), known) {
        (Some(found), Some(expected), _) | (Some(found), None, Some(expected)) => {
            return if found == expected {
                Met::Right(format!("{found} answered with HTTP status {status}"))
            } else {
                Met::Other(format!("{found} answered instead of {expected}"))
            };
        }
        (None, Some(expected), _) => return Met::Other(format!("somebody answered who is not {expected}")),
        (_, None, _) => {}
    }
    match target.kind {
        Kind::Grpc | Kind::GrpcTls => judge_grpc(&head, body.trailers()),
        Kind::Http => judge_http(target, head.status, &body.to_bytes()),
    }
}

/// A status that refuses the caller is the gateway's own; a service without the method is another.
fn judge_grpc(head: &Parts, trailers: Option<&HeaderMap>) -> Met {
    let kind = text(&head.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    if head.status != StatusCode::OK || !kind.starts_with("application/grpc") {
        return Met::Other(format!("HTTP status {} and {kind:?}, which is no gRPC", head.status.as_u16()));
    }
    let find = |headers: &HeaderMap| text(headers, "grpc-status");
    match trailers.and_then(find).or_else(|| find(&head.headers)) {
        Some(status) if status == UNIMPLEMENTED => Met::Other("gRPC without the health call".to_owned()),
        Some(status) => Met::Right(format!("gRPC status {status}")),
        None => Met::Nobody("a gRPC answer without its end".to_owned()),
    }
}

/// A service that wants a token, or has nothing at this path, is the one that was called. The proxy has a list of models
/// there.
fn judge_http(target: &Target, status: StatusCode, body: &[u8]) -> Met {
    let detail = format!("HTTP status {}", status.as_u16());
    let is_list =
        || serde_json::from_slice(body).is_ok_and(|body: serde_json::Value| body["models"].is_array());
    match status.as_u16() {
        200 if target.label == "ollama-proxy" && !is_list() => {
            Met::Other(format!("{detail} without a list of models"))
        }
        200 | 401 | 403 | 404 => Met::Right(detail),
        _ => Met::Other(detail),
    }
}

/// Whether what came cannot be the beginning of an answer in the protocol of the call.
fn is_another_protocol(kind: Kind, seen: &Seen) -> bool {
    let seen = seen.bytes();
    match kind {
        Kind::Http => !seen.iter().zip(b"HTTP/1.").all(|(seen, expected)| seen == expected),
        Kind::Grpc | Kind::GrpcTls => seen
            .get(SETTINGS.0)
            .map_or(seen.first().is_some_and(|first| *first != 0), |kind| *kind != SETTINGS.1),
    }
}

/// Whether the gateway, whose certificate was good, found the client's wanting. It says so after the handshake.
fn is_refused_certificate(detail: &str) -> bool {
    detail.contains("received fatal alert")
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
