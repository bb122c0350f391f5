//! The kernel calls that std does not offer: a connect whose ICMP errors stay readable.
//!
//! Declared by hand for 64-bit Linux, so that the dialer builds with nothing but rustc.

#![allow(
    unsafe_code,
    reason = "std has no IP_RECVERR, MSG_ERRQUEUE, TCP_INFO; this file is where they are wrapped"
)]

use std::ffi::{c_int, c_void};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

const AF_INET: c_int = 2;
const SOCK_STREAM: c_int = 1;
const SOCK_NONBLOCK: c_int = 0o4000;
const SOCK_CLOEXEC: c_int = 0o2_000_000;
const SOL_SOCKET: c_int = 1;
const SO_ERROR: c_int = 4;
const IPPROTO_IP: c_int = 0;
const IP_RECVERR: c_int = 11;
const IPPROTO_TCP: c_int = 6;
const TCP_INFO: c_int = 11;
/// Since Linux 4.15 (include/uapi/linux/tcp.h): data goes into the SYN, and nobody is asked for a cookie first.
const TCP_FASTOPEN_NO_COOKIE: c_int = 34;
const MSG_FASTOPEN: c_int = 0x2000_0000;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_ERRQUEUE: c_int = 0x2000;
const MSG_NOSIGNAL: c_int = 0x4000;
const SHUT_WR: c_int = 1;
const POLLIN: i16 = 0x1;
const POLLOUT: i16 = 0x4;
const POLLERR: i16 = 0x8;
const POLLHUP: i16 = 0x10;
const EINPROGRESS: i32 = 115;
/// Nothing to read yet.
pub(crate) const EAGAIN: i32 = 11;
/// The peer ended a connection that was there.
pub(crate) const ECONNRESET: i32 = 104;
/// The errno of a socket that has no peer.
pub(crate) const ENOTCONN: i32 = 107;
/// A connection, in both directions (include/net/tcp_states.h).
pub(crate) const TCP_ESTABLISHED: u8 = 1;
/// Waiting for the answer to a SYN.
pub(crate) const TCP_SYN_SENT: u8 = 2;
/// Our FIN has not been acknowledged.
pub(crate) const TCP_FIN_WAIT1: u8 = 4;
/// No connection, or none any more.
pub(crate) const TCP_CLOSE: u8 = 7;

/// `struct sockaddr_in`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SockAddrIn {
    family: u16,
    /// Network byte order.
    port: u16,
    /// Network byte order, as the four bytes in memory.
    address: [u8; 4],
    zero: [u8; 8],
}

impl From<SocketAddrV4> for SockAddrIn {
    fn from(target: SocketAddrV4) -> Self {
        Self {
            family: AF_INET as u16,
            port: target.port().to_be(),
            address: target.ip().octets(),
            zero: [0; 8],
        }
    }
}

/// `struct pollfd`.
#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

/// `struct iovec`.
#[repr(C)]
struct IoVec {
    base: *mut c_void,
    length: usize,
}

/// `struct msghdr` of 64-bit Linux, where the kernel's and glibc's views agree.
#[repr(C)]
struct MsgHdr {
    name: *mut c_void,
    name_length: u32,
    iov: *mut IoVec,
    iov_length: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

unsafe extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const SockAddrIn, length: u32) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
    fn getsockname(fd: c_int, address: *mut SockAddrIn, length: *mut u32) -> c_int;
    fn poll(fds: *mut PollFd, count: u64, timeout_ms: c_int) -> c_int;
    fn recvmsg(fd: c_int, message: *mut MsgHdr, flags: c_int) -> isize;
    fn send(fd: c_int, data: *const c_void, length: usize, flags: c_int) -> isize;
    fn sendto(
        fd: c_int,
        data: *const c_void,
        length: usize,
        flags: c_int,
        address: *const SockAddrIn,
        address_length: u32,
    ) -> isize;
    fn recv(fd: c_int, data: *mut c_void, length: usize, flags: c_int) -> isize;
    fn shutdown(fd: c_int, how: c_int) -> c_int;
}

