//! What an onboarding does before sandboxes use Ollama: it starts the proxy, sees whether sandboxes reach it, and only then
//! commits the route.
//!
//! ```text
//!   run() ─► proxy there? ─► no: start it ─► preflight 11435 ─► ok, or not to be found out ─► commit the route
//!              ▲    └─ another program: refused        └─ tcp_failed: nothing is committed,
//!              └──────────── the next run, and a resume, come here again ◄──┘ what this run started is ended
//! ```
//!
//! NemoClaw's bug #3340: every check from the host was green, the route was committed, and the first call of a sandbox hung.
//! On WSL there is no proxy: sandboxes reach Ollama on Windows, and the preflight is skipped and says why.

use std::path::PathBuf;
use std::time::Duration;

use probe::{LifecyclePath, Verdict};
use serde::{Deserialize, Serialize};
use tokio::time::{interval, timeout};

use super::gateway::{
    Executable, GatewayError, Lock, Passed, Subject, end, owners, preflight, process, settled_owners,
    write_atomically,
};
use super::proxy::{self, OllamaProxy};
use super::stand_in::CONTRACT;
use crate::host::Host;

/// Where the proxy's program is in a host.
const PROGRAM: &str = "/usr/local/bin/ollama-auth-proxy";

/// How long the proxy may take until it listens; measured: 5 ms.
const LISTENING_DEADLINE: Duration = Duration::from_secs(10);

/// Sets inference up in a host.
#[derive(Debug)]
pub struct InferenceSetup<'host> {
    host: &'host Host,
    probe: String,
    port: u16,
    network: String,
}

/// A route that sandboxes use, as it is committed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InferenceRoute {
    /// `ollama`.
    pub provider: String,
    /// Where sandboxes call it.
    pub base_url: String,
}

/// How far an onboarding has come with inference.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A run has begun it and not come to its end.
    InProgress,
    /// The route is committed.
    Complete,
}

/// What a run has done.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The route.
    pub route: InferenceRoute,
    /// What the preflight found.
    pub preflight: Passed,
    /// Why nothing was checked, when nothing was.
    pub skipped: Option<String>,
}

/// The proxy that an earlier run has left running.
#[derive(Debug, Deserialize, Serialize)]
struct Record {
    pid: i32,
    started: u64,
    program: Executable,
}

impl<'host> InferenceSetup<'host> {
    /// The proxy on 11435 for sandboxes of `openshell-docker`; `probe` is the probe's program in the host.
    #[must_use]
    pub fn new(host: &'host Host, probe: impl Into<String>) -> Self {
        let network = probe::DEFAULT_NETWORK.to_owned();
        Self { host, probe: probe.into(), port: OllamaProxy::PORT, network }
    }

    /// Checks, and commits when sandboxes reach the proxy as far as that could be found out. A first run, a second one and
    /// a resume are the same: what was committed once may be blocked by now.
    ///
    /// # Errors
    /// [`GatewayError::Preflight`] when sandboxes do not reach it; nothing is committed then, and what was committed by an
    /// earlier run is left as it is.
    pub async fn run(&self) -> Result<Committed, GatewayError> {
        std::fs::create_dir_all(self.folder())
            .map_err(|source| GatewayError::File { path: self.folder(), source })?;
        let _lock = Lock::take(self.folder().join("inference.lock")).await?;
        self.write("inference-progress.json", &Progress::InProgress)?;
        let wsl = self.is_wsl();
        let started = if wsl { None } else { self.ensure_proxy().await? };
        let subject = Subject {
            probe: &self.probe,
            target: format!("{}=ollama-proxy", self.port),
            network: &self.network,
            strict: false,
        };
        let preflight = match preflight(self.host, &subject, LifecyclePath::Inference).await {
            Ok(passed) => passed,
            Err(error) => {
                if let Some(pid) = started
                    && let Some(running) = process(self.host, pid)
                {
                    end(self.host, &running).await?;
                    let _ = std::fs::remove_file(self.record_file());
                }
                return Err(error);
            }
        };
        let skipped = preflight.report.targets.iter().find(|target| target.verdict == Verdict::Skipped);
        let skipped = skipped.map(|target| target.summary.clone());
        let (alias, port) =
            if wsl { (probe::DOCKER_ALIAS, 11434) } else { (probe::OPENSHELL_ALIAS, self.port) };
        let route =
            InferenceRoute { provider: "ollama".to_owned(), base_url: format!("http://{alias}:{port}/v1") };
        self.write("inference.json", &route)?;
        self.write("inference-progress.json", &Progress::Complete)?;
        Ok(Committed { route, preflight, skipped })
    }

