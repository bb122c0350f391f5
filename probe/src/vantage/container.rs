//! A sandbox's place: one short-lived container on the sandbox network that dials every port at the same time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::protocol::{DialerOutput, LAST_LINE, ProtocolError};
use super::{Dialled, Vantage, arguments};
use crate::engine::{ContainerSpec, Engine, EngineError, EngineInfo, EngineTrouble, Spoken};
use crate::evidence::Trouble;
use crate::image::{self, OWNER, OWNER_LABEL};
use crate::interrupt::Interrupt;
use crate::route::Route;
use crate::target::Protocol;

/// The label with the run that a container belongs to.
pub const RUN_LABEL: &str = "openshell-probe.run";
/// The label with the time, in seconds since 1970, from which a container may be swept.
pub const EXPIRES_LABEL: &str = "openshell-probe.expires";
/// How long a name may take to resolve. From `/etc/hosts`, where OpenShell puts its aliases, it takes microseconds.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A container is swept this long after its run must have ended: clocks differ, and its own run is the one to remove it.
const GRACE: Duration = Duration::from_secs(600);
/// A container takes a third of a second to start, and several on a busy machine.
const START: Duration = Duration::from_secs(2);
/// runc needs a good part of this for its own start; the dialer needs 1 MiB.
const MEMORY: i64 = 64 * 1024 * 1024;
/// The dialer has two threads, and runc's own count for a moment.
const PIDS: i64 = 32;

/// What to dial and from where.
#[derive(Clone, Debug)]
pub struct Order {
    /// This run, in the container's name and labels.
    pub run: String,
    /// The image id.
    pub image: String,
    /// The id of the sandbox network.
    pub network: String,
    /// How sandboxes get to their host.
    pub route: Route,
    /// The name to dial.
    pub alias: String,
    /// The ports to dial, and what each is greeted in.
    pub ports: Vec<(u16, Protocol)>,
    /// The ClientHello for each port whose certificate is asked for. The dialer says it to a service that speaks TLS.
    pub hellos: BTreeMap<u16, Vec<u8>>,
    /// How long each dial may take.
    pub timeout: Duration,
    /// How long the whole check may take, from now.
    pub deadline: Duration,
}

impl Order {
    /// The container that does it. Limits are set only where the engine can: it refuses them elsewhere.
    #[must_use]
    pub fn container(&self, info: &EngineInfo) -> ContainerSpec {
        // The container has to start and to go within the same time.
        let total = self.deadline.saturating_sub(START);
        let arguments = arguments(&self.alias, self.timeout, total, &self.ports, &self.hellos);
        let expires = now() + (self.deadline + GRACE).as_secs();
        ContainerSpec {
            name: format!("openshell-probe-{}", self.run),
            image: self.image.clone(),
            arguments,
            network: self.network.clone(),
            extra_hosts: self.route.extra_hosts(),
            labels: BTreeMap::from([
                (OWNER_LABEL.to_owned(), OWNER.to_owned()),
                (RUN_LABEL.to_owned(), self.run.clone()),
                (EXPIRES_LABEL.to_owned(), expires.to_string()),
            ]),
            memory: info.memory_limit.then_some(MEMORY),
            pids: info.pids_limit.then_some(PIDS),
        }
    }
}

/// What a run of the container gave.
#[derive(Debug)]
pub struct Run<T> {
    /// What the dialer said.
    pub output: Result<DialerOutput, Trouble>,
    /// What `after` returned.
    pub after: T,
    /// Why the container could not be removed. The engine removes it by itself when it ends, and the next check sweeps
    /// it when it is past its expiry.
    pub left: Option<EngineError>,
}

impl<T> From<Run<T>> for Dialled<T> {
    fn from(run: Run<T>) -> Self {
        let left = run.left.map(|error| error.to_string());
        Self { output: run.output, after: run.after, left, from: Vantage::Container }
    }
}

/// Runs the container and removes it, whatever happens between. `after` is called as soon as the dialer has spoken, while
/// it still holds its connections open, and before the removal takes its time.
pub async fn run<T>(
    engine: &impl Engine,
    spec: &ContainerSpec,
    interrupt: &Interrupt,
    after: impl AsyncFnOnce(Option<&DialerOutput>) -> T,
) -> Run<T> {
    let id = match create(engine, spec).await {
        Ok(id) => id,
        Err(trouble) => {
            // An engine that gave no answer may still have created it; one that refused has not, and an image is only
            // looked for after a refusal.
            let refused = matches!(trouble, Trouble::Image(_))
                || matches!(trouble.engine(), Some(EngineTrouble::Refused { .. }));
            let left = if refused { None } else { engine.remove(&spec.name).await.err() };
            return Run { output: Err(trouble), after: after(None).await, left };
        }
    };
    let (output, input) = tokio::select! {
        spoken = engine.run(&id, LAST_LINE) => match spoken {
            Ok(Spoken { text, input }) => {
                (DialerOutput::parse(&text).map_err(Trouble::Protocol), Some(input))
            }
            Err(error) => (Err(Trouble::Container(error)), None),
        },
        () = interrupt.raised() => (Err(Trouble::Interrupted), None),
    };
    let after = after(output.as_ref().ok()).await;
    drop(input);
    // A dialer that has spoken ends by itself, and its container with it. To ask for more would only make the engine
    // log an error.
    let ended = output.is_ok() && engine.gone(&id).await;
    let left = if ended { None } else { engine.remove(&id).await.err() };
    // An output that is cut short by an engine that has gone is the engine's doing.
    let output = match (output, &left) {
        (Err(Trouble::Protocol(ProtocolError::Incomplete { .. })), Some(error))
            if matches!(error.trouble, EngineTrouble::Unreachable { .. } | EngineTrouble::Silent { .. }) =>
        {
            Err(Trouble::Engine(error.clone()))
        }
        (output, _) => output,
    };
    Run { output, after, left }
}

/// Creates the container. An image that vanished since it was looked up (another run's `clean`) is loaded once more.
async fn create(engine: &impl Engine, spec: &ContainerSpec) -> Result<String, Trouble> {
    let error = match engine.create(spec).await {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    let missing = matches!(&error.trouble, EngineTrouble::Refused { status: 404, .. });
    if !missing || image::find(engine).await?.is_some() {
        return Err(Trouble::Container(error));
    }
    image::load(engine).await?;
    engine.create(spec).await.map_err(Trouble::Container)
}

/// Removes containers of this program that are past their expiry, and returns how many. Never another run's live one.
///
/// # Errors
/// When the engine fails.
pub async fn sweep(engine: &impl Engine) -> Result<usize, EngineError> {
    let now = now();
    let mut swept = 0;
    for container in engine.labelled(OWNER_LABEL, OWNER).await? {
        let expires = container.labels.get(EXPIRES_LABEL).and_then(|label| label.parse::<u64>().ok());
        if expires.is_some_and(|expires| expires < now) {
            engine.remove(&container.id).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// A name for a run that no other run has: the time in nanoseconds and the process.
#[must_use]
pub fn new_run() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{nanos:x}-{}", std::process::id())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
