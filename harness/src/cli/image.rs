//! `openshell-harness image`.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Subcommand;
use harness::Privilege;
use harness::image::{Cache, Definition, ImageError};

use super::output;

/// What to do with images. A definition is a built-in name or a file that ends in `.toml`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Build an image, unless it is there: about a minute.
    Build {
        /// The definition.
        #[arg(default_value = "debian-13")]
        definition: String,
    },
    /// List the definitions and what is built of them.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare an image with what was built.
    Verify {
        /// The definition.
        #[arg(default_value = "debian-13")]
        definition: String,
    },
    /// Write an image to standard output as a tar archive, for `import` by another user.
    Export {
        /// The definition.
        #[arg(default_value = "debian-13")]
        definition: String,
    },
    /// Make an image of a tar archive on standard input, unless it is there: a few seconds, and no network.
    Import {
        /// The definition.
        #[arg(default_value = "debian-13")]
        definition: String,
    },
    /// Remove an image from the cache.
    Remove {
        /// The definition.
        definition: String,
    },
}

pub(super) fn run(command: Command, privilege: Privilege) -> Result<ExitCode> {
    // A list only reads, so it is for everybody; root's list is another one than that of root's hosts without root.
    if privilege == Privilege::User || !matches!(command, Command::List { .. }) {
        privilege.enter()?;
    }
    let cache = Cache::open()?;
    match command {
        Command::Build { definition } => {
            let definition = Definition::named(&definition)?;
            let name = definition.name();
            if cache.find(&definition).is_ok() {
                output::talk(format_args!("image {name} is in {}", cache.folder().display()));
            } else {
                output::talk(format_args!(
                    "building image {name} in {}; this takes a minute",
                    cache.folder().display()
                ));
                let start = Instant::now();
                cache.build(&definition)?;
                output::talk(format_args!("built image {name} in {:.0} s", start.elapsed().as_secs_f64()));
            }
        }
        Command::Export { definition } => {
            let stdout = io::stdout();
            ensure!(
                !stdout.is_terminal(),
                "an archive is nothing for a terminal\nhint: > FILE, or | a command"
            );
            cache.export(&Definition::named(&definition)?, stdout.as_fd().try_clone_to_owned()?)?;
        }
        Command::Import { definition } => {
            let stdin = io::stdin();
            ensure!(!stdin.is_terminal(), "the archive is to come from standard input\nhint: < FILE");
            let definition = Definition::named(&definition)?;
            cache.import(&definition, stdin.as_fd().try_clone_to_owned()?)?;
            output::talk(format_args!("image {} is in {}", definition.name(), cache.folder().display()));
        }
        Command::List { json } => list(&cache, json)?,
        Command::Verify { definition } => {
            let definition = Definition::named(&definition)?;
            cache.find(&definition)?.verify()?;
            output::talk(format_args!("image {} is as it was built", definition.name()));
        }
        Command::Remove { definition } => {
            let definition = Definition::named(&definition)?;
            let removed = cache.remove(&definition)?;
            let what = if removed { "removed" } else { "there is no" };
            output::talk(format_args!("{what} image {}", definition.name()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(cache: &Cache, json: bool) -> Result<()> {
    let mut manifests = Vec::new();
    for name in Definition::names() {
        let manifest = match cache.find(&Definition::named(name)?) {
            Ok(image) => image.manifest()?,
            Err(ImageError::NotBuilt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        manifests.push((name, manifest));
    }
    if json {
        let built: Vec<_> = manifests.iter().filter_map(|(_, manifest)| manifest.as_ref()).collect();
        output::line(serde_json::to_string_pretty(&built)?);
        return Ok(());
    }
    for (name, manifest) in manifests {
        let state = match manifest {
            Some(manifest) => {
                let megabytes = manifest.bytes / 1_000_000;
                format!("{}, {} packages, {megabytes} MB", manifest.suite, manifest.packages.len())
            }
            None => "not built".to_owned(),
        };
        output::line(format_args!("{name:12} {state}"));
    }
    Ok(())
}
