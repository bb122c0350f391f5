//! The classic pcap form with nanoseconds: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>.

use nix::sys::time::TimeSpec;

/// The form's mark, by which a reader also knows the order of bytes.
pub(super) const MAGIC: u32 = 0xa1b2_3c4d;

/// What a packet's bytes begin with (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LinkType {
    /// `LINKTYPE_ETHERNET`: the header of one link.
    Ethernet = 1,
    /// `LINKTYPE_LINUX_SLL2`: a header that names the packet's link.
    LinuxSll2 = 276,
}

/// A file's beginning. No packet in it is longer than `snap` bytes.
pub(crate) fn header(link: LinkType, snap: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(24);
    header.extend(MAGIC.to_le_bytes());
    header.extend(2_u16.to_le_bytes());
    header.extend(4_u16.to_le_bytes());
    header.extend([0; 8]);
    header.extend((snap as u32).to_le_bytes());
    header.extend((link as u32).to_le_bytes());
    header
}

/// A packet: what is kept of it, in order, and how long it was.
pub(crate) fn record(time: TimeSpec, kept: &[&[u8]], length: usize) -> Vec<u8> {
    let size: usize = kept.iter().map(|part| part.len()).sum();
    let mut record = Vec::with_capacity(16 + size);
    for number in [time.tv_sec() as u32, time.tv_nsec() as u32, size as u32, length as u32] {
        record.extend(number.to_le_bytes());
    }
    kept.iter().for_each(|part| record.extend(*part));
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte, as the document draws it.
    #[test]
    fn a_file_is_of_the_form() {
        let header = header(LinkType::LinuxSll2, 0x0102);
        let expected = [[0x4d, 0x3c, 0xb2, 0xa1], [2, 0, 4, 0], [0; 4], [0; 4], [2, 1, 0, 0], [20, 1, 0, 0]];
        assert_eq!(header, expected.concat());
        let record = record(TimeSpec::new(1, 2), &[&[7], &[8, 9]], 0x0304);
        let expected = [[1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0], [4, 3, 0, 0]].concat();
        assert_eq!(record, [&expected[..], &[7, 8, 9]].concat());
    }
}
