//! Whether a gateway is well as the host sees it: registered, itself, answering, and still there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::GatewayError;
use super::identity::{Running, owners, process};
use super::program::Health;
use super::setup::{GatewaySetup, LifecycleStep};
use super::state::{LOOK, write_atomically};
use crate::service::client::{CheckError, Client};

/// What the command line knows: OpenShell's `gateway add`, `gateway select` and `status` in one file.
#[derive(Default, Deserialize, Serialize)]
struct Registry {
    active: Option<String>,
    gateways: BTreeMap<String, String>,
}

impl GatewaySetup<'_> {
    /// Waits until the process is well, in the order in which NemoClaw looks.
    pub(super) async fn until_healthy(&self, running: &Running) -> Result<(), GatewayError> {
        let mut last = (LifecycleStep::Registered, "nothing was looked at".to_owned());
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let healthy = async {
            loop {
                tick.tick().await;
                if !self.is_alive(running) {
                    return Err(GatewayError::Ended { log: self.records().log() });
                }
                match self.look(running).await? {
                    Ok(()) => return Ok(()),
                    Err(seen) => last = seen,
                }
            }
        };
        if let Ok(ended) = timeout(self.healthy_within, healthy).await {
            return ended;
        }
        let (step, message) = last;
        Err(GatewayError::NotHealthy { step, message, log: self.records().log() })
    }

    /// One look: the step that was not passed and what was seen there.
    async fn look(&self, running: &Running) -> Result<Result<(), (LifecycleStep, String)>, GatewayError> {
        let listeners = owners(self.host, self.port)?;
        if listeners.is_empty() {
            return Ok(Err((LifecycleStep::HostTcp, "nobody listens on its port".to_owned())));
        }
        self.register()?;
        self.reach(LifecycleStep::Registered).await;
        if let Err(message) = self.metadata().await {
            return Ok(Err((LifecycleStep::Metadata, message)));
        }
        self.reach(LifecycleStep::Metadata).await;
        if let Err(message) = self.host_tcp()? {
            return Ok(Err((LifecycleStep::HostTcp, message)));
        }
        self.reach(LifecycleStep::HostTcp).await;
        // What answered may be somebody else while ours is gone (NemoClaw #4430).
        if !self.is_alive(running) || listeners.iter().any(|owner| owner.pid != Some(running.pid)) {
            return Ok(Err((LifecycleStep::StillAlive, "another process answers on its port".to_owned())));
        }
        self.reach(LifecycleStep::StillAlive).await;
        Ok(Ok(()))
    }

    pub(super) fn is_alive(&self, running: &Running) -> bool {
        process(self.host, running.pid).is_some_and(|found| found.started == running.started)
    }

    /// Whether it is the gateway that the command line would call, and says that it is well.
    pub(super) async fn metadata(&self) -> Result<(), String> {
        let registry = self.registry();
        let known = registry.active.as_deref() == Some(&self.name)
            && registry.gateways.get(&self.name) == Some(&self.endpoint());
        if !known {
            return Err(format!("the command line does not know {} at {}", self.name, self.endpoint()));
        }
        let health = self.program.health();
        if health == Health::Tcp {
            return Ok(());
        }
        match Client::of(self.host).health(self.loopback()).await {
            Ok(()) => Ok(()),
            // It is HTTP/2, and what it says is its own affair.
            Err(CheckError::Status { .. } | CheckError::Unexpected { .. } | CheckError::Grpc { .. })
                if health == Health::Http2 =>
            {
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn host_tcp(&self) -> Result<Result<(), String>, GatewayError> {
        let address = self.loopback();
        let dialled = self
            .host
            .network_namespace()
            .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)));
        let dialled = dialled.map_err(|error| GatewayError::Listeners(error.into()))?;
        Ok(dialled.map(drop).map_err(|error| format!("connect to {address}: {error}")))
    }

    fn loopback(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Makes the gateway known and the one that is used, unless it is already.
    pub(super) fn register(&self) -> Result<(), GatewayError> {
        let mut registry = self.registry();
        let endpoint = self.endpoint();
        let known = registry.gateways.get(&self.name) == Some(&endpoint);
        if known && registry.active.as_deref() == Some(&self.name) {
            return Ok(());
        }
        registry.gateways.insert(self.name.clone(), endpoint);
        registry.active = Some(self.name.clone());
        self.write_registry(&registry)
    }

    /// What a failed start does not leave behind: the command line would go on calling it.
    pub(super) fn unregister(&self) -> Result<(), GatewayError> {
        let mut registry = self.registry();
        registry.gateways.remove(&self.name);
        registry.active = registry.active.filter(|active| *active != self.name);
        self.write_registry(&registry)
    }

    fn registry(&self) -> Registry {
        let read = std::fs::read(self.registry_file()).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn write_registry(&self, registry: &Registry) -> Result<(), GatewayError> {
        let path = self.registry_file();
        let failed = |source| GatewayError::File { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = serde_json::to_vec_pretty(registry).map_err(|error| failed(error.into()))?;
        write_atomically(&path, &text)
    }

    fn registry_file(&self) -> PathBuf {
        self.host.path("/root/.config/openshell/gateways.json")
    }
}
