//! The neutral recorder: takes an [`Observation`] of a host as it is now.
//!
//! ```text
//!   host   docker network inspect, docker info          the real CLI: its codes and texts are what upstream reads
//!          docker run … NETWORK                  ─┐     two containers at the same time, with a program of our own
//!          docker run … NETWORK --add-host …     ─┘     in the place of busybox
//!          connect 127.0.0.1 and the gateway address
//! ```
//!
//! It knows nothing of what is expected, and takes no part of the probe's. A dial waits for [`PATIENCE`] instead of upstream's
//! five seconds: that is one SYN and its first repetition, 1 s later, so a longer one would see nothing else but a neighbour that
//! cannot be found (3.07 s), which busybox says in the same way. What upstream's command would have taken is
//! [`busybox::elapsed_ms`].

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{ExecError, Host};
use tokio::time::{MissedTickBehavior, interval};

use super::busybox;
use super::observation::{Command, Dial, ImageCache, Observation, Outcome, Run, Seen};
use super::route::{self, ALIAS, Route};
use super::v5;

/// How long a dial waits for an answer.
pub const PATIENCE: Duration = Duration::from_millis(1_500);

/// How long a container waits for a name. A host has no resolver, and libc gives up after ten seconds in the same words that
/// it has for a name that a resolver denies, so waiting longer shows nothing else.
const RESOLVE: Duration = Duration::from_millis(1_500);

/// How long the recorder waits for a call that upstream waits for without end; an engine that works answers in 50 ms.
const FOREVER: Duration = Duration::from_secs(4);

/// NemoClaw's default, and OpenShell's.
const NETWORK: &str = "openshell-docker";

/// The containers' image.
const IMAGE: &str = "observer:lab";

/// The program in it.
const OBSERVER: &str = "/observer";

/// Where the image is put together in the host.
const FOLDER: &str = "/tmp/observer";

/// Records on a host.
#[derive(Debug)]
pub struct Recorder<'host> {
    host: &'host Host,
    user_machine: &'host Host,
    user: Option<(u32, u32)>,
    network: String,
    image: ImageCache,
}