/// An error that the kernel queued for a socket: `struct sock_extended_err` and who sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedError {
    /// The errno it means.
    pub(crate) errno: u32,
    /// Where it came from: 1 this kernel, 2 an ICMP message, 3 an ICMPv6 message.
    pub(crate) origin: u8,
    /// ICMP type.
    pub(crate) kind: u8,
    /// ICMP code.
    pub(crate) code: u8,
    /// The sender of the ICMP message.
    pub(crate) offender: Option<Ipv4Addr>,
}

/// The part of `struct tcp_info` that tells a dropped SYN from a hanging service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpState {
    /// 1 ESTABLISHED, 2 SYN_SENT, 7 CLOSE (include/net/tcp_states.h).
    pub(crate) state: u8,
    /// Retransmissions of the current segment: SYNs that stayed without an answer.
    pub(crate) retransmits: u8,
    /// Segments that were sent and not acknowledged, a FIN included.
    pub(crate) unacked: u32,
    /// Smoothed round-trip time in microseconds.
    pub(crate) rtt_us: u32,
}

/// A TCP socket that is connecting or has connected.
pub(crate) struct ConnectSocket {
    fd: OwnedFd,
}

impl ConnectSocket {
    /// Starts to connect; the answer is awaited with [`wait`]. An error is the errno of a connect that
    /// ended at once.
    pub(crate) fn dial(target: SocketAddrV4) -> Result<Self, i32> {
        let fd = stream_socket()?;
        let on: c_int = 1;
        // SAFETY: the value is a live c_int and the length is its size. A refusal only loses the ICMP detail.
        unsafe {
            setsockopt(
                fd.as_raw_fd(),
                IPPROTO_IP,
                IP_RECVERR,
                (&raw const on).cast(),
                size_of::<c_int>() as u32,
            )
        };
        let address = SockAddrIn::from(target);
        // SAFETY: the address is a live sockaddr_in and the length is its size.
        let status = unsafe { connect(fd.as_raw_fd(), &raw const address, size_of::<SockAddrIn>() as u32) };
        if status < 0 {
            let errno = last_errno();
            if errno != EINPROGRESS {
                return Err(errno);
            }
        }
        Ok(Self { fd })
    }

    /// The pending error, taken off the socket; 0 is "connected".
    pub(crate) fn take_error(&self) -> i32 {
        let mut errno: c_int = 0;
        let mut length = size_of::<c_int>() as u32;
        // SAFETY: the value is a live c_int of `length` bytes.
        let status = unsafe {
            getsockopt(self.fd.as_raw_fd(), SOL_SOCKET, SO_ERROR, (&raw mut errno).cast(), &raw mut length)
        };
        if status < 0 { last_errno() } else { errno }
    }

    /// The address and the port that the kernel chose as the source.
    pub(crate) fn local(&self) -> Option<SocketAddrV4> {
        let mut address = SockAddrIn::default();
        let mut length = size_of::<SockAddrIn>() as u32;
        // SAFETY: the address is a live sockaddr_in of `length` bytes.
        let status = unsafe { getsockname(self.fd.as_raw_fd(), &raw mut address, &raw mut length) };
        let local = Ipv4Addr::from(address.address);
        (status == 0 && !local.is_unspecified())
            .then_some(SocketAddrV4::new(local, u16::from_be(address.port)))
    }

    /// Writes what fits into an empty send buffer at once: all of a greeting does. An error is the errno.
    pub(crate) fn send(&self, data: &[u8]) -> Result<(), i32> {
        // SAFETY: the data is live and `len` bytes long.
        let status = unsafe {
            send(self.fd.as_raw_fd(), data.as_ptr().cast(), data.len(), MSG_DONTWAIT | MSG_NOSIGNAL)
        };
        if usize::try_from(status) == Ok(data.len()) { Ok(()) } else { Err(last_errno()) }
    }

