//! What a service says to a ClientHello, to the point where it wants an answer.

use std::time::{Duration, Instant};

use super::{ConnectSocket, Job, Stage, sys};

/// The most that is kept: a chain of long certificates is 6 KiB.
const MOST: usize = 32 * 1024;
/// A service sends its flight in one go. Where it ends cannot be seen from here, because most of it is encrypted.
pub(super) const QUIET: Duration = Duration::from_millis(200);

impl Job {
    /// Says the caller's ClientHello.
    pub(super) fn ask(&mut self, socket: ConnectSocket) {
        let now = Instant::now();
        match socket.send(&self.hello) {
            Ok(()) => self.follow(socket, now, now, Vec::new(), false),
            Err(_) => self.hold_at_last(),
        }
    }

    /// Reads what there is of the flight, and waits for more until nothing comes any more.
    pub(super) fn follow(
        &mut self,
        socket: ConnectSocket,
        since: Instant,
        mut last: Instant,
        mut flight: Vec<u8>,
        ready: bool,
    ) {
        let mut buffer = [0u8; 4096];
        let mut closed = false;
        if ready {
            match socket.receive(&mut buffer) {
                Ok(0) => closed = true,
                Ok(length) => {
                    flight.extend_from_slice(&buffer[..length]);
                    last = Instant::now();
                }
                Err(errno) => closed = errno != sys::EAGAIN,
            }
        }
        let quiet = !flight.is_empty() && last.elapsed() >= QUIET;
        if closed || quiet || flight.len() >= MOST || since.elapsed() >= self.patience() {
            self.dial.flight = Some(flight);
            return self.hold_at_last();
        }
        self.stage = Stage::Flight { socket, since, last, flight };
    }

    /// A bare connection, unless one is held that the service has answered on.
    pub(super) fn hold_at_last(&mut self) {
        if self.held.is_none()
            && let Ok(socket) = ConnectSocket::dial(self.dial.target)
        {
            self.stage = Stage::Holding { socket, since: Instant::now() };
        }
    }
}
