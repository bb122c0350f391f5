//! What an onboarding wants, and what comes out of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use probe::LifecyclePath;

use super::error::GatewayError;
use super::identity::{Executable, all_processes};
use super::preflight::{Passed, Subject, preflight};
use super::program::{GatewayProgram, Launch, Values};
use super::state::{NetworkMark, Records};
use super::stub::Gateway;
use crate::host::Host;
use crate::service::manager::ServiceManager;

/// The folder of the records in a host: NemoClaw's own.
const STATE: &str = "/root/.local/state/nemoclaw/openshell-docker-gateway";

/// How long a gateway may take to become healthy. NemoClaw gives it 30 polls of 2 s; measured here: 20 ms.
const HEALTHY_WITHIN: Duration = Duration::from_secs(20);

/// The point that an onboarding has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LifecycleStep {
    /// A process was started. Fresh only.
    Spawned,
    /// The command line knows the gateway.
    Registered,
    /// What the command line knows is this gateway, and it is well.
    Metadata,
    /// It accepts connections of the host on 127.0.0.1.
    HostTcp,
    /// The process is still the one that was looked at.
    StillAlive,
    /// The preflight comes next.
    Preflight,
}

impl fmt::Display for LifecycleStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spawned => "spawned",
            Self::Registered => "registered",
            Self::Metadata => "metadata",
            Self::HostTcp => "host TCP",
            Self::StillAlive => "still alive",
            Self::Preflight => "preflight",
        })
    }
}

type Observer<'host> = Box<dyn Fn(LifecycleStep) -> Pin<Box<dyn Future<Output = ()> + 'host>> + 'host>;

/// Makes sure that a healthy gateway runs in a host, as NemoClaw's onboarding does.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use harness::service::gateway::{GatewayProgram, GatewaySetup};
/// use harness::{Engine, Host};
///
/// const PROBE: &str = "/usr/local/bin/openshell-probe";
/// let program = GatewayProgram::stand_in();
/// let host = Host::builder()
///     .engine(Engine::Docker)
///     .bind("target/release/openshell-probe", PROBE)
///     .gateway_program(&program)?
///     .start()
///     .await?;
/// match GatewaySetup::new(&host, program, PROBE).ensure_gateway().await {
///     Ok(ensured) => println!("{}", ensured.message()),
///     Err(error) => eprintln!("{error}"),
/// }
/// host.shutdown().await?;
/// # Ok(())
/// # }
/// ```
///
/// One that is kept in a variable has to be dropped before [`Host::shutdown`].
pub struct GatewaySetup<'host> {
    pub(super) host: &'host Host,
    pub(super) program: GatewayProgram,
    probe: String,
    pub(super) port: u16,
    pub(super) network: String,
    pub(super) state: PathBuf,
    pub(super) name: String,
    strict: bool,
    pub(super) healthy_within: Duration,
    pub(super) manager: Option<&'host ServiceManager>,
    observer: Option<Observer<'host>>,
}

/// A healthy gateway.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// How it came to be running.
    pub path: LifecyclePath,
    /// Its process id in the host.
    pub pid: i32,
    /// What the preflight found.
    pub preflight: Passed,
}

impl Ensured {
    /// What NemoClaw tells its user.
    #[must_use]
    pub fn message(&self) -> String {
        match self.path {
            LifecyclePath::Fresh => "✓ Docker-driver gateway is healthy".to_owned(),
            LifecyclePath::Reused => "✓ Reusing existing Docker-driver gateway".to_owned(),
            LifecyclePath::Adopted => {
                format!("✓ Reusing existing Docker-driver gateway process (PID {})", self.pid)
            }
            LifecyclePath::ManagedService => "✓ OpenShell gateway managed service is healthy".to_owned(),
            _ => "[reuse] Skipping gateway (running)".to_owned(),
        }
    }
}

impl<'host> GatewaySetup<'host> {
    /// A gateway on 8080 for `openshell-docker`; `probe` is the probe's program in the host.
    #[must_use]
    pub fn new(host: &'host Host, program: GatewayProgram, probe: impl Into<String>) -> Self {
        Self {
            host,
            program,
            probe: probe.into(),
            port: Gateway::PORT,
            network: probe::DEFAULT_NETWORK.to_owned(),
            state: STATE.into(),
            name: "nemoclaw".to_owned(),
            strict: false,
            healthy_within: HEALTHY_WITHIN,
            manager: None,
            observer: None,
        }
    }

    /// Another port (`NEMOCLAW_GATEWAY_PORT`).
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Another sandbox network.
    #[must_use]
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.network = network.into();
        self
    }

    /// Another folder of the host for the records (`NEMOCLAW_OPENSHELL_GATEWAY_STATE_DIR`).
    #[must_use]
    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.state = folder.as_ref().to_owned();
        self
    }

    /// Stops also when it could not be found out whether sandboxes reach the gateway.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Gives the gateway so long to become healthy, instead of 20 s.
    #[must_use]
    pub fn healthy_within(mut self, deadline: Duration) -> Self {
        self.healthy_within = deadline;
        self
    }

    /// A service manager that has the gateway as a unit. It is used for the default port only, as NemoClaw does.
    #[must_use]
    pub fn managed_by(mut self, manager: &'host ServiceManager) -> Self {
        self.manager = Some(manager);
        self
    }

    /// Tells `observer` every step when it is reached, and waits for it.
    #[must_use]
    pub fn on_step<F: Future<Output = ()> + 'host>(
        mut self,
        observer: impl Fn(LifecycleStep) -> F + 'host,
    ) -> Self {
        self.observer = Some(Box::new(move |step| Box::pin(observer(step))));
        self
    }

    /// What runs have left for the next one.
    #[must_use]
    pub fn records(&self) -> Records {
        Records::of(self.host, &self.state)
    }

    /// The processes of the host that run the gateway's program, whoever started them.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let Ok(program) = Executable::at(self.host, self.program.path()) else { return Vec::new() };
        all_processes(self.host).filter(|running| running.executable == program).map(|one| one.pid).collect()
    }

    pub(super) async fn reach(&self, step: LifecycleStep) {
        if let Some(observer) = &self.observer {
            observer(step).await;
        }
    }

    /// Where the command line calls the gateway.
    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn launch(&self, bridge: Option<String>) -> Result<Launch, GatewayError> {
        let (port, network, state) = (self.port, self.network.as_str(), self.state.as_path());
        self.program.launch(&Values { port, network, state, bridge })
    }

    /// The sandbox network as it is now. A gateway that was started without one says so later.
    pub(super) async fn network_mark(&self) -> Option<NetworkMark> {
        let found = self.host.engine().ok()?.inspect_network(&self.network).await.ok()?;
        Some(NetworkMark { id: found.id, gateway: found.gateway })
    }

    /// The gate before a gateway is called healthy.
    pub(super) async fn preflight(&self, path: LifecyclePath) -> Result<Passed, GatewayError> {
        self.reach(LifecycleStep::Preflight).await;
        let subject = Subject {
            probe: &self.probe,
            target: format!("{}=gateway", self.port),
            network: &self.network,
            strict: self.strict,
        };
        preflight(self.host, &subject, path).await
    }
}
