//! The kernel calls that `nix` does not wrap, each behind a safe function.

#![allow(unsafe_code, reason = "this file is where the unsafe of the crate lives")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::Pid;

/// Runs a function before `main` in every program that links the crate which uses this macro.
///
/// A hermetic host starts its first process by executing its creator's own file again (`/proc/self/exe`), so that any
/// test binary can be a creator. The function recognises such a start by `argv[0]` and never returns from it; in every
/// other start it returns at once. At that time there is one thread, and the standard library's arguments are set (on
/// glibc, the standard library reads them in an earlier constructor).
#[macro_export]
macro_rules! before_main {
    ($function:path) => {
        const _: () = {
            extern "C" fn constructor() {
                $function();
            }
            #[used]
            #[allow(unsafe_code, reason = "a constructor's address is placed where the loader looks for it")]
            #[unsafe(link_section = ".init_array")]
            static CONSTRUCTOR: extern "C" fn() = constructor;
        };
    };
}

/// Which side of [`clone_into`] this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The caller; the child's process id as the caller sees it.
    Parent(Pid),
    /// The new process.
    Child,
}

/// `fork(2)` into new namespaces: the child is the first process of those that `namespaces` names.
///
/// # Errors
/// What `clone(2)` says; [`Errno::EINVAL`] without a call when this process has more than one thread, because the child
/// could then inherit a lock that no thread will ever release.
pub fn clone_into(namespaces: CloneFlags) -> nix::Result<Side> {
    if thread_count() != Some(1) {
        return Err(Errno::EINVAL);
    }
    let flags = namespaces.bits() as libc::c_long | libc::c_long::from(libc::SIGCHLD);
    // SAFETY: with a null stack the call is a fork: the child goes on here on a copy of the caller's memory. There is
    // one thread (checked above), so no lock can be held by a thread that the child does not have.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(pid)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(Pid::from_raw(pid as libc::pid_t))),
    }
}

fn thread_count() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

/// Closes every descriptor from `first` on.
///
/// # Errors
/// What `close_range(2)` says (Linux 5.9 and later have it).
pub fn close_descriptors_from(first: RawFd) -> nix::Result<()> {
    // SAFETY: the caller is a process that has just been executed and owns no descriptor above `first`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, 0) };
    Errno::result(result).map(drop)
}

/// Makes a write to a pipe whose reader is gone an error instead of this process's end, as the standard library does
/// before `main` (and undoes in the programs that it starts).
///
/// # Errors
/// What `sigaction(2)` says.
pub fn ignore_broken_pipes() -> nix::Result<()> {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { nix::sys::signal::signal(nix::sys::signal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn) }
        .map(drop)
}

/// Gives every signal its default disposition. What was ignored stays ignored in the programs that a process starts: a shell
/// without job control starts its background jobs with SIGINT ignored, and `nohup` ignores SIGHUP.
///
/// # Errors
/// What `sigaction(2)` says.
pub fn reset_signals() -> nix::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for each in Signal::iterator() {
        // SIGKILL and SIGSTOP cannot be changed, nor ignored (signal(7)).
        if !matches!(each, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: the default disposition is no handler.
            unsafe { signal(each, SigHandler::SigDfl) }?;
        }
    }
    Ok(())
}

/// Receives one message with the descriptors that came with it, all close-on-exec. An empty message is the end.
///
/// # Errors
/// What `recvmsg(2)` says.
pub fn receive_with_descriptors(socket: impl AsFd, buffer: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 8]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just made these descriptors for this process; nobody else owns them.
            descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, descriptors))
}

/// How many packets a packet socket had no room for since it was asked for the last time.
///
/// # Errors
/// What `getsockopt(2)` says, such as that it is no packet socket.
pub fn packets_dropped(socket: impl AsFd) -> nix::Result<u32> {
    // `struct tpacket_stats`: packets, drops.
    let mut counts = [0_u32; 2];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `counts`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| counts[1])
}

/// Sets the loopback interface of the current network namespace up.
///
/// # Errors
/// What the kernel says.
pub fn bring_loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: an all-zero `ifreq` is a valid value of that plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (target, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *target = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq` and keeps no pointer to it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// A packet socket for ARP on one interface, with whole Ethernet frames, that never blocks.
///
/// # Errors
/// What the kernel says; the caller needs CAP_NET_RAW.
pub fn arp_socket(interface: u32) -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ARP as u16).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes three integers, returns a descriptor or -1.
    let raw = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) })?;
    // SAFETY: the kernel has just made the descriptor; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: an all-zero `sockaddr_ll` is a valid value of that plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = protocol;
    address.sll_ifindex = interface as libc::c_int;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a live `sockaddr_ll` of that length, and the kernel keeps no pointer to it.
    let result = unsafe { libc::bind(raw, (&raw const address).cast(), length) };
    Errno::result(result).map(|_| socket).map_err(io::Error::from)
}

/// Makes `mknod(2)` of a block device fail with EPERM in this process and all its children.
///
/// Capabilities cannot tell a block device from the character devices and FIFOs that container engines make.
///
/// # Errors
/// What `seccomp(2)` says; the caller needs CAP_SYS_ADMIN.
pub fn refuse_block_devices() -> io::Result<()> {
    // Offsets into `struct seccomp_data`; arguments are 8 bytes each, the mode is in the lower half of its own.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const ARGUMENTS: u32 = 16;
    /// The bit that marks an x32 call on x86_64; no other architecture has numbers so high.
    const X32: u32 = 0x4000_0000;
    // AUDIT_ARCH_*, mknodat, mknod; aarch64 has no mknod, so the same number stands twice.
    #[cfg(target_arch = "x86_64")]
    const NATIVE: (u32, u32, u32) = (0xc000_003e, libc::SYS_mknodat as u32, libc::SYS_mknod as u32);
    #[cfg(target_arch = "aarch64")]
    const NATIVE: (u32, u32, u32) = (0xc000_00b7, libc::SYS_mknodat as u32, libc::SYS_mknodat as u32);

    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let branch = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let errno = |errno: i32| statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32);
    let (architecture, mknodat, mknod) = NATIVE;
    let mut program = [
        statement(load, ARCHITECTURE),
        branch(equal, architecture, 0, 11), // else: no such call
        statement(load, NUMBER),
        branch(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, X32, 9, 0), // then: no such call
        branch(equal, mknodat, 3, 0),                                   // then: its mode
        branch(equal, mknod, 0, 5),                                     // else: allow
        statement(load, ARGUMENTS + 8),
        statement(libc::BPF_JMP | libc::BPF_JA, 1),
        statement(load, ARGUMENTS + 16),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, libc::S_IFMT),
        branch(equal, libc::S_IFBLK, 1, 0), // then: refuse
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        errno(libc::EPERM),
        errno(libc::ENOSYS),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program during the call; `program` outlives it.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
