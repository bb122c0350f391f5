//! Questions of rules.

use std::net::IpAddr;

use ruleset::{
    Condition, CtProperty, CtTest, DataKind, Datum, Element, Expression, Network, Operator, PhysdevProperty,
    PhysdevTest, Recent, Right,
};

use super::Carrier;
use crate::kinds::kind_of;
use crate::mapping::{number, of_number};
use crate::text::Net;

/// The kind of a condition that is not carried.
pub(super) fn unknown(condition: &Condition) -> Option<String> {
    if let Condition::Unknown(kind) = condition { Some(kind.clone()) } else { None }
}

fn not_carried(kind: &str) -> Condition {
    Condition::Unknown(kind.to_owned())
}

impl Carrier<'_> {
    pub(super) fn condition(&mut self, condition: &Condition) -> Condition {
        match condition {
            Condition::Compare { left, operator, right } => self.compare(left, *operator, right),
            Condition::EitherPort { negated, ports } => match self.elements(&[DataKind::Port], ports) {
                Some(ports) => Condition::EitherPort { negated: *negated, ports },
                None => not_carried("multiport"),
            },
            Condition::Conntrack(tests) => {
                let tests: Option<Vec<_>> = tests.iter().map(|test| self.connection(test)).collect();
                tests.map_or_else(|| not_carried("address"), Condition::Conntrack)
            }
            Condition::Recent(recent) => {
                Condition::Recent(Recent { name: self.name(&recent.name), ..recent.clone() })
            }
            Condition::IpSet { name, negated, sides } => {
                Condition::IpSet { name: self.name(name), negated: *negated, sides: sides.clone() }
            }
            Condition::Physdev(tests) => {
                let tests: Option<Vec<_>> = tests.iter().map(|test| self.port(test)).collect();
                tests.map_or_else(|| not_carried("name"), Condition::Physdev)
            }
            Condition::Limit(_)
            | Condition::AddressType(_)
            | Condition::ReversePath { .. }
            | Condition::Quota { .. } => condition.clone(),
            Condition::Unknown(text) => not_carried(kind_of(text)),
        }
    }

    fn compare(&mut self, left: &Expression, operator: Operator, right: &Right) -> Condition {
        if let Some(kind) = unknown_kind(left) {
            return not_carried(kind);
        }
        let kinds = left.kinds();
        let carried = match right {
            // Bits of an address that a mask cuts off are not 0 any more in a mapped set.
            Right::Set(name) if is_plain(left) => Some((left.clone(), operator, Right::Set(self.name(name)))),
            Right::Set(_) => None,
            Right::Elements(elements) => match masked(left) {
                Some((v6, mask)) => self.masked(v6, mask, elements).map(|it| (left.clone(), operator, it)),
                None if !is_plain(left) => None,
                None => self
                    .ordered(&kinds, operator, elements)
                    .or_else(|| self.elements(&kinds, elements).map(|it| (operator, it)))
                    .map(|(operator, it)| (left.clone(), operator, Right::Elements(it))),
            },
        };
        let comparable =
            |operator| !addresses(&kinds) || matches!(operator, Operator::Equal | Operator::NotEqual);
        match carried.filter(|(_, operator, _)| comparable(*operator)) {
            Some((left, operator, right)) => Condition::Compare { left, operator, right },
            None if addresses(&kinds) => not_carried("address"),
            None => not_carried("other"),
        }
    }

    /// Addresses below or above one: the order is not kept, so they become the networks that hold them.
    fn ordered(
        &mut self,
        kinds: &[DataKind],
        operator: Operator,
        elements: &[Element],
    ) -> Option<(Operator, Vec<Element>)> {
        let most = match kinds {
            [DataKind::Ip4] => u128::from(u32::MAX),
            [DataKind::Ip6] => u128::MAX,
            _ => return None,
        };
        let [Element::One(Datum::Number(value))] = elements else { return None };
        let range = match operator {
            Operator::Less => Element::Range(0, value.checked_sub(1)?),
            Operator::AtMost => Element::Range(0, *value),
            Operator::Greater => Element::Range(value.checked_add(1).filter(|first| *first <= most)?, most),
            Operator::AtLeast => Element::Range(*value, most),
            Operator::Equal | Operator::NotEqual | Operator::AnyBit => return None,
        };
        Some((Operator::Equal, self.elements(kinds, &[range])?))
    }

    /// What is compared with an address and a mask: a mask that names a network has one of a mapped one.
    fn masked(&mut self, v6: bool, mask: u128, elements: &[Element]) -> Option<Right> {
        let length = length_of(mask, v6)?;
        let carried: Option<Vec<Element>> = elements
            .iter()
            .map(|element| {
                let Element::One(Datum::Number(value)) = element else { return None };
                // A value with bits that the mask has not is no address's: it stays one.
                if value & !mask != 0 {
                    return None;
                }
                let net = self.mapping.net(Net::new(of_number(*value, v6), length)?);
                Some(Element::One(Datum::Number(number(net.address()).0)))
            })
            .collect();
        carried.map(Right::Elements)
    }

    fn connection(&mut self, test: &CtTest) -> Option<CtTest> {
        let what = match &test.what {
            CtProperty::OriginalSource(of) => CtProperty::OriginalSource(self.network(*of)?),
            CtProperty::OriginalDestination(of) => CtProperty::OriginalDestination(self.network(*of)?),
            CtProperty::ReplySource(of) => CtProperty::ReplySource(self.network(*of)?),
            CtProperty::ReplyDestination(of) => CtProperty::ReplyDestination(self.network(*of)?),
            other => other.clone(),
        };
        Some(CtTest { negated: test.negated, what })
    }

    fn network(&mut self, of: Network) -> Option<Network> {
        let (mask, v6) = number(of.mask);
        let net = Net::new(of.address, length_of(mask, v6)?).filter(|_| of.address.is_ipv4() != v6)?;
        Some(Network { address: self.mapping.net(net).address(), mask: of.mask })
    }

    fn port(&mut self, test: &PhysdevTest) -> Option<PhysdevTest> {
        let what = match &test.what {
            PhysdevProperty::In(name) => PhysdevProperty::In(self.interface(name)?),
            PhysdevProperty::Out(name) => PhysdevProperty::Out(self.interface(name)?),
            other => other.clone(),
        };
        Some(PhysdevTest { negated: test.negated, what })
    }
}

