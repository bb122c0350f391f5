//! The little of netlink that nf_tables needs: messages written and read by hand, and a socket that carries them.

mod attributes;
pub(crate) mod constants;
mod message;
mod socket;

pub(crate) use attributes::{attributes, name, u16_be, u32_be, u64_be};
#[cfg(test)]
pub(crate) use message::messages;
pub(crate) use message::{Message, Messages};
pub(crate) use socket::Socket;
