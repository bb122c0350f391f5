//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::given;

/// `openshell-probe`, built from the tree as it is now.
///
/// # Errors
/// When it has not been built, or was built from other sources.
pub fn probe() -> Result<PathBuf> {
    find("openshell-probe", "OPENSHELL_PROBE_BIN", probe::BUILD_ID)
}

/// `openshell-harness`, built from the tree as it is now.
///
/// # Errors
/// When it has not been built, or was built from other sources.
pub fn harness() -> Result<PathBuf> {
    find("openshell-harness", "OPENSHELL_HARNESS_BIN", harness::BUILD_ID)
}

/// The folder of this package in the checkout that the suite runs in, which need not be where it was compiled: nextest says
/// where it is.
#[must_use]
pub fn checkout() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

/// A program of the package that a test belongs to: `own("creator", env!("CARGO_BIN_EXE_creator"))`. Cargo says at compile
/// time where it put it; nextest says at run time where it is, also when it was unpacked from an archive.
#[must_use]
pub fn own(name: &str, built: &str) -> PathBuf {
    std::env::var_os(format!("NEXTEST_BIN_EXE_{name}")).map_or_else(|| built.into(), PathBuf::from)
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
    if !given::any_build() {
        refuse_stale(&path, expected)?;
    }
    Ok(path)
}

fn refuse_stale(path: &Path, expected: &str) -> Result<()> {
    let output = Command::new(path)
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_other_sources_is_refused() {
        // It prints what it is told to, `build-id`, and so has the build id `build-id`.
        let echo = Path::new("/bin/echo");
        refuse_stale(echo, "build-id").unwrap();
        let error = refuse_stale(echo, probe::BUILD_ID).unwrap_err().to_string();
        assert!(error.contains("was built from other sources"), "{error}");
        assert!(
            refuse_stale(Path::new("/missing"), "x").unwrap_err().to_string().contains("hint: cargo build")
        );
    }
}
