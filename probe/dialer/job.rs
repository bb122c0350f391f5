//! One port: connect, greet, and what each of it showed.
//!
//! A state machine that never blocks, so that one thread dials every port at the same time.

#[path = "flight.rs"]
mod flight;

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::dial::{Dial, Greeted};
use crate::greeting::{Greeting, Kind, Protocol, recognise};
use crate::sys::{self, ConnectSocket, QueuedError, TcpState, Wanted};

/// A second socket dials when the first has been silent for this long: it has repeated its SYN once by then (after 1 s,
/// RFC 6298), so that no more than a moment later three SYNs of two sockets are unanswered.
const SECOND_SOCKET: Duration = Duration::from_millis(1200);
/// And this much later no answer is coming: on a bridge it takes less than a millisecond.
const CONCLUSIVE: Duration = Duration::from_millis(1500);
/// The most of an answer that is kept.
const MOST: usize = 256;
/// The step after all greetings, on a connection of its own: the caller's ClientHello.
const FLIGHT: usize = usize::MAX;

enum Stage {
    /// The first attempt, or one more beside it.
    Connecting {
        attempts: Vec<ConnectSocket>,
        since: Instant,
        step: usize,
    },
    Greeting {
        socket: ConnectSocket,
        step: usize,
        since: Instant,
        answer: Vec<u8>,
    },
    /// A service's flight comes in, and more of it may.
    Flight {
        socket: ConnectSocket,
        /// When it was asked, and when it last said something.
        since: Instant,
        last: Instant,
        flight: Vec<u8>,
    },
    /// A bare connection, to be held.
    Holding {
        socket: ConnectSocket,
        since: Instant,
    },
    Done,
}

/// One port's way through the stages.
pub(crate) struct Job {
    protocol: Protocol,
    /// What is said to a service that speaks TLS; empty for nothing.
    hello: Vec<u8>,
    budget: Duration,
    stage: Stage,
    dial: Dial,
    held: Option<ConnectSocket>,
    silent: Option<ConnectSocket>,
}

/// What a job has to know of the others.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings {
    /// The address is this link's, and its hardware address is known.
    pub(crate) neighbour: bool,
    /// A port was refused by ICMP.
    pub(crate) refusals: bool,
}

impl Job {
    pub(crate) fn start(target: SocketAddrV4, protocol: Protocol, hello: Vec<u8>, budget: Duration) -> Self {
        let dial = Dial {
            target,
            local: None,
            errno: 0,
            timed_out: false,
            elapsed: Duration::ZERO,
            queue: Vec::new(),
            tcp: None,
            unanswered: 0,
            sockets: 0,
            limited: false,
            greetings: Vec::new(),
            held: None,
            silent: None,
            flight: None,
        };
        let mut job = Self { protocol, hello, budget, stage: Stage::Done, dial, held: None, silent: None };
        job.connect(0);
        job
    }

