//! The dialer's sources, as data.
//!
//! The probe's build script compiles them for its container. It cannot look for them in a folder: in a package of its
//! own, as cargo unpacks it, the probe has no folder of the dialer beside or below it.

/// Every file by its name and with its content; the first is the root of the crate. They take nothing but the standard
/// library.
pub const SOURCES: [(&str, &str); 8] = [
    ("main.rs", include_str!("main.rs")),
    ("dial.rs", include_str!("dial.rs")),
    ("flight.rs", include_str!("flight.rs")),
    ("greeting.rs", include_str!("greeting.rs")),
    ("hex.rs", include_str!("hex.rs")),
    ("job.rs", include_str!("job.rs")),
    ("mark.rs", include_str!("mark.rs")),
    ("sys.rs", include_str!("sys.rs")),
];
