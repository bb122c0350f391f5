//! v1 and v2 as they ran: with a real container that runs `nc -zw5`, its real exit code and text, and the real clock.
//!
//! What the recorder computes for them ([`busybox`](super::busybox)) has to come to the same.

use anyhow::Result;

use super::answer::{Answer, Reason};
use super::record::Recorder;
use super::route::{self, ALIAS};
use super::v2;

/// #3441 as it was merged: the network's first subnet, then a container without any names.
///
/// # Errors
/// When a command cannot be run at all.
pub async fn v1(recorder: &Recorder<'_>, port: u16) -> Result<Answer> {
    let subnet = recorder.inspect("{{(index .IPAM.Config 0).Subnet}}").await?;
    match subnet.status {
        None => return Ok(Answer::HANGS),
        Some(0) if !subnet.stdout.trim().is_empty() => {}
        Some(_) => return Ok(Answer::stops(Reason::NetworkNotFound)),
    }
    Ok(match recorder.container(&nc(&port.to_string()), &[]).await?.status {
        Some(0) => Answer::OK,
        Some(1) => Answer::BLAMES,
        _ => Answer::WARNS,
    })
}

/// #3459: OpenShell's route, and a container with its names.
///
/// # Errors
/// When a command cannot be run at all.
pub async fn v2(recorder: &Recorder<'_>, port: u16) -> Result<Answer> {
    let inspect = recorder.inspect("{{json .IPAM.Config}}").await?;
    let info = recorder.info().await?;
    if inspect.status.is_none() || info.status.is_none() {
        return Ok(Answer::HANGS);
    }
    let Some(route) = route::resolve(&inspect, &info) else { return Ok(Answer::WARNS) };
    let command = recorder.container(&nc(&port.to_string()), &route.add_hosts()).await?;
    Ok(v2::of(&command, &route))
}

fn nc(port: &str) -> [&str; 4] {
    ["nc", "-zw5", ALIAS, port]
}