    /// The route that is committed, if any.
    #[must_use]
    pub fn committed(&self) -> Option<InferenceRoute> {
        serde_json::from_slice(&std::fs::read(self.folder().join("inference.json")).ok()?).ok()
    }

    /// How far a run has come; `None` before the first.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        serde_json::from_slice(&std::fs::read(self.folder().join("inference-progress.json")).ok()?).ok()
    }

    /// The process id of the proxy that is recorded and runs.
    #[must_use]
    pub fn proxy(&self) -> Option<i32> {
        let record: Record = serde_json::from_slice(&std::fs::read(self.record_file()).ok()?).ok()?;
        let running = process(self.host, record.pid)?;
        (running.started == record.started && running.executable == record.program).then_some(record.pid)
    }

    /// Makes sure that the proxy listens; returns its process id when this run started it.
    async fn ensure_proxy(&self) -> Result<Option<i32>, GatewayError> {
        let listeners = settled_owners(self.host, self.port).await?;
        if let Some(first) = listeners.first() {
            let ours = self.proxy();
            return if ours.is_some() && listeners.iter().all(|owner| owner.pid == ours) {
                Ok(None)
            } else {
                let owner = first
                    .pid
                    .map_or("a process that cannot be seen".to_owned(), |pid| format!("process {pid}"));
                Err(GatewayError::Foreign { port: self.port, owner, pid: first.pid })
            };
        }
        let pid = self
            .host
            .command(PROGRAM)
            .env(CONTRACT.0, CONTRACT.1)
            .env(proxy::PORT_VARIABLE, self.port.to_string())
            .env(proxy::TOKEN_VARIABLE, OllamaProxy::TOKEN)
            .spawn_detached()
            .await?;
        let mut tick = interval(Duration::from_millis(5));
        let listening = async {
            loop {
                tick.tick().await;
                let Some(running) = process(self.host, pid) else {
                    return Err(GatewayError::Ended { log: String::new() });
                };
                if owners(self.host, self.port)?.iter().any(|owner| owner.pid == Some(pid)) {
                    return Ok(running);
                }
            }
        };
        let late = || GatewayError::Probe {
            program: PROGRAM.to_owned(),
            message: format!("it did not listen within {LISTENING_DEADLINE:?}"),
        };
        let running = timeout(LISTENING_DEADLINE, listening).await.map_err(|_| late())??;
        let record = Record { pid, started: running.started, program: running.executable };
        self.write("ollama-auth-proxy.json", &record)?;
        Ok(Some(pid))
    }

    /// By the kernel's own name, as the probe sees it.
    fn is_wsl(&self) -> bool {
        let version = std::fs::read_to_string(self.host.path("/proc/version")).unwrap_or_default();
        probe::is_wsl(&version)
    }

    fn folder(&self) -> PathBuf {
        self.host.path("/root/.local/state/nemoclaw")
    }

    fn record_file(&self) -> PathBuf {
        self.folder().join("ollama-auth-proxy.json")
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), GatewayError> {
        let path = self.folder().join(name);
        let text = serde_json::to_vec_pretty(value)
            .map_err(|error| GatewayError::File { path: path.clone(), source: error.into() })?;
        write_atomically(&path, &text)
    }
}

impl crate::host::HostBuilder {
    /// Lets the host see the proxy's stand-in, which is this program, at the path where an onboarding starts it.
    ///
    /// # Errors
    /// When this program's own file cannot be found.
    pub fn ollama_proxy_program(self) -> std::io::Result<Self> {
        Ok(self.bind(std::env::current_exe()?, PROGRAM))
    }
}
