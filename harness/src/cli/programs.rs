//! The programs that are put into hosts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The probe that was built together with this program, unless another one is asked for.
pub(super) fn probe(asked: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = asked {
        return file("--probe", &path);
    }
    let path = beside("openshell-probe")?;
    let output = Command::new(&path).arg("build-id").output();
    let output = output.with_context(|| {
        format!("run {}\nhint: cargo build --workspace --bins, or name one with --probe", path.display())
    })?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if found != probe::BUILD_ID {
        bail!("{} was built from other sources\nhint: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

/// The oracle beside this program, unless another one is asked for; `None` where there is none.
pub(super) fn oracle(asked: Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(path) = asked {
        return file("--oracle", &path).map(Some);
    }
    let path = beside("oracle")?;
    Ok(harness::scenario::is_oracle(&path).then_some(path))
}

fn beside(name: &str) -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

fn file(option: &str, path: &Path) -> Result<PathBuf> {
    ensure!(path.is_file(), "{option} {}: there is no such file", path.display());
    Ok(std::path::absolute(path)?)
}
