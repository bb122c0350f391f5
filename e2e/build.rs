//! Puts the build ids that the tree has now into the suite.

use std::path::Path;
use std::{env, io};

use build_support::Program;

fn main() -> io::Result<()> {
    let folder = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let root = Path::new(&folder).parent().ok_or(io::ErrorKind::NotFound)?;
    build_support::emit(root, Program::Probe, "OPENSHELL_PROBE_BUILD_ID")?;
    build_support::emit(root, Program::Harness, "OPENSHELL_HARNESS_BUILD_ID")
}
