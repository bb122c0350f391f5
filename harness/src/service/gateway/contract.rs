//! The stand-in as a program in its own right: told what to do by OpenShell's own variables and configuration file, it
//! makes the sandbox network, listens, and stays.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use super::stub::{Gateway, serve_all};
use crate::engine::{connect, ensure_bridge_network};

/// Where OpenShell looks first.
const SOCKET: &str = "/var/run/docker.sock";

/// OpenShell's default since v0.0.40.
const DEFAULT_PORT: u16 = 17670;

/// The part of OpenShell's file that decides where it listens.
#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    openshell: OpenShell,
}

#[derive(Default, Deserialize)]
struct OpenShell {
    #[serde(default)]
    drivers: Drivers,
}

#[derive(Default, Deserialize)]
struct Drivers {
    #[serde(default)]
    docker: DockerDriver,
}

#[derive(Default, Deserialize)]
struct DockerDriver {
    network_name: Option<String>,
}

/// The process.
pub(crate) async fn run() -> Result<Infallible, String> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("generate-certs") {
        return generate(arguments);
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let file = match variable("OPENSHELL_GATEWAY_CONFIG") {
        Some(path) => read(Path::new(&path))?,
        None => File::default(),
    };
    // The file alone counts for OpenShell today, the variable alone did at v0.0.39.
    let network = file
        .openshell
        .drivers
        .docker
        .network_name
        .or_else(|| variable("OPENSHELL_DOCKER_NETWORK_NAME"))
        .unwrap_or_else(|| "openshell-docker".to_owned());
    let port = match variable("OPENSHELL_SERVER_PORT") {
        Some(port) => port.parse().map_err(|_| format!("OPENSHELL_SERVER_PORT={port:?} is no port"))?,
        None => DEFAULT_PORT,
    };
    let client = connect(Path::new(SOCKET)).await.map_err(|error| format!("{SOCKET}: {error}"))?;
    let bridge = ensure_bridge_network(&client, &network).await?;
    let mut gateway = Gateway::on(bridge).port(port);
    if let Some(address) = variable("OPENSHELL_BIND_ADDRESS") {
        let address: IpAddr =
            address.parse().map_err(|_| format!("OPENSHELL_BIND_ADDRESS={address:?} is no address"))?;
        gateway = gateway.bind_address(address);
    }
    serve_all(gateway.into_config(), |_| Ok(())).await
}

fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The stand-in has no users that it would have to tell apart, so empty files take the places of keys.
fn generate(arguments: impl Iterator<Item = String>) -> Result<Infallible, String> {
    let folder = arguments.skip_while(|argument| argument != "--output-dir").nth(1);
    let folder = folder.ok_or("generate-certs: --output-dir is missing")?;
    let keys = Path::new(&folder).join("jwt");
    let made = std::fs::create_dir_all(&keys).and_then(|()| {
        ["signing.pem", "public.pem", "kid"].iter().try_for_each(|key| std::fs::write(keys.join(key), ""))
    });
    made.map_err(|error| format!("{}: {error}", keys.display()))?;
    std::process::exit(0)
}
