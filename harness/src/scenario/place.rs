//! Where a scenario is played: one host, or a virtual machine and the machine of its user.

use std::path::Path;

use super::file::ScenarioFile;
use super::format::{Event, Lifecycle};
use super::oracle::ORACLE;
use super::run::{PROBE, RunError};
use crate::engine::Engine;
use crate::host::{Host, HostBuilder};
use crate::privilege::Privilege;
use crate::replay::{Plan, dress};
use crate::service::gateway::GatewayProgram;
use crate::vm::VirtualMachine;

pub(super) enum Place {
    Host(Box<Host>),
    Vm(Box<VirtualMachine>),
}

impl Place {
    /// Boots what the scenario's persona has. The probe is on the user's machine, and the oracle where the engine is.
    /// `more` is what all hosts have besides. A host of a snapshot is root's only where that is `trusted`.
    pub(super) async fn boot(
        file: &ScenarioFile,
        trusted: bool,
        probe: &Path,
        oracle: Option<&Path>,
        more: impl Fn(HostBuilder) -> HostBuilder,
    ) -> Result<Self, RunError> {
        let with_oracle = |host: HostBuilder| match oracle {
            Some(oracle) => more(host.bind(oracle, ORACLE)),
            None => more(host),
        };
        let with_probe = |host: HostBuilder| {
            // One host is dressed by both.
            if file.scenario.persona.machine().is_some() {
                more(host.bind(probe, PROBE))
            } else {
                host.bind(probe, PROBE)
            }
        };
        Self::dressed(file, trusted, with_oracle, with_probe).await
    }

    /// The same, where the caller says what the hosts have besides: `machine` the one with the engine, `user` the user's.
    /// Without a virtual machine both are about the one host.
    pub(super) async fn dressed(
        file: &ScenarioFile,
        trusted: bool,
        machine: impl FnOnce(HostBuilder) -> HostBuilder,
        user: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Result<Self, RunError> {
        let scenario = &file.scenario;
        let persona = scenario.persona;
        if persona.machine().is_some() {
            let vm = VirtualMachine::builder(persona).machine(machine).user(user).start().await?;
            return Ok(Self::Vm(Box::new(vm)));
        }
        let mut host = persona.dress(user(machine(Host::builder().engine(Engine::Docker))));
        if let Some(snapshot) = &file.snapshot {
            let privilege = if trusted { Privilege::Auto } else { Privilege::User };
            host = dress(host.privilege(privilege), &Plan::of(snapshot));
        }
        let onboards = |event: &Event| matches!(event, Event::Gateway(gateway) if gateway.lifecycle != Lifecycle::StandIn);
        if scenario.events.iter().any(onboards) {
            let gateway = host.gateway_program(&GatewayProgram::stand_in());
            host = gateway.map_err(RunError::GatewayProgram)?;
        }
        Ok(Self::Host(Box::new(host.start().await?)))
    }

    pub(super) fn user(&self) -> &Host {
        match self {
            Self::Host(host) => host,
            Self::Vm(vm) => vm.user(),
        }
    }

    pub(super) fn machine(&self) -> &Host {
        match self {
            Self::Host(host) => host,
            Self::Vm(vm) => vm.machine(),
        }
    }

    pub(super) fn vm(&self) -> Option<&VirtualMachine> {
        match self {
            Self::Host(_) => None,
            Self::Vm(vm) => Some(vm),
        }
    }

    pub(super) async fn shutdown(self) -> std::io::Result<()> {
        match self {
            Self::Host(host) => host.shutdown().await,
            Self::Vm(vm) => vm.shutdown().await,
        }
    }
}
