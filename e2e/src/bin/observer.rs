//! What the neutral recorder runs in a container: it looks a name up, dials its first address, and prints what it saw as
//! JSON. As `observer listen PORT` it is a service that accepts and says nothing.
//!
//! It stands for upstream's `nc`, and says more than that does: `e2e::upstream::observation::Seen`. As
//! `observer nc -zw5 NAME PORT`, or under the name `nc`, it is that `nc`, and says no more than busybox's: exit code 0 or 1, and nothing on standard
//! error but for a name that does not resolve. Debian's busybox has no `-z`, and the hosts reach no registry for another one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it says is its whole work")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// `-w5`: busybox sets an alarm once the name is resolved.
const ALARM: Duration = Duration::from_secs(5);

fn main() -> Result<ExitCode> {
    let mut arguments: Vec<String> = std::env::args().collect();
    // In an image as `/bin/nc` it is nothing else.
    let is_nc = arguments.first().is_some_and(|name| name == "nc" || name.ends_with("/nc"));
    if is_nc {
        "nc".clone_into(&mut arguments[0]);
    } else if !arguments.is_empty() {
        arguments.remove(0);
    }
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["listen", port] => listen(port.parse().context("the port")?),
        ["nc", "-zw5", name, port] => Ok(nc(name, port.parse().context("the port")?)),
        ["dial", name, port, resolve_ms, dial_ms] => {
            let wait = |text: &str| Ok::<_, std::num::ParseIntError>(Duration::from_millis(text.parse()?));
            let port = port.parse().context("the port")?;
            println!("{}", dial(name, port, wait(resolve_ms)?, wait(dial_ms)?));
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!(
            "usage: observer listen PORT | observer nc -zw5 NAME PORT | observer dial NAME PORT RESOLVE_MS DIAL_MS"
        ),
    }
}

/// Ends with its container.
fn listen(port: u16) -> Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let mut open = Vec::new();
    loop {
        open.push(listener.accept()?);
    }
}

/// Resolving is not bounded by `-w`, and of several addresses the first one counts.
fn nc(name: &str, port: u16) -> ExitCode {
    let Some(address) = (name, port).to_socket_addrs().ok().and_then(|mut found| found.next()) else {
        eprintln!("nc: bad address '{name}'");
        return ExitCode::FAILURE;
    };
    match TcpStream::connect_timeout(&address, ALARM) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn dial(name: &str, port: u16, resolve: Duration, patience: Duration) -> Value {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let alias_present = hosts
        .lines()
        .filter(|line| !line.starts_with('#'))
        .any(|line| line.split_whitespace().skip(1).any(|word| word == name));
    let start = Instant::now();
    let addresses = look_up(name, resolve);
    let resolve_ms = millis(start.elapsed());
    json!({
        "alias_present": alias_present,
        "addresses": addresses,
        "resolve_ms": resolve_ms,
        "dial": addresses.first().map(|address| connect(*address, port, patience)),
    })
}

/// No time limit of the resolver's is the caller's, so it has a thread, which ends with the process.
fn look_up(name: &str, limit: Duration) -> Vec<IpAddr> {
    let (send, receive) = mpsc::channel();
    let name = name.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|it| it.ip()).collect());
        send.send(found.unwrap_or_default())
    });
    receive.recv_timeout(limit).unwrap_or_default()
}

fn connect(address: IpAddr, port: u16, patience: Duration) -> Value {
    let start = Instant::now();
    let outcome = match TcpStream::connect_timeout(&SocketAddr::new(address, port), patience) {
        Ok(_) => json!("connected"),
        Err(error) => error.raw_os_error().map_or(json!("no_answer"), |errno| json!({ "errno": errno })),
    };
    json!({ "address": address, "outcome": outcome, "elapsed_ms": millis(start.elapsed()) })
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
