//! The bridge, the links, and who dials from where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netns::{Lan, LanPlan, Namespace, Vantage, make_bridge};

use super::super::{Address, Failure, Link, Origin, Plan, Trial};
use super::sysctl;

/// How the twin's own interfaces begin. Engines call the bridge's ports `veth…` too, which rules match by `veth+`.
pub(in super::super) const OWN_PREFIX: &str = "vethtwin";

/// Somebody beyond the default route: addresses for documentation (RFC 5737, RFC 3849).
const WAN_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const WAN_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7));

/// All that a twin consists of.
pub(super) struct Topology {
    host: Namespace,
    sandbox: Vantage,
    lans: Vec<Lan>,
}

/// Where a connection begins.
pub(super) struct Standpoint<'topology> {
    /// The namespace to dial from.
    pub(super) namespace: &'topology Namespace,
    /// The address to dial from, unless the kernel chooses.
    pub(super) source: Option<IpAddr>,
    /// The host's interface that it comes in by; none for the host's own.
    pub(super) device: Option<&'topology str>,
}

impl Topology {
    /// Makes it in this namespace.
    pub(super) fn make(plan: &Plan) -> Result<Self, Failure> {
        let failed = |error: netns::Error| Failure::kernel("make the twin's links", error);
        let host = Namespace::current().map_err(failed)?;
        make_bridge(&host, &plan.bridge.name, &pairs(&plan.bridge.addresses)).map_err(failed)?;
        let port = format!("{OWN_PREFIX}0");
        let (addresses, gateways) = on_the_bridge(plan);
        let sandbox = Vantage::with_addresses(&host, &plan.bridge.name, &port, &addresses, &gateways)
            .map_err(failed)?;
        let asked = sandbox.namespace().run(sysctl::ask_by_own_address);
        asked.map_err(failed)?;
        let mut lans = Vec::new();
        for (index, link) in plan.links.iter().enumerate() {
            let inner = format!("{OWN_PREFIX}{}", index + 1);
            let own: Vec<_> = own_addresses(link).map(Address::pair).collect();
            let plan = LanPlan {
                link: &link.name,
                inner: &inner,
                host: &own,
                neighbours: &neighbours(plan, link),
                behind: &pairs(&link.behind),
                default_route: link.uplink,
            };
            lans.push(Lan::behind(&host, &plan).map_err(failed)?);
        }
        Ok(Self { host, sandbox, lans })
    }

    /// Where a trial begins, or why nobody can stand there.
    pub(super) fn standpoint(&self, plan: &Plan, trial: &Trial) -> Result<Standpoint<'_>, String> {
        let v4 = trial.to.is_ipv4();
        let none = |who: &str| format!("{who} has no address of {}", if v4 { "IPv4" } else { "IPv6" });
        let on_bridge = |source| Standpoint {
            namespace: self.sandbox.namespace(),
            source: Some(source),
            device: Some(self.sandbox.port()),
        };
        let behind = |link: &Link, source: IpAddr| {
            let lan = self.lans.iter().find(|it| it.link() == link.name);
            let lan = lan.ok_or_else(|| format!("there is no link {}", link.name))?;
            Ok(Standpoint { namespace: lan.namespace(), source: Some(source), device: Some(lan.link()) })
        };
        match &trial.from {
            Origin::Sandbox => {
                let own = plan.sandbox.iter().find(|it| it.is_ipv4() == v4);
                own.map(|it| on_bridge(*it)).ok_or_else(|| none("the sandbox"))
            }
            Origin::Bridge { address } if address.is_ipv4() == v4 => Ok(on_bridge(*address)),
            Origin::Bridge { .. } => Err(none("that neighbour of the sandbox")),
            Origin::Lan { link, address } => {
                let link = plan.links.iter().find(|it| it.name == *link);
                let link = link.ok_or_else(|| "there is no such link".to_owned())?;
                let address = address.or_else(|| neighbour(plan, link, v4)).filter(|it| it.is_ipv4() == v4);
                behind(link, address.ok_or_else(|| none(&link.name))?)
            }
            Origin::Wan { address } => {
                let uplink = plan.uplink().ok_or_else(|| "there is no default route".to_owned())?;
                let address = address.unwrap_or(if v4 { WAN_V4 } else { WAN_V6 });
                let routed = neighbour(plan, uplink, v4).is_some() && address.is_ipv4() == v4;
                if routed { behind(uplink, address) } else { Err(none("the default route")) }
            }
            Origin::Host => Ok(Standpoint { namespace: &self.host, source: None, device: None }),
        }
    }
}

fn pairs(addresses: &[Address]) -> Vec<(IpAddr, u8)> {
    addresses.iter().map(Address::pair).collect()
}

