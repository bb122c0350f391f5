//! Values that conditions compare with.

use ruleset::{Action, DataKind, Datum, Element};

use super::{Carrier, MOST_ELEMENTS};
use crate::mapping::of_number;
use crate::text::Net;

impl Carrier<'_> {
    /// The elements of these kinds; `None` where one cannot be carried.
    pub(super) fn elements(&mut self, kinds: &[DataKind], elements: &[Element]) -> Option<Vec<Element>> {
        let mut carried = Vec::with_capacity(elements.len());
        for element in elements {
            carried.extend(self.element(kinds, element)?);
            if carried.len() > MOST_ELEMENTS {
                return None;
            }
        }
        Some(carried)
    }

    /// The pairs of a map of verdicts.
    pub(super) fn pairs(
        &mut self,
        kinds: &[DataKind],
        pairs: &[(Element, Action)],
    ) -> Option<Vec<(Element, Action)>> {
        let mut carried = Vec::with_capacity(pairs.len());
        for (key, action) in pairs {
            let action = self.action(action);
            let keys = self.element(kinds, key)?;
            carried.extend(keys.into_iter().map(|key| (key, action.clone())));
            if carried.len() > MOST_ELEMENTS {
                return None;
            }
        }
        Some(carried)
    }

    fn element(&mut self, kinds: &[DataKind], element: &Element) -> Option<Vec<Element>> {
        match element {
            Element::Any => return Some(vec![Element::Any]),
            Element::Concat(parts) => return self.concat(kinds, parts),
            Element::One(Datum::Concat(data)) => {
                let parts: Vec<Element> = data.iter().cloned().map(Element::One).collect();
                return self.concat(kinds, &parts);
            }
            _ => {}
        }
        let [kind] = kinds else { return None };
        match kind {
            DataKind::Ip4 => self.addresses(element, false),
            DataKind::Ip6 => self.addresses(element, true),
            DataKind::Interface => Some(vec![self.interface(element)?]),
            _ => match element {
                Element::One(Datum::Number(_)) | Element::Range(..) | Element::Prefix { .. } => {
                    Some(vec![element.clone()])
                }
                _ => None,
            },
        }
    }

    /// All combinations of what the parts become.
    fn concat(&mut self, kinds: &[DataKind], parts: &[Element]) -> Option<Vec<Element>> {
        if kinds.len() != parts.len() {
            return None;
        }
        let mut rows: Vec<Vec<Element>> = vec![Vec::new()];
        for (kind, part) in kinds.iter().zip(parts) {
            let choices = self.element(std::slice::from_ref(kind), part)?;
            if rows.len().saturating_mul(choices.len()) > MOST_ELEMENTS {
                return None;
            }
            rows = rows
                .iter()
                .flat_map(|row| {
                    choices.iter().map(|choice| row.iter().cloned().chain([choice.clone()]).collect())
                })
                .collect();
        }
        Some(rows.into_iter().map(Element::Concat).collect())
    }

    fn addresses(&mut self, element: &Element, v6: bool) -> Option<Vec<Element>> {
        let width: u8 = if v6 { 128 } else { 32 };
        let whole = |value: u128| v6 || value <= u128::from(u32::MAX);
        Some(match element {
            Element::One(Datum::Number(value)) if whole(*value) => {
                let mapped = self.mapping.address(of_number(*value, v6));
                vec![Element::One(Datum::Number(crate::mapping::number(mapped).0))]
            }
            Element::Prefix { base, length, bits } if *bits == width && whole(*base) => {
                vec![prefix(self.mapping.net(Net::new(of_number(*base, v6), *length)?), width)]
            }
            Element::Range(first, last) if whole(*first) && whole(*last) => {
                let networks = self.mapping.range(of_number(*first, v6), of_number(*last, v6))?;
                networks.into_iter().map(|net| prefix(net, width)).collect()
            }
            _ => return None,
        })
    }

    pub(super) fn interface(&mut self, element: &Element) -> Option<Element> {
        Some(match element {
            Element::Any => Element::Any,
            Element::One(Datum::Name(name)) => Element::One(Datum::Name(self.names.interface(name).into())),
            Element::One(Datum::Number(_)) => element.clone(),
            // A beginning that is renamed would be that of other names.
            Element::Beginning(start) => {
                crate::Interface::new(start.as_str()).ok().filter(|_| self.names.is_harmless(start))?;
                element.clone()
            }
            _ => return None,
        })
    }
}

fn prefix(net: Net, bits: u8) -> Element {
    let base = crate::mapping::number(net.address()).0;
    if net.length() == bits {
        return Element::One(Datum::Number(base));
    }
    Element::Prefix { base, length: net.length(), bits }
}
