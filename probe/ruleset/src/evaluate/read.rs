//! What the packet has where a condition looks, and whether that is what the condition asks for.

use super::answer::Truth;
use super::chain::Run;
use super::connection;
use super::spot::{Interface, Layer};
use super::state::{Bits, PartId, Tracked};
use crate::action::Action;
use crate::condition::Right;
use crate::expression::{Datum, Element, Expression, Field, Operator};
use crate::save::as_number;
use crate::walk::Packet;

/// What the packet has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// A number, perhaps with unknown bits.
    Number(Bits),
    /// A name.
    Name(String),
    /// Several.
    Concat(Vec<Reading>),
    /// No such thing: the rule does not match, whatever it asks.
    Missing,
    /// One of the numbers from the first to the second, and nobody knows which.
    Between(u128, u128),
    /// Something that nobody knows.
    Unknown(String),
}

/// What is not known of the length of an answer.
const SOME_LENGTH: &str = "the length of the service's answer is not known";

impl Reading {
    fn number(value: impl Into<u128>) -> Self {
        Self::Number(Bits { value: value.into(), unknown: 0 })
    }

    /// The value, if all of it is known.
    fn datum(&self) -> Result<Datum, String> {
        match self {
            Self::Number(Bits { value, unknown: 0 }) => Ok(Datum::Number(*value)),
            Self::Number(_) => Err("the mark depends on what is not understood".into()),
            Self::Name(name) => Ok(Datum::Name(name.clone())),
            Self::Concat(parts) => {
                Ok(Datum::Concat(parts.iter().map(Self::datum).collect::<Result<_, _>>()?))
            }
            Self::Missing => Err("nothing to compare".into()),
            Self::Between(..) => Err(SOME_LENGTH.into()),
            Self::Unknown(why) => Err(why.clone()),
        }
    }
}

