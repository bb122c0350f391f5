//! The dialer: its sources, as data, and its work, for a caller that is in a sandbox's place itself.
//!
//! The probe's build script compiles the sources for the probe's container. It cannot look for them in a folder: in a package
//! of its own, as cargo unpacks it, the probe has no folder of the dialer beside or below it. Where the probe dials from a
//! network namespace of its own, it does so by [`Order`]: the same code, without a program.

mod dial;
mod greeting;
mod hex;
mod job;
mod mark;
mod sys;
mod work;

pub use work::{Order, Spoken};

/// Every file by its name and with its content; the first is the root of the crate. They take nothing but the standard
/// library.
pub const SOURCES: [(&str, &str); 9] = [
    ("main.rs", include_str!("main.rs")),
    ("dial.rs", include_str!("dial.rs")),
    ("flight.rs", include_str!("flight.rs")),
    ("greeting.rs", include_str!("greeting.rs")),
    ("hex.rs", include_str!("hex.rs")),
    ("job.rs", include_str!("job.rs")),
    ("mark.rs", include_str!("mark.rs")),
    ("sys.rs", include_str!("sys.rs")),
    ("work.rs", include_str!("work.rs")),
];
