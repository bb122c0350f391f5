//! The document: tables, chains, rules.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{sets, statement, words};
use crate::model::{Base, Chain, Counters, Hook, Kind, Part, Policy, Rule, Table};
use crate::place::{Backend, TableFamily};
use crate::{ParseError, printable};

/// Reads the tables.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Table>, ParseError> {
    let (skipped, document) = without_warnings(text);
    let value: Value = serde_json::from_slice(document)
        .map_err(|error| ParseError::json(skipped + error.line(), "a JSON document", &error.to_string()))?;
    let objects = value.get("nftables").and_then(Value::as_array);
    let objects = objects
        .ok_or_else(|| ParseError::json(0, "an object with the list \"nftables\"", &value.to_string()))?;
    let mut reader = Reader::default();
    for object in objects {
        reader.object(object)?;
    }
    Ok(reader.tables)
}

/// nft prints its warnings as comments before the document.
fn without_warnings(text: &[u8]) -> (usize, &[u8]) {
    let (mut rest, mut skipped) = (text, 0);
    while rest.trim_ascii_start().first() == Some(&b'#') {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        rest = &rest[end..];
        skipped += 1;
    }
    (skipped, rest)
}

#[derive(Default)]
struct Reader {
    tables: Vec<Table>,
    at: HashMap<(TableFamily, String), usize>,
    chains: HashMap<(usize, String), usize>,
}

impl Reader {
    fn object(&mut self, object: &Value) -> Result<(), ParseError> {
        let bad = |expected| ParseError::json(0, expected, &object.to_string());
        let one =
            object.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
        let (kind, body) = one.ok_or_else(|| bad("an object with one key"))?;
        match kind.as_str() {
            "table" => self.table(body).ok_or_else(|| bad("a table with family and name")),
            "chain" => self.chain(body).ok_or_else(|| bad("a chain of a table that was listed before")),
            "rule" => self.rule(body).ok_or_else(|| bad("a rule of a chain that was listed before")),
            "set" | "map" => {
                self.set(kind, body).ok_or_else(|| bad("a set of a table that was listed before"))
            }
            _ => Ok(()),
        }
    }

    fn table(&mut self, body: &Value) -> Option<()> {
        let (family, name) = (family(body)?, text(body, "name")?);
        let flags = body.get("flags");
        let dormant = flags.is_some_and(|flags| flags.to_string().contains("\"dormant\""));
        self.at.insert((family, name.clone()), self.tables.len());
        self.tables.push(Table {
            family,
            name,
            backend: Backend::Native,
            dormant,
            chains: Vec::new(),
            sets: BTreeMap::new(),
            maps: BTreeMap::new(),
        });
        Some(())
    }

    fn place(&self, body: &Value) -> Option<usize> {
        self.at.get(&(family(body)?, text(body, "table")?)).copied()
    }

    fn chain(&mut self, body: &Value) -> Option<()> {
        let (table, name) = (self.place(body)?, text(body, "name")?);
        let base = match body.get("hook") {
            None => None,
            Some(_) => Some(base(self.tables[table].family, body)?),
        };
        let chains = &mut self.tables[table].chains;
        self.chains.insert((table, name.clone()), chains.len());
        chains.push(Chain { name, base, counters: None, rules: Vec::new() });
        Some(())
    }

    fn rule(&mut self, body: &Value) -> Option<()> {
        let table = self.place(body)?;
        let chain = *self.chains.get(&(table, text(body, "chain")?))?;
        let table = &mut self.tables[table];
        let statements = body.get("expr").and_then(Value::as_array)?;
        let mut parts: Vec<Part> = Vec::new();
        for statement in statements {
            statement::read(table.family, statement, &mut parts);
        }
        let rules = &mut table.chains[chain].rules;
        rules.push(Rule {
            text: printable(words::rule(statements).as_bytes()),
            number: rules.len() + 1,
            handle: body.get("handle").and_then(Value::as_u64),
            counters: statements.iter().find_map(counters),
            parts,
        });
        Some(())
    }

    fn set(&mut self, kind: &str, body: &Value) -> Option<()> {
        let (table, name) = (self.place(body)?, text(body, "name")?);
        let table = &mut self.tables[table];
        if kind == "set" {
            table.sets.insert(name, sets::set(body));
        } else {
            table.maps.insert(name, sets::map(table.family, body));
        }
        Some(())
    }
}

fn text(body: &Value, key: &str) -> Option<String> {
    body.get(key)?.as_str().map(|text| printable(text.as_bytes()))
}

fn family(body: &Value) -> Option<TableFamily> {
    TableFamily::of_name(body.get("family")?.as_str()?)
}

fn base(family: TableFamily, body: &Value) -> Option<Base> {
    let hook = Hook::of_name(body.get("hook")?.as_str()?)?;
    let kind = match body.get("type")?.as_str()? {
        "filter" => Kind::Filter,
        "nat" => Kind::Nat,
        "route" => Kind::Route,
        _ => return None,
    };
    let policy = match body.get("policy").and_then(Value::as_str) {
        Some("drop") => Policy::Drop,
        Some("accept") | None => Policy::Accept,
        Some(_) => return None,
    };
    let devices = match body.get("dev") {
        None => Vec::new(),
        Some(Value::String(name)) => vec![printable(name.as_bytes())],
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).map(|name| printable(name.as_bytes())).collect()
        }
        Some(_) => return None,
    };
    Some(Base { hook, priority: priority(family, body.get("prio")?)?, policy, kind, devices })
}

/// A priority: a number, or a name with an offset as in `mangle + 10`.
fn priority(family: TableFamily, value: &Value) -> Option<i32> {
    if let Some(number) = value.as_i64() {
        return i32::try_from(number).ok();
    }
    let text: String = value.as_str()?.chars().filter(|character| !character.is_whitespace()).collect();
    let end = text.find(['+', '-']).unwrap_or(text.len());
    let offset: i32 = if end == text.len() { 0 } else { text[end..].parse().ok()? };
    let named = match (family, &text[..end]) {
        (TableFamily::Bridge, "dstnat") => -300,
        (TableFamily::Bridge, "filter") => -200,
        (TableFamily::Bridge, "out") => 100,
        (TableFamily::Bridge, "srcnat") => 300,
        (_, "raw") => -300,
        (_, "mangle") => -150,
        (_, "dstnat") => -100,
        (_, "filter" | "") => 0,
        (_, "security") => 50,
        (_, "srcnat") => 100,
        _ => return None,
    };
    Some(named + offset)
}

fn counters(statement: &Value) -> Option<Counters> {
    let counter = statement.get("counter")?;
    Some(Counters { packets: counter.get("packets")?.as_u64()?, bytes: counter.get("bytes")?.as_u64()? })
}
