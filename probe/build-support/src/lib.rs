//! The build id: a digest of the sources and the lock file that a program was built from.
//!
//! `openshell-probe` and `openshell-harness` carry the id of what they were built from, the e2e suite carries the ids
//! that the tree has now, and refuses a program with another one. So a stale binary in `target/` can never pass.

#![allow(clippy::print_stdout, reason = "a build script talks to cargo through stdout")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Files outside the packages that decide what a program becomes.
const WORKSPACE_FILES: [&str; 3] = ["Cargo.lock", "Cargo.toml", ".cargo/config.toml"];

/// A program of the workspace that carries a build id.
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

/// The id of `program` in the workspace at `root`: the first 16 hexadecimal digits of a SHA-256 over the path and the
/// content of every file that decides it. Tests and documents do not count.
///
/// # Errors
/// When a file of the workspace cannot be read.
pub fn build_id(root: &Path, program: Program) -> io::Result<String> {
    let mut files: Vec<PathBuf> = WORKSPACE_FILES.iter().map(|file| root.join(file)).collect();
    for folder in program.folders() {
        collect(&root.join(folder), &mut files)?;
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

/// For a build script: sets `variable` to the id of `program` for `env!`, and asks cargo to run the script again when
/// one of its files changes. `root` is the folder of the workspace.
///
/// # Errors
/// When a file of the workspace cannot be read.
pub fn emit(root: &Path, program: Program, variable: &str) -> io::Result<()> {
    println!("cargo::rustc-env={variable}={}", build_id(root, program)?);
    for path in program.folders().iter().chain(&WORKSPACE_FILES) {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != "tests" && name != "target" && name != "schema" {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}
