//! Networks that sandboxes join.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::errors::Error as ApiError;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::InspectNetworkOptions;

use super::{Docker, EngineError};

/// A network to be created. [`openshell_docker`](Self::openshell_docker) is the one of OpenShell's Docker driver.
#[derive(Clone, Debug)]
pub struct Network {
    request: NetworkCreateRequest,
}

/// A network that exists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkInfo {
    /// The engine's id: 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The interface of its bridge on the host: `br-` and the first 12 digits of the id.
    pub bridge: String,
    /// Its first IPv4 subnet.
    pub subnet: Ipv4Addr,
    /// The length of the subnet's prefix.
    pub prefix: u8,
    /// The bridge's own address, which is the host as sandboxes see it.
    pub gateway: Ipv4Addr,
}

impl NetworkInfo {
    /// The subnet in CIDR notation.
    #[must_use]
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.subnet, self.prefix)
    }

    /// An address of the subnet, counted from its end (the broadcast address is 0). The engine gives addresses out from
    /// the subnet's beginning.
    #[must_use]
    pub fn address_from_end(&self, index: u32) -> Ipv4Addr {
        let host_bits = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        Ipv4Addr::from_bits((self.subnet.to_bits() | host_bits) - index)
    }
}

impl Network {
    /// Exactly what OpenShell's driver creates: name, driver, attachable, one label, nothing else. So the engine chooses
    /// the subnet from its pool, and the interface is named after the network's id.
    #[must_use]
    pub fn openshell_docker() -> Self {
        let label = ("openshell.ai/managed-by".to_owned(), "openshell".to_owned());
        Self {
            request: NetworkCreateRequest {
                name: "openshell-docker".to_owned(),
                driver: Some("bridge".to_owned()),
                attachable: Some(true),
                labels: Some(HashMap::from([label])),
                ..NetworkCreateRequest::default()
            },
        }
    }

    /// Another name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.request.name = name.into();
        self
    }

    /// A fixed subnet and the bridge's address in it, instead of ones from the engine's pool. Both are named, because an
    /// engine that is told the subnet only does not say the gateway afterwards (open-neko/openneko#215).
    #[must_use]
    pub fn subnet(self, subnet: impl Into<String>, gateway: Ipv4Addr) -> Self {
        let config = IpamConfig {
            subnet: Some(subnet.into()),
            gateway: Some(gateway.to_string()),
            ..IpamConfig::default()
        };
        self.deviate(|request| request.ipam = Some(Ipam { config: Some(vec![config]), ..Ipam::default() }))
    }

    /// A fixed subnet without a gateway: the bridge has an address, and the engine does not say which. For
    /// [`Docker::add_network`].
    #[must_use]
    pub fn without_gateway(self, subnet: impl Into<String>) -> Self {
        let config = IpamConfig { subnet: Some(subnet.into()), ..IpamConfig::default() };
        self.deviate(|request| request.ipam = Some(Ipam { config: Some(vec![config]), ..Ipam::default() }))
    }

    /// IPv6 as well, in this subnet, whose first address is the bridge's. The engine chooses the IPv4 subnet and names it
    /// second.
    #[must_use]
    pub fn ipv6(self, subnet: impl Into<String>) -> Self {
        let subnet = subnet.into();
        let gateway = subnet.split('/').next().map(|beginning| format!("{beginning}1"));
        let config = IpamConfig { subnet: Some(subnet), gateway, ..IpamConfig::default() };
        self.deviate(|request| {
            request.enable_ipv6 = Some(true);
            request.ipam = Some(Ipam { config: Some(vec![config]), ..Ipam::default() });
        })
    }

    /// A driver's option, such as `com.docker.network.bridge.name`.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.options.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// Any other deviation, on the request itself.
    #[must_use]
    pub fn deviate(mut self, change: impl FnOnce(&mut NetworkCreateRequest)) -> Self {
        change(&mut self.request);
        self
    }
}

