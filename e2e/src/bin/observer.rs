//! What the neutral recorder runs in a container: it looks a name up, dials its first address, and prints what it saw as
//! JSON. As `observer listen PORT` it is a service that accepts and says nothing.
//!
//! It stands for upstream's `nc`, and says more than that does: `e2e::upstream::observation::Seen`.

#![allow(clippy::print_stdout, reason = "what it saw is its standard output")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["listen", port] => listen(port.parse().context("the port")?),
        ["dial", name, port, resolve_ms, dial_ms] => {
            let wait = |text: &str| Ok::<_, std::num::ParseIntError>(Duration::from_millis(text.parse()?));
            let port = port.parse().context("the port")?;
            println!("{}", dial(name, port, wait(resolve_ms)?, wait(dial_ms)?));
            Ok(())
        }
        _ => bail!("usage: observer listen PORT | observer dial NAME PORT RESOLVE_MS DIAL_MS"),
    }
}

/// Ends with its container.
fn listen(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let mut open = Vec::new();
    loop {
        open.push(listener.accept()?);
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
