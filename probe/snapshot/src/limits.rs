//! How much a snapshot may have. The writer keeps to it too: what is written can be read.

/// The most of a file, in bytes, as it is stored.
pub const COMPRESSED: u64 = 8 << 20;
/// The most of it, in bytes, after decompression.
pub const DECOMPRESSED: usize = 32 << 20;
/// The most values: objects, lists, texts, numbers.
pub const VALUES: usize = 1_500_000;
/// How deep values may be in each other.
pub const DEPTH: usize = 32;
/// The longest text, in bytes.
pub const TEXT: usize = 200;
/// The most rules that one packet can be made to pass, jumps counted each time.
pub const VISITS: u64 = 60_000;
/// How deep chains may call each other: twice what the kernel allows (`NFT_JUMP_STACK_SIZE`).
pub const CALLS: usize = 32;
