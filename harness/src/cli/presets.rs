//! `openshell-harness presets`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use harness::Preset;
use serde::Serialize;

use super::output;

#[derive(Args)]
pub(super) struct PresetsArguments {
    /// Print the scenario file of one
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    show: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A preset as it is listed. Fields are only added.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    meaning: String,
}

pub(super) fn run(arguments: &PresetsArguments) -> Result<ExitCode> {
    if let Some(name) = &arguments.show {
        return Ok(match Preset::named(name) {
            Ok(preset) => {
                output::line(preset.text.trim_end());
                ExitCode::SUCCESS
            }
            Err(error) => output::refuse(error),
        });
    }
    let mut presets = Vec::new();
    for preset in Preset::all() {
        presets.push(Listed { name: preset.name, meaning: preset.file()?.scenario.title });
    }
    if arguments.json {
        output::line(serde_json::to_string_pretty(&presets)?);
        return Ok(ExitCode::SUCCESS);
    }
    let width = presets.iter().map(|preset| preset.name.len()).max().unwrap_or(0);
    for Listed { name, meaning } in presets {
        output::line(format_args!("{name:width$}  {meaning}"));
    }
    Ok(ExitCode::SUCCESS)
}
