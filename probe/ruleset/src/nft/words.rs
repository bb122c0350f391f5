//! A rule in nft's words. The JSON has no text, and people know rules by it.

use serde_json::Value;

/// The rule.
pub(super) fn rule(statements: &[Value]) -> String {
    let words: Vec<String> = statements.iter().map(statement).collect();
    words.join(" ")
}

fn statement(value: &Value) -> String {
    let Some((key, body)) = value.as_object().and_then(|object| object.iter().next()) else {
        return value.to_string();
    };
    let text = |name: &str| body.get(name).map(expression);
    match key.as_str() {
        "match" => {
            let (Some(left), Some(right)) = (text("left"), text("right")) else { return value.to_string() };
            match body.get("op").and_then(Value::as_str) {
                None | Some("==" | "in") => format!("{left} {right}"),
                Some(operator) => format!("{left} {operator} {right}"),
            }
        }
        "accept" | "drop" | "return" | "continue" | "notrack" | "counter" | "queue" | "synproxy" => {
            key.clone()
        }
        "log" => match (body.get("prefix").and_then(Value::as_str), body.get("group")) {
            (Some(prefix), Some(group)) => format!("log prefix \"{prefix}\" group {group}"),
            (Some(prefix), None) => format!("log prefix \"{prefix}\""),
            (None, Some(group)) => format!("log group {group}"),
            (None, None) => "log".into(),
        },
        "jump" | "goto" => format!("{key} {}", text("target").unwrap_or_default()),
        "vmap" => {
            format!("{} vmap {}", text("key").unwrap_or_default(), text("data").unwrap_or_default())
        }
        "mangle" => format!("{} set {}", text("key").unwrap_or_default(), text("value").unwrap_or_default()),
        "reject" => match (text("type"), text("expr")) {
            (Some(kind), Some(expr)) => format!("reject with {kind} {expr}"),
            (Some(kind), None) => format!("reject with {kind}"),
            _ => "reject".into(),
        },
        "limit" => {
            let over = if body.get("inv").and_then(Value::as_bool) == Some(true) { "over " } else { "" };
            let unit = text("rate_unit").map(|unit| format!(" {unit}")).unwrap_or_default();
            format!(
                "limit rate {over}{}{unit}/{}",
                text("rate").unwrap_or_default(),
                text("per").unwrap_or_default()
            )
        }
        "quota" => {
            let over = if body.get("inv").and_then(Value::as_bool) == Some(true) { "over " } else { "" };
            format!(
                "quota {over}{} {}",
                text("val").unwrap_or_default(),
                text("val_unit").unwrap_or_default()
            )
        }
        "dnat" | "snat" | "redirect" | "masquerade" => match (text("addr"), text("port")) {
            (Some(address), Some(port)) => format!("{key} to {address}:{port}"),
            (Some(address), None) => format!("{key} to {address}"),
            (None, Some(port)) => format!("{key} to :{port}"),
            (None, None) => key.clone(),
        },
        "set" => format!(
            "{} {} {{ {} }}",
            text("op").unwrap_or_default(),
            text("set").unwrap_or_default(),
            text("elem").unwrap_or_default()
        ),
        _ => value.to_string(),
    }
}

fn list(values: &[Value], between: &str) -> String {
    values.iter().map(expression).collect::<Vec<_>>().join(between)
}

fn expression(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(there) => if *there { "exists" } else { "missing" }.into(),
        Value::Array(pair) => list(pair, ","),
        Value::Null => String::new(),
        Value::Object(object) => {
            let Some((key, body)) = object.iter().next() else { return "{}".into() };
            let text = |name: &str| body.get(name).map(expression).unwrap_or_default();
            match (key.as_str(), body) {
                ("payload", _) => format!("{} {}", text("protocol"), text("field")),
                ("meta", _) => match text("key").as_str() {
                    bare @ ("iif" | "oif" | "iifname" | "oifname") => bare.into(),
                    key => format!("meta {key}"),
                },
                ("ct", _) => format!("ct {}", text("key")),
                ("fib", _) => format!("fib {} {}", text("flags").replace(',', " . "), text("result")),
                ("prefix", _) => format!("{}/{}", text("addr"), text("len")),
                ("range", Value::Array(ends)) => list(ends, "-"),
                ("concat", Value::Array(parts)) => list(parts, " . "),
                ("set", Value::Array(parts)) => {
                    let element = |part: &Value| match part.as_array().map(Vec::as_slice) {
                        Some([key, verdict]) => format!("{} : {}", expression(key), statement(verdict)),
                        _ => expression(part),
                    };
                    format!("{{ {} }}", parts.iter().map(element).collect::<Vec<_>>().join(", "))
                }
                ("elem", _) => text("val"),
                ("&" | "|" | "^", Value::Array(parts)) => list(parts, &format!(" {key} ")),
                _ => value.to_string(),
            }
        }
    }
}
