//! SYNs that a rule's counters can tell from everybody else's: each carries a payload, which nobody's SYN does.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::sys::{self, ConnectSocket};

/// How many are sent to a port.
const PACKETS: u32 = 3;
/// What each of them carries: it fits into a link of 1300 bytes.
const PAYLOAD: usize = 1211;
/// What somebody reads who looks at one.
const WORDS: &[u8] = b"openshell-probe: this packet is to be counted, not to be read. ";
/// How long the next hop is waited for: a bridge's port may not forward at once, and ARP asks again after a second.
const NEXT_HOP: Duration = Duration::from_secs(3);

/// Sends them to each target, waits for no answer, and returns a line for each: what was sent in all, without headers.
///
/// A kernel that sends no SYN with a payload gives no line.
pub(crate) fn mark_all(targets: &[SocketAddrV4], is_next_hop_known: impl Fn() -> bool) -> String {
    // A SYN that waits for ARP is sent when nobody counts any more: so an ordinary one asks first.
    let first = targets.first().and_then(|target| ConnectSocket::dial(*target).ok());
    let began = Instant::now();
    while !is_next_hop_known() && began.elapsed() < NEXT_HOP {
        sys::wait(&[], Duration::from_millis(5));
    }
    drop(first);
    let payload: Vec<u8> = WORDS.iter().copied().cycle().take(PAYLOAD).collect();
    let line = |target: &SocketAddrV4| {
        let sent: Option<Vec<u64>> = (0..PACKETS).map(|_| sys::send_in_syn(*target, &payload)).collect();
        let sent: u64 = sent?.iter().sum();
        let port = target.port();
        Some(format!("{{\"fact\":\"marked\",\"port\":{port},\"packets\":{PACKETS},\"payload\":{sent}}}\n"))
    };
    targets.iter().filter_map(line).collect()
}
