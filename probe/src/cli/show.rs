//! `show`: a report that was kept, in words.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use super::args::ShowArguments;
use super::{USAGE, answer, colour, say, text};
use crate::report::{Report, SCHEMA_VERSION};
use crate::sanitize::sanitize;

/// The most bytes of a report. One of 64 targets with every packet's way is below 1 MiB.
const MAX_REPORT: u64 = 16 << 20;

/// Why a report is not shown.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {MAX_REPORT} bytes, so it is no report", .0.display())]
    TooLarge(PathBuf),
    #[error("{} is no report: {source}\nhint: make one with 'openshell-probe check --format json'", path.display())]
    NoReport { path: PathBuf, source: serde_json::Error },
    #[error("{} is a report of form {found}, and this program knows form {SCHEMA_VERSION}\nhint: take the openshell-probe that made it", path.display())]
    OtherForm { path: PathBuf, found: String },
}

pub(super) fn run(arguments: &ShowArguments) -> ExitCode {
    match read(&arguments.file) {
        Ok(report) => answer(&text::render(&report, colour(), arguments.walks), 0),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(USAGE)
        }
    }
}

fn read(path: &Path) -> Result<Report, ShowError> {
    let failed = |source| ShowError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    source.take(MAX_REPORT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_REPORT {
        return Err(ShowError::TooLarge(path.to_owned()));
    }
    parse(&bytes, path)
}

/// A file may come from anywhere, so no text in it reaches a terminal as it is.
fn parse(bytes: &[u8], path: &Path) -> Result<Report, ShowError> {
    let no_report = |source| ShowError::NoReport { path: path.to_owned(), source };
    let mut value: Value = serde_json::from_slice(bytes).map_err(no_report)?;
    clean(&mut value);
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if let Some(found) = value.get("schema_version").and_then(Value::as_str)
        && major(found) != major(SCHEMA_VERSION)
    {
        return Err(ShowError::OtherForm { path: path.to_owned(), found: found.to_owned() });
    }
    serde_json::from_value(value).map_err(no_report)
}

fn clean(value: &mut Value) {
    match value {
        // A command may be longer than what is foreign otherwise, and line by line is how hints are printed.
        Value::String(text)
            if text.chars().any(|character| character.is_control() || !character.is_ascii()) =>
        {
            *text = text.split('\n').map(sanitize).collect::<Vec<_>>().join("\n");
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_refused_with_the_way_out() {
        let refused = |text: &str| match parse(text.as_bytes(), Path::new("a.json")) {
            Ok(report) => panic!("{report:?}"),
            Err(error) => error.to_string(),
        };
        assert!(refused("{").starts_with("a.json is no report: EOF"), "{}", refused("{"));
        assert!(refused("[1]").contains("hint: make one with"), "{}", refused("[1]"));
        let other = refused(r#"{"schema_version": "9.1"}"#);
        assert!(other.contains("form 9.1") && other.contains(SCHEMA_VERSION), "{other}");
    }

    #[test]
    fn text_of_a_report_does_nothing_to_a_terminal() {
        let mut value = serde_json::json!({"a": ["x\u{1b}[2Jy\nz"]});
        clean(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["x\\u{1b}[2Jy\nz"]}));
    }
}
