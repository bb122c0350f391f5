//! The engine and its networks.

use std::net::IpAddr;

use snapshot::{
    Engine, EngineSystem, Interface, Net, Network, NetworkOption, Pool, Role, Version, What, Why, Word,
};

use super::Gathering;
use crate::check::Request;
use crate::deadline::Deadline;
use crate::engine::{DockerEngine, EngineInfo, NetworkFacts, discover};
use crate::report::Report;
use crate::route::DEFAULT_NETWORK;

/// Docker's own networks: their names are everybody's.
const OWN: [&str; 3] = ["bridge", "host", "none"];

pub(super) fn engine(info: Option<&EngineInfo>) -> Option<Engine> {
    let info = info?;
    let desktop = info.operating_system.to_ascii_lowercase().contains("docker desktop");
    Some(Engine {
        version: Version::new(info.version.as_str()).ok(),
        system: if desktop { EngineSystem::DockerDesktop } else { EngineSystem::Other },
        architecture: Word::new(info.architecture.as_str()).ok(),
    })
}

/// The sandboxes' network first, and the others without their names.
pub(super) async fn networks(gathering: &mut Gathering, request: &Request, report: &Report) -> Vec<Network> {
    let mut networks = Vec::new();
    let sandboxes = report.evidence.network.as_ref();
    if let Some(facts) = sandboxes {
        let name = if facts.name == DEFAULT_NETWORK { DEFAULT_NETWORK } else { "sandboxes" };
        networks.push(network(gathering, facts, name, Role::Sandboxes));
    }
    if report.evidence.engine.is_none() {
        return networks;
    }
    let Some(all) = all(request).await else {
        gathering.leave(What::Networks, Why::Unreadable, None);
        return networks;
    };
    let others = all.iter().filter(|other| sandboxes.is_none_or(|own| own.id != other.id));
    for (at, facts) in others.enumerate() {
        let number = format!("network-{}", at + 1);
        let name = OWN.iter().find(|own| **own == facts.name).copied().unwrap_or(number.as_str());
        networks.push(network(gathering, facts, name, Role::Other));
    }
    networks
}

async fn all(request: &Request) -> Option<Vec<NetworkFacts>> {
    let deadline = Deadline::after(request.deadline);
    let discovery = discover(request.host.as_deref(), &request.environment, deadline).await.ok()?;
    DockerEngine::new(&discovery, deadline).ok()?.networks().await.ok()
}

fn network(gathering: &mut Gathering, facts: &NetworkFacts, name: &str, role: Role) -> Network {
    // Docker's word for the network that it makes itself, which every engine has and nobody can ask for.
    let own = |key: &str, value: &str| key == "com.docker.network.bridge.default_bridge" && value == "true";
    let options = facts.options.iter().filter(|(key, value)| !own(key, value));
    let options: Vec<_> = options.map(|(key, value)| option(gathering, key, value)).collect();
    let strange = options.iter().filter(|option| option.is_none()).count();
    gathering.leave(What::NetworkOptions, Why::NotAllowed, strange);
    let bridge = (facts.driver == "bridge").then(|| gathering.names.interface(&facts.bridge_name()));
    let pool = |pool: &crate::engine::IpamEntry| Pool {
        subnet: pool.subnet.as_deref().and_then(Net::parse).map(|net| gathering.mapping.net(net)),
        gateway: pool
            .gateway
            .as_deref()
            .and_then(|it| it.parse().ok())
            .map(|it| gathering.mapping.address(it)),
    };
    Network {
        name: own_name(name),
        role,
        driver: Word::new(facts.driver.as_str()).unwrap_or_else(|_| other()),
        bridge,
        pools: facts.ipam.iter().map(pool).collect(),
        options: options.into_iter().flatten().collect(),
        internal: facts.internal,
    }
}

fn own_name(name: &str) -> snapshot::Name {
    snapshot::Name::new(name).expect("these names are ours or Docker's")
}

fn other() -> Word {
    Word::new("other").expect("letters are a word")
}

/// An option that is on the list, with a value of its type.
fn option(gathering: &mut Gathering, key: &str, value: &str) -> Option<NetworkOption> {
    let truth = || value.parse::<bool>().ok();
    let mode = || Word::new(value).ok();
    Some(match key.strip_prefix("com.docker.network.")? {
        "bridge.enable_icc" => NetworkOption::Icc(truth()?),
        "bridge.enable_ip_masquerade" => NetworkOption::Masquerade(truth()?),
        "bridge.name" => {
            let name: Interface = gathering.names.interface(value);
            NetworkOption::BridgeName(name)
        }
        "driver.mtu" => NetworkOption::Mtu(value.parse().ok()?),
        "bridge.gateway_mode_ipv4" => NetworkOption::GatewayModeIpv4(mode()?),
        "bridge.gateway_mode_ipv6" => NetworkOption::GatewayModeIpv6(mode()?),
        "bridge.host_binding_ipv4" => {
            let address: IpAddr = value.parse().ok()?;
            NetworkOption::HostBindingIpv4(gathering.mapping.address(address))
        }
        _ => return None,
    })
}
