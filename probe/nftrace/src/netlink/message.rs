//! Messages: a header, what netfilter puts behind it, and attributes.

use super::constants::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NLA_F_NESTED, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR,
};
use crate::Error;

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;

/// `struct nfgenmsg`: family, version, resource id.
const NETFILTER_HEADER: usize = 4;

/// Messages that are sent at once.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Messages {
    /// One request of nf_tables.
    pub(crate) fn request(kind: u16, flags: u16, family: u8, fill: impl FnOnce(&mut Message<'_>)) -> Self {
        let mut messages = Self::default();
        messages.add(kind, flags, family, fill);
        messages
    }

    /// Requests that nf_tables fulfils all or none of.
    pub(crate) fn batch(fill: impl FnOnce(&mut Self)) -> Self {
        let mut messages = Self::default();
        messages.frame(NFNL_MSG_BATCH_BEGIN);
        fill(&mut messages);
        messages.frame(NFNL_MSG_BATCH_END);
        messages
    }

    /// One more request.
    pub(crate) fn add(&mut self, kind: u16, flags: u16, family: u8, fill: impl FnOnce(&mut Message<'_>)) {
        self.message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, family, 0, fill);
    }

    /// What goes over the socket.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn frame(&mut self, kind: u16) {
        self.message(kind, 0, 0, NFNL_SUBSYS_NFTABLES, |_| {});
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        fill: impl FnOnce(&mut Message<'_>),
    ) {
        let start = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        fill(&mut Message { bytes: &mut self.bytes });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// The attributes of a message that is being written.
#[derive(Debug)]
pub(crate) struct Message<'messages> {
    bytes: &'messages mut Vec<u8>,
}

impl Message<'_> {
    /// Bytes as they are.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |it| it.bytes.extend(value));
    }

    /// A number in network order.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A name with its zero byte.
    pub(crate) fn name(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |it| {
            it.bytes.extend(value.as_bytes());
            it.bytes.push(0);
        });
    }

    /// Attributes in an attribute.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Message<'_>)) {
        self.attribute(kind | NLA_F_NESTED, |it| fill(&mut Message { bytes: it.bytes }));
    }

    /// What this crate writes is far below the 64 KiB that an attribute can hold: names are checked, and a rule is short.
    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'datagram> {
    kind: u16,
    pub(crate) flags: u16,
    body: &'datagram [u8],
}

impl<'datagram> Received<'datagram> {
    /// Whether it is a message of nf_tables of this kind.
    pub(crate) fn is(&self, kind: u16) -> bool {
        self.kind == NFNL_SUBSYS_NFTABLES << 8 | kind
    }

    /// Whether it is a message of netlink itself.
    pub(crate) fn is_control(&self, kind: u16) -> bool {
        self.kind == kind
    }

    /// The family and the attributes of a message of nf_tables.
    pub(crate) fn content(&self) -> Result<(u8, &'datagram [u8]), Error> {
        match self.body.split_at_checked(NETFILTER_HEADER) {
            Some((header, attributes)) => Ok((header[0], attributes)),
            None => Err(Error::Malformed { what: "the header of a message of netfilter" }),
        }
    }

    /// The number of an error, which an acknowledgement and the end of a dump have too: 0.
    pub(crate) fn errno(&self) -> Result<Option<i32>, Error> {
        match (self.kind, self.body.first_chunk()) {
            (NLMSG_ERROR | NLMSG_DONE, Some(number)) => {
                Ok(Some(i32::from_ne_bytes(*number).saturating_neg()))
            }
            (NLMSG_ERROR, None) => Err(Error::Malformed { what: "the number of an error" }),
            _ => Ok(None),
        }
    }
}

/// Reads the messages of a datagram. One whose length leads out of it ends the reading with an error.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Received<'_>, Error>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = split(rest);
        rest = read.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(read.map(|(message, _)| message))
    })
}

fn split(bytes: &[u8]) -> Result<(Received<'_>, &[u8]), Error> {
    let malformed = || Error::Malformed { what: "a message's length" };
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or_else(malformed)?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let flags = u16::from_ne_bytes([header[6], header[7]]);
    let body = bytes.get(HEADER..length).ok_or_else(malformed)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok((Received { kind, flags, body }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attributes;

    #[test]
    fn what_is_written_is_read_again() {
        let sent = Messages::batch(|batch| {
            batch.add(6, 0, 2, |rule| {
                rule.name(1, "filter");
                rule.nested(4, |it| it.number(1, 7));
            });
        });
        let read: Vec<_> = messages(sent.bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 3);
        assert!(read[1].is(6) && !read[1].is(7));
        let (family, body) = read[1].content().unwrap();
        let found: Vec<_> = attributes(body).map(|it| it.unwrap()).map(|it| (it.kind, it.value)).collect();
        assert_eq!(family, 2);
        assert_eq!(found[0], (1, b"filter\0".as_slice()));
        assert_eq!(
            found[1],
            (4, [&8u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &[0, 0, 0, 7]].concat().as_slice())
        );
    }

    #[test]
    fn a_cut_message_is_an_error() {
        let sent = Messages::request(7, 0, 2, |it| it.name(1, "filter"));
        for length in 1..sent.bytes().len() {
            assert!(messages(&sent.bytes()[..length]).next().unwrap().is_err(), "{length}");
        }
    }
}
