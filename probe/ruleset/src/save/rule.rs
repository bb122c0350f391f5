//! One rule of a save.

use std::collections::HashSet;
use std::net::IpAddr;

use super::options::{Opt, group};
use super::{matches, targets, words};
use crate::action::Action;
use crate::condition::{Condition, Right};
use crate::expression::{Datum, Element, Expression, Field, Operator};
use crate::model::{Counters, Part, Rule};
use crate::names;
use crate::place::Family;

/// Reads a rule; what is not understood becomes an unknown part.
pub(super) fn parse(
    family: Family,
    chains: &HashSet<String>,
    text: &str,
    number: usize,
    counters: Option<Counters>,
) -> Rule {
    let groups = group(words::split(text));
    let mut parts: Vec<Part> = Vec::new();
    let unknown = |what: &str| Part::Ask(Condition::Unknown(what.to_owned()));
    for option in &groups.own {
        match own(family, option) {
            Some(Some(condition)) => parts.push(Part::Ask(condition)),
            Some(None) => {}
            None => parts.push(unknown(&option.key)),
        }
    }
    for (name, options) in &groups.matches {
        match matches::parse(family, name, options) {
            Some(conditions) => parts.extend(conditions.into_iter().map(Part::Ask)),
            None => parts.push(unknown(name)),
        }
    }
    if let Some(stray) = &groups.stray {
        parts.push(unknown(stray));
    }
    if let Some(target) = &groups.target {
        let action = match chains.contains(&target.name) {
            true if target.goto => Some(Action::Goto(target.name.clone())),
            true => Some(Action::Jump(target.name.clone())),
            false => targets::parse(family, target),
        };
        parts.push(Part::Do(action.unwrap_or_else(|| Action::Unknown(target.name.clone()))));
    }
    Rule { text: text.to_owned(), number, handle: None, counters, parts }
}

/// A condition of the rule itself; `Some(None)` for one that always holds.
fn own(family: Family, option: &Opt) -> Option<Option<Condition>> {
    let word = match option.key.as_str() {
        "-f" | "-4" | "-6" => return own_flag(option),
        _ => option.one()?,
    };
    let (source, destination) = match family {
        Family::Ip => (Field::Ip4Source, Field::Ip4Destination),
        Family::Ip6 => (Field::Ip6Source, Field::Ip6Destination),
    };
    let condition = match option.key.as_str() {
        "-s" => address(source, family, option.negated, word)?,
        "-d" => address(destination, family, option.negated, word)?,
        "-i" => compare(Field::InputName, option.negated, vec![interface(word)]),
        "-o" => compare(Field::OutputName, option.negated, vec![interface(word)]),
        "-p" => {
            let number = names::protocol(word)?;
            if number == 0 {
                return (!option.negated).then_some(None);
            }
            compare(Field::L4Protocol, option.negated, vec![one(u128::from(number))])
        }
        _ => return None,
    };
    Some(Some(condition))
}

/// Whether it is a later fragment, which no packet is after conntrack has put it together.
fn own_flag(option: &Opt) -> Option<Option<Condition>> {
    match (option.key.as_str(), option.negated) {
        ("-f", false) => Some(Some(Condition::Compare {
            left: Expression::Value(Datum::Number(0)),
            operator: Operator::Equal,
            right: Right::Elements(vec![one(1)]),
        })),
        _ => option.arguments.is_empty().then_some(None),
    }
}

/// A condition on an address and its mask.
fn address(field: Field, family: Family, negated: bool, word: &str) -> Option<Condition> {
    let network = network(family, word)?;
    let bits = if family == Family::Ip { 32 } else { 128 };
    let (base, mask) = (as_number(network.0), as_number(network.1));
    let length = mask.count_ones();
    let contiguous = mask == ones(bits) ^ ones(bits - length);
    if contiguous {
        let length = u8::try_from(length).ok()?;
        let bits = u8::try_from(bits).ok()?;
        return Some(compare(field, negated, vec![prefix(base, length, bits)]));
    }
    Some(Condition::Compare {
        left: Expression::And(Box::new(Expression::Field(field)), mask),
        operator: if negated { Operator::NotEqual } else { Operator::Equal },
        right: Right::Elements(vec![one(base & mask)]),
    })
}

/// An address and its mask, of `ADDRESS`, `ADDRESS/LENGTH` or `ADDRESS/MASK`.
pub(super) fn network(family: Family, word: &str) -> Option<(IpAddr, IpAddr)> {
    let (address, mask) =
        word.split_once('/').unwrap_or((word, if family == Family::Ip { "32" } else { "128" }));
    let address: IpAddr = address.parse().ok()?;
    if address.is_ipv4() != (family == Family::Ip) {
        return None;
    }
    let mask = match mask.parse::<u32>() {
        Ok(length) if family == Family::Ip && length <= 32 => {
            IpAddr::V4(u32::try_from(ones(32) ^ ones(32 - length)).ok()?.into())
        }
        Ok(length) if family == Family::Ip6 && length <= 128 => {
            IpAddr::V6((ones(128) ^ ones(128 - length)).into())
        }
        Ok(_) => return None,
        Err(_) => mask.parse().ok()?,
    };
    (mask.is_ipv4() == address.is_ipv4()).then_some((address, mask))
}

/// A number whose lowest bits are set.
fn ones(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX >> (128 - bits.min(128)) }
}

/// An address as a number.
pub(crate) fn as_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn prefix(base: u128, length: u8, bits: u8) -> Element {
    if length == bits { one(base) } else { Element::Prefix { base, length, bits } }
}

/// One number.
pub(super) fn one(number: u128) -> Element {
    Element::One(Datum::Number(number))
}

/// An interface's name, or the beginning of names before `+`.
pub(super) fn interface(word: &str) -> Element {
    match word.strip_suffix('+') {
        Some("") => Element::Any,
        Some(beginning) => Element::Beginning(beginning.into()),
        None => Element::One(Datum::Name(word.into())),
    }
}

/// A condition on one field.
pub(super) fn compare(field: Field, negated: bool, elements: Vec<Element>) -> Condition {
    Condition::Compare {
        left: Expression::Field(field),
        operator: if negated { Operator::NotEqual } else { Operator::Equal },
        right: Right::Elements(elements),
    }
}