impl Run<'_, '_> {
    /// Reads what an expression names.
    pub(super) fn read(&self, id: PartId, expression: &Expression) -> Reading {
        match expression {
            Expression::Field(field) => self.field(*field),
            Expression::Value(Datum::Number(number)) => Reading::number(*number),
            Expression::Value(_) => Reading::Unknown("a value of an unknown kind".into()),
            Expression::And(inner, mask) => self
                .changed(id, inner, |bits| Bits { value: bits.value & mask, unknown: bits.unknown & mask }),
            Expression::Or(inner, set) => {
                self.changed(id, inner, |bits| Bits { value: bits.value | set, unknown: bits.unknown & !set })
            }
            Expression::Xor(inner, turn) => self.changed(id, inner, |bits| Bits {
                value: (bits.value ^ turn) & !bits.unknown,
                unknown: bits.unknown,
            }),
            Expression::Concat(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| self.read(id, part)).collect();
                if parts.contains(&Reading::Missing) { Reading::Missing } else { Reading::Concat(parts) }
            }
            Expression::Unknown(what) => Reading::Unknown(format!("\"{what}\" is not understood")),
        }
    }

    fn changed(&self, id: PartId, inner: &Expression, change: impl FnOnce(Bits) -> Bits) -> Reading {
        match self.read(id, inner) {
            Reading::Number(bits) => Reading::Number(change(bits)),
            Reading::Name(_) | Reading::Concat(_) => Reading::Unknown("bits of what is no number".into()),
            Reading::Between(..) => Reading::Unknown(SOME_LENGTH.into()),
            other => other,
        }
    }

    /// A number for a mark; nobody knows any bit of what is not understood. Without one the kernel breaks the rule off
    /// (`NFT_BREAK`), as with the mark of a connection that conntrack does not know.
    pub(super) fn number(&self, id: PartId, expression: &Expression) -> Option<Bits> {
        match self.read(id, expression) {
            Reading::Number(bits) => Some(bits),
            Reading::Missing => None,
            _ => Some(Bits { value: 0, unknown: u128::from(u32::MAX) }),
        }
    }

    /// Compares what is read.
    pub(super) fn compare(&self, id: PartId, left: &Expression, operator: Operator, right: &Right) -> Truth {
        let reading = self.read(id, left);
        if reading == Reading::Missing {
            return Truth::No;
        }
        let elements = match right {
            Right::Elements(elements) => elements.as_slice(),
            Right::Set(name) => {
                let changed = self.state.sets_changed.contains(&(id.0, name.clone()));
                let set = self.scene.rules.tables[id.0].sets.get(name);
                match set.and_then(|set| set.elements.as_deref()).filter(|_| !changed) {
                    Some(elements) => elements,
                    None => return Truth::Maybe(format!("the set \"{name}\" is not known")),
                }
            }
        };
        match operator {
            Operator::Equal => held(&reading, elements),
            Operator::NotEqual => held(&reading, elements).turned(true),
            Operator::AnyBit => any_bit(&reading, elements),
            Operator::Less | Operator::Greater | Operator::AtMost | Operator::AtLeast => {
                ordered(&reading, operator, elements)
            }
        }
    }

    /// The first entry of a verdict map that holds what was read.
    pub(super) fn first_held(
        &self,
        reading: &Reading,
        entries: &[(Element, Action)],
    ) -> Result<Option<Action>, String> {
        // A catch-all element counts only where no other holds.
        let (all, some): (Vec<_>, Vec<_>) = entries.iter().partition(|(element, _)| *element == Element::Any);
        for (element, action) in some.into_iter().chain(all) {
            match held(reading, std::slice::from_ref(element)) {
                Truth::Yes => return Ok(Some(action.clone())),
                Truth::No => {}
                Truth::Maybe(why) => return Err(why),
            }
        }
        Ok(None)
    }

    fn field(&self, field: Field) -> Reading {
        let (source, destination) = (self.state.source, self.state.destination);
        let v4 = source.is_ipv4();
        let only = |there: bool, value: u128| if there { Reading::number(value) } else { Reading::Missing };
        match field {
            Field::Ip4Source => only(v4, as_number(source.ip())),
            Field::Ip4Destination => only(v4, as_number(destination.ip())),
            Field::Ip6Source => only(!v4, as_number(source.ip())),
            Field::Ip6Destination => only(!v4, as_number(destination.ip())),
            Field::Ip4Protocol => only(v4, 6),
            Field::Ip6NextHeader => only(!v4, 6),
            Field::L4Protocol => Reading::number(6u8),
            Field::Ip4Length if !v4 => Reading::Missing,
            Field::Ip4Length | Field::Length => self.length(),
            Field::Ip4Ttl if v4 => self.hops(),
            Field::Ip6HopLimit if !v4 => self.hops(),
            Field::Ip4Ttl | Field::Ip6HopLimit => Reading::Missing,
            Field::NfProto => Reading::number(match (self.spot.layer, v4) {
                (Layer::Ip, true) => 2u8,
                (Layer::Ip, false) => 10,
                (Layer::Bridge, _) => 7,
                (Layer::Device, _) => 5,
            }),
            Field::EtherType => Reading::number(if v4 { 0x0800u16 } else { 0x86dd }),
            Field::TcpSource | Field::TransportSource => Reading::number(source.port()),
            Field::TcpDestination | Field::TransportDestination => Reading::number(destination.port()),
            Field::TcpFlags => Reading::number(match self.spot.packet {
                Packet::Syn => 0x02u8,
                Packet::SynAck => 0x12,
                Packet::Ack => 0x10,
                // With nothing to say, the end is sent.
                Packet::Data if self.scene.flow.data == 0 => 0x11,
                Packet::Data => 0x18,
                // A long answer has several packets, and perhaps only the last one pushes.
                Packet::Answer if self.scene.flow.answer.is_none() => {
                    return Reading::Number(Bits { value: 0x10, unknown: 0x08 });
                }
                Packet::Answer => 0x18,
                // The service may end the connection with it.
                Packet::AnswerAck if self.scene.flow.data == 0 => {
                    return Reading::Number(Bits { value: 0x10, unknown: 0x01 });
                }
                Packet::AnswerAck => 0x10,
            }),
            Field::UdpSource
            | Field::UdpDestination
            | Field::IcmpType
            | Field::Icmp6Type
            | Field::RoutingType
            | Field::OtherHeader => Reading::Missing,
            Field::InputName | Field::InputIndex => interface(&self.spot.input),
            Field::OutputName | Field::OutputIndex => interface(&self.spot.output),
            Field::InputBridge => self.bridge(&self.spot.input),
            Field::OutputBridge => self.bridge(&self.spot.output),
            Field::Mark => Reading::Number(self.state.mark),
            Field::PacketType => match self.spot.layer {
                Layer::Device => Reading::Unknown("the packet type at an interface".into()),
                _ => Reading::number(0u8),
            },
            Field::CtState => Reading::number(connection::state_bit(&self.state)),
            Field::CtStatus => match connection::entry(&self.state) {
                Some(entry) => Reading::number(entry.status),
                None => Reading::Missing,
            },
            Field::CtDirection => match self.state.tracked {
                Tracked::New | Tracked::Established { reply: false } => Reading::number(0u8),
                Tracked::Established { reply: true } => Reading::number(1u8),
                Tracked::Nothing | Tracked::Exempt => Reading::Missing,
            },
            Field::CtMark => match connection::entry(&self.state) {
                Some(entry) => Reading::Number(entry.mark),
                None => Reading::Missing,
            },
            Field::FibSourceType => Reading::number(self.scene.world.kind(source.ip(), None) as u8),
            Field::FibDestinationType => Reading::number(self.scene.world.kind(destination.ip(), None) as u8),
            Field::FibSourceOutput => match &self.spot.input {
                input @ Interface::Named(_) => match self.scene.way_to(source.ip()) {
                    Interface::Unnamed => Reading::Unknown("the route back is not known".into()),
                    way => Reading::number(u8::from(way == *input)),
                },
                _ => Reading::Unknown("the route back of a packet that did not come in".into()),
            },
        }
    }

    /// The packet's length from its IP header on, with the TCP options that Linux sends.
    fn length(&self) -> Reading {
        let header = if self.scene.flow.source.is_ipv4() { 20u128 } else { 40 };
        let data = match self.spot.packet {
            Packet::Syn | Packet::SynAck => return Reading::number(header + 40),
            Packet::Ack | Packet::AnswerAck => 0,
            Packet::Data => self.scene.flow.data,
            Packet::Answer => match self.scene.flow.answer {
                Some(length) => length,
                None => return Reading::Between(header + 33, u128::from(u16::MAX)),
            },
        };
        Reading::number(header + 32 + u128::from(data))
    }

    fn hops(&self) -> Reading {
        if self.state.ttl_changed {
            return Reading::Unknown("a rule changed the time to live".into());
        }
        Reading::number(if self.state.forwarded { 63u8 } else { 64 })
    }

    fn bridge(&self, port: &Interface) -> Reading {
        match (self.spot.layer, port) {
            (Layer::Bridge, Interface::Absent) => Reading::Missing,
            (Layer::Bridge, _) => Reading::Name(self.scene.flow.input.clone()),
            _ => Reading::Missing,
        }
    }
}

