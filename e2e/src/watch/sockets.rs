//! The sockets that the program makes: whose network namespace they are of, and what is said on them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use nix::libc;

use super::call::Call;
use super::engine::Conversation;
use super::spaces::Spaces;

/// A socket, which belongs to the namespace that its maker was in.
pub(super) struct Socket {
    pub(super) family: i32,
    pub(super) protocol: i32,
    pub(super) machines: bool,
    /// What is said to the engine, when it is connected to that.
    pub(super) engine: Option<Conversation>,
}

/// All of them, by the inode that every descriptor of a socket shares.
#[derive(Default)]
pub(super) struct Sockets {
    known: HashMap<u64, Socket>,
}

impl Sockets {
    /// Notes what `socket` has made.
    pub(super) fn made(&mut self, call: &Call, descriptor: i64, spaces: &Spaces) {
        let Ok(inode) = inode(call, descriptor) else { return };
        let machines = spaces.inode(call.caller, "net").is_none_or(|net| spaces.has(net));
        let (family, protocol) = (call.int(0), call.int(2));
        self.known.insert(inode, Socket { family, protocol, machines, engine: None });
    }

    /// The socket that a call's first operand names.
    pub(super) fn of(&mut self, call: &Call) -> Option<&mut Socket> {
        self.known.get_mut(&inode(call, call.int(0).into()).ok()?)
    }
}

fn inode(call: &Call, descriptor: i64) -> std::io::Result<u64> {
    fs::metadata(call.proc(&format!("fd/{descriptor}"))).map(|it| it.ino())
}

/// What a call is about to send, as one.
pub(super) fn sent(call: &Call) -> Option<Vec<u8>> {
    let [_, data, length, ..] = call.operands;
    let whole = |address: u64, length: u64| call.bytes(address, usize::try_from(length).unwrap_or(0));
    let message = |header: u64| {
        // The third and the fourth field of `struct msghdr`.
        call.gathered(call.word(header.wrapping_add(16)), call.word(header.wrapping_add(24)))
    };
    match call.number {
        libc::SYS_write | libc::SYS_sendto | libc::SYS_pwrite64 => Some(whole(data, length)),
        libc::SYS_writev | libc::SYS_pwritev => Some(call.gathered(data, length)),
        libc::SYS_sendmsg => Some(message(data)),
        // An array of `struct mmsghdr`.
        libc::SYS_sendmmsg => {
            Some((0..length.min(64)).flat_map(|at| message(data.wrapping_add(at * 64))).collect())
        }
        _ => None,
    }
}

/// The path of a Unix address, with a `@` for one that is no file.
pub(super) fn unix_path(call: &Call) -> Option<String> {
    let address = call.bytes(call.operands[1], usize::try_from(call.operands[2]).unwrap_or(0));
    let (family, path) = address.split_at_checked(2)?;
    if i32::from(u16::from_ne_bytes(family.try_into().ok()?)) != libc::AF_UNIX {
        return None;
    }
    let (sign, path) = match path.split_first() {
        Some((0, name)) => ("@", name),
        _ => ("", path),
    };
    let name = path.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(format!("{sign}{}", String::from_utf8_lossy(name)))
}
