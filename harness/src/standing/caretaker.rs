//! The process that owns a standing host.
//!
//! It is the program itself, started again in a session of its own: no terminal's end reaches it. Until the host is there it ends
//! with the command that started it, so a boot that is interrupted leaves nothing.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::future::pending;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use netns::sys::close_descriptors_from;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup2_stderr, setsid};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::claim::Claim;
use super::entry::{Entry, gone};
use super::error::StandingError;
use super::folder::Folder;
use super::name::Name;
use super::process::ProcessId;
use super::record::{HostRecord, NetworkRecord, Record, Stage, VERSION};
use super::removal::remove;
use super::server;
use crate::host::{Host, tail};
use crate::image::{Image, ImageError};
use crate::scenario::{ScenarioFile, Stand, StandOptions, on_stand};

/// `argv[0]` of a program that is to be a caretaker instead of itself.
const CARETAKER: &str = "openshell-harness-caretaker";

/// What a caretaker is to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    /// The host's name.
    pub name: Name,
    /// The preset or the file, as the caller named it.
    pub source: String,
    /// The scenario's file, as messages name it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The image's name; `machine` is the machine's own userland.
    pub image: Option<String>,
    /// What the host sees of the machine, and whether it may change it.
    pub binds: Vec<(PathBuf, bool)>,
    /// The probe to have on the `PATH`.
    pub probe: Option<PathBuf>,
    /// The host of a scenario with a snapshot: the snapshot's file, as it was read.
    pub snapshot: Option<Vec<u8>>,
    /// Such a host has the same rights as others.
    pub trusted: bool,
}

impl Order {
    /// What the host has besides what its scenario says.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn options(&self) -> Result<StandOptions, ImageError> {
        let mut options = StandOptions::default();
        if let Some(name) = &self.image {
            let image = if name == "machine" { Image::machine()? } else { Image::named(name)? };
            options = options.image(image);
        }
        if let Some(probe) = &self.probe {
            options = options.probe(probe);
        }
        if self.trusted {
            options = options.trust_snapshots();
        }
        Ok(self.binds.iter().fold(options, |options, (path, writable)| options.bind(path, *writable)))
    }
}

/// What a caretaker tells the command that started it, a line of JSON each.
#[derive(Deserialize, Serialize)]
enum Event {
    Progress(String),
    Failed(String),
    Ready,
}

/// Starts a host that stays, and waits until it is ready. `progress` hears what is going on.
///
/// # Errors
/// When there is one of that name, or it does not come up; nothing of it is left then.
pub fn start(folder: &Folder, order: &Order, progress: impl Fn(&str)) -> Result<Entry, StandingError> {
    if let Ok(entry) = folder.find(&order.name) {
        return Err(StandingError::Exists { name: order.name.clone(), state: entry.look().state });
    }
    let failed =
        |what: &'static str| move |error: io::Error| StandingError::Failed(format!("{what}: {error}"));
    let mut child = Command::new("/proc/self/exe")
        .arg0(CARETAKER)
        .arg(order.name.as_str())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("start a caretaker"))?;
    let (Some(mut lifeline), Some(events)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(StandingError::Failed("a caretaker without pipes".to_owned()));
    };
    let mut line = serde_json::to_vec(&(folder.path(), order))
        .map_err(io::Error::from)
        .map_err(failed("describe the host"))?;
    line.push(b'\n');
    // One that is gone already says why below.
    let _ = lifeline.write_all(&line);
    for line in BufReader::new(events).lines() {
        let line = line.map_err(failed("listen to the caretaker"))?;
        match serde_json::from_str(&line)
            .map_err(io::Error::from)
            .map_err(failed("read the caretaker's words"))?
        {
            Event::Progress(what) => progress(&what),
            Event::Failed(message) => {
                let _ = child.wait();
                return Err(StandingError::Failed(message));
            }
            Event::Ready => return folder.find(&order.name),
        }
    }
    let status = child.wait().map_err(failed("wait for the caretaker"))?;
    Err(StandingError::Failed(format!("the caretaker ended while the host booted: {status}")))
}

