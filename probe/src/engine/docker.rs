//! The Docker engine through bollard, each call bounded.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Ipam, NetworkInspect, SystemInfo,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ImportImageOptionsBuilder,
    InspectNetworkOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, StartContainerOptions,
    WaitContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::endpoint::{Discovery, address_of};
use super::error::{EngineError, EngineTrouble};
use super::ping::Address;
use super::{
    ContainerSpec, Engine, EngineInfo, ImageFacts, IpamEntry, LabelledContainer, NetworkFacts, Residents,
    Spoken,
};
use crate::deadline::Deadline;
use crate::sanitize::sanitize;

/// A question: `docker info` takes 10 ms, and up to seconds on a machine under load. NemoClaw gives such calls 10 s.
const READ: Duration = Duration::from_secs(10);
/// Loading 1.4 MB takes 0.1 s; a slow disk may need a hundred times that.
const LOAD: Duration = Duration::from_secs(15);
/// Creating a container takes 11 ms, starting it 0.4 s.
const CREATE: Duration = Duration::from_secs(10);
/// Removal is not bounded by the check's deadline, because it must also happen when that has passed. Its slowest known
/// case is the engine's resolver, which waits 4 s for an unanswered question before the network is torn down.
const REMOVE: Duration = Duration::from_secs(10);
/// The call that removes the container.
const REMOVAL: &str = "remove the probe's container";
/// More than the dialer can ever say about every port there is would still be a few megabytes: a bound, not a limit.
const MOST_OUTPUT: usize = 16 * 1024 * 1024;

/// A Docker engine that answered a ping.
#[derive(Debug)]
pub struct DockerEngine {
    docker: Docker,
    url: String,
    deadline: Deadline,
}

impl DockerEngine {
    /// A client for the engine at `discovery`, whose calls end by `deadline`.
    ///
    /// # Errors
    /// When the endpoint's URL is none.
    pub fn new(discovery: &Discovery, deadline: Deadline) -> Result<Self, EngineError> {
        let url = discovery.endpoint.url.clone();
        let default = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
        let (major_version, minor_version) = discovery.api.min(default);
        let version = ClientVersion { major_version, minor_version };
        // bollard's own timeout is a net below ours.
        let net = 120;
        let docker = match address_of(&url) {
            Ok(Address::Unix(path)) => Docker::connect_with_unix(&path.to_string_lossy(), net, &version),
            Ok(Address::Tcp(authority)) => Docker::connect_with_http(authority, net, &version),
            Err(trouble) => {
                return Err(EngineError { call: "reach the engine".to_owned(), endpoint: url, trouble });
            }
        };
        match docker {
            Ok(docker) => Ok(Self { docker, url, deadline }),
            Err(error) => Err(EngineError {
                call: "reach the engine".to_owned(),
                endpoint: url,
                trouble: trouble(&error),
            }),
        }
    }

    /// All networks.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn networks(&self) -> Result<Vec<NetworkFacts>, EngineError> {
        let answer = self.docker.list_networks(None);
        let networks = self.bounded("list the networks", READ, answer).await?;
        let facts = |network: bollard::models::Network| NetworkFacts {
            id: network.id.unwrap_or_default(),
            name: network.name.unwrap_or_default(),
            driver: network.driver.unwrap_or_default(),
            ipam: pools(network.ipam),
            options: network.options.unwrap_or_default().into_iter().collect(),
            internal: network.internal.unwrap_or(false),
        };
        Ok(networks.into_iter().map(facts).collect())
    }

    /// Waits for `answer`, but no longer than `budget` and the deadline.
    async fn bounded<T>(
        &self,
        call: &str,
        budget: Duration,
        answer: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, EngineError> {
        self.within(call, self.deadline.at_most(budget), answer).await
    }

    /// Waits for the removal of a container.
    async fn removed(&self, id: &str) -> Result<(), EngineError> {
        let options = WaitContainerOptionsBuilder::default().condition("removed").build();
        let mut gone = Box::pin(self.docker.wait_container(id, Some(options)));
        let wait = async move {
            match gone.next().await {
                None | Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
                Some(Err(error)) => Err(error),
            }
        };
        self.within(REMOVAL, REMOVE, wait).await
    }

    /// Waits for `answer`, but no longer than `budget`.
    async fn within<T>(
        &self,
        call: &str,
        budget: Duration,
        answer: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, EngineError> {
        let trouble = match tokio::time::timeout(budget, answer).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => trouble(&error),
            Err(_) => EngineTrouble::Silent { after: budget },
        };
        Err(EngineError { call: call.to_owned(), endpoint: self.url.clone(), trouble })
    }
}

