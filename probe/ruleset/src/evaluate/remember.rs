//! Conditions, and those that remember packets.

use super::answer::Truth;
use super::chain::Run;
use super::spot::Interface;
use super::state::PartId;
use crate::condition::{
    AddressKind, AddressType, Condition, Limit, PhysdevProperty, PhysdevTest, Recent, RecentDeed, Side,
};
use crate::expression::{Datum, Expression, Field, Operator};
use crate::save::as_number;
use crate::walk::Assumption;

impl Run<'_, '_> {
    /// What a condition says of the packet. If the rule is not certain to come to it, it remembers nothing.
    pub(super) fn ask(&mut self, id: PartId, condition: &Condition, certain: bool) -> Truth {
        match condition {
            Condition::Compare { left, operator, right } => self.compare(id, left, *operator, right),
            Condition::EitherPort { negated, ports } => {
                let right = crate::Right::Elements(ports.clone());
                let one = |field| {
                    self.compare(id, &Expression::Field(field), Operator::Equal, &right) == Truth::Yes
                };
                Truth::from(one(Field::TransportSource) || one(Field::TransportDestination)).turned(*negated)
            }
            Condition::Conntrack(tests) => self.scene.conntrack(&self.state, tests),
            Condition::Limit(limit) => self.limit(id, limit, certain),
            Condition::Recent(recent) => self.recent(id, recent, certain),
            Condition::AddressType(asked) => self.address_type(asked),
            Condition::IpSet { name, negated, sides } => self.in_ipset(name, sides).turned(*negated),
            Condition::Physdev(tests) => self.physdev(tests),
            Condition::ReversePath { negated, loose } => {
                let Interface::Named(input) = &self.spot.input else {
                    return Truth::Maybe("the way back of a packet that did not come in".into());
                };
                match self.scene.way_to(self.state.source.ip()) {
                    Interface::Unnamed if !loose => Truth::Maybe("the way back is not known".into()),
                    way => Truth::from(*loose || way == Interface::Named(input.clone())).turned(*negated),
                }
            }
            Condition::Quota { over, bytes, used } => {
                if used.saturating_add(4096) < *bytes {
                    return Truth::from(!*over);
                }
                if used > bytes {
                    Truth::from(*over)
                } else {
                    Truth::Maybe("the quota is nearly used".into())
                }
            }
            Condition::Unknown(what) => Truth::Maybe(format!("\"{what}\" is not understood")),
        }
    }

    fn assume(&mut self, id: PartId, what: &str) {
        let assumption = Assumption { place: self.place(id), what: what.to_owned() };
        if !self.state.assumptions.contains(&assumption) {
            self.state.assumptions.push(assumption);
        }
    }

    /// A bucket that was full when the connection began.
    fn limit(&mut self, id: PartId, limit: &Limit, certain: bool) -> Truth {
        if !certain {
            return Truth::Maybe("the rate depends on what is not understood".into());
        }
        self.assume(id, "the rate is not exhausted");
        if limit.bytes {
            return Truth::from(!limit.over);
        }
        let taken = self.state.taken.entry(id).or_default();
        let within = *taken < limit.burst;
        *taken += u64::from(within);
        Truth::from(within != limit.over)
    }

    /// A list that was empty when the connection began.
    fn recent(&mut self, id: PartId, recent: &Recent, certain: bool) -> Truth {
        let address = match recent.side {
            Side::Source => self.state.source,
            Side::Destination => self.state.destination,
        };
        let key = (recent.name.clone(), as_number(address.ip()) & as_number(recent.mask));
        if !certain || self.state.recent_unknown.contains(&recent.name) {
            self.state.recent_unknown.insert(recent.name.clone());
            if certain && recent.deed == RecentDeed::Set {
                return Truth::from(!recent.negated);
            }
            return Truth::Maybe(format!("the list of recent addresses \"{}\" is not known", recent.name));
        }
        let stamps = self.state.recent.get(&key).copied();
        let fits = match recent.deed {
            RecentDeed::Set => {
                self.state.recent.insert(key, stamps.unwrap_or(0) + 1);
                return Truth::from(!recent.negated);
            }
            RecentDeed::Remove => {
                self.state.recent.remove(&key);
                stamps.is_some()
            }
            RecentDeed::Check | RecentDeed::Update => {
                let fits = stamps.is_some_and(|stamps| stamps >= recent.hits.unwrap_or(1).max(1));
                let updates = recent.deed == RecentDeed::Update && fits != recent.negated;
                if let Some(stamps) = stamps.filter(|_| updates) {
                    self.state.recent.insert(key, stamps + 1);
                }
                fits
            }
        };
        self.assume(id, "the list of recent addresses was empty");
        Truth::from(fits != recent.negated)
    }

    fn address_type(&self, asked: &AddressType) -> Truth {
        let (source, destination) = (self.state.source.ip(), self.state.destination.ip());
        let interface = match (asked.of_input, asked.of_output) {
            (true, _) => Some(&self.spot.input),
            (_, true) => Some(&self.spot.output),
            _ => None,
        };
        let interface = match interface {
            Some(Interface::Named(name)) => Some(name.as_str()),
            Some(Interface::Unnamed) => return Truth::Maybe("the interface is not known".into()),
            Some(Interface::Absent) | None => None,
        };
        for (address, kinds) in [(source, &asked.source), (destination, &asked.destination)] {
            let Some((negated, kinds)) = kinds else { continue };
            let kind = self.scene.world.kind(address, interface);
            // IPv6 asks for all kinds at once, and takes a host's own address for unicast, too.
            let fits = match address.is_ipv4() {
                true => kinds.contains(&kind),
                false => kinds.iter().all(|asked| {
                    *asked == kind || (*asked == AddressKind::Unicast && kind == AddressKind::Local)
                }),
            };
            if fits == *negated {
                return Truth::No;
            }
        }
        Truth::Yes
    }

    fn physdev(&self, tests: &[PhysdevTest]) -> Truth {
        for test in tests {
            let holds = match (&test.what, &self.spot.port) {
                (PhysdevProperty::In(element), Interface::Named(name)) => {
                    element.holds(&Datum::Name(name.clone()))
                }
                (PhysdevProperty::In(_), Interface::Unnamed) => {
                    return Truth::Maybe("the name of the bridge's port is not known".into());
                }
                (PhysdevProperty::IsIn, Interface::Named(_) | Interface::Unnamed) => true,
                _ => false,
            };
            if holds == test.negated {
                return Truth::No;
            }
        }
        Truth::Yes
    }
}
