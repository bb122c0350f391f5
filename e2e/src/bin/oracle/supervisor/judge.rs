//! Whose an answer is.

use bytes::Bytes;
use http_body_util::Collected;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::response::Parts;

use super::wire::Seen;
use crate::orders::{Kind, Target};

/// gRPC's status for a method that the service does not have.
const UNIMPLEMENTED: &str = "12";

/// By what the services of this workspace say who they are; a real one does not have it.
const MARKER: &str = "x-openshell-stand-in";

/// What the stand-in for a label says there.
const STAND_INS: [(&str, &str); 2] =
    [("gateway", "openshell-gateway"), ("ollama-proxy", "ollama-auth-proxy")];

/// The type of a frame of HTTP/2 that every server begins with, and its place in the frame.
const SETTINGS: (usize, u8) = (3, 4);

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
pub(super) type Whole = (Parts, Collected<Bytes>);

/// Whose a complete answer is.
pub(super) fn judge(target: &Target, (head, body): Whole) -> Met {
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
pub(super) fn is_another_protocol(kind: Kind, seen: &Seen) -> bool {
    let seen = seen.bytes();
    match kind {
        Kind::Http => !seen.iter().zip(b"HTTP/1.").all(|(seen, expected)| seen == expected),
        Kind::Grpc | Kind::GrpcTls => seen
            .get(SETTINGS.0)
            .map_or(seen.first().is_some_and(|first| *first != 0), |kind| *kind != SETTINGS.1),
    }
}

/// Whether the gateway, whose certificate was good, found the client's wanting. It says so after the handshake.
pub(super) fn is_refused_certificate(detail: &str) -> bool {
    detail.contains("received fatal alert")
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;

    fn judged(
        word: (&str, Kind),
        status: u16,
        headers: &[(&str, &str)],
        marker: Option<&str>,
    ) -> &'static str {
        let (label, kind) = (word.0.to_owned(), word.1);
        let target = Target { port: 1, label, kind, marker: marker.map(str::to_owned) };
        let response = headers
            .iter()
            .fold(Response::builder().status(status), |it, (name, value)| it.header(*name, *value));
        let (head, ()) = response.body(()).unwrap().into_parts();
        let empty =
            futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(http_body_util::Empty::<
                Bytes,
            >::new()));
        match judge(&target, (head, empty.unwrap().unwrap())) {
            Met::Right(_) => "right",
            Met::Other(_) => "other",
            Met::Nobody(_) => "nobody",
        }
    }

    #[test]
    fn a_grpc_status_is_the_gateways_unless_it_lacks_the_call() {
        let grpc = |status| {
            judged(
                ("gateway", Kind::Grpc),
                200,
                &[("content-type", "application/grpc"), ("grpc-status", status)],
                None,
            )
        };
        assert_eq!(grpc("0"), "right");
        assert_eq!(
            grpc("7"),
            "right",
            "since OpenShell's #2492 the bridge's listener refuses the health call"
        );
        assert_eq!(grpc("16"), "right");
        assert_eq!(grpc("12"), "other");
        let plain = |status| judged(("gateway", Kind::Grpc), status, &[("content-type", "text/html")], None);
        assert_eq!((plain(200), plain(404)), ("other", "other"));
        let cut = [("content-type", "application/grpc")];
        assert_eq!(judged(("gateway", Kind::Grpc), 200, &cut, None), "nobody");
    }

    #[test]
    fn an_http_answer_is_the_services_when_it_could_be() {
        let http = |label, status| judged((label, Kind::Http), status, &[], None);
        assert_eq!(http("ollama-proxy", 200), "other", "no list of models");
        assert_eq!(http("ollama-proxy", 401), "right");
        assert_eq!(http("model-router", 404), "right");
        assert_eq!(http("model-router", 500), "other");
    }

    #[test]
    fn a_name_decides_before_everything_else() {
        let named =
            |label, status, name, marker| judged((label, Kind::Http), status, &[(MARKER, name)], marker);
        assert_eq!(named("ollama-proxy", 500, "ollama-auth-proxy", None), "right");
        assert_eq!(named("ollama-proxy", 401, "openshell-gateway", None), "other");
        assert_eq!(named("model-router", 401, "openshell-gateway", None), "right", "nothing is expected");
        assert_eq!(named("model-router", 401, "openshell-gateway", Some("router")), "other");
        assert_eq!(judged(("model-router", Kind::Http), 200, &[], Some("router")), "other");
    }

    #[test]
    fn another_protocol_is_known_by_its_first_bytes() {
        let other = |kind, bytes: &[u8]| {
            let seen = Seen::default();
            seen.add(bytes);
            is_another_protocol(kind, &seen)
        };
        for (kind, bytes) in
            [(Kind::Grpc, &b"HTTP/1.1 400"[..]), (Kind::Grpc, b"SSH-2.0"), (Kind::Grpc, &[21, 3, 3, 0, 2])]
        {
            assert!(other(kind, bytes), "{bytes:?}");
        }
        assert!(other(Kind::Http, b"SSH-2.0") && other(Kind::Http, &[0, 0, 0, 4]));
        assert!(!other(Kind::Grpc, &[0, 0, 18, 4, 0]) && !other(Kind::Grpc, &[0]) && !other(Kind::Grpc, b""));
        assert!(!other(Kind::Http, b"HTT") && !other(Kind::Http, b""));
    }
}
