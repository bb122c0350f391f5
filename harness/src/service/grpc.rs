//! As much of gRPC as a health call needs.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// The content type of every request and every answer; a suffix such as `+proto` may follow.
pub(super) const MEDIA_TYPE: &str = "application/grpc";
/// The header or trailer with the status code.
pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The header or trailer with the reason.
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Not compressed, and no bytes follow: an empty message in the frame that gRPC puts every message into.
pub(super) const EMPTY_FRAME: [u8; 5] = [0; 5];

// https://grpc.io/docs/guides/status-codes/
pub(super) const OK: u16 = 0;
pub(super) const PERMISSION_DENIED: u16 = 7;
pub(super) const UNIMPLEMENTED: u16 = 12;
pub(super) const INTERNAL: u16 = 13;

/// A body that is there at once.
pub(super) type Body = BoxBody<Bytes, Infallible>;

/// Says whether headers are those of a gRPC message, as OpenShell tells its two protocols apart.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(MEDIA_TYPE.as_bytes()))
}

/// One empty message, then status 0 in the trailers.
pub(super) fn empty_message() -> Response<Body> {
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from(OK))]);
    let frame = Full::new(Bytes::from_static(&EMPTY_FRAME));
    typed(frame.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed())
}

/// No message, and the status already in the headers ("trailers only").
pub(super) fn refusal(code: u16, message: &'static str) -> Response<Body> {
    let mut response = typed(Empty::new().boxed());
    response.headers_mut().insert(STATUS, HeaderValue::from(code));
    response.headers_mut().insert(MESSAGE, HeaderValue::from_static(message));
    response
}

fn typed(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// Whether bytes are exactly one frame that is not compressed.
pub(super) fn is_frame(bytes: &[u8]) -> bool {
    let Some(([0, length @ ..], message)) = bytes.split_first_chunk::<5>() else { return false };
    u32::from_be_bytes(*length) as usize == message.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_length_that_it_says() {
        assert!(is_frame(&EMPTY_FRAME));
        assert!(is_frame(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!is_frame(&[0, 0, 0, 0, 2, 8]), "cut");
        assert!(!is_frame(&[1, 0, 0, 0, 0]), "compressed");
        assert!(!is_frame(&[]), "nothing");
    }
}