impl Engine for DockerEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.bounded("ask the engine about itself", READ, self.docker.info()).await.map(engine_info)
    }

    async fn network(&self, name: &str) -> Result<Option<NetworkFacts>, EngineError> {
        let call = format!("inspect the network '{}'", sanitize(name));
        let answer = self.docker.inspect_network(name, None::<InspectNetworkOptions>);
        Ok(absent(self.bounded(&call, READ, answer).await)?.map(|network| network_facts(name, network)))
    }

    async fn residents(&self, network: &str) -> Result<Residents, EngineError> {
        let answer = self.docker.inspect_network(network, None::<InspectNetworkOptions>);
        self.bounded("ask who is on the network", READ, answer).await.map(residents)
    }

    async fn image(&self, id: &str) -> Result<Option<ImageFacts>, EngineError> {
        let answer = self.bounded("inspect the probe's image", READ, self.docker.inspect_image(id)).await;
        Ok(absent(answer)?.map(|image| ImageFacts {
            id: image.id.unwrap_or_default(),
            architecture: image.architecture.unwrap_or_default(),
            layers: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
        }))
    }

    async fn load_image(&self, archive: &'static [u8]) -> Result<(), EngineError> {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let body = bollard::body_full(Bytes::from_static(archive));
        let answer = self.docker.import_image(options, body, None).try_for_each(|_| async { Ok(()) });
        self.bounded("load the probe's image", LOAD, answer).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let answer = self.docker.create_container(Some(options), create_body(spec));
        self.bounded("create the probe's container", CREATE, answer).await.map(|created| created.id)
    }

    async fn run(&self, id: &str, last_line: &str) -> Result<Spoken, EngineError> {
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attach = self.docker.attach_container(id, Some(options));
        let attached = self.bounded("attach to the probe's container", CREATE, attach).await?;
        let start = self.docker.start_container(id, None::<StartContainerOptions>);
        self.bounded("start the probe's container", CREATE, start).await?;
        let AttachContainerResults { mut output, input } = attached;
        let read = async move {
            let mut text = Vec::new();
            while let Some(chunk) = output.next().await {
                match chunk? {
                    LogOutput::StdErr { message } if message.is_empty() => {}
                    chunk => text.extend_from_slice(&chunk.into_bytes()),
                }
                let so_far = String::from_utf8_lossy(&text);
                let whole = so_far.lines().next_back() == Some(last_line);
                if whole || text.len() > MOST_OUTPUT {
                    break;
                }
            }
            // The output's end of the connection is kept too: without it the engine sees its client go.
            let input: Box<dyn std::any::Any + Send> = Box::new((input, output));
            Ok(Spoken { text: String::from_utf8_lossy(&text).into_owned(), input })
        };
        self.bounded("read the dialer's output", self.deadline.left(), read).await
    }

    async fn publishers(&self, port: u16, besides: &str) -> Result<Vec<String>, EngineError> {
        let filters = HashMap::from([("publish".to_owned(), vec![format!("{port}/tcp")])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let answer = self.docker.list_containers(Some(options));
        let containers = self.bounded("list the containers that publish a port", READ, answer).await?;
        let name = |container: bollard::models::ContainerSummary| {
            // A port of loopback alone is none that sandboxes could meet.
            let own = |published: &bollard::models::PortSummary| {
                let loopback =
                    published.ip.as_deref().is_some_and(|ip| ip.starts_with("127.") || ip == "::1");
                published.public_port == Some(port) && !loopback
            };
            container.ports.iter().flatten().any(own).then_some(())?;
            let networks =
                container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
            let beside = |endpoint: &bollard::models::EndpointSettings| {
                endpoint.network_id.as_deref() == Some(besides)
            };
            (!networks.values().any(beside)).then_some(())?;
            let name = container.names.unwrap_or_default().into_iter().next().or(container.id)?;
            Some(sanitize(name.trim_start_matches('/')))
        };
        Ok(containers.into_iter().filter_map(name).collect())
    }

    async fn gone(&self, id: &str) -> bool {
        match self.removed(id).await {
            Err(error) => status(&error) == Some(404),
            Ok(()) => true,
        }
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let answer = self.docker.remove_container(id, Some(options));
        let answer = match self.within(REMOVAL, REMOVE, answer).await {
            // The engine is already removing it, because it ended.
            Err(error) if status(&error) == Some(409) => self.removed(id).await,
            other => other,
        };
        match answer {
            Err(error) if status(&error) == Some(404) => Ok(()),
            other => other,
        }
    }

    async fn labelled(&self, key: &str, value: &str) -> Result<Vec<LabelledContainer>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{key}={value}")])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let answer = self.docker.list_containers(Some(options));
        let containers = self.bounded("list the containers of earlier probes", READ, answer).await?;
        let labelled = containers.into_iter().filter_map(|container| {
            let labels = container.labels.unwrap_or_default().into_iter().collect();
            Some(LabelledContainer { id: container.id?, labels })
        });
        Ok(labelled.collect())
    }

    async fn labelled_images(&self, key: &str, value: &str) -> Result<Vec<String>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{key}={value}")])]);
        let options = ListImagesOptionsBuilder::default().all(true).filters(&filters).build();
        let answer = self.docker.list_images(Some(options));
        let images = self.bounded("list the probe's images", READ, answer).await?;
        Ok(images.into_iter().map(|image| image.id).collect())
    }

    async fn remove_image(&self, id: &str) -> Result<bool, EngineError> {
        let options = RemoveImageOptionsBuilder::default().build();
        let answer = self.docker.remove_image(id, Some(options), None);
        match self.bounded("remove the probe's image", READ, answer).await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(true),
            Err(error) if status(&error) == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The request that creates the container of `spec`: no privilege, no writable file, no log, gone when it ends.
pub(super) fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: Some(spec.arguments.clone()),
        attach_stdin: Some(true),
        open_stdin: Some(true),
        // It ends when the probe lets go of it, also when the probe is killed.
        stdin_once: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(spec.labels.clone().into_iter().collect()),
        host_config: Some(HostConfig {
            network_mode: Some(spec.network.clone()),
            extra_hosts: Some(spec.extra_hosts.clone()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            readonly_rootfs: Some(true),
            auto_remove: Some(true),
            ipc_mode: Some("none".to_owned()),
            memory: spec.memory,
            pids_limit: spec.pids,
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn engine_info(info: SystemInfo) -> EngineInfo {
    EngineInfo {
        version: info.server_version.unwrap_or_default(),
        operating_system: info.operating_system.unwrap_or_default(),
        name: info.name.unwrap_or_default(),
        labels: info.labels.unwrap_or_default(),
        architecture: info.architecture.unwrap_or_default(),
        memory_limit: info.memory_limit.unwrap_or(false),
        pids_limit: info.pids_limit.unwrap_or(false),
    }
}

fn network_facts(name: &str, network: NetworkInspect) -> NetworkFacts {
    NetworkFacts {
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_else(|| name.to_owned()),
        driver: network.driver.unwrap_or_default(),
        ipam: pools(network.ipam),
        options: network.options.unwrap_or_default().into_iter().collect(),
        internal: network.internal.unwrap_or(false),
    }
}

fn residents(network: NetworkInspect) -> Residents {
    let containers = network.containers.unwrap_or_default();
    let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let of_containers = containers.into_values().filter_map(|endpoint| endpoint.ipv4_address);
    let reserved =
        pools.iter().flat_map(|pool| pool.auxiliary_addresses.iter().flatten()).map(|it| it.1.clone());
    // Those of containers come with their prefix.
    let address = |text: String| text.split('/').next()?.parse().ok();
    let taken = of_containers.chain(reserved).filter_map(address).collect();
    let is_v4 = |range: &String| range.contains('.');
    let range = pools.into_iter().filter_map(|pool| pool.ip_range).find(|range| is_v4(range));
    Residents { taken, range }
}

fn pools(ipam: Option<Ipam>) -> Vec<IpamEntry> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let entries = ipam.and_then(|ipam| ipam.config).unwrap_or_default().into_iter();
    entries.map(|entry| IpamEntry { subnet: filled(entry.subnet), gateway: filled(entry.gateway) }).collect()
}

/// "There is none" is an answer, not an error.
fn absent<T>(answer: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The HTTP status of the engine's own error answer.
pub(super) fn status(error: &EngineError) -> Option<u16> {
    match error.trouble {
        EngineTrouble::Refused { status, .. } => Some(status),
        _ => None,
    }
}

fn trouble(error: &Error) -> EngineTrouble {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            EngineTrouble::refused(*status_code, message)
        }
        Error::DockerStreamError { error } => EngineTrouble::refused(500, error),
        Error::RequestTimeoutError => EngineTrouble::Silent { after: READ },
        Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::SocketNotFoundError(_) => unreachable_or_denied(error),
        other => EngineTrouble::Garbled { detail: sanitize(&other.to_string()) },
    }
}

/// Looks for the reason at the bottom of the chain, where the system's own words are.
fn unreachable_or_denied(error: &Error) -> EngineTrouble {
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::PermissionDenied
        {
            return EngineTrouble::PermissionDenied;
        }
        detail = cause.to_string();
        source = cause.source();
    }
    EngineTrouble::Unreachable { detail: sanitize(&detail) }
}
