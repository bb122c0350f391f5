//! Packets for the counters of rules: from a sandbox's place, after the check, by a container of their own.

use std::time::Duration;

use crate::check::Request;
use crate::deadline::Deadline;
use crate::engine::{DockerEngine, discover};
use crate::evidence::Evidence;
use crate::image;
use crate::interrupt::Interrupt;
use crate::target::Protocol;
use crate::vantage::Marked;
use crate::vantage::container::{self, Order};

/// A container takes half a second, and its next hop three at most.
const BUDGET: Duration = Duration::from_secs(10);

/// What was sent to each port, and why something of it is left.
pub(super) struct Sent {
    pub(super) marked: Vec<(u16, Marked)>,
    pub(super) left: Option<String>,
}

/// Sends each of `ports` SYNs that counters can tell from others'. An error is in words.
pub(super) async fn send(
    request: &Request,
    evidence: &Evidence,
    ports: &[u16],
    interrupt: &Interrupt,
) -> Result<Sent, String> {
    let (Some(info), Some(network), Some(route)) = (&evidence.engine, &evidence.network, evidence.route)
    else {
        return Err("the check did not come so far".to_owned());
    };
    let deadline = Deadline::after(BUDGET);
    let discovery = discover(request.host.as_deref(), &request.environment, deadline).await;
    let engine = discovery.and_then(|discovery| DockerEngine::new(&discovery, deadline));
    let engine = engine.map_err(|error| error.to_string())?;
    let found = image::find(&engine).await.map_err(|error| error.to_string())?;
    let order = Order {
        run: container::new_run(),
        image: image::ensure(&engine, info, found).await.map_err(|error| error.to_string())?,
        network: network.id.clone(),
        route,
        alias: request.alias.clone(),
        ports: ports.iter().map(|port| (*port, Protocol::Tcp)).collect(),
        hellos: std::collections::BTreeMap::new(),
        timeout: request.timeout,
        deadline: deadline.left(),
    };
    let mut spec = order.container(info);
    spec.arguments.insert(0, "--mark".to_owned());
    let run = container::run(&engine, &spec, interrupt, async |_| ()).await;
    let output = run.output.map_err(|trouble| trouble.to_string())?;
    Ok(Sent { marked: output.marked, left: run.left.map(|error| error.to_string()) })
}