/// The sandbox's addresses and those of others on the bridge, and the gateways.
fn on_the_bridge(plan: &Plan) -> (Vec<(IpAddr, u8)>, Vec<IpAddr>) {
    let others = plan.trials().filter_map(|trial| match trial.from {
        Origin::Bridge { address } => Some(address),
        _ => None,
    });
    let (mut addresses, mut gateways) = (Vec::<(IpAddr, u8)>::new(), Vec::<IpAddr>::new());
    for ip in plan.sandbox.iter().copied().chain(others) {
        let subnet = plan.bridge.addresses.iter().find(|it| it.covers(ip));
        let alone = if ip.is_ipv4() { 32 } else { 128 };
        if !addresses.iter().any(|it| it.0 == ip) {
            addresses.push((ip, subnet.map_or(alone, |it| it.prefix)));
        }
        let has_one = gateways.iter().any(|it| it.is_ipv4() == ip.is_ipv4());
        if let (Some(subnet), false) = (subnet, has_one) {
            gateways.push(subnet.ip);
        }
    }
    (addresses, gateways)
}

/// Without those that the kernel gives an interface itself.
fn own_addresses(link: &Link) -> impl Iterator<Item = &Address> {
    let given = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    link.addresses.iter().filter(move |it| !given(&it.ip))
}

/// All addresses behind a link that somebody dials from. The first of each family is the gateway.
fn neighbours(plan: &Plan, link: &Link) -> Vec<IpAddr> {
    let gateways = [neighbour(plan, link, true), neighbour(plan, link, false)].into_iter().flatten();
    let dialling = plan.trials().filter_map(|trial| match &trial.from {
        Origin::Lan { link: name, address } if *name == link.name => *address,
        Origin::Wan { address } if link.uplink => {
            Some(address.unwrap_or(if trial.to.is_ipv4() { WAN_V4 } else { WAN_V6 }))
        }
        _ => None,
    });
    let mut all = Vec::new();
    for ip in gateways.chain(dialling) {
        // Without an address of its own in the family the host cannot reach it.
        if !all.contains(&ip) && own_addresses(link).any(|it| it.ip.is_ipv4() == ip.is_ipv4()) {
            all.push(ip);
        }
    }
    all
}

/// Somebody in the subnet of a link's first address in a family, under an address that nobody has.
fn neighbour(plan: &Plan, link: &Link, v4: bool) -> Option<IpAddr> {
    let own = own_addresses(link).find(|it| it.ip.is_ipv4() == v4)?;
    let taken = |ip: IpAddr| {
        let links = plan.links.iter().flat_map(|link| &link.addresses);
        let hosts = links.chain(&plan.bridge.addresses).any(|it| it.ip == ip);
        hosts || plan.sandbox.contains(&ip) || plan.trials().any(|trial| trial.to.ip() == ip)
    };
    let free = |mut candidates: Box<dyn Iterator<Item = IpAddr>>| candidates.find(|ip| !taken(*ip));
    match own.ip {
        IpAddr::V4(ip) => {
            let size = 1_u64.checked_shl(32 - u32::from(own.prefix)).unwrap_or(1);
            let first = u64::from(ip.to_bits()) / size * size;
            // Without the subnet's own address and its broadcast, where there are any.
            let (from, to) = if size > 2 { (first + 1, first + size - 1) } else { (first, first + size) };
            let near = (from..to).take(256).filter_map(|it| u32::try_from(it).ok());
            free(Box::new(near.map(|it| Ipv4Addr::from_bits(it).into())))
                .or_else(|| free(Box::new([IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))].into_iter())))
        }
        IpAddr::V6(ip) => {
            let left = 128 - u32::from(own.prefix);
            let first = ip.to_bits().checked_shr(left).unwrap_or(0).checked_shl(left).unwrap_or(0);
            let size = 1_u128.checked_shl(left).unwrap_or(u128::MAX);
            let near = (1..size.min(256)).map(move |it| IpAddr::V6(Ipv6Addr::from_bits(first | it)));
            free(Box::new(near)).or_else(|| {
                free(Box::new([IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))].into_iter()))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ip: &str, prefix: u8) -> Link {
        let addresses = vec![Address { ip: ip.parse().unwrap(), prefix }];
        Link { name: "eth0".into(), addresses, ..Link::default() }
    }

    fn chosen(ip: &str, prefix: u8) -> String {
        let link = link(ip, prefix);
        let plan = Plan { links: vec![link.clone()], ..Plan::default() };
        neighbour(&plan, &link, link.addresses[0].ip.is_ipv4()).unwrap().to_string()
    }

    #[test]
    fn a_neighbour_is_of_the_subnet_and_nobody_else() {
        assert_eq!(chosen("192.168.1.10", 24), "192.168.1.1");
        assert_eq!(chosen("192.168.1.1", 24), "192.168.1.2");
        assert_eq!(chosen("10.0.0.1", 31), "10.0.0.0");
        assert_eq!(chosen("10.0.0.1", 32), "192.0.2.1");
        assert_eq!(chosen("10.0.0.1", 8), "10.0.0.2");
        assert_eq!(chosen("fd00::1", 64), "fd00::2");
        assert_eq!(chosen("fd00::1", 128), "2001:db8::1");
    }
}
