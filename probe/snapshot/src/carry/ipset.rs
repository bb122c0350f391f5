//! Sets of `ipset`.

use std::net::IpAddr;

use ruleset::{Entry, EntryValue, IpSet};

use super::{Carrier, MOST_ELEMENTS};
use crate::text::Net;

/// How `ipset` stores sets.
pub(crate) const METHODS: [&str; 3] = ["hash", "bitmap", "list"];

impl Carrier<'_> {
    pub(super) fn ipset(&mut self, set: &IpSet) -> IpSet {
        let mut entries = Vec::with_capacity(set.entries.len());
        let mut known = set.known;
        for entry in &set.entries {
            match self.entry(entry) {
                Some(rows) if entries.len() + rows.len() <= MOST_ELEMENTS => entries.extend(rows),
                _ => known = false,
            }
        }
        let method = METHODS.into_iter().find(|method| *method == set.method).unwrap_or("other");
        IpSet {
            name: self.name(&set.name),
            method: method.to_owned(),
            components: set.components.clone(),
            v6: set.v6,
            known,
            entries: if known { entries } else { Vec::new() },
        }
    }

    /// An entry with ranges becomes one for each of their networks.
    fn entry(&mut self, entry: &Entry) -> Option<Vec<Entry>> {
        let mut rows: Vec<Vec<EntryValue>> = vec![Vec::new()];
        for value in &entry.values {
            let choices = self.value(value)?;
            if rows.len().saturating_mul(choices.len()) > MOST_ELEMENTS {
                return None;
            }
            rows = rows
                .iter()
                .flat_map(|row| choices.iter().map(|it| row.iter().cloned().chain([it.clone()]).collect()))
                .collect();
        }
        Some(rows.into_iter().map(|values| Entry { values, nomatch: entry.nomatch }).collect())
    }

    fn value(&mut self, value: &EntryValue) -> Option<Vec<EntryValue>> {
        let net = |net: Net| EntryValue::Net(net.address(), net.length());
        Some(match value {
            EntryValue::Net(address, length) => vec![net(self.mapping.net(Net::new(*address, *length)?))],
            EntryValue::Range(first, last) => self.range(*first, *last)?.into_iter().map(net).collect(),
            EntryValue::Port(..) | EntryValue::Mark(_) => vec![value.clone()],
            EntryValue::Iface { name, port } => {
                vec![EntryValue::Iface { name: self.names.interface(name).into(), port: *port }]
            }
            EntryValue::Set(name) => vec![EntryValue::Set(self.name(name))],
        })
    }

    fn range(&self, first: IpAddr, last: IpAddr) -> Option<Vec<Net>> {
        self.mapping.range(first, last)
    }
}
