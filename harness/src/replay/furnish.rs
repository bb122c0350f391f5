//! Makes a plan true in a host that has booted.

use std::{fs, io};

use bollard::models::{Ipam, IpamConfig};

use super::feed;
use super::plan::{Kind, NetworkPlan, NotReplayed, Plan, ServicePlan, Setting, UfwFiles};
use crate::engine::{Engine, EngineError, Network, NetworkInfo};
use crate::host::{BootError, ExecError, Host, HostBuilder};
use crate::machine::would_load;
use crate::service::{Gateway, OtherService, Service, ServiceError};

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The host did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A program in the host did not run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The host's network namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// The kernel would have to load modules for the rules, for the whole machine, which the harness never makes it do.
    #[error("the rules need what the kernel has not loaded: {}\nhint: sudo modprobe -a {}", .missing.join(" "), .missing.join(" "))]
    MissingModules {
        /// The modules' names.
        missing: Vec<String>,
    },
    /// The probe said something that is no report.
    #[error("the probe ended with {code:?} and no report: {message}{said}")]
    Report {
        /// Its exit code.
        code: Option<i32>,
        /// What is wrong.
        message: String,
        /// The end of what it said.
        said: String,
    },
    /// The host did not end well.
    #[error("end the host: {0}")]
    Shutdown(#[source] std::io::Error),
}

/// What a plan has come to in a host.
pub(crate) struct Furnished {
    /// The network that sandboxes join, where it has an IPv4 gateway.
    pub(crate) network: Option<NetworkInfo>,
    /// What could not be made, besides what the plan itself says.
    pub(crate) refused: Vec<NotReplayed>,
    /// They end with this.
    _services: Vec<Service>,
}

/// What the host is to have before it boots.
pub(crate) fn dress(host: HostBuilder, plan: &Plan) -> HostBuilder {
    let host = host.engine(if plan.engine { Engine::Docker } else { Engine::None });
    plan.engine_arguments.iter().fold(host, HostBuilder::engine_argument)
}

impl Furnished {
    /// Networks first, which need their bridges' names; services before the rules, which might keep them from being ready.
    pub(crate) async fn make(host: &Host, plan: &Plan) -> Result<Self, ReplayError> {
        let missing = would_load(&plan.modules);
        if !missing.is_empty() {
            return Err(ReplayError::MissingModules { missing });
        }
        let mut refused = Vec::new();
        let mut network = None;
        for planned in &plan.networks {
            match create(host, planned).await {
                Ok(info) if planned.sandboxes => network = info,
                Ok(_) => {}
                Err(error) => refused.push(left(format!("network {}", planned.name), error)),
            }
        }
        refused.extend(feed::lines(host, None, &plan.links).await?);
        refused.extend(set(host, &plan.settings)?);
        refused.extend(feed::lines(host, Some("-4"), &plan.routes_v4).await?);
        refused.extend(feed::lines(host, Some("-6"), &plan.routes_v6).await?);
        let mut services = Vec::new();
        for planned in &plan.services {
            match start(host, planned).await {
                Ok(service) => services.push(service),
                Err(error) => refused.push(left(format!("the service on port {}", planned.port), error)),
            }
        }
        for piece in &plan.rules.feeds {
            if let Some(said) = feed::feed(host, piece).await? {
                refused.push(NotReplayed { what: piece.what.clone(), why: feed::words(&said) });
            }
        }
        if let Some(files) = &plan.ufw
            && let Err(error) = write_ufw(host, files)
        {
            refused.push(left("UFW's settings".to_owned(), error));
        }
        Ok(Self { network, refused, _services: services })
    }
}

fn left(what: String, why: impl std::fmt::Display) -> NotReplayed {
    NotReplayed { what, why: feed::words(&why.to_string()) }
}

async fn create(host: &Host, plan: &NetworkPlan) -> Result<Option<NetworkInfo>, EngineError> {
    let mut network = Network::openshell_docker().name(&plan.name);
    for (name, value) in &plan.options {
        network = network.option(*name, value);
    }
    let pools = plan.pools.iter().map(|(subnet, gateway)| IpamConfig {
        subnet: Some(subnet.to_string()),
        gateway: gateway.map(|gateway| gateway.to_string()),
        ..IpamConfig::default()
    });
    let pools: Vec<IpamConfig> = pools.collect();
    let network = network.deviate(|request| {
        request.internal = plan.internal.then_some(true);
        request.enable_ipv6 = plan.v6().then_some(true);
        if !pools.is_empty() {
            request.ipam = Some(Ipam { config: Some(pools), ..Ipam::default() });
        }
    });
    match host.engine()?.create_network(&network).await {
        Ok(info) => Ok(Some(info)),
        // It is there, and without an IPv4 gateway, as the captured one.
        Err(EngineError::Unexpected { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// UFW's files, for what reads them: its rules are in the kernel already, and UFW itself is not run.
fn write_ufw(host: &Host, files: &UfwFiles) -> io::Result<()> {
    let write = |path: &str, text: &dyn Fn(&str) -> Option<String>| {
        let path = host.path(path);
        match text(&fs::read_to_string(&path)?) {
            Some(text) => fs::write(&path, text),
            None => Ok(()),
        }
    };
    write("/etc/default/ufw", &|template| Some(files.default_file(template)))?;
    write("/etc/ufw/user.rules", &|template| files.rules_file(template))?;
    write("/etc/ufw/ufw.conf", &|_| Some(files.conf.clone()))
}

/// What is written has effect in the network namespace of the thread that writes.
fn set(host: &Host, settings: &[Setting]) -> Result<Vec<NotReplayed>, ReplayError> {
    let write = |setting: &Setting| {
        let path = format!("/proc/sys/{}", setting.path);
        let value = setting.value.to_string();
        let same = fs::read_to_string(&path).is_ok_and(|is| is.trim() == value);
        if same { Ok(()) } else { fs::write(&path, &value) }
    };
    let refused = host.network_namespace().run(|| {
        let refused = settings.iter().filter_map(|setting| {
            let error = write(setting).err()?;
            Some(left(format!("setting {} = {}", setting.path, setting.value), error))
        });
        refused.collect()
    });
    Ok(refused?)
}

async fn start(host: &Host, plan: &ServicePlan) -> Result<Service, ServiceError> {
    match plan.kind {
        Kind::Gateway => {
            let mut addresses = plan.addresses.iter().copied();
            let gateway = match (addresses.next(), addresses.next()) {
                (Some(first), Some(second)) => Gateway::on(second).bind_address(first),
                (Some(only), None) => Gateway::on_loopback().bind_address(only),
                _ => Gateway::on_loopback(),
            };
            gateway.port(plan.port).start(host).await
        }
        Kind::Other(behaviour) => {
            let service =
                OtherService::new(behaviour, plan.port).bind_addresses(plan.addresses.iter().copied());
            let service = if plan.v6_only { service.v6_only() } else { service };
            let service = if plan.stale { service.on_lost_addresses() } else { service };
            plan.user.into_iter().fold(service, OtherService::user).start(host).await
        }
    }
}
