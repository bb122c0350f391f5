//! The JSON schema, made of the types.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// [`ruleset`]'s own schema, as it is committed there, or null.
pub(crate) fn ruleset(generator: &mut SchemaGenerator) -> Schema {
    let mut schema: serde_json::Value = serde_json::from_str(ruleset::SCHEMA).unwrap();
    let definitions = schema["$defs"].take();
    for (name, definition) in definitions.as_object().unwrap() {
        generator.definitions_mut().insert(name.clone(), definition.clone());
    }
    let own = |key: &str| schema[key].clone();
    let body = serde_json::json!({
        "type": "object", "title": "Ruleset", "properties": own("properties"), "required": own("required"),
    });
    schemars::json_schema!({ "anyOf": [body, {"type": "null"}] })
}

/// See [`ruleset::Backend`].
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code, reason = "it is only described")]
pub(crate) enum Backend {
    Legacy,
    Nft,
    Native,
}

/// See [`ruleset::TableFamily`].
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code, reason = "it is only described")]
pub(crate) enum TableFamily {
    Ip,
    Ip6,
    Inet,
    Bridge,
    Netdev,
    Arp,
}

/// `OPENSHELL_UPDATE_SCHEMA=1 cargo test -p openshell-snapshot` writes the file anew.
#[test]
fn the_committed_schema_is_the_types() {
    let schema = schemars::schema_for!(crate::Snapshot);
    let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("OPENSHELL_UPDATE_SCHEMA").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/snapshot.v1.json");
        std::fs::write(file, &generated).unwrap();
    } else {
        assert_eq!(crate::SCHEMA, generated, "set OPENSHELL_UPDATE_SCHEMA=1 to write it anew");
    }
}
