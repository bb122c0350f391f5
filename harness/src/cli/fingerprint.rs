//! `openshell-harness fingerprint`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use harness::Fingerprint;

use super::output;

/// What to do with fingerprints.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the machine's fingerprint as JSON.
    Take,
    /// Compare the machine with an earlier fingerprint; exit code 1 when it has changed.
    Compare {
        /// The earlier fingerprint.
        file: PathBuf,
        /// A folder whose files may have been written since, besides the cache.
        #[arg(long, value_name = "FOLDER")]
        allow: Vec<PathBuf>,
    },
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Take => {
            output::line(serde_json::to_string_pretty(&Fingerprint::take()?)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare { file, allow } => {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let earlier: Fingerprint = serde_json::from_str(&text)
                .with_context(|| format!("{} is no fingerprint", file.display()))?;
            let differences = earlier.differences(&Fingerprint::take()?, &allow)?;
            for difference in &differences {
                output::line(difference);
            }
            if differences.is_empty() {
                output::talk("the machine is as it was");
                return Ok(ExitCode::SUCCESS);
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
