//! A sandbox's place without a container: a network namespace of this process's, with a port on the network's bridge.
//!
//! ```text
//!  this process's thread ── own network namespace: eth0 172.18.0.254, default by 172.18.0.1
//!                                                   │ veth pair
//!  this host ───────────────────────────────────── port veth… of br-…
//! ```
//!
//! It dials with the dialer's own code. Nothing but the thread holds the namespace, and the kernel makes the pair with one end in
//! it: so whatever ends this process ends all of it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc;
use std::time::Instant;

use dialer::Order;
use netns::Guest;
use tokio::sync::oneshot;

use super::protocol::DialerOutput;
use super::seat::candidates;
use super::{Dialled, Vantage, arguments, container};
use crate::engine::{Engine, NetworkFacts};
use crate::evidence::Trouble;
use crate::interrupt::Interrupt;
use crate::route::bridge_gateway;
use crate::standpoint::Standpoint;

/// How many of the addresses one check asks for at most. Others may look for one at the same time: see [`reserve`].
const MOST_ASKED: usize = 8;

/// Where to dial from, and what.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// The network's bridge.
    pub(crate) bridge: String,
    /// Addresses that nobody is known to have, the best first.
    pub(crate) candidates: Vec<Ipv4Addr>,
    /// The length of the subnet's prefix.
    pub(crate) prefix: u8,
    /// The default route, which an internal network has not.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// The dialer's arguments.
    pub(crate) arguments: Vec<String>,
}

impl Seat {
    /// On the network's bridge, which has to be on this host.
    pub(crate) async fn find(
        engine: &impl Engine,
        network: &NetworkFacts,
        standpoint: Option<&Standpoint>,
        order: &container::Order,
    ) -> Result<Self, Trouble> {
        let elsewhere = |reason: String| VantageError::Elsewhere { reason };
        let bridge = match standpoint {
            Some(Standpoint::EngineHost { interface, .. }) => interface.clone(),
            Some(Standpoint::Elsewhere { reason }) => return Err(elsewhere(reason.clone()).into()),
            None => return Err(elsewhere("it is not known where this is".to_owned()).into()),
        };
        let Some(target) = order.route.address() else {
            return Err(elsewhere("the engine runs in a virtual machine".to_owned()).into());
        };
        let gateway = bridge_gateway(network)?;
        let residents = engine.residents(&network.id).await?;
        let (candidates, prefix) = candidates(network, gateway, &residents, &[target]);
        if candidates.is_empty() {
            return Err(VantageError::NoAddress { bridge }.into());
        }
        let address = target.to_string();
        let arguments = arguments(&address, order.timeout, order.deadline, &order.ports, &order.hellos);
        Ok(Self { bridge, candidates, prefix, gateway: (!network.internal).then_some(gateway), arguments })
    }

    /// Where it will be, if nobody has the first address.
    pub(crate) fn vantage(&self) -> Vantage {
        let address = self.candidates.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let interface = self.bridge.clone();
        Vantage::Netns { address, interface, setup_us: 0, dial_us: 0, removal_us: 0 }
    }
}

/// Why there is no place to dial from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VantageError {
    /// The network's bridge is not on this host.
    #[error("a network namespace can be joined to the network on the engine's own host only: {reason}")]
    Elsewhere {
        /// What is missing.
        reason: String,
    },
    /// Nobody may be disturbed.
    #[error("no address on {bridge} is free to dial from")]
    NoAddress {
        /// The network's bridge.
        bridge: String,
    },
    /// The kernel refused a step.
    #[error("a network namespace could not be joined to {bridge}: {message}")]
    Refused {
        /// The network's bridge.
        bridge: String,
        /// What was tried, and what the kernel said.
        message: String,
    },
    /// What the dials showed may be another's doing.
    #[error("a container got the address {address} while it was dialled from")]
    Taken {
        /// The address.
        address: Ipv4Addr,
    },
}

