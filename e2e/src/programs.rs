//! The programs under test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// `openshell-probe`, built from the tree as it is now.
///
/// # Errors
/// When it has not been built, or was built from other sources.
pub fn probe() -> Result<PathBuf> {
    find("openshell-probe", "OPENSHELL_PROBE_BIN", env!("OPENSHELL_PROBE_BUILD_ID"))
}

/// `openshell-harness`, built from the tree as it is now.
///
/// # Errors
/// When it has not been built, or was built from other sources.
pub fn harness() -> Result<PathBuf> {
    find("openshell-harness", "OPENSHELL_HARNESS_BIN", env!("OPENSHELL_HARNESS_BUILD_ID"))
}

/// Beside this test's own folder (`target/…/debug/deps`), or where the variable says.
fn find(name: &str, variable: &str, expected: &str) -> Result<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe().context("find the test program")?;
            let deps = own.parent().context("the test program is in no folder")?;
            let folder = if deps.ends_with("deps") { deps.parent().unwrap_or(deps) } else { deps };
            folder.join(name)
        }
    };
    let output = Command::new(&path)
        .arg("build-id")
        .output()
        .with_context(|| format!("run {}\nhint: cargo build --workspace --bins", path.display()))?;
    let found = String::from_utf8_lossy(&output.stdout);
    ensure!(
        found.trim() == expected,
        "{} was built from other sources (build {}, the tree is {expected})\nhint: cargo build --workspace --bins",
        path.display(),
        found.trim(),
    );
    Ok(path)
}
