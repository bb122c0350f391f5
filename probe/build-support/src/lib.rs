//! The build id: a digest of the sources and the lock file that a program was built from.
//!
//! `openshell-probe` and `openshell-harness` carry the id of what they were built from, and so do their libraries. The
//! e2e suite has the ids that the tree has now from the libraries, and refuses a program with another one. So a stale
//! binary in `target/` can never pass.

#![allow(clippy::print_stdout, reason = "a build script talks to cargo through stdout")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Files outside the packages that decide what a program becomes.
const WORKSPACE_FILES: [&str; 3] = ["Cargo.lock", "Cargo.toml", ".cargo/config.toml"];

/// Folders that decide nothing: tests, documents, what is built, and a project of its own.
const SKIPPED: [&str; 5] = ["dependent", "doc", "schema", "target", "tests"];

/// A program that carries a build id.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// `openshell-probe`: everything below `probe/`.
    Probe,
    /// `openshell-harness`: everything below `probe/` and `harness/`.
    Harness,
}

impl Program {
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Probe => &["probe"],
            Self::Harness => &["probe", "harness"],
        }
    }
}

/// For a build script: sets `variable` to the id of `program` for `env!`, and asks cargo to run the script again when
/// one of its files changes. `package` is the folder of the program's package.
///
/// # Errors
/// When a file that decides the id cannot be read.
pub fn emit(package: &Path, program: Program, variable: &str) -> io::Result<()> {
    let (root, paths) = sources(package, program)?;
    println!("cargo::rustc-env={variable}={}", build_id(&root, &paths)?);
    for path in &paths {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    Ok(())
}

/// The files and folders that decide what `program` becomes, and the folder that they are named from.
///
/// In an unpacked package those are its own files: the other packages are wherever cargo has put them, and the manifest
/// names their version.
fn sources(package: &Path, program: Program) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    if !is_member(&fs::read_to_string(package.join("Cargo.toml"))?) {
        return Ok((package.to_owned(), vec![package.to_owned()]));
    }
    let root = package.parent().ok_or(io::ErrorKind::NotFound)?;
    let paths = program.folders().iter().chain(&WORKSPACE_FILES).map(|path| root.join(path)).collect();
    Ok((root.to_owned(), paths))
}

/// Whether a manifest takes something over from its workspace. Cargo writes every value out when it packages. Looking for
/// the workspace's files instead would make an id of less wherever one of them is missing.
fn is_member(manifest: &str) -> bool {
    manifest.lines().any(|line| line == "version.workspace = true")
}

/// The first 16 hexadecimal digits of a SHA-256 over the path and the content of every file.
fn build_id(root: &Path, paths: &[PathBuf]) -> io::Result<String> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            collect(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned();
        let content = fs::read(file)?;
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name.as_bytes());
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(&content);
    }
    Ok(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if SKIPPED.iter().all(|skipped| name != *skipped) {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_the_workspace_is_told_from_an_unpacked_one() {
        let own = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        assert!(is_member(&own));
        assert!(!is_member("[package]\nname = \"openshell-probe\"\nversion = \"0.1.0\"\n"));
    }
}
