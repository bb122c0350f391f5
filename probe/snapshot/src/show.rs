//! Everything in a snapshot, for a person who decides whether to send it.

use std::fmt::Write as _;

use ruleset::{Chain, Policy, Ruleset};
use serde_json::Value;

use crate::model::Snapshot;
use crate::read::read_json;
use crate::write::{WriteError, to_json};

/// All values, each on a line with its name. A rule is on one line in the words of its tool, which say its parts.
///
/// # Errors
/// When the snapshot could not be written.
pub fn show(snapshot: &Snapshot) -> Result<String, WriteError> {
    let text = to_json(snapshot)?;
    let mut value: Value = serde_json::from_slice(&text).map_err(WriteError::Json)?;
    // With the texts that a reader sees, whatever the snapshot has.
    let read = read_json(&text).map_err(WriteError::Unreadable)?;
    let tables = value.get_mut("rules").and_then(|rules| rules.get_mut("tables"));
    if let (Some(Value::Array(tables)), Some(rules)) = (tables, &read.rules) {
        for (table, read) in tables.iter_mut().zip(&rules.tables) {
            table["chains"] = read.chains.iter().map(chain).collect();
        }
    }
    let mut shown = String::new();
    lines(&value, 0, &mut shown);
    Ok(shown)
}

fn chain(chain: &Chain) -> Value {
    let mut head = chain.name.clone();
    if let Some(base) = &chain.base {
        let policy = if base.policy == Policy::Drop { "drop" } else { "accept" };
        let _ = write!(
            head,
            ": {} {}, priority {}, policy {policy}",
            base.kind.name(),
            base.hook.name(),
            base.priority
        );
        if !base.devices.is_empty() {
            let _ = write!(head, ", devices {}", base.devices.join(" "));
        }
        if let Some(counters) = chain.counters {
            let _ = write!(head, ", passed {} packets {} bytes", counters.packets, counters.bytes);
        }
    }
    let rules = chain.rules.iter().map(|rule| {
        let mut line = format!("{} {}", rule.number, rule.text);
        if let Some(counters) = rule.counters {
            let _ = write!(line, "   [{}:{}]", counters.packets, counters.bytes);
        }
        if let Some(handle) = rule.handle {
            let _ = write!(line, " # handle {handle}");
        }
        Value::from(line)
    });
    serde_json::json!({ head: rules.collect::<Vec<_>>() })
}

fn lines(value: &Value, depth: usize, to: &mut String) {
    let indent = "  ".repeat(depth);
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, value)| (format!("{key}:"), value)).collect(),
        Value::Array(list) => list.iter().map(|value| ("-".to_owned(), value)).collect(),
        scalar => {
            let _ = writeln!(to, "{indent}{}", plain(scalar));
            return;
        }
    };
    for (head, inner) in entries {
        match compact(inner) {
            Some(text) => {
                let _ = writeln!(to, "{indent}{head} {text}");
            }
            None => {
                let _ = writeln!(to, "{indent}{head}");
                lines(inner, depth + 1, to);
            }
        }
    }
}

/// A value that fits on a line.
fn compact(value: &Value) -> Option<String> {
    const WIDTH: usize = 100;
    match value {
        Value::Object(object)
            if object.values().all(|it| !matches!(it, Value::Object(o) if !o.is_empty())) =>
        {
            let parts: Option<Vec<_>> =
                object.iter().map(|(key, value)| Some(format!("{key} {}", compact(value)?))).collect();
            parts.map(|parts| parts.join(", ")).filter(|text| text.len() <= WIDTH)
        }
        Value::Object(_) => None,
        Value::Array(list) if list.is_empty() => Some("none".to_owned()),
        Value::Array(list) if list.iter().all(|it| !it.is_object() && !it.is_array() && !it.is_string()) => {
            Some(list.iter().map(plain).collect::<Vec<_>>().join(" ")).filter(|text| text.len() <= WIDTH)
        }
        Value::Array(list) => {
            let short = |it: &Value| it.as_str().filter(|text| !text.contains(' ')).map(str::to_owned);
            let parts: Option<Vec<_>> = list.iter().map(short).collect();
            parts.map(|parts| parts.join(" ")).filter(|text| text.len() <= WIDTH)
        }
        scalar => Some(plain(scalar)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// The rules of a snapshot as text, for comparing two.
#[must_use]
pub fn rules_text(rules: &Ruleset) -> String {
    let mut text = String::new();
    for table in &rules.tables {
        for chain in &table.chains {
            for rule in &chain.rules {
                let _ = writeln!(
                    text,
                    "{} {} {} {} {}",
                    table.family, table.name, chain.name, rule.number, rule.text
                );
            }
        }
    }
    text
}
