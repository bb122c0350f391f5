//! One replay: the host, the probe in it, the comparison.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use probe::Report;
use snapshot::Snapshot;

use super::compare::Outcome;
use super::furnish::{Furnished, ReplayError, dress};
use super::plan::Plan;
use crate::host::{BootStep, Host, tail};
use crate::image::Image;
use crate::privilege::Privilege;

/// Where the probe is in the host.
const PROBE: &str = "/usr/local/bin/openshell-probe";

/// How long the probe may take; its own deadline is 30 s, and what comes after it takes a few.
const DEADLINE: Duration = Duration::from_secs(120);

/// Told what is going on, in a few words each.
type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// Replays snapshots with a probe.
#[derive(Clone)]
pub struct Replay {
    probe: PathBuf,
    image: Option<Image>,
    privilege: Privilege,
    progress: Option<Progress>,
}

impl Replay {
    /// With this probe, on hosts without rights on the machine ([`Privilege::User`]).
    #[must_use]
    pub fn new(probe: impl AsRef<Path>) -> Self {
        Self { probe: probe.as_ref().to_owned(), image: None, privilege: Privilege::User, progress: None }
    }

    /// Another userland than [`Image::debian_13`].
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Hosts with these rights, for snapshots that are trusted.
    #[must_use]
    pub fn privilege(mut self, privilege: Privilege) -> Self {
        self.privilege = privilege;
        self
    }

    /// Tells `progress` what is going on, in a few words each.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Builds the host, asks the probe there what the snapshot's check asked, and compares.
    ///
    /// # Errors
    /// When the host does not come to be, or the probe gives no report. Nothing of the host is left then. What cannot be made as
    /// it was is no error: the outcome names it.
    pub async fn run(&self, snapshot: &Snapshot) -> Result<Outcome, ReplayError> {
        let plan = Plan::of(snapshot);
        let mut host = Host::builder().name("replay").privilege(self.privilege).bind(&self.probe, PROBE);
        if let Some(image) = &self.image {
            host = host.image(image.clone());
        }
        if let Some(progress) = self.progress.clone() {
            host = host.on_step(move |step: BootStep| progress(&format!("boot: {step}")));
        }
        let host = dress(host, &plan).start().await?;
        let outcome = self.on(&host, snapshot, &plan).await;
        host.shutdown().await.map_err(ReplayError::Shutdown)?;
        outcome
    }

    async fn on(&self, host: &Host, snapshot: &Snapshot, plan: &Plan) -> Result<Outcome, ReplayError> {
        self.tell("make networks, links, services and rules");
        let furnished = Furnished::make(host, plan).await?;
        self.tell("ask the probe");
        let command = host.command(PROBE).arg("explain").args(Plan::targets(snapshot));
        let command = command.args(Plan::arguments(snapshot)).args(["--format", "json"]).deadline(DEADLINE);
        let output = command.output().await?;
        let report: Report = serde_json::from_slice(&output.stdout).map_err(|error| ReplayError::Report {
            code: output.status.code(),
            message: error.to_string(),
            said: tail(&String::from_utf8_lossy(&output.stderr), 10),
        })?;
        Ok(Outcome::of(snapshot, plan, furnished.refused, &report))
    }

    fn tell(&self, what: &str) {
        if let Some(progress) = &self.progress {
            progress(what);
        }
    }
}
