//! An engine in a virtual machine: two hosts where others have one.
//!
//! ```text
//!  user's machine                                          virtual machine
//!   gateway on 127.0.0.1:8080 ◀── forwarder ◀── 192.168.65.254:8080 ◀── sandbox on openshell-docker
//!   probe ──▶ /var/run/docker.sock ────────── relay ──────────▶ dockerd --host-gateway-ip=192.168.65.254
//!   lan0, to dial the machine from outside
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use harness::service::Gateway;
//! use harness::vm::{Persona, VirtualMachine};
//! use harness::{Network, Ufw};
//!
//! let vm = VirtualMachine::builder(Persona::DockerDesktop).start().await?;
//! vm.machine().engine()?.create_network(&Network::openshell_docker()).await?;
//! let gateway = Gateway::on_loopback().start(vm.user()).await?;
//! // It is in force, and no sandbox notices.
//! vm.user().apply(&Ufw::brev().into(), vm.lan()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The relay and the forwarder are tasks of the creator in the hosts' network namespaces, so they end with it as the hosts
//! do. Nothing leaves the namespaces: the two hosts have no interface in common.

mod forwarder;
mod persona;
mod socket;

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::background::Background;
use crate::engine::{Engine, NetworkInfo};
use crate::host::{BootError, ExecError, Host, HostBuilder};

pub use forwarder::Forwarder;
use forwarder::Gate;
pub use persona::{Machine, Persona};

/// The user's machine in its own network, where [`VirtualMachine::lan`] is.
const LAN_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 178, 20);

/// Why a virtual machine did not come to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// The persona has none.
    #[error("{0:?} has its engine beside the services\nhint: Persona::dress and Host::builder()")]
    NoMachine(Persona),
    /// One of the hosts did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// One of the hosts did not get its interface.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A host's network namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// The engine's socket could not be brought to the user's machine.
    #[error("bring the engine's socket to the user's machine: {0}")]
    Socket(#[source] io::Error),
}

/// Describes a virtual machine and the machine of its user; [`start`](Self::start) boots both.
#[derive(Clone, Debug)]
pub struct VirtualMachineBuilder {
    persona: Persona,
    machine: HostBuilder,
    user: HostBuilder,
    forwarder: Forwarder,
}

impl VirtualMachineBuilder {
    /// Changes the host that is to be the virtual machine, such as by another label or name of the engine.
    #[must_use]
    pub fn machine(mut self, change: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        self.machine = change(self.machine);
        self
    }

    /// Changes the host that is to be the user's machine, such as by binding a program.
    #[must_use]
    pub fn user(mut self, change: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        self.user = change(self.user);
        self
    }

    /// Whether connections are carried from the start.
    #[must_use]
    pub fn forwarder(mut self, forwarder: Forwarder) -> Self {
        self.forwarder = forwarder;
        self
    }

    /// Boots both and joins them.
    ///
    /// # Errors
    /// When the persona has no virtual machine, or a step fails. Nothing is left then.
    pub async fn start(self) -> Result<VirtualMachine, VmError> {
        let facts = self.persona.machine().ok_or(VmError::NoMachine(self.persona))?;
        let (machine, user) = tokio::try_join!(self.machine.start(), self.user.start())?;
        let lan = NetworkInfo {
            id: String::new(),
            name: "lan".to_owned(),
            bridge: "lan0".to_owned(),
            subnet: Ipv4Addr::new(192, 168, 178, 0),
            prefix: 24,
            gateway: LAN_ADDRESS,
        };
        tokio::try_join!(
            machine.add_interface("vm0", facts.host_gateway, 24),
            user.add_interface(&lan.bridge, lan.gateway, lan.prefix),
        )?;
        let (gate, gates) = watch::channel(Gate::from(self.forwarder));
        let (rounds, count) = watch::channel(0);
        let socket = socket::listen(&machine, &user).map_err(VmError::Socket)?;
        let engine = machine.path(socket::PATH);
        let namespace = machine.own_network_namespace()?;
        let background = Background::start(user.own_network_namespace()?, async move || {
            tokio::join!(
                socket::relay(socket, engine),
                forwarder::follow(namespace, facts.host_gateway, gates, rounds)
            );
        })?;
        let vm = VirtualMachine { gate, rounds: count, _background: background, machine, user, facts, lan };
        vm.settle().await;
        Ok(vm)
    }
}

/// A running virtual machine and the machine of its user. Dropping it ends both.
#[derive(Debug)]
pub struct VirtualMachine {
    gate: watch::Sender<Gate>,
    rounds: watch::Receiver<u64>,
    /// Before the hosts, by the order of the fields: it holds on to their namespaces.
    _background: Background,
    machine: Host,
    user: Host,
    facts: Machine,
    lan: NetworkInfo,
}

impl VirtualMachine {
    /// Describes one.
    #[must_use]
    pub fn builder(persona: Persona) -> VirtualMachineBuilder {
        let machine = Host::builder().engine(Engine::Docker);
        let machine = match persona.machine() {
            Some(facts) => facts.dress(machine),
            None => machine,
        };
        let user = persona.dress(Host::builder());
        VirtualMachineBuilder { persona, machine, user, forwarder: Forwarder::default() }
    }

    /// The virtual machine: the engine and its networks.
    #[must_use]
    pub fn machine(&self) -> &Host {
        &self.machine
    }

    /// The user's machine: services, firewalls, and the engine's socket in the usual place. [`Host::engine`] has nothing
    /// for it.
    #[must_use]
    pub fn user(&self) -> &Host {
        &self.user
    }

    /// Where sandboxes meet the user's machine.
    #[must_use]
    pub fn host_gateway(&self) -> Ipv4Addr {
        self.facts.host_gateway
    }

    /// The user's machine in its own network, 192.168.178.20 on the bridge `lan0`: a place to dial it from, so that a
    /// posture of it can be proven ([`Host::apply`]).
    #[must_use]
    pub fn lan(&self) -> &NetworkInfo {
        &self.lan
    }

    /// Carries connections or stops to, and waits until it is so. Connections that are there go on.
    pub async fn forward(&self, forwarder: Forwarder) {
        self.gate.send_replace(forwarder.into());
        self.settle().await;
    }

    /// Carries connections when so much time has passed, and none until then.
    pub async fn forward_after(&self, delay: Duration) {
        self.gate.send_replace(Gate::OpenFrom(Instant::now() + delay));
        self.settle().await;
    }

    /// Waits until the ports of the virtual machine are those of the user's machine. It takes some 10 ms to notice by
    /// itself that a service has started or stopped.
    pub async fn settle(&self) {
        let mut rounds = self.rounds.clone();
        let now = *rounds.borrow();
        // One may be at work on what it has read before.
        let _ = rounds.wait_for(|count| *count >= now + 2).await;
    }

    /// Ends both hosts and waits until nothing of them is left.
    ///
    /// # Errors
    /// When one of them could not be waited for.
    pub async fn shutdown(self) -> io::Result<()> {
        let Self { _background: background, machine, user, .. } = self;
        drop(background);
        let (machine, user) = tokio::join!(machine.shutdown(), user.shutdown());
        machine.and(user)
    }
}