/// Dials from a namespace on the bridge. `after` is called while the connections are still held. When this returns, the port is
/// gone from the bridge.
pub(crate) async fn run<T>(
    seat: Seat,
    interrupt: &Interrupt,
    after: impl AsyncFnOnce(Option<&DialerOutput>) -> T,
) -> Dialled<T> {
    let bridge = seat.bridge.clone();
    let refused = |message: String| VantageError::Refused { bridge: bridge.clone(), message };
    let failed = |trouble: Trouble, after: T, left: Option<String>| Dialled {
        output: Err(trouble),
        after,
        left,
        from: Vantage::Container,
    };
    let (settled, on_settled) = oneshot::channel();
    let (spoken, on_spoken) = oneshot::channel();
    let (gone, on_gone) = oneshot::channel();
    let (release, released) = mpsc::channel();
    let thread = std::thread::Builder::new().name("vantage".to_owned()).spawn(move || {
        sit(&seat, settled, spoken, &released, gone);
    });
    if let Err(error) = thread {
        return failed(refused(error.to_string()).into(), after(None).await, None);
    }
    // It takes milliseconds, and leaves nothing when it fails.
    let settled = on_settled.await.unwrap_or_else(|_| Err(refused("its thread ended".to_owned())));
    let Settled { port, address, setup_us } = match settled {
        Ok(settled) => settled,
        Err(error) => return failed(error.into(), after(None).await, None),
    };
    let mut dial_us = 0;
    let output = tokio::select! {
        spoken = on_spoken => match spoken {
            Ok((facts, took)) => {
                dial_us = took;
                DialerOutput::parse(&facts).map_err(Trouble::Protocol)
            }
            Err(_) => Err(refused("its thread ended".to_owned()).into()),
        },
        () = interrupt.raised() => Err(Trouble::Interrupted),
    };
    let after = after(output.as_ref().ok()).await;
    drop(release);
    let left = if output.is_ok() {
        on_gone.await.unwrap_or_else(|_| Err("its thread ended".to_owned()))
    } else {
        // The thread is still dialling, from a namespace that has no link any more.
        netns::remove_port(port).await.map(|()| 0).map_err(|error| error.to_string())
    };
    let removal_us = left.as_ref().copied().unwrap_or_default();
    let left =
        left.err().map(|why| format!("the port on {bridge} is not removed before this program ends: {why}"));
    let from = Vantage::Netns { address, interface: bridge.clone(), setup_us, dial_us, removal_us };
    Dialled { output, after, left, from }
}

/// Where the thread is.
struct Settled {
    port: u32,
    address: Ipv4Addr,
    setup_us: u64,
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The thread's life.
fn sit(
    seat: &Seat,
    settled: oneshot::Sender<Result<Settled, VantageError>>,
    spoken: oneshot::Sender<(String, u64)>,
    released: &mpsc::Receiver<()>,
    gone: oneshot::Sender<Result<u64, String>>,
) {
    let begun = Instant::now();
    // In this host's namespace, so before it is left.
    let reserved = reserve(seat);
    let (guest, address) = match settle(seat, &reserved) {
        Ok(guest) => guest,
        Err(error) => return drop(settled.send(Err(error))),
    };
    let began = Instant::now();
    let heard = settled.send(Ok(Settled { port: guest.port(), address, setup_us: micros(begun) }));
    if let (Ok(()), Some(order)) = (heard, Order::parse(&seat.arguments)) {
        let dials = order.run(began);
        if spoken.send((dials.facts().to_owned(), micros(began))).is_ok() {
            // Ends when the other side has looked at the connections, or has gone.
            let _ = released.recv();
        }
    }
    let leaving = Instant::now();
    let left = guest.leave().map(|()| micros(leaving)).map_err(|error| error.to_string());
    let _ = gone.send(left);
}

fn settle(seat: &Seat, reserved: &[Reserved]) -> Result<(Guest, Ipv4Addr), VantageError> {
    let refused = |error: netns::Error| VantageError::Refused {
        bridge: seat.bridge.clone(),
        message: error.to_string(),
    };
    let chance = RandomState::new().build_hasher().finish();
    let [a, b, c, d, e, f, g, _] = chance.to_be_bytes();
    // A locally administered address of nobody's (IEEE 802), and a name like libnetwork's, which network managers leave alone.
    let hardware = [a & 0xf0 | 0x02, b, c, d, e, f];
    let port = format!("veth{b:02x}{c:02x}{d:02x}{:x}", g & 0xf);
    let mut guest = Guest::join(&seat.bridge, &port, hardware).map_err(refused)?;
    for Reserved { address, .. } in reserved {
        if guest.is_free(*address).map_err(refused)? {
            guest.settle(*address, seat.prefix, seat.gateway).map_err(refused)?;
            return Ok((guest, *address));
        }
    }
    Err(VantageError::NoAddress { bridge: seat.bridge.clone() })
}

/// An address that no other check on this host takes meanwhile.
struct Reserved {
    address: Ipv4Addr,
    _name: UnixDatagram,
}

/// Reserves a few of the candidates by names of sockets: they belong to this host's network namespace, are in no file system, and
/// end with the process. Of a small pool a quarter is left for each of four checks.
fn reserve(seat: &Seat) -> Vec<Reserved> {
    let name = |address: Ipv4Addr| {
        let name = format!("openshell-probe/{}/{address}", seat.bridge);
        let name = SocketAddr::from_abstract_name(name).and_then(|name| UnixDatagram::bind_addr(&name));
        Some(Reserved { address, _name: name.ok()? })
    };
    let most = seat.candidates.len().div_ceil(4).min(MOST_ASKED);
    seat.candidates.iter().filter_map(|address| name(*address)).take(most).collect()
}
