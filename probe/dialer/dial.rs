//! What one port showed.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::greeting::{Greeting, Kind};
use crate::sys::{QueuedError, TcpState};

/// How one connect ended, and what the greetings on it showed.
pub(crate) struct Dial {
    pub(crate) target: SocketAddrV4,
    pub(crate) local: Option<SocketAddrV4>,
    pub(crate) errno: i32,
    pub(crate) timed_out: bool,
    pub(crate) elapsed: Duration,
    pub(crate) queue: Vec<QueuedError>,
    pub(crate) tcp: Option<TcpState>,
    /// SYNs without an answer.
    pub(crate) unanswered: u32,
    /// Sockets that sent them.
    pub(crate) sockets: u32,
    /// The kernel here answers with ICMP only so often, and so a refusal may have been left out.
    pub(crate) limited: bool,
    pub(crate) greetings: Vec<Greeted>,
    /// The source port of a connection that is still there at the end.
    pub(crate) held: Option<u16>,
    /// The source port of the connection on which the last greeting stayed without an answer, which is still there at the end.
    pub(crate) silent: Option<u16>,
    /// What was answered to the caller's ClientHello.
    pub(crate) flight: Option<Vec<u8>>,
}

/// What a greeting showed.
pub(crate) struct Greeted {
    pub(crate) greeting: Greeting,
    /// The peer's kernel has it.
    pub(crate) acknowledged: bool,
    /// The first bytes of the answer.
    pub(crate) answer: Vec<u8>,
    pub(crate) kind: Option<Kind>,
    /// The peer ended the connection.
    pub(crate) closed: bool,
    /// 0, or what the socket failed with.
    pub(crate) errno: i32,
    pub(crate) elapsed: Duration,
}