    /// The sockets that are waited for.
    pub(crate) fn waits(&self) -> Vec<(&ConnectSocket, Wanted)> {
        match &self.stage {
            Stage::Connecting { attempts, .. } => attempts.iter().map(|it| (it, Wanted::Connected)).collect(),
            Stage::Greeting { socket, .. } | Stage::Flight { socket, .. } => vec![(socket, Wanted::Bytes)],
            Stage::Holding { socket, .. } => vec![(socket, Wanted::Connected)],
            Stage::Done => Vec::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    pub(crate) fn was_refused_by_icmp(&self) -> bool {
        self.dial.queue.iter().any(QueuedError::is_unreachable)
    }

    /// How long the job may be left alone.
    pub(crate) fn next(&self) -> Duration {
        let left = |since: &Instant, budget: Duration| budget.saturating_sub(since.elapsed());
        match &self.stage {
            Stage::Connecting { since, attempts, .. } => {
                let wake = if attempts.len() == 1 { SECOND_SOCKET } else { CONCLUSIVE };
                match left(since, wake) {
                    Duration::ZERO => left(since, self.budget),
                    early => early.min(left(since, self.budget)),
                }
            }
            // The acknowledgement of a FIN wakes nobody.
            Stage::Greeting { step, .. } if self.greeting(*step) == Greeting::Fin => Duration::from_millis(2),
            Stage::Greeting { since, .. } => left(since, self.patience()),
            Stage::Flight { since, flight: nothing, .. } if nothing.is_empty() => {
                left(since, self.patience())
            }
            Stage::Flight { since, last, .. } => left(since, self.patience()).min(left(last, flight::QUIET)),
            Stage::Holding { since, .. } => left(since, self.budget),
            Stage::Done => Duration::MAX,
        }
    }

    /// Goes on after a wait; `ready` says which of the sockets of [`waits`](Self::waits) have what was wanted.
    pub(crate) fn advance(&mut self, ready: &[bool], around: Surroundings) {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Connecting { attempts, since, step } => {
                self.connecting(attempts, since, step, ready, around)
            }
            Stage::Greeting { socket, step, since, answer } => {
                self.listen(socket, step, since, answer, ready.contains(&true));
            }
            Stage::Flight { socket, since, last, flight } => {
                self.follow(socket, since, last, flight, ready.contains(&true));
            }
            Stage::Holding { socket, since } => {
                let connected = ready.contains(&true) && socket.take_error() == 0;
                if connected {
                    self.hold(socket);
                } else if !ready.contains(&true) && since.elapsed() < self.budget {
                    self.stage = Stage::Holding { socket, since };
                }
            }
            Stage::Done => {}
        }
    }

    /// What it found, and the connections that have to stay open until the probe has looked for them. What is still waited
    /// for has not come.
    pub(crate) fn finish(mut self) -> (Dial, impl Iterator<Item = ConnectSocket>) {
        self.budget = Duration::ZERO;
        while !self.is_done() {
            self.advance(&[], Surroundings { neighbour: false, refusals: false });
        }
        (self.dial, self.held.into_iter().chain(self.silent))
    }

    fn connect(&mut self, step: usize) {
        let since = Instant::now();
        match ConnectSocket::dial(self.dial.target) {
            Ok(socket) => self.stage = Stage::Connecting { attempts: vec![socket], since, step },
            Err(errno) if step == 0 => {
                self.dial.errno = errno;
                self.dial.elapsed = since.elapsed();
            }
            Err(_) if step == FLIGHT => self.hold_at_last(),
            Err(errno) => self.greeted(step, Instant::now(), Vec::new(), |greeted| greeted.errno = errno),
        }
    }

    fn connecting(
        &mut self,
        mut attempts: Vec<ConnectSocket>,
        since: Instant,
        step: usize,
        ready: &[bool],
        around: Surroundings,
    ) {
        let answered = ready.iter().position(|ready| *ready).filter(|index| *index < attempts.len());
        let elapsed = since.elapsed();
        if let Some(index) = answered {
            let socket = attempts.swap_remove(index);
            return self.connected(socket, elapsed, step);
        }
        let unanswered: u32 = attempts
            .iter()
            .filter_map(ConnectSocket::tcp_state)
            .map(|tcp| 1 + u32::from(tcp.retransmits))
            .sum();
        // Nobody else's refusal may be waited for: the kernel sends only so many at once.
        let early = around.neighbour && !around.refusals && step == 0;
        let conclusive = early && attempts.len() > 1 && unanswered >= 3 && elapsed >= CONCLUSIVE;
        if elapsed < self.budget && !conclusive {
            if early && attempts.len() == 1 && elapsed >= SECOND_SOCKET {
                attempts.extend(ConnectSocket::dial(self.dial.target));
            }
            self.stage = Stage::Connecting { attempts, since, step };
            return;
        }
        if step == FLIGHT {
            return self.hold_at_last();
        }
        if step > 0 {
            return self.greeted(step, since, Vec::new(), |_| {});
        }
        let first = attempts.first();
        self.dial.tcp = first.and_then(ConnectSocket::tcp_state);
        // The host forgets a SYN that it cannot answer after a second (`reqsk_timer_handler`): it is asked about the newest.
        self.dial.local = attempts.last().and_then(ConnectSocket::local);
        self.dial.queue = attempts.iter().flat_map(ConnectSocket::error_queue).collect();
        self.dial.timed_out = true;
        self.dial.elapsed = elapsed;
        self.dial.unanswered = unanswered;
        self.dial.sockets = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
    }

    fn connected(&mut self, socket: ConnectSocket, elapsed: Duration, step: usize) {
        // In this order: emptying the error queue clears the socket's pending error.
        let tcp = socket.tcp_state();
        let local = socket.local();
        let pending = socket.take_error();
        let queue = socket.error_queue();
        let errno = verified(pending, tcp, &queue);
        if step == 0 {
            (self.dial.tcp, self.dial.local, self.dial.errno) = (tcp, local, errno);
            (self.dial.queue, self.dial.elapsed) = (queue, elapsed);
        }
        match errno {
            0 if step == FLIGHT => self.ask(socket),
            _ if step == FLIGHT => self.hold_at_last(),
            0 => self.greet(socket, step),
            // The connection was there, and the service ended it before a word was said: a refused SYN has another errno.
            sys::ECONNRESET => {
                self.dial.errno = 0;
                self.greeted(step, Instant::now(), Vec::new(), |greeted| {
                    (greeted.acknowledged, greeted.closed, greeted.errno) = (true, true, errno);
                });
            }
            _ if step > 0 => self.greeted(step, Instant::now(), Vec::new(), |greeted| greeted.errno = errno),
            _ => {}
        }
    }

    fn greet(&mut self, socket: ConnectSocket, step: usize) {
        let since = Instant::now();
        let greeting = self.greeting(step);
        let sent = if greeting == Greeting::Fin {
            socket.finish();
            Ok(())
        } else {
            socket.send(&greeting.bytes())
        };
        match sent {
            Ok(()) => self.listen(socket, step, since, Vec::new(), false),
            Err(errno) => self.greeted(step, since, Vec::new(), |greeted| greeted.errno = errno),
        }
    }

    /// Reads what there is, and decides whether to wait for more.
    fn listen(
        &mut self,
        socket: ConnectSocket,
        step: usize,
        since: Instant,
        mut answer: Vec<u8>,
        ready: bool,
    ) {
        let greeting = self.greeting(step);
        let mut buffer = [0u8; MOST];
        let (mut closed, mut errno) = (false, 0);
        if ready && greeting != Greeting::Fin {
            match socket.receive(&mut buffer) {
                Ok(0) => closed = true,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                Err(sys::EAGAIN) => {}
                // Other errors are no word of the peer's, such as those of an ICMP message, which the kernel does not queue
                // for a connection that stands (net/ipv4/tcp_ipv4.c, `tcp_v4_err`).
                Err(error) => (closed, errno) = (error == sys::ECONNRESET, error),
            }
        }
        let tcp = socket.tcp_state();
        let kind = recognise(&answer, closed);
        let finished = match greeting {
            Greeting::Fin => tcp.is_none_or(|tcp| tcp.state != sys::TCP_FIN_WAIT1),
            _ => closed || errno != 0 || kind.is_some() || answer.len() >= MOST,
        };
        if !finished && since.elapsed() < self.patience() {
            self.stage = Stage::Greeting { socket, step, since, answer };
            return;
        }
        let acknowledged =
            closed || !answer.is_empty() || errno == 0 && tcp.is_some_and(|tcp| tcp.unacked == 0);
        answer.truncate(MOST);
        // One that the service is about to reset is no proof: after an alert, or after what it did not understand. A server of
        // HTTP/2 has sent its settings before it sees that a ClientHello is none of its own.
        let calm = match greeting {
            Greeting::Tls => matches!(answer.as_slice(), [22, 3, ..]),
            Greeting::Http2 => matches!(answer.as_slice(), [_, _, _, 4, ..]),
            Greeting::Http1 => kind == Some(Kind::Http1),
            Greeting::Fin => false,
        };
        let is_end = greeting == Greeting::Fin;
        let lasting =
            !closed && errno == 0 && calm && tcp.is_some_and(|tcp| tcp.state == sys::TCP_ESTABLISHED);
        if lasting && acknowledged {
            self.hold(socket);
        } else if !closed
            && errno == 0
            && answer.is_empty()
            && !(acknowledged && (is_end || self.has_more(step)))
        {
            // The host is asked whether it has answered. What another greeting follows ends before that: a service may be busy
            // with one connection at a time.
            self.dial.silent = socket.local().map(|local| local.port());
            self.silent = Some(socket);
        }
        self.greeted(step, since, answer, |greeted| {
            (greeted.acknowledged, greeted.kind, greeted.closed) = (acknowledged, kind, closed);
            greeted.errno = errno;
        });
    }

    /// Writes a greeting's end down, and goes on to the next one, or to a connection to hold.
    fn greeted(&mut self, step: usize, since: Instant, answer: Vec<u8>, fill: impl FnOnce(&mut Greeted)) {
        let greeting = self.greeting(step);
        let mut greeted = Greeted {
            greeting,
            acknowledged: false,
            answer,
            kind: None,
            closed: false,
            errno: 0,
            elapsed: since.elapsed(),
        };
        fill(&mut greeted);
        // What the first greeting's bytes did not get through, the second's will not.
        let over = !greeted.acknowledged || greeted.kind.is_some_and(|kind| self.protocol.is_met_by(kind));
        let (acknowledged, speaks_tls) = (greeted.acknowledged, greeted.kind == Some(Kind::Tls));
        self.dial.greetings.push(greeted);
        if !over && self.has_more(step) {
            self.connect(step + 1);
        } else if speaks_tls && !self.hello.is_empty() {
            self.connect(FLIGHT);
        } else if acknowledged || self.silent.is_some() {
            self.hold_at_last();
        }
    }

    /// Whether another greeting may follow.
    fn has_more(&self, step: usize) -> bool {
        step + 1 < self.protocol.greetings().len()
    }

    fn hold(&mut self, socket: ConnectSocket) {
        self.dial.held = socket.local().map(|local| local.port());
        self.held = Some(socket);
    }

    fn greeting(&self, step: usize) -> Greeting {
        let greetings = self.protocol.greetings();
        greetings.get(step).copied().unwrap_or(Greeting::Fin)
    }

    /// How long one answer is waited for: all greetings together take as long as a connect may.
    fn patience(&self) -> Duration {
        self.budget / u32::try_from(self.protocol.greetings().len()).unwrap_or(1)
    }
}

impl QueuedError {
    /// An ICMP "destination unreachable". This kernel's own notice that it does not find the next hop looks the same but
    /// for its sender; it comes for a link where nothing is concluded early anyway.
    fn is_unreachable(&self) -> bool {
        const ORIGIN_ICMP: u8 = 2;
        self.origin == ORIGIN_ICMP && self.kind == 3
    }
}

/// The errno of an answered connect. "No error" counts only for a socket that has left the states before and after a
/// connection: nothing may look connected because an error got lost.
pub(crate) fn verified(pending: i32, tcp: Option<TcpState>, queue: &[QueuedError]) -> i32 {
    let unconnected = tcp.is_none_or(|tcp| matches!(tcp.state, sys::TCP_SYN_SENT | sys::TCP_CLOSE));
    if pending != 0 || !unconnected {
        return pending;
    }
    queue
        .first()
        .and_then(|queued| i32::try_from(queued.errno).ok())
        .filter(|errno| *errno != 0)
        .unwrap_or(sys::ENOTCONN)
}
