//! What the rules of a snapshot do to its connections, by static evaluation: no tool, no kernel, no network.

use ruleset::{Flow, LocalAddress, Walk, World};

use crate::model::{Decided, Route, RouteKind, Snapshot, SysctlKey, Target};

impl Snapshot {
    /// The connection that a target's rules were asked about; `None` where they are of another machine.
    #[must_use]
    pub fn flow(&self, target: &Target) -> Option<Flow> {
        let path = target.path.as_ref()?;
        let flow = Flow::new(path.input.as_str(), path.source, path.destination);
        Some(Flow { data: path.data, ..flow })
    }

    /// What rules ask about the host itself, for a target's connection.
    #[must_use]
    pub fn world(&self, target: &Target) -> Option<World> {
        let path = target.path.as_ref()?;
        let key = if path.destination.is_ipv4() {
            SysctlKey::BridgeNfCallIptables
        } else {
            SysctlKey::BridgeNfCallIp6tables
        };
        let addresses = self.addresses.iter().map(|own| LocalAddress {
            interface: own.interface.to_string(),
            address: own.address.address(),
            prefix: own.address.length(),
        });
        Some(World {
            addresses: addresses.collect(),
            way_back: path.way_back.as_ref().unwrap_or(&path.input).to_string(),
            uplink: self.uplink(path.destination.is_ipv4()),
            bridge: true,
            bridge_nf_call: self.sysctl(key, None) == Some(1),
            // Nothing says so of IPv6, and no sandbox dials by it.
            forwards: path.destination.is_ipv4() && self.sysctl(SysctlKey::IpForward, None) == Some(1),
            route_localnet: ["all", path.input.as_str()]
                .into_iter()
                .any(|name| self.sysctl(SysctlKey::RouteLocalnet, Some(name)) == Some(1)),
        })
    }

    /// The interface of the default route.
    fn uplink(&self, v4: bool) -> Option<String> {
        let default = |route: &&Route| {
            route.kind == RouteKind::Unicast && route.to.length() == 0 && route.to.address().is_ipv4() == v4
        };
        let best = self.routes.iter().filter(default).min_by_key(|route| route.metric.unwrap_or(0))?;
        best.interface.as_ref().map(ToString::to_string)
    }

    /// A setting of the kernel; those of interfaces with the interface's name.
    #[must_use]
    pub fn sysctl(&self, key: SysctlKey, interface: Option<&str>) -> Option<i64> {
        let same = |own: &&crate::Sysctl| {
            own.key == key && own.interface.as_ref().map(crate::Interface::as_str) == interface
        };
        self.sysctls.iter().find(same).map(|own| own.value)
    }

    /// What the rules do to a target's connection; `None` where they were not read, or are of another machine.
    ///
    /// The same that `openshell-probe explain` calls `static`: three-valued, and undetermined where a part that decides was not
    /// carried.
    #[must_use]
    pub fn walk(&self, target: &Target) -> Option<Walk> {
        Some(self.rules.as_ref()?.connect(&self.flow(target)?, &self.world(target)?))
    }

    /// Whether a walk ends at the rule that the check named; `None` where it named none.
    #[must_use]
    pub fn agrees(target: &Target, walk: &Walk) -> Option<bool> {
        let decided = target.decided.as_ref()?;
        Some(walk.outcome.place().is_some_and(|place| decided.is(place)))
    }
}

impl Decided {
    /// Whether it is that rule or policy.
    #[must_use]
    pub fn is(&self, place: &ruleset::Place) -> bool {
        let backend = match place.backend {
            ruleset::Backend::Legacy => "legacy",
            ruleset::Backend::Nft => "nft",
            ruleset::Backend::Native => "native",
        };
        backend == self.backend.as_str()
            && place.family.name() == self.family.as_str()
            && place.table == self.table.as_str()
            && place.chain == self.chain.as_str()
            && place.rule == self.rule
    }
}
