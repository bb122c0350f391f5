//! How NemoClaw finds the way that it dials, from the same engine answers as OpenShell and by other rules.
//!
//! The table of `probe/tests/data/route_parity.toml` has both side by side. The portable profile, which an environment variable
//! chooses, is left out.

use serde::Deserialize;

use super::observation::Command;

/// The name that is dialled.
pub const ALIAS: &str = "host.openshell.internal";
/// The second name that bridges get.
pub const DOCKER_ALIAS: &str = "host.docker.internal";

/// The way that a probe dials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// To what the network's gateway is said to be. It is a text: nobody looks whether it is an address.
    BridgeGateway {
        /// The text.
        gateway: String,
    },
    /// To whatever the engine calls `host-gateway`.
    HostGateway,
}

impl Route {
    /// The values of `--add-host`.
    #[must_use]
    pub fn add_hosts(&self) -> Vec<String> {
        match self {
            Self::BridgeGateway { gateway } => {
                vec![format!("{DOCKER_ALIAS}:{gateway}"), format!("{ALIAS}:{gateway}")]
            }
            Self::HostGateway => vec![format!("{ALIAS}:host-gateway")],
        }
    }
}

/// One entry of `.IPAM.Config`, as much as is read of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub struct Pool {
    /// CIDR, or empty.
    pub subnet: String,
    /// The bridge's address, or empty.
    pub gateway: String,
}

/// The address pools, or `None` where upstream takes the network for missing: an empty answer, `<no value>`, or something
/// else than a JSON list. The exit code is not looked at.
#[must_use]
pub fn pools(inspect: &Command) -> Option<Vec<Pool>> {
    let said = inspect.stdout.trim();
    if said.is_empty() || said == "<no value>" {
        return None;
    }
    serde_json::from_str(said).ok()
}

/// The route of the gateway's probe since #3459: the host gateway where the engine is Docker Desktop, else the gateway of
/// the pool that [`chosen`] takes.
#[must_use]
pub fn resolve(inspect: &Command, info: &Command) -> Option<Route> {
    if uses_host_gateway(info) {
        return Some(Route::HostGateway);
    }
    let gateway = pools(inspect).as_deref().and_then(chosen)?.gateway.clone();
    (!gateway.is_empty()).then_some(Route::BridgeGateway { gateway })
}

/// The route of the probe for other host services: no pool but one with a gateway that has no colon.
#[must_use]
pub fn resolve_for_service(inspect: &Command, info: &Command) -> Option<Route> {
    let pools = pools(inspect)?;
    if uses_host_gateway(info) {
        return Some(Route::HostGateway);
    }
    let pool = pools.into_iter().find(has_ipv4_gateway)?;
    Some(Route::BridgeGateway { gateway: pool.gateway })
}

/// The first pool with a gateway without a colon; else the first whose subnet begins like IPv4; else the first that has
/// anything.
#[must_use]
pub fn chosen(pools: &[Pool]) -> Option<&Pool> {
    let ipv4_subnet = |pool: &&Pool| {
        pool.subnet
            .split_once('.')
            .is_some_and(|(first, _)| !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let anything = |pool: &&Pool| !pool.subnet.is_empty() || !pool.gateway.is_empty();
    let first = pools.iter().find(|pool| has_ipv4_gateway(pool));
    first.or_else(|| pools.iter().find(ipv4_subnet)).or_else(|| pools.iter().find(anything))
}

fn has_ipv4_gateway(pool: &Pool) -> bool {
    !pool.gateway.is_empty() && !pool.gateway.contains(':')
}

/// `/Docker Desktop|com\.docker\.desktop\./i` on the system's name and all labels.
#[must_use]
pub fn uses_host_gateway(info: &Command) -> bool {
    let said = info.stdout.to_lowercase();
    said.contains("docker desktop") || said.contains("com.docker.desktop.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Table {
        row: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        name: String,
        info: toml::Table,
        network: toml::Table,
        nemoclaw: String,
    }

    /// The table of the probe's own tests, whose other column they check.
    #[test]
    fn nemoclaws_route_is_that_of_the_parity_table() {
        let table = include_str!("../../../probe/tests/data/route_parity.toml");
        let table: Table = toml::from_str(table).unwrap();
        assert!(table.row.len() > 40);
        for row in table.row {
            let text = |key: &str| row.info.get(key).and_then(toml::Value::as_str).unwrap_or_default();
            let labels = row.info.get("labels").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            let labels: Vec<&str> = labels.iter().filter_map(toml::Value::as_str).collect();
            let info = Command::said(format!("{}\n{}\n", text("operating_system"), labels.join("\n")));
            let pools = row.network["ipam"].as_array().unwrap().iter().map(|pool| {
                let field = |key: &str| pool.get(key).and_then(toml::Value::as_str).unwrap_or_default();
                serde_json::json!({ "Subnet": field("subnet"), "Gateway": field("gateway") })
            });
            let pools: Vec<_> = pools.collect();
            let inspect = Command::said(format!("{}\n", serde_json::Value::from(pools)));
            let route = match resolve(&inspect, &info) {
                Some(Route::BridgeGateway { gateway }) => format!("bridge_gateway {gateway}"),
                Some(Route::HostGateway) => "host_gateway".to_owned(),
                None => "none".to_owned(),
            };
            assert_eq!(route, row.nemoclaw, "{}", row.name);
        }
    }
}
