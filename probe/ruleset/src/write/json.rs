//! nft's own tables as commands for `nft -j -f -`, and `ipset` sets as text for `ipset restore`.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{ChainPlaces, WrittenJson, json_value, name};
use crate::ipset::{Component, EntryValue, IpSet};
use crate::model::{Chain, Policy, Ruleset, Table};
use crate::place::Backend;

impl Ruleset {
    /// nft's own tables as commands: tables, then chains, then sets and maps, then rules, so that each finds what it names.
    ///
    /// With them are the old backend's tables where iptables-nft has one of the same name ([`Ruleset::written_beside`]): under
    /// another name, and just before it, as the evaluation takes them.
    pub fn nft_json(&self) -> WrittenJson {
        let (mut not_written, mut chains) = (Vec::new(), Vec::new());
        let (mut heads, mut rules) = (Vec::new(), Vec::new());
        let beside = |table: &Table| {
            let name = self.written_beside(&table.name, table.family)?;
            let mut beside = Table { name, ..table.clone() };
            for base in beside.chains.iter_mut().filter_map(|chain| chain.base.as_mut()) {
                base.priority -= 1;
            }
            Some(beside)
        };
        let tables = self.tables.iter().filter_map(|table| match table.backend {
            Backend::Native => Some((table, Cow::Borrowed(table))),
            Backend::Legacy => Some((table, Cow::Owned(beside(table)?))),
            Backend::Nft => None,
        });
        for (captured, table) in tables {
            let table = table.as_ref();
            let Some(table_name) = name::nft_identifier(&table.name) else {
                not_written.extend(places(captured));
                continue;
            };
            heads.push(json!({"add": {"table": {"family": table.family.name(), "name": table_name}}}));
            for chain in &table.chains {
                heads.extend(head(table, chain).map(|chain| json!({"add": {"chain": chain}})));
            }
            for (name, set) in &table.sets {
                heads.extend(json_value::set(table, name, set).map(|set| json!({"add": {"set": set}})));
            }
            for (name, map) in &table.maps {
                heads.extend(json_value::map(table, name, map).map(|map| json!({"add": {"map": map}})));
            }
            for chain in &table.chains {
                let mut written = Vec::new();
                for rule in &chain.rules {
                    let place = captured.rule_place(chain, rule);
                    let statements = head(table, chain).and_then(|_| json_value::rule(table, rule));
                    let Some(statements) = statements else {
                        not_written.push(place);
                        continue;
                    };
                    written.push(place);
                    rules.push(json!({"add": {"rule": {
                        "family": table.family.name(),
                        "table": table.name,
                        "chain": chain.name,
                        "expr": statements,
                    }}}));
                }
                chains.push(ChainPlaces {
                    backend: table.backend,
                    family: table.family,
                    table: table.name.clone(),
                    chain: chain.name.clone(),
                    rules: written,
                });
            }
        }
        heads.extend(rules);
        WrittenJson { json: json!({ "nftables": heads }), not_written, chains }
    }

    /// The `ipset` sets that are understood, as text for `ipset restore`.
    pub fn ipset_text(&self) -> String {
        let mut text = String::new();
        // Lists name other sets, which have to be there before.
        let lists = |set: &&IpSet| set.components == [Component::Set];
        let sets = self.ipsets.iter().filter(|set| set.known && name::identifier(&set.name).is_some());
        let ordered = sets.clone().filter(|set| !lists(set)).chain(sets.filter(lists));
        for set in ordered {
            write_set(&mut text, set);
        }
        text
    }
}

fn places(table: &Table) -> Vec<crate::Place> {
    let rules = |chain| move |rule| table.rule_place(chain, rule);
    table.chains.iter().flat_map(|chain| chain.rules.iter().map(rules(chain))).collect()
}

fn head(table: &Table, chain: &Chain) -> Option<Value> {
    let mut head = json!({
        "family": table.family.name(),
        "table": table.name,
        "name": name::nft_identifier(&chain.name)?,
    });
    if let Some(base) = &chain.base {
        head["type"] = base.kind.name().into();
        head["hook"] = base.hook.name().into();
        head["prio"] = base.priority.into();
        head["policy"] = if base.policy == Policy::Drop { "drop" } else { "accept" }.into();
        let devices: Vec<&str> =
            base.devices.iter().map(|name| name::interface(name)).collect::<Option<_>>()?;
        match devices.as_slice() {
            [] => {}
            [one] => head["dev"] = (*one).into(),
            several => head["dev"] = several.into(),
        }
    }
    Some(head)
}

fn write_set(text: &mut String, set: &IpSet) {
    const METHODS: [&str; 3] = ["hash", "bitmap", "list"];
    let Some(method) = METHODS.into_iter().find(|method| *method == set.method) else { return };
    let component = |component: &Component| match component {
        Component::Ip => "ip",
        Component::Net => "net",
        Component::Port => "port",
        Component::Iface => "iface",
        Component::Mark => "mark",
        Component::Mac => "mac",
        Component::Set => "set",
    };
    let components: Vec<_> = set.components.iter().map(component).collect();
    let options = match (method, components.as_slice()) {
        ("hash", _) if set.v6 => " family inet6",
        ("hash", _) => " family inet",
        ("bitmap", ["port"]) => " range 0-65535",
        ("list", _) => "",
        // Its range is not kept.
        _ => return,
    };
    let _ = writeln!(text, "create {} {method}:{}{options}", set.name, components.join(","));
    for entry in &set.entries {
        let values: Option<Vec<_>> = entry.values.iter().map(value).collect();
        if let Some(values) = values {
            let exception = if entry.nomatch { " nomatch" } else { "" };
            let _ = writeln!(text, "add {} {}{exception}", set.name, values.join(","));
        }
    }
}

fn value(value: &EntryValue) -> Option<String> {
    Some(match value {
        EntryValue::Net(address, length) => format!("{address}/{length}"),
        EntryValue::Range(first, last) => format!("{first}-{last}"),
        EntryValue::Port(None, first, last) => format!("{first}-{last}"),
        EntryValue::Port(Some(protocol), first, last) => format!("{protocol}:{first}-{last}"),
        EntryValue::Iface { name, port } => {
            format!("{}{}", if *port { "physdev:" } else { "" }, name::interface(name)?)
        }
        EntryValue::Mark(mark) => format!("{mark:#x}"),
        EntryValue::Set(name) => name::identifier(name)?.to_owned(),
    })
}