/// The kind of the first part of an expression that is not understood.
pub(super) fn unknown_kind(expression: &Expression) -> Option<&'static str> {
    match expression {
        Expression::Unknown(text) => Some(kind_of(text)),
        Expression::And(inner, _) | Expression::Or(inner, _) | Expression::Xor(inner, _) => {
            unknown_kind(inner)
        }
        Expression::Concat(parts) => parts.iter().find_map(unknown_kind),
        Expression::Field(_) | Expression::Value(_) => None,
    }
}

/// Whether nothing is computed from an address, and no name is in it.
pub(super) fn is_plain(expression: &Expression) -> bool {
    match expression {
        Expression::Field(_) | Expression::Value(Datum::Number(_)) => true,
        Expression::And(inner, _) | Expression::Or(inner, _) | Expression::Xor(inner, _) => {
            !addresses(&inner.kinds()) && is_plain(inner)
        }
        Expression::Concat(parts) => parts.iter().all(is_plain),
        Expression::Value(_) | Expression::Unknown(_) => false,
    }
}

pub(super) fn addresses(kinds: &[DataKind]) -> bool {
    kinds.iter().any(|kind| matches!(kind, DataKind::Ip4 | DataKind::Ip6))
}

/// Of `ADDRESS & MASK`: whether it is of IPv6, and the mask.
fn masked(expression: &Expression) -> Option<(bool, u128)> {
    let Expression::And(inner, mask) = expression else { return None };
    match inner.kinds().as_slice() {
        [DataKind::Ip4] if matches!(**inner, Expression::Field(_)) => Some((false, *mask)),
        [DataKind::Ip6] if matches!(**inner, Expression::Field(_)) => Some((true, *mask)),
        _ => None,
    }
}

/// How many first bits a mask has, if these are all that it has.
fn length_of(mask: u128, v6: bool) -> Option<u8> {
    let bits: u32 = if v6 { 128 } else { 32 };
    let length = mask.count_ones();
    let net =
        if length == 0 { 0 } else { (u128::MAX >> (128 - length)).checked_shl(bits - length).unwrap_or(0) };
    (net == mask).then_some(u8::try_from(length).ok()?)
}

/// Both ends of what a packet is translated to, where they are a network or one address.
pub(super) fn whole(first: IpAddr, last: IpAddr) -> Option<Net> {
    let ((low, v6), (high, other)) = (number(first), number(last));
    let bits: u32 = if v6 { 128 } else { 32 };
    let size = 128 - (low ^ high).leading_zeros();
    let ones = if size == 0 { 0 } else { u128::MAX >> (128 - size) };
    let aligned = v6 == other && low & ones == 0 && high == low | ones;
    aligned.then(|| Net::new(first, u8::try_from(bits - size).ok()?))?
}
