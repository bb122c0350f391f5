//! Real firewalld, with a system bus of the host's own.

use std::time::Duration;

use super::{Posture, PostureError};
use crate::host::Host;

/// How long firewalld may take until it runs; measured: 1 s, up to 4 s on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// How often it is asked meanwhile; an answer takes 0.1 s.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// Starts the bus and firewalld and waits until it says that it runs. Interfaces that nobody has put into a zone, such as
/// the bridges of an engine that was started without it, are in its default zone `public`: what is not allowed there is
/// refused by ICMP (administratively prohibited).
pub(super) async fn start(host: &Host) -> Result<(), PostureError> {
    let posture = || Posture::Firewalld.to_string();
    let tool = |source| PostureError::Tool { posture: posture(), source };
    host.command("mkdir").args(["-p", "/run/dbus"]).run().await.map_err(tool)?;
    let bus = ["--system", "--nofork", "--nopidfile"];
    host.keep(host.command("dbus-daemon").args(bus).spawn().await.map_err(tool)?);
    let firewalld = host.command("firewalld").args(["--nofork", "--nopid"]).spawn().await.map_err(tool)?;
    let running = async {
        let mut tick = tokio::time::interval(READY_INTERVAL);
        loop {
            tick.tick().await;
            let state = host.command("firewall-cmd").arg("--state").output().await;
            // It says "running" as soon as it is on the bus, and has its rules in the kernel by then.
            if state.is_ok_and(|state| state.status.success()) {
                return;
            }
        }
    };
    let ready = tokio::time::timeout(READY_DEADLINE, running).await;
    let log = firewalld.stderr();
    host.keep(firewalld);
    ready.map_err(|_| {
        let message = format!("firewalld does not run within {READY_DEADLINE:?}: {}", log.trim());
        PostureError::NotInForce { posture: posture(), message }
    })
}
