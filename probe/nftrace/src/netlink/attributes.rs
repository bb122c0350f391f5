//! Attributes of a message: a length, a type, a value, and padding to four bytes.

use super::constants::NLA_TYPE_MASK;
use crate::Error;

/// Length and type.
const HEADER: usize = 4;

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute<'message> {
    pub(crate) kind: u16,
    pub(crate) value: &'message [u8],
}

/// Reads attributes one after the other. A length that leads out of the message ends the reading with an error.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, Error>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = split(rest);
        rest = read.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(read.map(|(attribute, _)| attribute))
    })
}

fn split(bytes: &[u8]) -> Result<(Attribute<'_>, &[u8]), Error> {
    let malformed = || Error::Malformed { what: "an attribute's length" };
    let (header, _) = bytes.split_at_checked(HEADER).ok_or_else(malformed)?;
    let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
    let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
    let value = bytes.get(HEADER..length).ok_or_else(malformed)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok((Attribute { kind, value }, rest))
}

/// A name, which ends with a zero byte. Names of tables and chains may have any other byte, so what is no UTF-8 is replaced.
pub(crate) fn name(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number of two bytes in network order.
pub(crate) fn u16_be(value: &[u8]) -> Result<u16, Error> {
    fixed(value, "a number of two bytes").map(u16::from_be_bytes)
}

/// A number of four bytes in network order.
pub(crate) fn u32_be(value: &[u8]) -> Result<u32, Error> {
    fixed(value, "a number of four bytes").map(u32::from_be_bytes)
}

/// A number of eight bytes in network order.
pub(crate) fn u64_be(value: &[u8]) -> Result<u64, Error> {
    fixed(value, "a number of eight bytes").map(u64::from_be_bytes)
}

fn fixed<const LENGTH: usize>(value: &[u8], what: &'static str) -> Result<[u8; LENGTH], Error> {
    value.try_into().map_err(|_| Error::Malformed { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, Error> {
        attributes(bytes).map(|it| it.map(|it| (it.kind, it.value.to_vec()))).collect()
    }

    #[test]
    fn attributes_are_padded_and_the_last_one_need_not_be() {
        let bytes =
            [5u16.to_ne_bytes(), 1u16.to_ne_bytes(), [7, 0], [0, 0], 6u16.to_ne_bytes(), [2, 0], [8, 9]];
        assert_eq!(read(bytes.as_flattened()).unwrap(), [(1, vec![7]), (2, vec![8, 9])]);
    }

    #[test]
    fn the_nested_flag_is_no_part_of_the_type() {
        let bytes = [4u16.to_ne_bytes(), (1u16 | 1 << 15).to_ne_bytes()];
        assert_eq!(read(bytes.as_flattened()).unwrap(), [(1, vec![])]);
    }

    #[test]
    fn a_length_out_of_the_message_is_an_error_and_ends_the_reading() {
        for length in [0u16, 3, 9, u16::MAX] {
            let bytes = [length.to_ne_bytes(), [1, 0], [7, 7], [7, 7]];
            assert!(read(bytes.as_flattened()).is_err(), "{length}");
            assert_eq!(attributes(bytes.as_flattened()).count(), 1, "{length}");
        }
        assert!(read(&[4, 0, 1]).is_err());
    }

    #[test]
    fn numbers_have_their_own_width_only() {
        assert_eq!(u16_be(&[1, 2]).unwrap(), 0x0102);
        assert!(u16_be(&[1]).is_err());
        assert!(u32_be(&[1, 2, 3]).is_err());
        assert!(u64_be(&[0; 9]).is_err());
    }
}
