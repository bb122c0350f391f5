//! What a host is to be, and its boot.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netns::Namespace;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;

use super::protocol::{Bind, Boot, Event, KEEPER, Root};
use super::step::{Observer, Steps};
use super::{BootError, BootStep, Cgroups, Host, cgroup, read_whole, tail};
use crate::engine::{Docker, Engine};
use crate::image::{Cache, Image, Source};
use crate::machine;
use crate::privilege::{Privilege, Rights};

/// How long a boot without engine may take; measured: 20 ms.
const BOOT_DEADLINE: Duration = Duration::from_secs(20);

/// `/etc/os-release` is a link to it, and the link would lead back to the machine.
const OS_RELEASE: &str = "/usr/lib/os-release";

/// What is mounted over `/proc/version`.
const KERNEL_VERSION: &str = "/run/openshell-harness-version";

/// Describes a host; [`start`](Self::start) boots it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use harness::{Engine, Host};
///
/// let host = Host::builder().engine(Engine::Docker).start().await?;
/// host.command("ufw").arg("--version").run().await?;
/// host.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct HostBuilder {
    name: Option<String>,
    image: Option<Image>,
    engine: Engine,
    engine_arguments: Vec<String>,
    os_release: Option<String>,
    kernel_version: Option<String>,
    cgroups: Cgroups,
    privilege: Privilege,
    binds: Vec<Bind>,
    observer: Option<Observer>,
}

impl HostBuilder {
    /// Its name and host name: letters, digits and hyphens. Without one it is `host-` and a number.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its userland; [`Image::debian_13`] unless said.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Its engine; none unless said.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Gives the engine's daemon one more argument, such as `--host-gateway-ip=192.168.65.254`.
    #[must_use]
    pub fn engine_argument(mut self, argument: impl Into<String>) -> Self {
        self.engine_arguments.push(argument.into());
        self
    }

    /// Gives the engine a label, `name=value`, which it tells whoever asks for its information.
    #[must_use]
    pub fn engine_label(self, label: impl Into<String>) -> Self {
        self.engine_argument(format!("--label={}", label.into()))
    }

    /// What `/etc/os-release` says instead of the image's. Its `PRETTY_NAME` is what an engine calls its operating system.
    #[must_use]
    pub fn os_release(mut self, text: impl Into<String>) -> Self {
        self.os_release = Some(text.into());
        self
    }

    /// What `/proc/version` says instead of the kernel's own; programs know WSL by it.
    #[must_use]
    pub fn kernel_version(mut self, text: impl Into<String>) -> Self {
        self.kernel_version = Some(text.into());
        self
    }

    /// The control groups that it sees.
    #[must_use]
    pub fn cgroups(mut self, cgroups: Cgroups) -> Self {
        self.cgroups = cgroups;
        self
    }

    /// With whose rights it is made; [`Privilege::Auto`] unless said. As an ordinary user's it takes a process that has entered
    /// ([`Privilege::enter`]).
    #[must_use]
    pub fn privilege(mut self, privilege: Privilege) -> Self {
        self.privilege = privilege;
        self
    }

    /// Lets it see a file or folder of the machine, for reading only, also what is mounted below it. What is mounted there later is not
    /// seen. A link of the image on the way to `target` leads to where it leads in the host.
    #[must_use]
    pub fn bind(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.bind_with(source.into(), target.into(), false)
    }

    /// Lets it see and change a file or folder of the machine.
    #[must_use]
    pub fn bind_writable(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.bind_with(source.into(), target.into(), true)
    }

    fn bind_with(mut self, source: PathBuf, target: PathBuf, writable: bool) -> Self {
        self.binds.push(Bind { source, target, writable });
        self
    }

