//! What the gateway answers.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode};

use super::stub::{NAME, Scope};
use crate::service::MARKER;
use crate::service::grpc::{self, Body, INTERNAL, PERMISSION_DENIED, UNIMPLEMENTED};

/// The call by which onboarding asks whether the gateway is well.
pub(in crate::service) const HEALTH: &str = "/openshell.v1.OpenShell/Health";

/// What OpenShell lets a sandbox call and the stand-in answers, with an empty message: the configuration with the
/// policy, and the inference routes.
const FOR_SANDBOXES: [&str; 2] =
    ["/openshell.v1.OpenShell/GetSandboxConfig", "/openshell.inference.v1.Inference/GetInferenceBundle"];

/// What OpenShell lets a sandbox call and the stand-in does not have: the streams of the supervisor.
const STREAMS_FOR_SANDBOXES: [&str; 2] =
    ["/openshell.v1.OpenShell/ConnectSupervisor", "/openshell.v1.OpenShell/RelayStream"];

/// The largest request that OpenShell decodes, and the frame around it.
const REQUEST_LIMIT: usize = (1 << 20) + grpc::EMPTY_FRAME.len();

/// Answers a request that came in at a listener of that scope, and says who it is.
pub(super) async fn answer(scope: Scope, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let mut response = answer_unmarked(scope, request).await?;
    response.headers_mut().insert(MARKER, HeaderValue::from_static(NAME));
    Ok(response)
}

async fn answer_unmarked(scope: Scope, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let is_grpc = grpc::is_grpc(request.headers());
    if scope == Scope::SandboxCallable && !(is_grpc && is_for_sandboxes(&path)) {
        return Ok(if is_grpc {
            grpc::refusal(PERMISSION_DENIED, "this listener serves only what sandboxes may call")
        } else {
            status(StatusCode::FORBIDDEN)
        });
    }
    if !is_grpc {
        // The gateway has nothing at `/`, so a health check by plain HTTP is a false alarm (NemoClaw #3111).
        return Ok(status(StatusCode::NOT_FOUND));
    }
    if path != HEALTH && !FOR_SANDBOXES.contains(&path.as_str()) {
        return Ok(grpc::refusal(UNIMPLEMENTED, "the stand-in does not have this method"));
    }
    let body = Limited::new(request.into_body(), REQUEST_LIMIT).collect().await;
    Ok(if body.is_ok_and(|body| grpc::is_frame(&body.to_bytes())) {
        grpc::empty_message()
    } else {
        grpc::refusal(INTERNAL, "the request is not one message")
    })
}

fn is_for_sandboxes(path: &str) -> bool {
    FOR_SANDBOXES.contains(&path) || STREAMS_FOR_SANDBOXES.contains(&path)
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed());
    *response.status_mut() = code;
    response
}