    /// Reads what there is, at most the buffer's length; 0 is the peer's end. An error is the errno, [`EAGAIN`] when
    /// there is nothing yet.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, i32> {
        // SAFETY: the buffer is live and `len` bytes long.
        let status =
            unsafe { recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), MSG_DONTWAIT) };
        usize::try_from(status).map_err(|_| last_errno())
    }

    /// Ends our direction: a FIN, which the peer's kernel acknowledges.
    pub(crate) fn finish(&self) {
        // SAFETY: takes two integers. It fails only for a connection that has ended already.
        unsafe { shutdown(self.fd.as_raw_fd(), SHUT_WR) };
    }

    /// `TCP_INFO`, where the kernel gives it.
    pub(crate) fn tcp_state(&self) -> Option<TcpState> {
        // struct tcp_info begins with eight bytes (state, ca_state, retransmits, …) and has tcpi_unacked at byte 24 and
        // tcpi_rtt at byte 68.
        let (info, length) = tcp_info(&self.fd);
        if length < 72 {
            return None;
        }
        let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        Some(TcpState { state: info[0], retransmits: info[2], unacked: word(24), rtt_us: word(68) })
    }

    /// Empties the error queue.
    pub(crate) fn error_queue(&self) -> Vec<QueuedError> {
        let mut errors = Vec::new();
        // The kernel's own bound on the queue is the receive buffer; a handful is all that a dial can gather.
        while errors.len() < 16 {
            let mut payload = [0u8; 64];
            // u64 for the alignment that a cmsghdr needs.
            let mut control = [0u64; 64];
            let mut iov = IoVec { base: payload.as_mut_ptr().cast(), length: payload.len() };
            let mut message = MsgHdr {
                name: std::ptr::null_mut(),
                name_length: 0,
                iov: &raw mut iov,
                iov_length: 1,
                control: control.as_mut_ptr().cast(),
                control_length: size_of_val(&control),
                flags: 0,
            };
            // SAFETY: every pointer of `message` is to a live buffer of the length beside it.
            let status =
                unsafe { recvmsg(self.fd.as_raw_fd(), &raw mut message, MSG_ERRQUEUE | MSG_DONTWAIT) };
            if status < 0 {
                break;
            }
            let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
            errors.extend(queued_errors(&bytes[..message.control_length.min(bytes.len())]));
        }
        errors
    }
}

/// A socket of TCP that never blocks.
fn stream_socket() -> Result<OwnedFd, i32> {
    // SAFETY: takes three integers, returns a descriptor or -1.
    let raw = unsafe { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(last_errno());
    }
    // SAFETY: `raw` is a fresh descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// `struct tcp_info`, and how much of it this kernel has; 0 where it gives none.
fn tcp_info(fd: &OwnedFd) -> ([u8; 256], usize) {
    let mut info = [0u8; 256];
    let mut length = info.len() as u32;
    // SAFETY: the buffer is live and `length` bytes long; the kernel writes no more than that.
    let status = unsafe {
        getsockopt(fd.as_raw_fd(), IPPROTO_TCP, TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    (info, if status < 0 { 0 } else { length as usize })
}

/// Sends one SYN that carries as much of `payload` as fits, and returns how much that was. The socket is gone before the kernel
/// repeats anything. None where the kernel sends no SYN with a payload.
pub(crate) fn send_in_syn(target: SocketAddrV4, payload: &[u8]) -> Option<u64> {
    let fd = stream_socket().ok()?;
    let on: c_int = 1;
    // SAFETY: the value is a live c_int and the length is its size.
    let status = unsafe {
        setsockopt(
            fd.as_raw_fd(),
            IPPROTO_TCP,
            TCP_FASTOPEN_NO_COOKIE,
            (&raw const on).cast(),
            size_of::<c_int>() as u32,
        )
    };
    if status < 0 {
        return None;
    }
    let address = SockAddrIn::from(target);
    // What it returns is not asked: a refusal that is there already takes the place of the length.
    // SAFETY: the payload is live and `len` bytes long, the address is a live sockaddr_in and the length is its size.
    unsafe {
        sendto(
            fd.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            MSG_FASTOPEN | MSG_DONTWAIT | MSG_NOSIGNAL,
            &raw const address,
            size_of::<SockAddrIn>() as u32,
        )
    };
    // tcpi_bytes_sent, since Linux 4.19, is at byte 200.
    let (info, length) = tcp_info(&fd);
    let sent = info.get(200..208).filter(|_| length >= 208)?;
    Some(u64::from_ne_bytes(sent.try_into().ok()?)).filter(|sent| *sent > 0)
}

/// Walks control messages: `cmsghdr { usize length, i32 level, i32 type }`, then the data, padded to eight bytes.
fn queued_errors(mut control: &[u8]) -> Vec<QueuedError> {
    let mut errors = Vec::new();
    while let Some((header, _)) = control.split_first_chunk::<16>() {
        let word = |at: usize| -> [u8; 4] { [header[at], header[at + 1], header[at + 2], header[at + 3]] };
        let length = u32::from_ne_bytes(word(0)) as usize;
        let (level, kind) = (i32::from_ne_bytes(word(8)), i32::from_ne_bytes(word(12)));
        if length < 16 || length > control.len() {
            break;
        }
        if level == IPPROTO_IP && kind == IP_RECVERR {
            errors.extend(extended_error(&control[16..length]));
        }
        control = &control[length.next_multiple_of(8).min(control.len())..];
    }
    errors
}

/// `struct sock_extended_err { u32 errno; u8 origin, type, code, pad; u32 info, data }`, then the offender's
/// sockaddr_in.
fn extended_error(data: &[u8]) -> Option<QueuedError> {
    let (fixed, offender) = data.split_first_chunk::<16>()?;
    let offender = offender
        .get(..8)
        .filter(|address| u16::from_ne_bytes([address[0], address[1]]) == AF_INET as u16)
        .map(|address| Ipv4Addr::new(address[4], address[5], address[6], address[7]));
    Some(QueuedError {
        errno: u32::from_ne_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]),
        origin: fixed[4],
        kind: fixed[5],
        code: fixed[6],
        offender,
    })
}

/// What a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The end of a connect.
    Connected,
    /// Bytes, or the peer's end.
    Bytes,
}