impl<'host> Recorder<'host> {
    /// Brings the containers' image to the engine, which has to work now and need not later. `observer` is the program
    /// `observer` of this package.
    ///
    /// # Errors
    /// When the engine does not take it.
    pub async fn prepare(host: &Host, observer: &Path) -> Result<()> {
        let folder = host.path(FOLDER);
        fs::create_dir_all(folder.join("etc")).context("make the folder of the image")?;
        fs::copy(observer, folder.join("observer"))
            .with_context(|| format!("copy {}", observer.display()))?;
        // A static program of glibc's asks DNS first where nobody says otherwise.
        fs::write(folder.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
        let import = format!("tar -C {FOLDER} -c . | docker import - {IMAGE}; rm -r {FOLDER}");
        host.command("sh").args(["-ec", &import]).run().await?;
        Ok(())
    }

    /// Records on a host that is prepared, as root.
    #[must_use]
    pub fn on(host: &'host Host) -> Self {
        Self { host, user_machine: host, user: None, network: NETWORK.to_owned(), image: ImageCache::Cached }
    }

    /// As another user and group.
    #[must_use]
    pub fn user(mut self, user: Option<(u32, u32)>) -> Self {
        self.user = user;
        self
    }

    /// Another network than `openshell-docker`.
    #[must_use]
    pub fn network(mut self, name: impl Into<String>) -> Self {
        self.network = name.into();
        self
    }

    /// Another machine than the engine's for the host's own dials: that of a user whose engine is in a virtual machine.
    #[must_use]
    pub fn dials_from(mut self, user_machine: &'host Host) -> Self {
        self.user_machine = user_machine;
        self
    }

    /// What became of upstream's image, where that is the point. Unless it is said, it is there.
    #[must_use]
    pub fn image(mut self, image: ImageCache) -> Self {
        self.image = image;
        self
    }

    /// Takes an observation of the port.
    ///
    /// # Errors
    /// When a command cannot be run at all, or a container says something that cannot be read. What an engine fails at is
    /// part of the observation.
    pub async fn take(&self, port: u16) -> Result<Observation> {
        let (inspect, info) = tokio::try_join!(self.inspect("{{json .IPAM.Config}}"), self.info())?;
        let answers = inspect.status.is_some() && info.status.is_some();
        let route = route::resolve(&inspect, &info).filter(|_| answers);
        let with = async {
            match &route {
                None => Ok(Vec::new()),
                Some(route) => self.attempts(port, route).await,
            }
        };
        let without = async {
            // Where the network is not found, v0 and v1 start no container.
            if answers && route::pools(&inspect).is_some() {
                self.run(port, &[]).await.map(Some)
            } else {
                Ok(None)
            }
        };
        let (with_alias, without_alias) = tokio::try_join!(with, without)?;
        let gateway = route::pools(&inspect)
            .and_then(|pools| route::chosen(&pools).and_then(|pool| pool.gateway.parse::<IpAddr>().ok()));
        let (host_loopback, host_gateway) = self.host_dials(gateway, port)?;
        Ok(Observation {
            port,
            network: self.network.clone(),
            inspect,
            info,
            image: self.image,
            without_alias,
            with_alias,
            host_loopback,
            host_gateway,
        })
    }

    /// What the engine says of the network in this form.
    pub(super) async fn inspect(&self, format: &str) -> Result<Command> {
        let words = ["network", "inspect", "--format", format, &self.network];
        self.docker(words.map(str::to_owned).to_vec(), FOREVER).await
    }

    /// What the engine says of itself.
    pub(super) async fn info(&self) -> Result<Command> {
        const INFO: &str = "{{.OperatingSystem}}\n{{range .Labels}}{{.}}\n{{end}}";
        self.docker(["info", "--format", INFO].map(str::to_owned).to_vec(), FOREVER).await
    }

    /// As often as upstream would try, which is once on a bridge.
    async fn attempts(&self, port: u16, route: &Route) -> Result<Vec<Run>> {
        let add_hosts = route.add_hosts();
        let mut runs = vec![self.run(port, &add_hosts).await?];
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        second.tick().await;
        while *route == Route::HostGateway
            && runs.len() < v5::ATTEMPTS
            && runs.last().is_some_and(|run| run.command == Command::failed(1, ""))
        {
            second.tick().await;
            runs.push(self.run(port, &add_hosts).await?);
        }
        Ok(runs)
    }

    /// One container, and what upstream's would have said.
    async fn run(&self, port: u16, add_hosts: &[String]) -> Result<Run> {
        let [resolve, patience] = [RESOLVE, PATIENCE].map(|wait| wait.as_millis().to_string());
        let dial = ["dial", ALIAS, &port.to_string(), &resolve, &patience];
        let command = self.container(&dial, add_hosts).await?;
        if command.status != Some(0) {
            return Ok(Run { command, seen: None });
        }
        let seen: Seen = serde_json::from_str(&command.stdout)
            .with_context(|| format!("what a container saw: {:?}", command.stdout))?;
        Ok(Run { command: busybox::nc(ALIAS, &seen), seen: Some(seen) })
    }

    /// A container on the network with a command of the observer's, in the time that upstream gives it.
    pub(super) async fn container(&self, command: &[&str], add_hosts: &[String]) -> Result<Command> {
        let mut arguments: Vec<String> =
            ["run", "--rm", "--pull=missing", "--network", &self.network].map(str::to_owned).to_vec();
        arguments.extend(add_hosts.iter().flat_map(|host| ["--add-host".to_owned(), host.clone()]));
        arguments.extend([IMAGE, OBSERVER].iter().chain(command).map(|&word| word.to_owned()));
        let command = self.docker(arguments, Duration::from_millis(busybox::SPAWN_LIMIT_MS)).await?;
        ensure!(
            !command.stderr.contains("Unable to find image"),
            "the recorder's image is gone: {}",
            command.stderr
        );
        Ok(command)
    }

    async fn docker(&self, arguments: Vec<String>, limit: Duration) -> Result<Command> {
        let mut command = self.host.command("docker").args(arguments).deadline(limit);
        if let Some((user, group)) = self.user {
            command = command.user(user, group);
        }
        match command.output().await {
            Ok(output) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Ok(Command {
                    status: output.status.code(),
                    stdout: text(&output.stdout),
                    stderr: text(&output.stderr),
                })
            }
            Err(ExecError::TimedOut { .. }) => Ok(Command::hung()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sockets of the user's own machine, both at the same time.
    fn host_dials(&self, gateway: Option<IpAddr>, port: u16) -> Result<(Dial, Option<Dial>)> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let both = self.user_machine.network_namespace().run(|| {
            std::thread::scope(|scope| {
                let gateway = gateway.map(|address| scope.spawn(move || dial(address, port)));
                (dial(loopback, port), gateway.map(std::thread::ScopedJoinHandle::join))
            })
        })?;
        let (loopback, gateway) = both;
        let gateway = gateway
            .transpose()
            .map_err(|_| anyhow::anyhow!("the dial of the gateway address ended early"))?;
        Ok((loopback, gateway))
    }
}

fn dial(address: IpAddr, port: u16) -> Dial {
    let start = Instant::now();
    let outcome = match TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE) {
        Ok(_) => Outcome::Connected,
        Err(error) => error.raw_os_error().map_or(Outcome::NoAnswer, Outcome::Errno),
    };
    let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Dial { address, outcome, elapsed_ms }
}