    /// Tells `observer` every step when it begins.
    #[must_use]
    pub fn on_step(mut self, observer: impl Fn(BootStep) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Boots the host, and its engine when it has one.
    ///
    /// # Errors
    /// When a step fails. Nothing of the host is left then.
    pub async fn start(self) -> Result<Host, BootError> {
        let steps = Steps { observer: self.observer.clone(), stop_at: stop_at()? };
        let rights = self.privilege.rights()?;
        machine::check_can_boot(self.engine)?;
        let boot = self.boot(rights, steps.stop_at)?;
        // Folders that a killed keeper left behind go now; another creator may be at it, so they are locked. An ordinary
        // user's hosts have none.
        if rights == Rights::Root
            && let Ok(_lock) = Cache::open()?.lock("cgroups")
        {
            let _ = cgroup::sweep();
        }
        let image = self.image.clone().map_or_else(Image::debian_13, Ok)?;
        let mut started = Started::spawn(&boot)?;
        let mut last = None;
        // A boot that is to stop waits for its creator to be ended, however long that takes.
        let deadline = if steps.stop_at.is_some() { Duration::MAX } else { BOOT_DEADLINE };
        let booted = tokio::time::timeout(deadline, async { started.follow(&mut last, &steps).await }).await;
        let step = last.map_or("spawn", BootStep::name).to_owned();
        let init = match booted {
            Ok(Ok(init)) => init,
            Ok(Err(message)) => {
                let log = tail(&read_whole(&started.log), 10);
                return Err(BootError::Failed { step, message, log });
            }
            Err(_) => {
                let log = tail(&read_whole(&started.log), 10);
                return Err(BootError::TimedOut { deadline: BOOT_DEADLINE, step, log });
            }
        };
        let namespace = Namespace::open(Path::new(&format!("/proc/{init}/ns/net")))?;
        let mut host = Host {
            name: boot.hostname,
            image,
            rights,
            init,
            namespace,
            log: started.log,
            control: Some(started.control),
            keeper: Mutex::new(started.keeper.0.take()),
            engine: None,
            services: Mutex::default(),
            vantages: AtomicU32::new(0),
        };
        self.pretend(&host).await?;
        if self.engine == Engine::Docker {
            let docker = Docker::start(&host, &steps, self.engine_arguments).await;
            host.engine = Some(docker.map_err(|error| BootError::Engine(Box::new(error)))?);
        }
        Ok(host)
    }

    /// Puts the files in place that say which system this is.
    async fn pretend(&self, host: &Host) -> Result<(), BootError> {
        if let Some(text) = &self.os_release {
            std::fs::write(host.path(OS_RELEASE), text)
                .map_err(|source| BootError::Io { what: "write the host's os-release", source })?;
        }
        if let Some(text) = &self.kernel_version {
            std::fs::write(host.path(KERNEL_VERSION), format!("{text}\n"))
                .map_err(|source| BootError::Io { what: "write the host's kernel version", source })?;
            let mount = host.command("mount").args(["--bind", KERNEL_VERSION, "/proc/version"]).run().await;
            mount.map_err(|error| bad("kernel version", error.to_string()))?;
        }
        Ok(())
    }

    fn boot(&self, rights: Rights, stop_at: Option<BootStep>) -> Result<Boot, BootError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let hostname =
            self.name.clone().unwrap_or_else(|| format!("host-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let is_label = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if hostname.is_empty() || hostname.len() > 63 || !hostname.chars().all(is_label) {
            return Err(bad("name", format!("{hostname:?} is not 1 to 63 letters, digits and hyphens")));
        }
        for bind in &self.binds {
            if !bind.target.is_absolute() || bind.target.components().any(|part| part.as_os_str() == "..") {
                let message = "its target has to be an absolute path without `..`".to_owned();
                return Err(bad(&format!("bind {}", bind.target.display()), message));
            }
            if let Err(error) = std::fs::metadata(&bind.source) {
                return Err(bad(&format!("bind {}", bind.source.display()), error.to_string()));
            }
        }
        let image = self.image.clone().map_or_else(Image::debian_13, Ok)?;
        let root = match (image.source(), rights) {
            (Source::Built(folder), _) => Root::Image(folder.clone()),
            (Source::Machine(mount), Rights::Root) => Root::Machine(mount.clone()),
            (Source::Machine(_), Rights::User) => {
                let message = "the machine's own userland takes privilege root: its files belong to root, \
                               whom a user namespace does not have\nhint: sudo, or an image of its own"
                    .to_owned();
                return Err(bad("image machine", message));
            }
        };
        if matches!(root, Root::Image(_)) {
            image.check_owner()?;
        }
        if rights == Rights::User && self.cgroups == Cgroups::V1 {
            let message = "control groups of v1 take privilege root".to_owned();
            return Err(bad("cgroups", message));
        }
        let binds = self.binds.clone();
        let stop_at = stop_at.filter(|step| !step.is_the_creators());
        Ok(Boot { hostname, root, binds, cgroups: self.cgroups, rights, stop_at })
    }
}

impl std::fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostBuilder")
            .field("name", &self.name)
            .field("image", &self.image)
            .field("engine", &self.engine)
            .field("engine_arguments", &self.engine_arguments)
            .field("cgroups", &self.cgroups)
            .field("privilege", &self.privilege)
            .field("binds", &self.binds)
            .finish_non_exhaustive()
    }
}

