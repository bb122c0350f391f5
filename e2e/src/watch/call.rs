//! One call into the kernel: its number, its operands, and the caller's memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use nix::libc::c_long;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// A page: no path and no name is longer.
const LONGEST_TEXT: usize = 4096;
/// As much of a message as is read; a request's headers and the messages of netlink are shorter.
const LONGEST_MESSAGE: usize = 256 * 1024;

/// A call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) caller: Pid,
    pub(super) number: c_long,
    pub(super) operands: [u64; 6],
}

impl Call {
    /// The call at whose entry `caller` is stopped.
    #[allow(clippy::cast_possible_wrap, reason = "a call's number is small")]
    pub(super) fn of(caller: Pid) -> Result<Self> {
        let registers = ptrace::getregs(caller)?;
        #[cfg(target_arch = "x86_64")]
        let (number, operands) = (
            registers.orig_rax,
            [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9],
        );
        #[cfg(target_arch = "aarch64")]
        let (number, operands) = {
            let [a, b, c, d, e, f, _, _, number, ..] = registers.regs;
            (number, [a, b, c, d, e, f])
        };
        Ok(Self { caller, number: number as c_long, operands })
    }

    /// What the call at whose exit `caller` is stopped has given: below 0 is an error.
    #[allow(clippy::cast_possible_wrap, reason = "an error is a negative number there")]
    pub(super) fn result(caller: Pid) -> Result<i64> {
        let registers = ptrace::getregs(caller)?;
        #[cfg(target_arch = "x86_64")]
        let result = registers.rax;
        #[cfg(target_arch = "aarch64")]
        let result = registers.regs[0];
        Ok(result as i64)
    }

    /// An operand that is an `int`, such as a descriptor.
    #[allow(clippy::cast_possible_truncation, reason = "the kernel looks at these 32 bits alone")]
    pub(super) fn int(&self, at: usize) -> i32 {
        self.operands[at] as i32
    }

    /// An operand's own file below `/proc/PID`.
    pub(super) fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.caller)
    }

    /// So many bytes of the caller's memory, or as many of them as there are.
    pub(super) fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(LONGEST_MESSAGE)];
        let read = File::open(self.proc("mem")).and_then(|memory| memory.read_at(&mut bytes, address));
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// A number in the caller's memory.
    pub(super) fn word(&self, address: u64) -> u64 {
        let bytes = self.bytes(address, 8);
        bytes.try_into().map_or(0, u64::from_ne_bytes)
    }

    /// A text in the caller's memory, which ends with a zero.
    pub(super) fn text(&self, address: u64) -> String {
        if address == 0 {
            return String::new();
        }
        let bytes = self.bytes(address, LONGEST_TEXT);
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// A list of texts, as a program is given.
    pub(super) fn texts(&self, address: u64) -> Vec<String> {
        let addresses = (0..256).map(|at| self.word(address.wrapping_add(at * 8)));
        addresses.take_while(|address| *address != 0).map(|address| self.text(address)).collect()
    }

    /// What an array of `struct iovec` points to, one after another.
    pub(super) fn gathered(&self, address: u64, count: u64) -> Vec<u8> {
        let part = |at: u64| {
            let place = address.wrapping_add(at * 16);
            let length = usize::try_from(self.word(place.wrapping_add(8))).unwrap_or(0);
            self.bytes(self.word(place), length)
        };
        (0..count.min(1024)).flat_map(part).collect()
    }
}