/// Waits until a socket has what is wanted of it or `budget` has passed, and says for each whether it has.
pub(crate) fn wait(sockets: &[(&ConnectSocket, Wanted)], budget: Duration) -> Vec<bool> {
    let entry = |(socket, wanted): &(&ConnectSocket, Wanted)| PollFd {
        fd: socket.fd.as_raw_fd(),
        events: if *wanted == Wanted::Connected { POLLOUT } else { POLLIN },
        revents: 0,
    };
    poll_all(&mut sockets.iter().map(entry).collect::<Vec<_>>(), budget)
}

/// Waits until standard input has ended, but no longer than `budget`.
pub(crate) fn wait_for_end_of_input(budget: Duration) {
    use std::io::Read as _;
    let began = std::time::Instant::now();
    let mut buffer = [0u8; 64];
    loop {
        let left = budget.saturating_sub(began.elapsed());
        let ready = poll_all(&mut [PollFd { fd: 0, events: POLLIN, revents: 0 }], left);
        if left.is_zero() || ready == [true] && !matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {
            return;
        }
    }
}

fn poll_all(fds: &mut [PollFd], budget: Duration) -> Vec<bool> {
    // Rounded up, so that the caller's budget is spent when poll returns with nothing.
    let timeout = c_int::try_from(budget.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
    // SAFETY: the array is live and `len` entries long.
    let status = unsafe { poll(fds.as_mut_ptr(), fds.len() as u64, timeout) };
    fds.iter().map(|fd| status > 0 && fd.revents & (fd.events | POLLERR | POLLHUP) != 0).collect()
}

/// The symbol of an errno that a connect can end with.
pub(crate) fn errno_name(errno: i32) -> &'static str {
    match errno {
        0 => "OK",
        1 => "EPERM",
        11 => "EAGAIN",
        13 => "EACCES",
        22 => "EINVAL",
        24 => "EMFILE",
        32 => "EPIPE",
        92 => "ENOPROTOOPT",
        93 => "EPROTONOSUPPORT",
        97 => "EAFNOSUPPORT",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        103 => "ECONNABORTED",
        104 => "ECONNRESET",
        105 => "ENOBUFS",
        107 => "ENOTCONN",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        _ => "UNKNOWN",
    }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
