//! One attempt: the real call, and what came of it.

use std::error::Error;
use std::pin::pin;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, TE};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use super::Times;
use super::judge::{Met, Whole, is_another_protocol, is_refused_certificate, judge};
use super::wire::{self, Stream, Trouble};
use crate::orders::{Kind, Orders, Target};

/// The gateway's health call.
const HEALTH: &str = "/openshell.v1.OpenShell/Health";

/// The list of models, which the proxy gives without a token.
const TAGS: &str = "/api/tags";

/// A gRPC message without content: not compressed, no bytes.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// More than any answer has that is waited for.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Calls a target once.
pub(super) async fn call(orders: &Orders, target: &Target, times: Times) -> Met {
    let (stream, seen) = match wire::open(orders, target, times.connect).await {
        Ok(opened) => opened,
        Err(Trouble::Nobody(detail)) => return Met::Nobody(detail),
        Err(Trouble::Other(detail)) => return Met::Other(detail),
        Err(Trouble::Closed(detail)) => return ask_plainly(orders, target, times, detail).await,
    };
    let exchange = async {
        match target.kind {
            Kind::Grpc | Kind::GrpcTls => health(orders, target, stream).await,
            Kind::Http => tags(orders, target, stream).await,
        }
    };
    let failed = match timeout(times.exchange, exchange).await {
        Ok(Ok(whole)) => return judge(target, whole),
        Ok(Err(error)) => Some(causes(&*error)),
        Err(_) => None,
    };
    let silent = || format!("connected, and no answer within {:?}", times.exchange);
    if is_another_protocol(target.kind, &seen) {
        let begin = String::from_utf8_lossy(&seen.bytes()).escape_debug().to_string();
        return Met::Other(format!("answered with \"{begin}\" ({})", failed.unwrap_or_else(silent)));
    }
    match failed {
        None => Met::Nobody(silent()),
        Some(detail) if is_refused_certificate(&detail) => Met::Right(detail),
        Some(detail) if seen.bytes().is_empty() => ask_plainly(orders, target, times, detail).await,
        Some(detail) => Met::Nobody(detail),
    }
}

/// Somebody closed the connection of a gRPC call and said nothing, as many a server of HTTP/1.1 does. Asked in that
/// protocol, it says whether it is one; a gateway would have answered the call.
async fn ask_plainly(orders: &Orders, target: &Target, times: Times, detail: String) -> Met {
    if target.kind == Kind::Http {
        return Met::Nobody(detail);
    }
    let asked = timeout(times.exchange, async {
        let stream = wire::connect(&orders.alias, target.port, times.connect).await?;
        tags(orders, target, stream).await
    });
    match asked.await {
        Ok(Ok((head, _))) => Met::Other(format!("HTTP/1.1 status {} ({detail})", head.status.as_u16())),
        _ => Met::Nobody(detail),
    }
}

type Failed = Box<dyn Error + Send + Sync>;

async fn health(orders: &Orders, target: &Target, stream: impl Stream + 'static) -> Result<Whole, Failed> {
    let scheme = if target.kind == Kind::GrpcTls { "https" } else { "http" };
    let request = Request::post(format!("{scheme}://{}:{}{HEALTH}", orders.alias, target.port))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(Bytes::from_static(&EMPTY_MESSAGE)))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    exchange(connection, async { whole(sender.send_request(request).await?).await }).await
}

async fn tags(orders: &Orders, target: &Target, stream: impl Stream + 'static) -> Result<Whole, Failed> {
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

fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
