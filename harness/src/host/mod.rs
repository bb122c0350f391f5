//! Hosts: hermetic Linux systems with a network, a root filesystem and processes of their own.
//!
//! ```text
//!  creator (a test, a program) ── control socket ──▶ init, the host's process 1
//!      │                                              ├── dockerd ── containerd ── sandboxes
//!      └── keeper: makes the control groups,          └── commands, stand-ins
//!          waits for init, removes them
//! ```
//!
//! Nothing of a host depends on its creator's tidiness. When the creator ends, however it ends, the kernel closes its
//! end of the control socket, the init ends, and the kernel ends every process of the process id namespace and with them
//! the mounts, the interfaces and the rules. The keeper removes the empty control groups.

mod bind;
mod builder;
pub(crate) mod cgroup;
mod exec;
mod filesystem;
mod init;
mod keeper;
mod privileges;
mod protocol;
mod step;

use std::fmt;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netns::{Namespace, Vantage};

pub use builder::HostBuilder;
pub use cgroup::Cgroups;
pub use exec::{ExecError, HostCommand, Process};
pub use step::BootStep;
pub(crate) use step::Steps;

use crate::engine::{Docker, EngineError, NetworkInfo};
use crate::image::{Image, ImageError};
use crate::privilege::{PrivilegeError, Rights};

/// How long the kernel may take to end a host's processes; measured: 20 ms with an engine.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// Why a host did not boot.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// There is no such image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// This process cannot make hosts with the rights that were asked for.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// The kernel would have to load modules, which the harness never makes it do.
    #[error("the kernel has not loaded: {}\nhint: sudo modprobe -a {}", .missing.join(" "), .missing.join(" "))]
    MissingModules {
        /// The modules' names.
        missing: Vec<String>,
    },
    /// An option has a value that no host can have.
    #[error("{what}: {message}")]
    BadOption {
        /// The option.
        what: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A step failed.
    #[error("the host failed to boot after step {step}: {message}{log}")]
    Failed {
        /// The last step that had begun.
        step: String,
        /// What went wrong.
        message: String,
        /// What the host's first processes said.
        log: String,
    },
    /// It took too long.
    #[error("the host did not boot within {deadline:?}; its last step was {step}{log}")]
    TimedOut {
        /// How long it was given.
        deadline: Duration,
        /// The last step that had begun.
        step: String,
        /// What the host's first processes said.
        log: String,
    },
    /// The machine refused something that the creator itself needs.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, as a lowercase fragment.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Its network namespace could not be opened.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// Its engine did not start.
    #[error(transparent)]
    Engine(Box<EngineError>),
}

/// In its words, with the hint: what a test or a `main` that returns it prints.
impl fmt::Debug for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A running host. Dropping it ends it; [`shutdown`](Self::shutdown) also says whether it ended well.
#[derive(Debug)]
pub struct Host {
    name: String,
    image: Image,
    rights: Rights,
    init: i32,
    namespace: Namespace,
    log: File,
    /// Held to keep the host alive; `None` while it ends.
    control: Option<OwnedFd>,
    keeper: Mutex<Option<Child>>,
    engine: Option<Docker>,
    /// Programs that live as long as the host.
    services: Mutex<Vec<Process>>,
    /// How many vantages there have been.
    vantages: AtomicU32,
}

impl Host {
    /// Describes a host.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Its name, which is also its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its userland.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Whether its root is an ordinary user outside, and its engine a rootless one.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.rights == Rights::User
    }

    /// The process id of its init as the machine sees it.
    #[must_use]
    pub fn init_pid(&self) -> i32 {
        self.init
    }

    /// Its network namespace: sockets that are opened in it are the host's own.
    #[must_use]
    pub fn network_namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The same as a handle of its own, for a task that may outlive this value.
    pub(crate) fn own_network_namespace(&self) -> Result<Namespace, netns::Error> {
        Namespace::open(Path::new(&format!("/proc/{}/ns/net", self.init)))
    }

    /// Where the machine sees a path of the host. A link to an absolute path on the way leads back to the machine, so
    /// name the file itself (`/run/docker.sock`, not `/var/run/docker.sock`).
    #[must_use]
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        Path::new("/proc").join(self.init.to_string()).join("root").join(relative)
    }

    /// Describes a program to run in the host.
    #[must_use]
    pub fn command(&self, program: impl Into<String>) -> HostCommand<'_> {
        HostCommand::new(self, program.into())
    }

    /// The host's engine.
    ///
    /// # Errors
    /// When the host was built without one.
    pub fn engine(&self) -> Result<&Docker, EngineError> {
        self.engine.as_ref().ok_or(EngineError::None)
    }

    /// A place on the network's bridge to dial from, as a sandbox has it: a namespace of its own and no container.
    ///
    /// # Errors
    /// When the network's bridge is not on this host, or the kernel refuses a step.
    pub fn vantage(&self, network: &NetworkInfo) -> Result<Vantage, netns::Error> {
        // An address is not used twice: the host may still know the hardware address that had it before.
        let number = self.vantages.fetch_add(1, Ordering::Relaxed) + 1;
        let address = network.address_from_end(number + 1);
        let port = format!("van{number}");
        Vantage::on_bridge(&self.namespace, &network.bridge, &port, address, network.prefix, network.gateway)
    }

    /// Gives the host one more interface with an address of its own. It is a bridge without ports, since a kernel may have
    /// no `dummy`; nothing leads out of the host through it.
    ///
    /// # Errors
    /// When the host has an interface of that name, or the kernel refuses.
    pub async fn add_interface(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<(), ExecError> {
        let script =
            "ip link add \"$1\" type bridge && ip address add \"$2\" dev \"$1\" && ip link set \"$1\" up";
        let address = format!("{address}/{prefix}");
        self.command("sh").args(["-ec", script, "sh", name, &address]).run().await?;
        Ok(())
    }

    /// Leaves a program to the host: it runs until it ends or the host does.
    pub fn keep(&self, process: Process) {
        self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(process);
    }

    /// What the host's first processes said on standard error; nothing, unless something went wrong.
    #[must_use]
    pub fn log(&self) -> String {
        read_whole(&self.log)
    }

    /// Ends the host and waits until nothing of it is left. It takes about 20 ms, with an engine or without.
    ///
    /// # Errors
    /// When its keeper could not be waited for.
    pub async fn shutdown(mut self) -> io::Result<()> {
        self.control = None;
        let keeper = self.keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut keeper) = keeper else { return Ok(()) };
        let waited = tokio::task::spawn_blocking(move || keeper.wait());
        match tokio::time::timeout(END_DEADLINE, waited).await {
            Ok(Ok(status)) => status.map(drop),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::other(format!("{} did not end within {END_DEADLINE:?}", self.name))),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.control = None;
        let keeper = self.keeper.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mut keeper) = keeper.take() {
            let _ = keeper.wait();
        }
    }
}

/// Reads a file that another process writes through the same description, without moving its position.
pub(crate) fn read_whole(file: &File) -> String {
    let mut content = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while let Ok(length @ 1..) = file.read_at(&mut chunk, content.len() as u64) {
        content.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&content).into_owned()
}

/// Gives a socket's file the mode and the group of another one.
pub(crate) fn give_same_access(model: &Path, path: &Path) -> io::Result<()> {
    let model = std::fs::metadata(model)?;
    chown(path, Some(model.uid()), Some(model.gid()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(model.mode() & 0o7777))
}

/// The last lines of a text, on lines of their own; empty when there are none.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("\n    {line}")).collect()
}
