//! Filters of system calls, as `setpriv --seccomp-filter` reads them.

/// A filter that lets a process make no namespaces of users, as a kernel that forbids them; others can be made. EPERM, and for
/// `clone3` that there is no such call, as Docker does.
#[must_use]
pub fn no_user_namespaces() -> Vec<u8> {
    let (clone, unshare, clone3) =
        if cfg!(target_arch = "aarch64") { (220, 97, 435) } else { (56, 272, 435) };
    program(&[
        (0x20, 0, 0, 0), // the call's number
        (0x15, 3, 0, clone),
        (0x15, 2, 0, unshare),
        (0x15, 5, 0, clone3),
        (0x06, 0, 0, 0x7fff_0000),
        (0x20, 0, 0, 16),          // of the first two, the flags
        (0x45, 1, 0, 0x1000_0000), // CLONE_NEWUSER
        (0x06, 0, 0, 0x7fff_0000), // allowed
        (0x06, 0, 0, 0x0005_0001), // EPERM
        (0x06, 0, 0, 0x0005_0026), // ENOSYS
    ])
}

/// `struct sock_filter`: code, jumps where true and false, operand.
#[must_use]
pub fn program(instructions: &[(u16, u8, u8, u32)]) -> Vec<u8> {
    let bytes = |(code, yes, no, operand): &(u16, u8, u8, u32)| {
        [&code.to_ne_bytes()[..], &[*yes, *no], &operand.to_ne_bytes()].concat()
    };
    instructions.iter().flat_map(bytes).collect()
}