fn interface(interface: &Interface) -> Reading {
    match interface {
        Interface::Absent => Reading::Name(String::new()),
        Interface::Named(name) => Reading::Name(name.clone()),
        Interface::Unnamed => Reading::Unknown("the name of the interface is not known".into()),
    }
}

fn held(reading: &Reading, elements: &[Element]) -> Truth {
    if elements.contains(&Element::Any) {
        return Truth::Yes;
    }
    if let Reading::Between(first, last) = reading {
        return held_somewhere(*first, *last, elements);
    }
    match reading.datum() {
        Ok(datum) => elements.iter().any(|element| element.holds(&datum)).into(),
        Err(why) => Truth::Maybe(why),
    }
}

/// Whether one of the elements holds all numbers of a range, or none holds any.
fn held_somewhere(first: u128, last: u128, elements: &[Element]) -> Truth {
    let mut apart = true;
    for element in elements {
        let (from, to) = match element {
            Element::One(Datum::Number(number)) => (*number, *number),
            Element::Range(from, to) => (*from, *to),
            _ => return Truth::Maybe(SOME_LENGTH.into()),
        };
        if from <= first && last <= to {
            return Truth::Yes;
        }
        apart &= to < first || last < from;
    }
    if apart { Truth::No } else { Truth::Maybe(SOME_LENGTH.into()) }
}

fn any_bit(reading: &Reading, elements: &[Element]) -> Truth {
    let mut asked = 0;
    for element in elements {
        match element {
            Element::One(Datum::Number(number)) => asked |= number,
            _ => return Truth::Maybe("bits of what is no number".into()),
        }
    }
    match reading {
        Reading::Number(bits) if bits.value & asked != 0 => Truth::Yes,
        Reading::Number(bits) if bits.unknown & asked == 0 => Truth::No,
        Reading::Number(_) => Truth::Maybe("the mark depends on what is not understood".into()),
        Reading::Unknown(why) => Truth::Maybe(why.clone()),
        _ => Truth::Maybe("bits of what is no number".into()),
    }
}

fn ordered(reading: &Reading, operator: Operator, elements: &[Element]) -> Truth {
    if let Reading::Between(first, last) = reading {
        let of = |number: u128| ordered(&Reading::number(number), operator, elements);
        let (one, other) = (of(*first), of(*last));
        return if one == other { one } else { Truth::Maybe(SOME_LENGTH.into()) };
    }
    let ([Element::One(Datum::Number(right))], Ok(Datum::Number(left))) = (elements, reading.datum()) else {
        return Truth::Maybe("an order of what is not known".into());
    };
    match operator {
        Operator::Less => left < *right,
        Operator::Greater => left > *right,
        Operator::AtMost => left <= *right,
        _ => left >= *right,
    }
    .into()
}