/// Takes care of a host, when this program was started for that; called first of all in `main`, with one thread.
#[must_use]
pub fn caretaker_if_asked() -> Option<ExitCode> {
    if std::env::args_os().next().as_deref() != Some(OsStr::new(CARETAKER)) {
        return None;
    }
    Some(match take_care() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tell(&Event::Failed(message));
            ExitCode::FAILURE
        }
    })
}

fn tell(event: &Event) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        // Whoever does not listen any more has been told enough.
        let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
    }
}

fn take_care() -> Result<(), String> {
    setsid().map_err(|errno| format!("begin a session: {}", errno.desc()))?;
    close_descriptors_from(3).map_err(|errno| format!("close what was inherited: {}", errno.desc()))?;
    umask(Mode::from_bits_truncate(0o077));
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    let (folder, order): (PathBuf, Order) =
        serde_json::from_slice(&line).map_err(|error| format!("read what to do: {error}"))?;
    let file = match &order.snapshot {
        None => ScenarioFile::parse(&order.path, &order.text).map_err(|error| error.to_string())?,
        // Its file may be out of this process's reach, or another one by now.
        Some(bytes) => {
            let snapshot = snapshot::read(&bytes[..]).map_err(|error| error.to_string())?;
            ScenarioFile::parse_with(&order.path, &order.text, snapshot).map_err(|error| error.to_string())?
        }
    };
    let options = order.options().map_err(|error| error.to_string())?;

    let record = Record {
        version: VERSION,
        name: order.name.clone(),
        source: order.source.clone(),
        title: file.scenario.title.clone(),
        image: order.image.clone().unwrap_or_else(|| "debian-13".to_owned()),
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        caretaker: ProcessId::of(std::process::id() as i32).ok_or("read this process's start time")?,
        stage: Stage::Booting,
        hosts: Vec::new(),
        network: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
    // Before the record is there, by which others know where to send them.
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let folder = Folder::at(folder, nix::unistd::geteuid().as_raw()).map_err(|error| error.to_string())?;
    let entry = folder.claim(&record).map_err(|error| error.to_string())?;
    let caretaker = record.caretaker.clone();
    let result =
        log_to(&entry.log()).and_then(|()| runtime.block_on(keep(&file, options, &entry, record, signals)));
    // Somebody may have removed the folder, and another host may have one in its place.
    let remove = || if entry.is_of(&caretaker) { remove(&entry.path) } else { Ok(()) };
    match result {
        // Its record says why.
        Ok(Ended::ByItself) => Ok(()),
        Ok(Ended::OnRequest) => remove().map_err(|error| error.to_string()),
        Err(message) => {
            let _ = remove();
            Err(message)
        }
    }
}

/// Everything that is said on standard error from now on is for the log.
fn log_to(path: &Path) -> Result<(), String> {
    let open = || {
        let file = File::options().append(true).create_new(true).mode(0o600).open(path)?;
        dup2_stderr(&file).map_err(io::Error::from)
    };
    open().map_err(|error| format!("{}: {error}", path.display()))
}

enum Ended {
    OnRequest,
    ByItself,
}

/// Boots the host, serves it, and ends it. An error is one of the boot.
async fn keep(
    file: &ScenarioFile,
    options: StandOptions,
    entry: &Entry,
    record: Record,
    signals: Signals,
) -> Result<Ended, String> {
    let begun = Instant::now();
    let options = options.on_progress(move |what| {
        crate::service::say(format_args!("{:6.2} s  {what}", begun.elapsed().as_secs_f64()));
        tell(&Event::Progress(what.to_owned()));
    });
    let is_ready = Notify::new();
    let claim = Claim::new(entry, record.caretaker.clone());
    let record = RefCell::new(record);
    let life = on_stand(file, &options, async |stand| {
        let mut now = record.borrow().clone();
        describe(stand, &mut now);
        let listener = listen(entry)?;
        entry.write(&now).map_err(|error| error.to_string())?;
        let hosts = now.hosts.clone();
        // From before the moment on in which the boot cannot be given up any more.
        let signals = Signals::listen()?;
        record.replace(now);
        crate::service::say(format_args!("{:6.2} s  ready", begun.elapsed().as_secs_f64()));
        is_ready.notify_one();
        tell(&Event::Ready);
        let ended = serve(stand, listener, &hosts, &claim, signals).await;
        if let Ok(Some(why)) = &ended {
            crate::service::say(format_args!("{:6.2} s  {why}", begun.elapsed().as_secs_f64()));
            crate::service::say(tail(&server::log(stand), 30));
        }
        ended
    });
    let ended = tokio::select! {
        ended = life => ended,
        why = abandoned(&is_ready, &claim, signals) => return Err(why?),
    };
    let why = match ended {
        Ok(Ok(None)) => return Ok(Ended::OnRequest),
        Ok(Ok(Some(why))) => why,
        Ok(Err(message)) => return Err(message),
        Err(error) if record.borrow().stage == Stage::Booting => return Err(error.to_string()),
        Err(error) => error.to_string(),
    };
    let mut record = record.into_inner();
    record.stage = Stage::Ended(why);
    let _ = std::fs::remove_file(entry.socket());
    entry.write(&record).map_err(|error| error.to_string())?;
    Ok(Ended::ByItself)
}

/// The signals by which somebody ends a host. This process does not die of them from then on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("listen for signals: {error}"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The boot is given up: its command has gone away, or somebody wants this process to end.
async fn abandoned(is_ready: &Notify, claim: &Claim<'_>, mut signals: Signals) -> Result<String, String> {
    let said = |error: io::Error| format!("follow the command that started this: {error}");
    let lifeline = io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
    let mut lifeline = lifeline.map_err(said)?;
    let mut ignored = [0];
    tokio::select! {
        biased;
        // First of all: the command ends as soon as it hears that the host is ready.
        () = is_ready.notified() => pending().await,
        () = signals.received() => Ok("the boot was ended by a signal".to_owned()),
        () = claim.lost() => Ok("the record of the host was removed while it booted".to_owned()),
        _ = lifeline.read(&mut ignored) => Ok("the command that wanted it has ended".to_owned()),
    }
}

fn describe(stand: &Stand<'_>, record: &mut Record) {
    let host = |host: &Host, engine| {
        Some(HostRecord { hostname: host.name().to_owned(), engine, init: ProcessId::of(host.init_pid())? })
    };
    record.stage = Stage::Ready;
    record.hosts = if stand.has_virtual_machine() {
        [host(stand.user(), false), host(stand.machine(), true)].into_iter().flatten().collect()
    } else {
        host(stand.user(), true).into_iter().collect()
    };
    record.network = stand.network().map(|network| NetworkRecord {
        name: network.name.clone(),
        subnet: network.cidr(),
        gateway: network.gateway.to_string(),
        bridge: network.bridge.clone(),
    });
}

fn listen(entry: &Entry) -> Result<UnixListener, String> {
    // As for the client: the path has to be short.
    let bind = || {
        let folder = File::open(&entry.path)?;
        UnixListener::bind(format!("/proc/self/fd/{}/socket", folder.as_raw_fd()))
    };
    bind().map_err(|error| format!("{}: {error}", entry.socket().display()))
}

/// Serves until somebody wants the host to end, or it ends by itself: then the reason.
async fn serve(
    stand: &Stand<'_>,
    listener: UnixListener,
    hosts: &[HostRecord],
    claim: &Claim<'_>,
    mut signals: Signals,
) -> Result<Option<String>, String> {
    let said = |error: io::Error| format!("watch the host: {error}");
    // There is no terminal that could hang up; somebody may send it nevertheless.
    let mut hangup = signal(SignalKind::hangup()).map_err(said)?;
    let mut ends = FuturesUnordered::new();
    for host in hosts {
        let ended = host.init.ended();
        ends.push(async move {
            // Its thread says so, or there is no such thread any more.
            let _ = ended.await;
            gone(host)
        });
    }
    let mut connections = FuturesUnordered::new();
    let mut lost = pin!(claim.lost());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.push(server::serve(stand, stream));
                }
            }
            Some(()) = connections.next() => {}
            Some(why) = ends.next() => return Ok(Some(why)),
            // Nobody can ask for its end any more.
            () = &mut lost => return Ok(None),
            () = signals.received() => return Ok(None),
            _ = hangup.recv() => {}
        }
    }
}
