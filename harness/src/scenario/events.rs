//! Makes the events happen, in running hosts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use bollard::query_parameters::ListContainersOptionsBuilder;
use snapshot::Snapshot;
use tokio::time::{interval, timeout};

use super::format::{Address, Control, During, Event, PostureEvent};
use super::place::Place;
use super::services::Running;
use crate::engine::{EngineError, Intercept, InterceptBuilder, NetworkInfo};
use crate::host::{ExecError, Host, HostCommand};
use crate::posture::{Passage, Posture, PostureError, Ufw};
use crate::replay::{Furnished, Plan, ReplayError};
use crate::service::ServiceError;
use crate::service::gateway::GatewayError;
use crate::vm::{Forwarder, VirtualMachine};

/// How long the next check may take until its container runs; measured: 0.4 s.
const CONTAINER_DEADLINE: Duration = Duration::from_secs(20);

/// Why an event did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The engine refused, or did not do its work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A service did not start, or not end.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An onboarding did not come to a gateway.
    #[error(transparent)]
    Gateway(#[from] Box<GatewayError>),
    /// A program in the host failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The firewall is not as it should be.
    #[error(transparent)]
    Posture(#[from] PostureError),
    /// The event makes no sense at this point, or came to nothing.
    #[error("{0}")]
    Wrong(String),
}

impl From<GatewayError> for EventError {
    fn from(error: GatewayError) -> Self {
        Self::Gateway(Box::new(error))
    }
}

/// The hosts and what has happened to them.
pub(super) struct Stage<'host> {
    /// The user's machine: the probe, the services, the firewall and every command line.
    pub(super) host: &'host Host,
    /// The engine's host, which is the same one where there is no virtual machine.
    pub(super) machine: &'host Host,
    pub(super) vm: Option<&'host VirtualMachine>,
    /// What `$SUBNET`, `$GATEWAY` and `$BRIDGE` are of.
    pub(super) network: Option<NetworkInfo>,
    /// The services that run, by the names that events give them.
    pub(super) services: Vec<(String, Running<'host>)>,
    /// What command lines may use besides the network: `$NAME_IP` of each container.
    pub(super) variables: Vec<(String, String)>,
    /// The user and group that the probe runs as, unless root.
    pub(super) user: Option<(u32, u32)>,
    /// What is to happen in the next check.
    pub(super) during: Option<During>,
    /// The service manager that has the gateway, kept for as long as the gateway.
    pub(super) manager: Option<crate::service::ServiceManager>,
    /// What the relay before the engine does, and the relay when there is one.
    pub(super) disturbances: InterceptBuilder,
    pub(super) relay: Option<Intercept>,
    /// What a snapshot has been made into.
    pub(super) replayed: Option<Furnished>,
}

impl<'host> Stage<'host> {
    pub(super) fn new(place: &'host Place, user: Option<(u32, u32)>) -> Self {
        Self {
            host: place.user(),
            machine: place.machine(),
            vm: place.vm(),
            network: None,
            services: Vec::new(),
            variables: Vec::new(),
            user,
            during: None,
            manager: None,
            disturbances: Intercept::builder(),
            relay: None,
            replayed: None,
        }
    }

    /// Makes the host of a snapshot.
    pub(super) async fn replay(&mut self, snapshot: &Snapshot) -> Result<(), Box<ReplayError>> {
        let furnished = Furnished::make(self.host, &Plan::of(snapshot)).await?;
        self.network.clone_from(&furnished.network);
        self.replayed = Some(furnished);
        Ok(())
    }

    /// Makes one event happen. A `check` is none of these: who runs the scenario does that.
    pub(super) async fn perform(&mut self, event: &Event) -> Result<(), EventError> {
        match event {
            Event::Network(network) => self.create_network(network).await,
            Event::RemoveNetwork(name) => self.remove_network(name).await,
            Event::Gateway(gateway) => self.start_gateway(gateway).await,
            Event::Proxy(proxy) => self.start_proxy(proxy).await,
            Event::Service(service) => self.start_service(service).await,
            Event::Container(container) => self.start_container(container).await,
            Event::Stop(name) => self.stop(name).await,
            Event::Freeze(name) => self.freeze(name).await,
            Event::FillQueue(name) => self.fill_queue(name).await,
            Event::Posture(posture) => Ok(self.host.apply(&posture.into(), self.outside("posture")?).await?),
            Event::Run(line) => self.run(line).await,
            Event::Control(control) => self.control(control),
            Event::Engine(engine) => self.happen_to_engine(*engine).await,
            Event::Relay(relay) => self.disturb(relay),
            Event::Resolver(resolver) => self.set_resolver(resolver),
            Event::NameServer(server) => self.start_name_server(server).await,
            Event::Forwarder(forwarder) => self.forward(*forwarder).await,
            Event::DuringCheck(during) => {
                self.during = Some(during.clone());
                Ok(())
            }
            Event::Check(_) => Ok(()),
        }
    }

    /// The network of the sandboxes, for an event that cannot be without one.
    pub(super) fn known_network(&self, event: &str) -> Result<&NetworkInfo, EventError> {
        let missing = || EventError::Wrong(format!("{event} needs a network with an IPv4 gateway before it"));
        self.network.as_ref().ok_or_else(missing)
    }

    /// Where the user's machine is dialled from to see what its firewall does: the bridge of the sandboxes, or with a
    /// virtual machine its own network.
    fn outside(&self, event: &str) -> Result<&NetworkInfo, EventError> {
        self.vm.map_or_else(|| self.known_network(event), |vm| Ok(vm.lan()))
    }

    async fn forward(&self, forwarder: Forwarder) -> Result<(), EventError> {
        let missing = || EventError::Wrong("forwarder: there is no virtual machine".to_owned());
        self.vm.ok_or_else(missing)?.forward(forwarder).await;
        Ok(())
    }

    /// The address that a bind stands for now.
    pub(super) fn address(&self, address: Address) -> Result<IpAddr, EventError> {
        match address {
            Address::Ip(ip) => Ok(ip),
            Address::Bridge => Ok(self.known_network("the bind \"bridge\"")?.gateway.into()),
        }
    }

    /// Makes something happen as soon as a check has made its container.
    pub(super) async fn while_it_runs(&self, during: &During) -> Result<(), EventError> {
        let label = format!("{}={}", probe::OWNER_LABEL, probe::OWNER);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let engine = self.machine.engine()?;
        let there = async {
            let mut tick = interval(Duration::from_millis(3));
            loop {
                tick.tick().await;
                let listed = engine.client().list_containers(Some(options.clone())).await;
                if !listed.map_err(engine.failed("list the probe's containers"))?.is_empty() {
                    return Ok(());
                }
            }
        };
        let late =
            |_| EventError::Wrong(format!("no container of the probe's came within {CONTAINER_DEADLINE:?}"));
        timeout(CONTAINER_DEADLINE, there)
            .await
            .map_err(late)
            .and_then(|there: Result<(), EngineError>| there.map_err(EventError::from))?;
        match during {
            During::EngineRestart => Ok(self.machine.restart_engine().await?),
            During::EngineKill => Ok(self.machine.kill_engine().await?),
            During::EngineFreeze => Ok(self.machine.freeze_engine().await?),
            During::Run(line) => self.run(line).await,
        }
    }

    pub(super) async fn run(&self, line: &str) -> Result<(), EventError> {
        self.shell(line).run().await?;
        Ok(())
    }

    /// `sh -ec` with the variables that a command line may use.
    fn shell(&self, line: &str) -> HostCommand<'host> {
        let command = self.host.command("sh").args(["-euc", line]).env("NETWORK", probe::DEFAULT_NETWORK);
        let command = self.variables.iter().fold(command, |command, (name, value)| command.env(name, value));
        match &self.network {
            Some(network) => command
                .env("SUBNET", network.cidr())
                .env("GATEWAY", network.gateway.to_string())
                .env("BRIDGE", &network.bridge),
            None => command,
        }
    }

    fn control(&self, control: &Control) -> Result<(), EventError> {
        let (passage, port) = match control {
            Control::Blocked => (Passage::Blocked, None),
            Control::Open => (Passage::Open, None),
            Control::BlockedPort(port) => (Passage::Blocked, Some(*port)),
            Control::OpenPort(port) => (Passage::Open, Some(*port)),
        };
        Ok(self.host.prove(passage, port, self.outside("control")?)?)
    }
}

impl From<&PostureEvent> for Posture {
    fn from(event: &PostureEvent) -> Self {
        match event {
            PostureEvent::Open => Self::Open,
            PostureEvent::UfwDefaultDeny => Ufw::default_deny().into(),
            PostureEvent::UfwBrev => Ufw::brev().into(),
            PostureEvent::UfwDefaultReject => Self::Ufw(Ufw::default_reject()),
            PostureEvent::NftDrop => Self::NftDrop,
            PostureEvent::Firewalld => Self::Firewalld,
            PostureEvent::InputPolicyDrop => Self::InputPolicyDrop,
            PostureEvent::DropPorts(ports) => Self::DropPorts(ports.clone()),
        }
    }
}
