//! The route is OpenShell's, and where NemoClaw's probe takes another one it is written down why.
//!
//! The rows are data, `data/route_parity.toml`; each is a test of its own name. What NemoClaw's probe makes of a row is checked
//! by the suite, which has a model of it (`e2e/src/upstream/route.rs`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use probe::{DOCKER_ALIAS, EngineInfo, IpamEntry, NetworkFacts, OPENSHELL_ALIAS, Route, RouteError};
use serde::Deserialize;

const TABLE: &str = include_str!("data/route_parity.toml");

/// What is not the same between the two, about routes: field research of both sources names the first six, the last two come
/// from reading the same lines.
const WORDS: [&str; 8] = [
    "daemon_name",
    "label",
    "host_gateway_ip",
    "docker_alias",
    "ipam_fallback",
    "v6_only",
    "driver",
    "validation",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    info: Info,
    network: Network,
    host_gateway_ip: Option<Ipv4Addr>,
    openshell: String,
    nemoclaw: String,
    #[serde(default)]
    differs: Vec<String>,
    why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    #[serde(default)]
    operating_system: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    #[serde(default = "bridge")]
    driver: String,
    ipam: Vec<IpamEntry>,
}

fn bridge() -> String {
    "bridge".to_owned()
}

impl Row {
    /// The route of this crate.
    fn ours(&self) -> Result<Route, RouteError> {
        let info = EngineInfo {
            operating_system: self.info.operating_system.clone(),
            name: self.info.name.clone(),
            labels: self.info.labels.clone(),
            ..EngineInfo::default()
        };
        let network = NetworkFacts {
            driver: self.network.driver.clone(),
            ipam: self.network.ipam.clone(),
            ..NetworkFacts::default()
        };
        Route::resolve(&info, &network, self.host_gateway_ip)
    }

    fn check(&self) {
        let ours = self.ours();
        assert_eq!(in_words(&ours), self.openshell, "{}", self.name);
        if let Ok(route) = ours {
            let to = route.address().map_or_else(|| "host-gateway".to_owned(), |address| address.to_string());
            let both = [DOCKER_ALIAS, OPENSHELL_ALIAS].map(|alias| format!("{alias}:{to}"));
            assert_eq!(route.extra_hosts(), both, "{}", self.name);
        }
        self.check_differences();
    }

    /// A difference has a word and a reason, and without one there is neither.
    fn check_differences(&self) {
        let name = &self.name;
        // A route that OpenShell refuses and one that NemoClaw does not find are the same: nobody gets anywhere.
        let same_route = self.openshell == self.nemoclaw
            || (self.openshell.starts_with("refused") && self.nemoclaw == "none");
        let same = same_route && self.nemoclaw != "host_gateway";
        assert_eq!(self.differs.is_empty(), same, "{name}: does it differ?");
        assert_eq!(self.differs.is_empty(), self.why.is_none(), "{name}: a difference has a reason");
        for word in &self.differs {
            assert!(WORDS.contains(&word.as_str()), "{name}: {word}");
        }
        let alias = self.differs.iter().any(|word| word == "docker_alias");
        let one_has_it = self.openshell == "host_gateway" || self.nemoclaw == "host_gateway";
        assert_eq!(alias, one_has_it, "{name}: the second alias");
    }
}

fn in_words(route: &Result<Route, RouteError>) -> String {
    match route {
        Ok(Route::BridgeGateway { address }) => format!("bridge_gateway {address}"),
        Ok(Route::HostGateway) => "host_gateway".to_owned(),
        Err(RouteError::NotABridge { .. }) => "refused not_a_bridge".to_owned(),
        Err(RouteError::NoIpv4Gateway) => "refused no_ipv4_gateway".to_owned(),
        Err(RouteError::InvalidGateway { .. }) => "refused invalid_gateway".to_owned(),
        Err(other) => format!("refused {other:?}"),
    }
}

fn table() -> Vec<Row> {
    toml::from_str::<Table>(TABLE).unwrap_or_else(|error| panic!("route_parity.toml: {error}")).row
}

/// A test for each row, by its name, and one that no row is without.
macro_rules! rows {
    ($($name:ident,)+) => {
        $(
            #[test]
            fn $name() {
                let rows = table();
                let row = rows.iter().find(|row| row.name == stringify!($name));
                row.expect("a row of route_parity.toml").check();
            }
        )+

        #[test]
        fn every_row_is_a_test() {
            let rows = table();
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
        }
    };
}

rows! {
    linux,
    engine_without_a_name,
    wsl2_with_an_engine_in_the_distribution,
    docker_desktop_by_os,
    docker_desktop_by_os_in_capitals,
    docker_desktop_on_wsl2,
    docker_desktop_by_label,
    docker_desktop_label_in_capitals,
    docker_desktop_inside_a_label,
    docker_desktop_by_daemon_name,
    docker_desktop_with_ipv6_only,
    colima_by_daemon_name,
    colima_profile_in_capitals,
    colima_not_at_the_beginning,
    lima_by_daemon_name,
    lima_in_capitals,
    lima_without_its_hyphen,
    rancher_desktop_by_daemon_name,
    rancher_desktop_on_lima,
    rancher_desktop_in_capitals,
    rancher_desktop_by_label,
    rancher_desktop_by_os,
    orbstack_by_daemon_name,
    orbstack_in_capitals,
    orbstack_by_label,
    orbstack_label_as_a_value,
    orbstack_by_os,
    override_on_a_bridge,
    override_on_docker_desktop,
    override_on_a_network_without_a_gateway,
    no_ipam,
    ipam_without_gateway,
    first_entry_without_gateway,
    dual_stack_v6_first,
    dual_stack_v4_first,
    v6_only,
    v4_subnet_without_gateway_and_v6,
    v4_subnet_with_a_v6_gateway,
    two_ipv4_entries,
    invalid_gateway,
    invalid_gateway_in_a_second_entry,
    invalid_gateway_behind_v6,
    subnet_of_8_bits,
    subnet_of_24_bits,
    gateway_outside_the_subnet,
    gateway_that_is_not_the_first_address,
    driver_is_not_bridge,
    driver_is_not_bridge_on_docker_desktop,
}

/// By all rows at once, so that a row cannot be left out of the comparison by its test.
#[test]
fn the_route_is_openshells_on_every_row() {
    let rows = table();
    let ours: Vec<_> = rows.iter().map(|row| (&row.name, in_words(&row.ours()))).collect();
    let openshell: Vec<_> = rows.iter().map(|row| (&row.name, row.openshell.clone())).collect();
    assert_eq!(ours, openshell);
}

#[test]
fn every_known_difference_is_a_row() {
    let rows = table();
    let found: BTreeSet<&str> = rows.iter().flat_map(|row| &row.differs).map(String::as_str).collect();
    assert_eq!(found, BTreeSet::from(WORDS));
    // Each of the products whose daemon names itself.
    for product in ["colima", "lima", "rancher_desktop", "orbstack"] {
        let named =
            |row: &Row| row.name.starts_with(product) && row.differs.contains(&"daemon_name".to_owned());
        assert!(rows.iter().any(named), "{product}");
    }
}