/// What OpenShell's driver does before its gateway listens (`ensure_bridge_network`): uses the network of that name, or
/// creates it. Returns the address of its bridge.
pub(crate) async fn ensure_bridge_network(client: &bollard::Docker, name: &str) -> Result<Ipv4Addr, String> {
    let inspect = || client.inspect_network(name, None::<InspectNetworkOptions>);
    let status = |error: &ApiError| match error {
        ApiError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    };
    match inspect().await {
        Ok(_) => {}
        Err(error) if status(&error) == Some(404) => {
            let created = client.create_network(Network::openshell_docker().name(name).request).await;
            // Somebody else may have been quicker.
            if let Err(error) = created
                && status(&error) != Some(409)
            {
                return Err(format!("create network {name}: {error}"));
            }
        }
        Err(error) => return Err(format!("inspect network {name}: {error}")),
    }
    let found = inspect().await.map_err(|error| format!("inspect network {name}: {error}"))?;
    if found.driver.as_deref() != Some("bridge") {
        return Err(format!("network {name} is no bridge network"));
    }
    let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let gateway = configs.into_iter().find_map(|config| config.gateway?.parse().ok());
    gateway.ok_or_else(|| format!("network {name} does not have an IPv4 IPAM gateway"))
}

impl Docker {
    /// The network of that name, created as OpenShell's driver does where there is none.
    ///
    /// # Errors
    /// When the engine refuses, or the network has no IPv4 gateway.
    pub async fn ensure_network(&self, name: &str) -> Result<NetworkInfo, EngineError> {
        let call = || format!("ensure network {name}");
        let ensured = ensure_bridge_network(self.client(), name).await;
        ensured.map_err(|message| EngineError::Unexpected { call: call(), message })?;
        self.inspect_network(name).await
    }

    /// Creates a network.
    ///
    /// # Errors
    /// When the engine refuses, or says afterwards that the network has no IPv4 gateway.
    pub async fn create_network(&self, network: &Network) -> Result<NetworkInfo, EngineError> {
        self.add_network(network).await?;
        self.inspect_network(&network.request.name).await
    }

    /// Creates a network, whatever it is like; for those without an IPv4 gateway.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn add_network(&self, network: &Network) -> Result<(), EngineError> {
        let call = format!("create network {}", network.request.name);
        self.client().create_network(network.request.clone()).await.map_err(self.failed(call))?;
        Ok(())
    }

    /// Removes a network.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        self.client().remove_network(name).await.map_err(self.failed(format!("remove network {name}")))
    }

    /// What the engine says of a network, when it has one of that name.
    ///
    /// # Errors
    /// When the engine does not say, or the network has no IPv4 gateway.
    pub async fn find_network(&self, name: &str) -> Result<Option<NetworkInfo>, EngineError> {
        match self.inspect_network(name).await {
            Ok(found) => Ok(Some(found)),
            Err(EngineError::Api { source, .. })
                if matches!(*source, ApiError::DockerResponseServerError { status_code: 404, .. }) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What the engine says of a network.
    ///
    /// # Errors
    /// When there is none, or it has no IPv4 gateway.
    pub async fn inspect_network(&self, name: &str) -> Result<NetworkInfo, EngineError> {
        let call = format!("inspect network {name}");
        let found = self
            .client()
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
            .map_err(self.failed(call.clone()))?;
        let unexpected =
            |message: &str| EngineError::Unexpected { call: call.clone(), message: message.to_owned() };
        let id = found.id.ok_or_else(|| unexpected("it has no id"))?;
        let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let parse = |config: IpamConfig| {
            let gateway = config.gateway?.parse().ok()?;
            let (subnet, prefix) =
                config.subnet?.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            Some((gateway, subnet.parse().ok()?, prefix.parse().ok()?))
        };
        let (gateway, subnet, prefix) =
            configs.into_iter().find_map(parse).ok_or_else(|| unexpected("it has no IPv4 gateway"))?;
        let option = found.options.and_then(|mut options| options.remove("com.docker.network.bridge.name"));
        let bridge = option.unwrap_or_else(|| format!("br-{}", &id[..12.min(id.len())]));
        Ok(NetworkInfo { id, name: name.to_owned(), bridge, subnet, prefix, gateway })
    }
}
