//! A service from the inside: what runs in place of `main` when a program is started to stand in.

use std::convert::Infallible;
use std::ffi::CString;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};

use super::{dns, gateway, manager, other, proxy};

/// The environment variable with what the service is to be, as JSON. A program stands in only when it has this and is
/// called like a service, so neither the name nor a forgotten variable alone takes a program over.
pub(crate) const VARIABLE: &str = "OPENSHELL_HARNESS_STAND_IN";

/// What the variable has for a service without a creator: it is told everything in the way of the real one, and runs until
/// it is ended.
pub(super) const CONTRACT: (&str, &str) = (VARIABLE, "contract");

/// Called in every start of every program of the harness, before `main` and on its only thread: returns at once, or
/// serves and ends the process.
pub(crate) fn start_if_asked() {
    let Some(config) = std::env::var_os(VARIABLE) else { return };
    let arg0 = std::env::args_os().next().unwrap_or_default();
    let Some(name) = Path::new(&arg0).file_name() else { return };
    let config = config.to_string_lossy();
    if let Some(name) = name.to_str() {
        crate::standing::start_if_asked(name, &config);
    }
    let served = match name.to_str() {
        Some(gateway::NAME) if config == CONTRACT.1 => serve(gateway::NAME, gateway::run_by_contract),
        Some(proxy::NAME) if config == CONTRACT.1 => serve(proxy::NAME, proxy::run_by_contract),
        Some(gateway::NAME) => stand_in(gateway::NAME, &config, gateway::run),
        Some(proxy::NAME) => stand_in(proxy::NAME, &config, proxy::run),
        Some(dns::NAME) => stand_in(dns::NAME, &config, dns::run),
        Some(other::NAME) => stand_in(other::NAME, &config, other::run),
        Some(manager::NAME) => stand_in(manager::NAME, &config, manager::run),
        _ => return,
    };
    if let Err(message) = &served {
        say(message);
    }
    std::process::exit(served.is_err().into())
}

/// Serves until the creator lets go of the lifeline, or until it cannot.
fn stand_in<C: DeserializeOwned>(
    name: &str,
    config: &str,
    run: impl AsyncFnOnce(C) -> Result<Infallible, String>,
) -> Result<(), String> {
    let config = serde_json::from_str(config).map_err(|error| format!("{VARIABLE}: {error}"))?;
    serve(name, async || {
        let lifeline = io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
        let mut lifeline = lifeline.map_err(|error| format!("watch standard input: {error}"))?;
        let mut ignored = [0];
        tokio::select! {
            Err(message) = run(config) => Err(message),
            _ = lifeline.read(&mut ignored) => Ok(()),
        }
    })
}

/// Runs a service as a process of its own name.
fn serve<T>(name: &str, run: impl AsyncFnOnce() -> Result<T, String>) -> Result<(), String> {
    // A connection that its peer has left is an error of the write, as it is for every program that begins at `main`.
    let mut pipes = SigSet::empty();
    pipes.add(Signal::SIGPIPE);
    pipes.thread_block().map_err(|errno| format!("block SIGPIPE: {}", errno.desc()))?;
    // So `ss -p` and `/proc/PID/comm` name the service (in its first 15 bytes, as for the real one).
    if let Ok(name) = CString::new(name) {
        let _ = prctl::set_name(&name);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("start a runtime: {error}"))?;
    runtime.block_on(run()).map(drop)
}

/// Tells the creator, once, that every socket of the service listens.
pub(super) fn announce(addresses: &[SocketAddr]) -> Result<(), String> {
    let mut line = serde_json::to_vec(addresses).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let mut stdout = io::stdout();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(|error| format!("announce: {error}"))
}

/// Writes a line to the log.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Serves every connection on a task of its own; returns when no more can be accepted.
pub(crate) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream, SocketAddr) -> F) -> io::Error
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => drop(tokio::spawn(serve(stream, peer))),
            // The peer was gone before its turn came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return error,
        }
    }
}
