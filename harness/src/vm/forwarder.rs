//! What carries connections from a virtual machine to the user's machine.
//!
//! Docker Desktop's proxy and Lima's network are programs on the user's machine. They take a sandbox's connection to one
//! address and dial 127.0.0.1, and refuse the sandbox where that is refused. A listening socket cannot wait with its
//! answer, so here the ports follow the user's socket table: what listens for 127.0.0.1 there listens on the gateway's
//! address in the virtual machine, and everything else is refused by the kernel.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::time::Duration;

use netns::Namespace;
use probe::{Listener, TableError};
use serde::Deserialize;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::service::accept;

/// How often the listeners are read; that takes 30 µs.
const ROUND: Duration = Duration::from_millis(5);

/// The index of `lo` in every network namespace (`LOOPBACK_IFINDEX` of include/net/flow.h).
const LOOPBACK: u32 = 1;

/// Whether connections are carried.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Forwarder {
    /// Every connection to a port that listens for 127.0.0.1 of the user's machine.
    #[default]
    Ready,
    /// None: the address refuses, as while Docker Desktop's proxy is not ready (NVIDIA/NemoClaw#5513).
    Absent,
}

/// What the forwarder does at the moment, and from when.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gate {
    Closed,
    OpenFrom(Instant),
}

impl Gate {
    fn is_open(self) -> bool {
        matches!(self, Self::OpenFrom(moment) if moment <= Instant::now())
    }
}

impl From<Forwarder> for Gate {
    fn from(forwarder: Forwarder) -> Self {
        match forwarder {
            Forwarder::Ready => Self::OpenFrom(Instant::now()),
            Forwarder::Absent => Self::Closed,
        }
    }
}

/// A port that is carried; it closes when this is dropped. Connections that are there go on.
struct Carried(AbortHandle);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs in the user's network namespace until it is dropped. `rounds` counts how often the table was followed.
pub(super) async fn follow(
    machine: Namespace,
    address: Ipv4Addr,
    gate: watch::Receiver<Gate>,
    rounds: watch::Sender<u64>,
) {
    let mut carried: HashMap<u16, Carried> = HashMap::new();
    let mut tick = interval(ROUND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let is_open = gate.borrow().is_open();
        let ports = if is_open { listening().unwrap_or_default() } else { BTreeSet::new() };
        carried.retain(|port, _| ports.contains(port));
        for port in ports {
            if carried.contains_key(&port) {
                continue;
            }
            // A port that the machine itself has is not to be had, there as here.
            if let Some(listener) = listen(&machine, address, port) {
                carried.insert(port, Carried(tokio::spawn(carry(listener, port)).abort_handle()));
            }
        }
        // What was aborted closes its socket when it is polled, which is before this continues.
        tokio::task::yield_now().await;
        rounds.send_modify(|count| *count += 1);
    }
}

fn listen(machine: &Namespace, address: Ipv4Addr, port: u16) -> Option<TcpListener> {
    let listener = machine.run(|| StdTcpListener::bind((address, port))).ok()?.ok()?;
    listener.set_nonblocking(true).ok()?;
    TcpListener::from_std(listener).ok()
}

async fn carry(listener: TcpListener, port: u16) {
    let error = accept(listener, move |mut sandbox, _| async move {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(mut service) => drop(copy_bidirectional(&mut sandbox, &mut service).await),
            // It has just stopped listening.
            Err(_) => drop(sandbox.set_zero_linger()),
        }
    });
    drop(error.await);
}

/// The ports that a dial of 127.0.0.1 reaches in this thread's network namespace. `/proc/net/tcp` would walk the table of all the
/// machine's connections each time, which takes 2 ms where memory is large.
fn listening() -> Result<BTreeSet<u16>, TableError> {
    Ok(reached(&probe::read_listeners()?))
}

/// The listeners that are bound to 127.0.0.1 or to a wildcard.
fn reached(listeners: &[Listener]) -> BTreeSet<u16> {
    let reached = listeners.iter().filter(|it| it.covers(Ipv4Addr::LOCALHOST, LOOPBACK));
    reached.map(|listener| listener.port).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn only_listeners_that_127_0_0_1_reaches_are_carried() {
        let listener = |address: &str, port, v6_only| Listener {
            address: address.parse::<IpAddr>().unwrap(),
            port,
            v6_only,
            interface: 0,
            inode: 1,
            uid: 0,
            queued: 0,
            queue_limit: 128,
        };
        let table = [
            listener("127.0.0.1", 8080, false),
            listener("172.18.0.1", 8081, false),
            listener("0.0.0.0", 11435, false),
            listener("::", 4000, false),
            listener("::", 4001, true),
            listener("::1", 4002, false),
            Listener { interface: LOOPBACK + 1, ..listener("0.0.0.0", 4003, false) },
        ];
        assert_eq!(reached(&table), BTreeSet::from([4000, 8080, 11435]));
    }
}
