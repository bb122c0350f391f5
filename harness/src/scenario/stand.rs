//! A scenario's host for somebody to use, instead of the probe and the oracle.

use std::path::PathBuf;
use std::sync::Arc;

use super::events::Stage;
use super::file::ScenarioFile;
use super::format::Event;
use super::place::Place;
use super::run::{PROBE, RunError};
use crate::engine::NetworkInfo;
use crate::host::{Host, HostBuilder};
use crate::image::Image;

/// Told what is going on, in a few words each.
type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// What a scenario's hosts have besides what its file says.
#[derive(Clone, Default)]
pub struct StandOptions {
    image: Option<Image>,
    binds: Vec<(PathBuf, bool)>,
    probe: Option<PathBuf>,
    progress: Option<Progress>,
    trusted: bool,
}

impl StandOptions {
    /// Another userland than [`Image::debian_13`].
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Lets the user's machine see a file or folder of the machine at the same place, for reading only unless `writable`.
    #[must_use]
    pub fn bind(mut self, path: impl Into<PathBuf>, writable: bool) -> Self {
        self.binds.push((path.into(), writable));
        self
    }

    /// Puts this `openshell-probe` on the `PATH`.
    #[must_use]
    pub fn probe(mut self, probe: impl Into<PathBuf>) -> Self {
        self.probe = Some(probe.into());
        self
    }

    /// Gives a host of a snapshot the same rights as others; without it, it is an ordinary user's.
    #[must_use]
    pub fn trust_snapshots(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// Tells `progress` what is going on while the hosts are made, in a few words each.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    fn tell(&self, what: &str) {
        if let Some(progress) = &self.progress {
            progress(what);
        }
    }

    fn machine(&self, host: HostBuilder) -> HostBuilder {
        let host = match &self.image {
            Some(image) => host.image(image.clone()),
            None => host,
        };
        match self.progress.clone() {
            Some(progress) => host.on_step(move |step| progress(&format!("boot: {step}"))),
            None => host,
        }
    }

    fn user(&self, host: HostBuilder) -> HostBuilder {
        let host = match &self.image {
            Some(image) => host.image(image.clone()),
            None => host,
        };
        let host = match &self.probe {
            Some(probe) => host.bind(probe, PROBE),
            None => host,
        };
        self.binds.iter().fold(host, |host, (path, writable)| match writable {
            true => host.bind_writable(path, path),
            false => host.bind(path, path),
        })
    }
}

/// The hosts of a scenario after all its events: the services run, and the firewall is in force.
pub struct Stand<'place> {
    place: &'place Place,
    network: Option<NetworkInfo>,
}

impl Stand<'_> {
    /// The user's machine: services, firewall, the engine's socket.
    #[must_use]
    pub fn user(&self) -> &Host {
        self.place.user()
    }

    /// The engine's host: the same one where there is no virtual machine.
    #[must_use]
    pub fn machine(&self) -> &Host {
        self.place.machine()
    }

    /// Whether the engine is in a virtual machine.
    #[must_use]
    pub fn has_virtual_machine(&self) -> bool {
        self.place.vm().is_some()
    }

    /// The network that sandboxes join, where there is one.
    #[must_use]
    pub fn network(&self) -> Option<&NetworkInfo> {
        self.network.as_ref()
    }
}

/// Boots a scenario's hosts, makes its events happen, and gives them to `task`; afterwards they end. Checks are left out.
///
/// # Errors
/// When the hosts do not come to be, lack what the scenario needs, or do not end well. Nothing of them is left then.
pub async fn on_stand<T>(
    file: &ScenarioFile,
    options: &StandOptions,
    task: impl AsyncFnOnce(&Stand<'_>) -> T,
) -> Result<T, RunError> {
    let place =
        Place::dressed(file, options.trusted, |host| options.machine(host), |host| options.user(host))
            .await?;
    let done = perform(file, options, &place, task).await;
    place.shutdown().await.map_err(RunError::Shutdown)?;
    done
}

async fn perform<T>(
    file: &ScenarioFile,
    options: &StandOptions,
    place: &Place,
    task: impl AsyncFnOnce(&Stand<'_>) -> T,
) -> Result<T, RunError> {
    for capability in &file.scenario.skip_unless {
        if let Some(reason) = capability.missing(place.user()).await.map_err(RunError::Capability)? {
            return Err(RunError::Lacks { path: file.path.clone(), reason: reason.to_owned() });
        }
    }
    let mut stage = Stage::new(place, None);
    if let Some(snapshot) = &file.snapshot {
        options.tell("make what the snapshot has");
        stage.replay(snapshot).await?;
    }
    for (index, event) in file.scenario.events.iter().enumerate() {
        if matches!(event, Event::Check(_) | Event::DuringCheck(_)) {
            continue;
        }
        options.tell(event.words());
        stage.perform(event).await.map_err(|source| RunError::Event {
            path: file.path.clone(),
            line: file.event_line(index),
            source: Box::new(source),
        })?;
    }
    // The stage keeps the services that it has started.
    let stand = Stand { place, network: stage.network.clone() };
    Ok(task(&stand).await)
}
