//! The schema of the form.

use schemars::{Schema, SchemaGenerator};

use super::*;

/// The words of the probe's own verdicts.
pub(super) fn verdict(_: &mut SchemaGenerator) -> Schema {
    of_report("Verdict")
}

/// The words of the probe's own causes.
pub(super) fn cause(_: &mut SchemaGenerator) -> Schema {
    of_report("Cause")
}

/// The words of what vouches for a service.
pub(super) fn identity(_: &mut SchemaGenerator) -> Schema {
    of_report("Identity")
}

fn of_report(name: &str) -> Schema {
    let report: serde_json::Value = serde_json::from_str(probe::SCHEMA).unwrap();
    report["$defs"][name].clone().try_into().unwrap()
}

/// `OPENSHELL_UPDATE_SCHEMA=1 cargo test -p openshell-harness` writes the file anew.
#[test]
fn the_committed_schema_is_the_forms() {
    let schema = schemars::schema_for!(Scenario);
    let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("OPENSHELL_UPDATE_SCHEMA").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/scenario.v1.json");
        std::fs::write(file, &generated).unwrap();
    } else {
        assert_eq!(SCHEMA, generated, "set OPENSHELL_UPDATE_SCHEMA=1 to write it anew");
    }
}
