//! dockerd in a host.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::errors::Error as ApiError;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::host::{BootStep, ExecError, Host, HostCommand, Process, Steps, tail};

/// Where the socket is inside a host; `/var/run` is a link to `/run`.
const SOCKET: &str = "/run/docker.sock";

/// containerd runs beside dockerd, as the packages' units have it. A dockerd that starts its own meets a socket that is not
/// there yet and tries again after one second.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// The packages of Docker's own archive ship the same: nobody here speaks CRI, and its plugin takes a third of the start.
const CONTAINERD_CONFIG: &str = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";

/// How the engine's programs, all of them Go's, spend their time: not on collecting the garbage of a process that lives for seconds
/// (only when it has this much, which a host that stays for days reaches), and not on waking threads for cores that other
/// hosts need. Measured: a scenario takes 0.70 s of processor time instead of 0.80 s, and boots as fast.
const GO_ENVIRONMENT: [(&str, &str); 3] = [("GOGC", "off"), ("GOMEMLIMIT", "256MiB"), ("GOMAXPROCS", "1")];

/// dockerd in a user namespace: it uses no control groups then, and leaves alone what only root may. Its folders are where
/// root's engine has them, so that a program finds what it expects.
const ROOTLESS: [&str; 7] = [
    "--rootless",
    "--data-root",
    "/var/lib/docker",
    "--exec-root",
    "/run/docker",
    "--pidfile",
    "/run/docker.pid",
];

/// It takes the namespace for one of RootlessKit's only with these, and ends without.
const ROOTLESS_ENVIRONMENT: [(&str, &str); 2] =
    [("XDG_RUNTIME_DIR", "/run"), ("ROOTLESSKIT_STATE_DIR", "/run/rootlesskit")];

/// What a rootless dockerd publishes ports with. RootlessKit's own would publish them outside of the namespace too, where a
/// host has nothing to publish: Docker's stands in.
const ROOTLESS_PROXY: &str = "/usr/local/bin/rootlesskit-docker-proxy";

/// Where the packages of Debian and of Docker have Docker's own.
const PROXIES: [&str; 2] = ["/usr/sbin/docker-proxy", "/usr/bin/docker-proxy"];

/// How long the engine may take until it answers; measured: 0.3 s, 8 at once on two cores 2 s.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// How often it is asked meanwhile; an unanswered `connect` costs 30 µs.
const READY_INTERVAL: Duration = Duration::from_millis(3);

/// The deadline of one call in seconds.
const CALL_DEADLINE: u64 = 30;

/// Why the engine of a host does not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The host was built without an engine.
    #[error("this host has no engine\nhint: Host::builder().engine(Engine::Docker)")]
    None,
    /// Its configuration could not be written.
    #[error("{path}: {source}", path = .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A daemon ended instead of answering.
    #[error("{daemon} ended with {status} before it answered{log}")]
    Ended {
        /// Which one.
        daemon: &'static str,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A daemon did not answer in time.
    #[error("{daemon} did not answer within {deadline:?}{log}")]
    NotReady {
        /// Which one.
        daemon: &'static str,
        /// How long it was given.
        deadline: Duration,
        /// The end of its log.
        log: String,
    },
    /// It could not be started or stopped.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// It refused a call.
    #[error("{call}: {source}{log}")]
    Api {
        /// The call, as a lowercase fragment.
        call: String,
        /// What it said.
        source: Box<ApiError>,
        /// The end of its log.
        log: String,
    },
    /// It answered something else than a working engine does.
    #[error("{call}: {message}")]
    Unexpected {
        /// The call, as a lowercase fragment.
        call: String,
        /// What is wrong with the answer.
        message: String,
    },
}

/// A running dockerd and a client for it.
#[derive(Debug)]
pub struct Docker {
    client: bollard::Docker,
    socket: PathBuf,
    /// What dockerd is told besides its socket and containerd's.
    arguments: Vec<String>,
    /// Replaced when the engine is started again.
    process: Mutex<Process>,
    _containerd: Process,
}

