//! Reads the kernel's trace of picked packets.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::netlink::Socket;
use crate::netlink::constants::{NFNLGRP_NFTRACE, NFT_MSG_TRACE};
use crate::place::plant;
use crate::{Error, Event, Packets, Place, Traces};

/// Picks packets in one network namespace and reads what its chains say about them, until it is dropped. Several tracers in
/// one namespace do not disturb each other; each has the flows that it picked.
#[derive(Debug)]
pub struct Tracer {
    table: String,
    events: Socket,
    pending: VecDeque<Event>,
    /// The table is this socket's, and goes with it.
    _owner: Socket,
}

impl Tracer {
    /// Traces the first packet of every TCP connection that comes in by `device` for one of `ports`, or for any when there
    /// are none.
    ///
    /// # Errors
    /// When there is no such device, or the kernel refuses.
    pub fn on(device: &str, ports: &[u16]) -> Result<Self, Error> {
        Self::at(&Place::Device(device.to_owned()), ports, Packets::First)
    }

    /// The same at any place, and with any packets.
    ///
    /// # Errors
    /// When there is no such place, or the kernel refuses.
    pub fn at(place: &Place, ports: &[u16], packets: Packets) -> Result<Self, Error> {
        // It listens before anything can be said.
        let events = Socket::subscribed(NFNLGRP_NFTRACE)?;
        let mut owner = Socket::open()?;
        let table = plant(&mut owner, place, ports, packets)?;
        Ok(Self { table, events, pending: VecDeque::new(), _owner: owner })
    }

    /// The name of the tracer's own table. Its events are among those of [`next`](Self::next): they show that a packet was
    /// picked.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The next event of any traced packet in the namespace, or none until the deadline. What is there already is read also
    /// after it.
    ///
    /// # Errors
    /// When events were lost, or one is malformed.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let pending = &mut self.pending;
            let any = self.events.receive(deadline, |message| {
                if message.is(NFT_MSG_TRACE) {
                    let (family, body) = message.content()?;
                    pending.push_back(Event::parse(family, body)?);
                }
                Ok(())
            })?;
            if !any {
                return Ok(None);
            }
        }
    }

    /// All events until `last` says that one is the last, or until the deadline.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub fn events(
        &mut self,
        deadline: Instant,
        mut last: impl FnMut(&Event) -> bool,
    ) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        while let Some(event) = self.next(deadline)? {
            let ends = last(&event);
            events.push(event);
            if ends {
                break;
            }
        }
        Ok(events)
    }

    /// All flows until `done` is content with them, or until the deadline.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub fn follow(
        &mut self,
        deadline: Instant,
        mut done: impl FnMut(&Traces) -> bool,
    ) -> Result<Traces, Error> {
        let mut traces = Traces::new(&self.table);
        while !done(&traces) {
            match self.next(deadline)? {
                Some(event) => traces.add(event),
                None => break,
            }
        }
        Ok(traces)
    }

    /// All flows that the kernel has spoken of by now. It speaks while it handles the packet, so that after a connect has
    /// come to an end everything about it is there. Of a packet that is on its way only a part may be, and the rest will be
    /// of no flow.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub fn drain(&mut self) -> Result<Traces, Error> {
        self.follow(Instant::now(), |_| false)
    }
}

/// Readable when there are events, unless some were read already with others and wait here.
impl AsFd for Tracer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}