fn bad(what: &str, message: String) -> BootError {
    BootError::BadOption { what: what.to_owned(), message }
}

fn stop_at() -> Result<Option<BootStep>, BootError> {
    match std::env::var(BootStep::STOP_AT) {
        Ok(name) => name.parse().map(Some).map_err(|message| bad(BootStep::STOP_AT, message)),
        Err(_) => Ok(None),
    }
}

/// A keeper that is ended and waited for unless a host takes it over.
struct Keeper(Option<Child>);

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.wait();
        }
    }
}

/// A boot under way. The control socket is dropped before the keeper is waited for, by the order of the fields.
struct Started {
    control: OwnedFd,
    events: Lines<BufReader<pipe::Receiver>>,
    log: File,
    keeper: Keeper,
}

impl Started {
    fn spawn(boot: &Boot) -> Result<Self, BootError> {
        let io = |what| move |source| BootError::Io { what, source };
        let errno = |what| move |errno: nix::errno::Errno| BootError::Io { what, source: errno.into() };
        let (control, keepers) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(errno("make a control socket"))?;
        let log =
            memfd_create("openshell-harness-log", MFdFlags::MFD_CLOEXEC).map_err(errno("make a log"))?;
        let log = File::from(log);
        let mut child = Command::new("/proc/self/exe")
            .arg0(KEEPER)
            .env_clear()
            .stdin(Stdio::from(keepers))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log.try_clone().map_err(io("share the log"))?))
            .spawn()
            .map_err(io("start a keeper"))?;
        let stdout = child.stdout.take();
        let keeper = Keeper(Some(child));
        let message = serde_json::to_vec(boot)
            .map_err(|error| BootError::Io { what: "describe the host", source: error.into() })?;
        send(control.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)
            .map_err(errno("tell the keeper what to boot"))?;
        let events = stdout.map(OwnedFd::from).ok_or_else(|| BootError::Io {
            what: "listen to the keeper",
            source: std::io::ErrorKind::BrokenPipe.into(),
        })?;
        let events = pipe::Receiver::from_owned_fd(events).map_err(io("listen to the keeper"))?;
        Ok(Self { control, events: BufReader::new(events).lines(), log, keeper })
    }

    /// Follows the boot until the host takes requests; returns the init's process id.
    async fn follow(&mut self, last: &mut Option<BootStep>, steps: &Steps) -> Result<i32, String> {
        let mut init = None;
        while let Some(line) = self.events.next_line().await.map_err(|error| error.to_string())? {
            match serde_json::from_str(&line).map_err(|error| error.to_string())? {
                Event::Step(step) => {
                    *last = Some(step);
                    steps.tell(step);
                }
                Event::Cloned(pid) => init = Some(pid),
                Event::Failed(message) => return Err(message),
                Event::Ready => {}
            }
            // The keeper and the init write independently, so either may come first.
            if let (Some(init), Some(BootStep::Ready)) = (init, *last) {
                return Ok(init);
            }
        }
        Err("its keeper ended".to_owned())
    }
}