impl Docker {
    pub(crate) async fn start(
        host: &Host,
        steps: &Steps,
        arguments: Vec<String>,
    ) -> Result<Self, EngineError> {
        steps.reach(BootStep::EngineStarted).await;
        let config = host.path("/etc/containerd/config.toml");
        let written = std::fs::create_dir_all(host.path("/etc/containerd"))
            .and_then(|()| std::fs::write(&config, CONTAINERD_CONFIG));
        written.map_err(|source| EngineError::Config { path: config, source })?;
        if host.is_rootless() {
            let link = host.path(ROOTLESS_PROXY);
            let proxy = PROXIES.into_iter().find(|path| host.path(path).exists()).unwrap_or(PROXIES[0]);
            std::os::unix::fs::symlink(proxy, &link)
                .map_err(|source| EngineError::Config { path: link, source })?;
        }
        let mut containerd = of_go(host.command("containerd")).spawn().await?;
        let socket = host.path(CONTAINERD_SOCKET);
        until_ready("containerd", &mut containerd, exists(&socket)).await?;
        let (client, process) = launch(host, &arguments).await?;
        steps.reach(BootStep::EngineReady).await;
        let (socket, process) = (host.path(SOCKET), Mutex::new(process));
        Ok(Self { client, socket, arguments, process, _containerd: containerd })
    }

    /// Starts dockerd anew in place of the one that has ended, with the same arguments and the same data.
    pub(super) async fn start_again(&self, host: &Host) -> Result<(), EngineError> {
        let (_, process) = launch(host, &self.arguments).await?;
        *self.process() = process;
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client for its API, of the version that it speaks.
    #[must_use]
    pub fn client(&self) -> &bollard::Docker {
        &self.client
    }

    /// Its socket as the machine sees it.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process id of dockerd inside the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process().pid()
    }

    /// What dockerd has logged since it was started for the last time.
    #[must_use]
    pub fn log(&self) -> String {
        self.process().stderr()
    }

    /// Turns an error of a call into one that says which call it was and what dockerd logged.
    pub fn failed(&self, call: impl Into<String>) -> impl FnOnce(ApiError) -> EngineError {
        let call = call.into();
        move |source| EngineError::Api { call, source: Box::new(source), log: tail(&self.log(), 5) }
    }
}

fn of_go(command: HostCommand<'_>) -> HostCommand<'_> {
    GO_ENVIRONMENT.into_iter().fold(command, |command, (name, value)| command.env(name, value))
}

/// Starts dockerd and waits until it answers.
async fn launch(host: &Host, arguments: &[String]) -> Result<(bollard::Docker, Process), EngineError> {
    // No configuration file: the image has none, and what a machine has never reaches a host.
    let mut dockerd = of_go(host.command("dockerd"))
        .args(["--host", "unix:///var/run/docker.sock", "--containerd", CONTAINERD_SOCKET])
        .args(arguments);
    if host.is_rootless() {
        for (name, value) in ROOTLESS_ENVIRONMENT {
            dockerd = dockerd.env(name, value);
        }
        dockerd = dockerd.args(ROOTLESS);
    }
    let mut process = dockerd.spawn().await?;
    let client = until_ready("dockerd", &mut process, connected(&host.path(SOCKET))).await?;
    Ok((client, process))
}

/// Waits until it is ready, has ended, or has taken too long.
async fn until_ready<T>(
    daemon: &'static str,
    process: &mut Process,
    ready: impl Future<Output = T>,
) -> Result<T, EngineError> {
    let ended = tokio::select! {
        answer = timeout(READY_DEADLINE, ready) => answer.map_err(|_| None),
        status = process.wait() => {
            Err(Some(status.map_or_else(|error| error.to_string(), |status| status.to_string())))
        }
    };
    ended.map_err(|status| {
        let log = tail(&process.stderr(), 15);
        match status {
            Some(status) => EngineError::Ended { daemon, status, log },
            None => EngineError::NotReady { daemon, deadline: READY_DEADLINE, log },
        }
    })
}

pub(super) fn every(period: Duration) -> Interval {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

async fn exists(socket: &Path) {
    let mut tick = every(READY_INTERVAL);
    while !socket.exists() {
        tick.tick().await;
    }
}

async fn connected(socket: &Path) -> bollard::Docker {
    let mut tick = every(READY_INTERVAL);
    loop {
        tick.tick().await;
        if let Ok(client) = connect(socket).await {
            return client;
        }
    }
}

/// Connects and asks for the version, which is an answer only when the engine works.
pub(crate) async fn connect(socket: &Path) -> Result<bollard::Docker, ApiError> {
    if !socket.exists() {
        return Err(ApiError::SocketNotFoundError(socket.display().to_string()));
    }
    let path = socket.to_string_lossy();
    let client = bollard::Docker::connect_with_unix(&path, CALL_DEADLINE, bollard::API_DEFAULT_VERSION)?;
    client.negotiate_version().await
}
