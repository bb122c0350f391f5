//! The sets that `ipset save` prints.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ParseError, printable};

const SOURCE: &str = "ipset save";

/// A set of `ipset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IpSet {
    /// Its name.
    pub name: String,
    /// How it is stored: `hash`, `bitmap` or `list`.
    pub method: String,
    /// What each component of an entry is, such as `ip` or `port`.
    pub components: Vec<Component>,
    /// Whether it holds IPv6 addresses.
    pub v6: bool,
    /// Whether it is of a kind whose entries are understood.
    pub known: bool,
    /// What it holds.
    pub entries: Vec<Entry>,
}

/// What a component of an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// An address.
    Ip,
    /// A network.
    Net,
    /// A protocol and its port.
    Port,
    /// An interface.
    Iface,
    /// A mark.
    Mark,
    /// A hardware address.
    Mac,
    /// Another set.
    Set,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Entry {
    /// Its components, as many as the set has.
    pub values: Vec<EntryValue>,
    /// Whether it is an exception.
    pub nomatch: bool,
}

/// A component of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryValue {
    /// An address or a network.
    Net(IpAddr, u8),
    /// Addresses, first and last.
    Range(IpAddr, IpAddr),
    /// Ports of a protocol, first and last; no protocol where the set has none.
    Port(Option<u8>, u16, u16),
    /// An interface, or a port of a bridge.
    Iface {
        /// Its name.
        name: String,
        /// Whether it is a port of a bridge.
        port: bool,
    },
    /// A mark.
    Mark(u32),
    /// Another set's name.
    Set(String),
}

/// Reads the sets.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<IpSet>, ParseError> {
    let mut sets: Vec<IpSet> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let shown = printable(line);
        let words: Vec<&str> = shown.split_whitespace().collect();
        let bad = |expected| ParseError::line(SOURCE, index + 1, expected, line);
        match words.as_slice() {
            [] => {}
            [word, ..] if word.starts_with('#') => {}
            ["create", name, kind, options @ ..] => sets.push(created(name, kind, options)),
            ["add", name, entry, options @ ..] => {
                let known = sets.iter_mut().rev().find(|set| set.name == *name);
                let set = known.ok_or_else(|| bad("an entry of a set that was created before"))?;
                match read(set, entry) {
                    Some(values) => set.entries.push(Entry { values, nomatch: options.contains(&"nomatch") }),
                    None => set.known = false,
                }
            }
            _ => return Err(bad("\"create NAME TYPE …\" or \"add NAME ENTRY …\"")),
        }
    }
    Ok(sets)
}

fn created(name: &str, kind: &str, options: &[&str]) -> IpSet {
    let (method, list) = kind.split_once(':').unwrap_or((kind, ""));
    let component = |word: &str| match word {
        "ip" => Some(Component::Ip),
        "net" => Some(Component::Net),
        "port" => Some(Component::Port),
        "iface" => Some(Component::Iface),
        "mark" => Some(Component::Mark),
        "mac" => Some(Component::Mac),
        "set" => Some(Component::Set),
        _ => None,
    };
    let components: Option<Vec<_>> = list.split(',').map(component).collect();
    let follows = |option: &str| {
        let at = options.iter().position(|word| *word == option)?;
        options.get(at + 1).copied()
    };
    // A mask of the set itself changes what is looked up.
    let plain = |option: &str, none: &[&str]| follows(option).is_none_or(|value| none.contains(&value));
    let masked = !plain("netmask", &["32", "128"])
        || !plain("markmask", &["0xffffffff"])
        || follows("bitmask").is_some();
    IpSet {
        name: name.into(),
        method: method.into(),
        known: components.is_some() && !masked,
        components: components.unwrap_or_default(),
        v6: follows("family") == Some("inet6"),
        entries: Vec::new(),
    }
}

/// An entry's components.
fn read(set: &IpSet, entry: &str) -> Option<Vec<EntryValue>> {
    let words: Vec<&str> = entry.split(',').collect();
    if words.len() != set.components.len() {
        return None;
    }
    let bitmap = set.method == "bitmap";
    words.iter().zip(&set.components).map(|(word, component)| value(*component, word, bitmap)).collect()
}

fn value(component: Component, word: &str, bitmap: bool) -> Option<EntryValue> {
    match component {
        Component::Ip | Component::Net => {
            if let Some((first, last)) = word.split_once('-') {
                return Some(EntryValue::Range(first.parse().ok()?, last.parse().ok()?));
            }
            let (address, length) = match word.split_once('/') {
                Some((address, length)) => (address, Some(length.parse().ok()?)),
                None => (word, None),
            };
            let address: IpAddr = address.parse().ok()?;
            let all = if address.is_ipv6() { 128 } else { 32 };
            Some(EntryValue::Net(address, length.unwrap_or(all)))
        }
        Component::Port => {
            let (protocol, ports) = match word.split_once(':') {
                Some((name, ports)) => (Some(crate::names::protocol(name)?), ports),
                None if bitmap => (None, word),
                None => (Some(6), word),
            };
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            Some(EntryValue::Port(protocol, first.parse().ok()?, last.parse().ok()?))
        }
        Component::Iface => {
            let (name, port) = match word.strip_prefix("physdev:") {
                Some(name) => (name, true),
                None => (word, false),
            };
            Some(EntryValue::Iface { name: name.into(), port })
        }
        Component::Mark => {
            crate::names::number(word).and_then(|n| u32::try_from(n).ok()).map(EntryValue::Mark)
        }
        Component::Set => Some(EntryValue::Set(word.into())),
        Component::Mac => None,
    }
}
