//! The four ways to a running gateway, in NemoClaw's order. Each runs the preflight at its own end, before it says healthy.

use std::collections::BTreeMap;
use std::path::Path;

use probe::LifecyclePath;

use super::error::{Drift, GatewayError};
use super::identity::{Executable, Owner, Running, environment, owners, process, settled_owners};
use super::program::Launch;
use super::setup::{Ensured, GatewaySetup, LifecycleStep};
use super::state::{Marker, end};
use crate::host::HostCommand;

impl GatewaySetup<'_> {
    /// Makes sure that a healthy gateway runs, which sandboxes reach as far as that could be found out.
    ///
    /// # Errors
    /// When there is none in the end, [`GatewayError::Preflight`] when sandboxes do not reach it. Whatever it is, the
    /// next run meets nothing that this one has left half done.
    pub async fn ensure_gateway(&self) -> Result<Ensured, GatewayError> {
        let _lock = self.records().lock().await?;
        if let Some(manager) = self.manager
            && self.port == super::Gateway::PORT
        {
            return self.restart_managed(manager).await;
        }
        if let Some(ensured) = self.reuse().await? {
            return Ok(ensured);
        }
        if let Some(ensured) = self.adopt().await? {
            return Ok(ensured);
        }
        self.start_fresh().await
    }

    /// The gateway that the records name, when it is the one listener, is not drifted, and is well.
    async fn reuse(&self) -> Result<Option<Ensured>, GatewayError> {
        let Some((running, marker)) = self.recorded() else {
            // Those of a process that is gone are of no use to anybody.
            self.records().forget()?;
            return Ok(None);
        };
        if self.drift_of(&running, &marker.environment)?.is_some() || !self.is_the_listener(&running)? {
            // It is ours and of no use any more.
            end(self.host, &running).await?;
            self.records().forget()?;
            return Ok(None);
        }
        if let Err(error) = self.until_healthy(&running).await {
            end(self.host, &running).await?;
            self.records().forget()?;
            return match error {
                GatewayError::Ended { .. } | GatewayError::NotHealthy { .. } => Ok(None),
                other => Err(other),
            };
        }
        let preflight = self.preflight(LifecyclePath::Reused).await?;
        Ok(Some(Ensured { path: LifecyclePath::Reused, pid: running.pid, preflight }))
    }

    /// A listener without records, once it is known to be the gateway.
    async fn adopt(&self) -> Result<Option<Ensured>, GatewayError> {
        let Some(running) = self.verified_listener().await? else { return Ok(None) };
        let has = environment(self.host, running.pid);
        if let Some(drift) = self.drift_of(&running, &has)? {
            // Nothing says that it is ours to end.
            return Err(GatewayError::Drifted { pid: running.pid, drift });
        }
        self.remember(&running).await?;
        let healthy = async {
            self.until_healthy(&running).await?;
            self.preflight(LifecyclePath::Adopted).await
        };
        match healthy.await {
            Ok(preflight) => Ok(Some(Ensured { path: LifecyclePath::Adopted, pid: running.pid, preflight })),
            Err(error) => {
                self.records().forget()?;
                Err(error)
            }
        }
    }

    /// Nobody listens: starts it. When it does not come to a healthy end, nothing of it is left, so that the next run
    /// does not meet a port that is taken (NemoClaw #3456).
    async fn start_fresh(&self) -> Result<Ensured, GatewayError> {
        let running = self.spawn().await?;
        self.reach(LifecycleStep::Spawned).await;
        let healthy = async {
            self.remember(&running).await?;
            self.until_healthy(&running).await?;
            // The gateway has made the network by now.
            self.remember(&running).await?;
            self.preflight(LifecyclePath::Fresh).await
        };
        match healthy.await {
            Ok(preflight) => Ok(Ensured { path: LifecyclePath::Fresh, pid: running.pid, preflight }),
            Err(error) => {
                end(self.host, &running).await?;
                self.records().forget()?;
                self.unregister()?;
                Err(error)
            }
        }
    }

    async fn spawn(&self) -> Result<Running, GatewayError> {
        let launch = self.prepare().await?;
        let records = self.records();
        let log = records.open_log()?;
        let copy = log.try_clone().map_err(|source| GatewayError::File { path: "the log".into(), source })?;
        let command = self.host.command(self.program.path()).args(launch.args);
        let command = with_all(command, &launch.environment);
        let pid = command.stdout(log).stderr(copy).spawn_detached().await?;
        // It may be gone again already.
        process(self.host, pid).ok_or_else(|| GatewayError::Ended { log: records.log() })
    }

    /// Everything that has to be there before the program starts.
    pub(super) async fn prepare(&self) -> Result<Launch, GatewayError> {
        let bridge = if self.program.creates_network() {
            None
        } else {
            Some(self.host.engine()?.ensure_network(&self.network).await?.gateway.to_string())
        };
        let launch = self.launch(bridge)?;
        if let Some(config) = &launch.config {
            self.records().write("gateway.toml", config)?;
        }
        for argv in &launch.prepare {
            let Some((program, arguments)) = argv.split_first() else { continue };
            with_all(self.host.command(program).args(arguments), &launch.environment).run().await?;
        }
        Ok(launch)
    }

    async fn remember(&self, running: &Running) -> Result<(), GatewayError> {
        let network = self.network_mark().await;
        self.records().remember(&Marker {
            pid: running.pid,
            started: running.started,
            environment: self.wanted()?,
            endpoint: self.endpoint(),
            program: running.executable.clone(),
            network,
        })
    }

    /// The process of the records, if it lives and is the one that was recorded.
    pub(super) fn recorded(&self) -> Option<(Running, Marker)> {
        let records = self.records();
        let (pid, marker) = (records.pid()?, records.marker()?);
        let running = process(self.host, pid).filter(|running| {
            marker.pid == pid && marker.started == running.started && marker.program == running.executable
        })?;
        Some((running, marker))
    }

    /// The process that has the port, when it is one and runs the gateway's program.
    async fn verified_listener(&self) -> Result<Option<Running>, GatewayError> {
        let listeners = settled_owners(self.host, self.port).await?;
        let Some(first) = listeners.first() else { return Ok(None) };
        let running = first.pid.and_then(|pid| process(self.host, pid));
        let foreign = |owner: &Owner| self.foreign(owner);
        // What was started from the gateway's path is the gateway, also when there is another file by now: a drift then.
        let running = running.filter(|running| running.executable.path == Path::new(self.program.path()));
        let Some(running) = running else { return Err(foreign(first)) };
        match listeners.iter().find(|owner| owner.pid != Some(running.pid)) {
            Some(other) => Err(foreign(other)),
            None => Ok(Some(running)),
        }
    }

    pub(super) fn foreign(&self, owner: &Owner) -> GatewayError {
        let name = |pid: i32| {
            let command = std::fs::read_to_string(self.host.path(format!("/proc/{pid}/comm")));
            command
                .map_or_else(|_| format!("process {pid}"), |name| format!("process {pid} ({})", name.trim()))
        };
        let owner_name = owner.pid.map_or_else(|| "a process that cannot be seen".to_owned(), name);
        GatewayError::Foreign { port: self.port, owner: owner_name, pid: owner.pid }
    }

    pub(super) fn is_the_listener(&self, running: &Running) -> Result<bool, GatewayError> {
        let listeners = owners(self.host, self.port)?;
        Ok(!listeners.is_empty() && listeners.iter().all(|owner| owner.pid == Some(running.pid)))
    }

    /// How a running gateway differs from what is wanted. `has` is what it was started with: what is not wanted by name
    /// makes no difference.
    pub(super) fn drift_of(
        &self,
        running: &Running,
        has: &BTreeMap<String, String>,
    ) -> Result<Option<Drift>, GatewayError> {
        let program = self.program_file();
        if !program.as_ref().is_some_and(|program| *program == running.executable) {
            return Ok(Some(Drift::Executable { was: running.executable.clone(), wanted: program }));
        }
        let differs = |(name, wanted): (String, String)| {
            let was = has.get(&name).cloned();
            (was.as_ref() != Some(&wanted)).then_some(Drift::Environment { name, was, wanted: Some(wanted) })
        };
        Ok(self.wanted()?.into_iter().find_map(differs))
    }

    fn wanted(&self) -> Result<BTreeMap<String, String>, GatewayError> {
        // A definition may name the bridge in its arguments; in its environment it would be a drift by itself.
        Ok(self.launch(Some(String::new()))?.environment)
    }

    pub(super) fn program_file(&self) -> Option<Executable> {
        Executable::at(self.host, self.program.path()).ok()
    }
}

fn with_all<'host>(
    command: HostCommand<'host>,
    environment: &BTreeMap<String, String>,
) -> HostCommand<'host> {
    environment.iter().fold(command, |command, (name, value)| command.env(name, value))
}
