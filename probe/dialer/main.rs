//! Dials the host from inside a container and says what it saw, one JSON object a line.
//!
//! ```text
//! openshell-dialer <alias> <resolve ms> <connect ms> <port>…
//! ```
//!
//! It runs alone in an otherwise empty image, as nobody, with a read-only root: so it is one static file that needs no
//! library, and it speaks a protocol simple enough to be written by hand. Its facts, in this order:
//!
//! - `{"fact":"name", "alias", "addresses", "error", "elapsed_us"}`: what the alias resolves to. `/etc/hosts` is asked
//!   first, as in a sandbox, then the resolver, which gets its own budget because no connect timeout bounds it.
//! - `{"fact":"dial", "port", "address", "local", "errno", "errno_name", "timed_out", "elapsed_us", "icmp", "tcp"}`: one
//!   for every port, all dialled at the same time. Connected means `errno` 0 and not timed out.
//! - `{"fact":"neighbour", "address", "complete", "device"}`: the ARP table after the dials.
//! - `{"fact":"end"}`: the output is whole. Without it nothing may be concluded from what is missing.
//!
//! The exit code is 0 whenever the facts were printed, whatever they say.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the facts are this program's standard output")]

mod sys;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sys::{ConnectSocket, QueuedError, TcpState};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(order) = Order::parse(&arguments) else {
        eprintln!("usage: openshell-dialer <alias> <resolve ms> <connect ms> <port>…");
        return ExitCode::from(2);
    };
    let name = resolve(&order.alias, order.resolve);
    let mut facts = name.to_line(&order.alias);
    if let Some(address) = name.addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    }) {
        for dial in dial_all(address, &order.ports, order.connect) {
            facts.push_str(&dial.to_line());
        }
        facts.push_str(&neighbours());
    }
    facts.push_str("{\"fact\":\"end\"}\n");
    let mut out = std::io::stdout();
    if out.write_all(facts.as_bytes()).and_then(|()| out.flush()).is_err() {
        return ExitCode::FAILURE;
    }
    // A resolver thread may still hang: it ends with the process.
    ExitCode::SUCCESS
}

/// What the command line asks for.
struct Order {
    alias: String,
    resolve: Duration,
    connect: Duration,
    ports: Vec<u16>,
}

impl Order {
    fn parse(arguments: &[String]) -> Option<Self> {
        let [alias, resolve, connect, ports @ ..] = arguments else { return None };
        let ports: Option<Vec<u16>> = ports.iter().map(|port| port.parse().ok()).collect();
        Some(Self {
            alias: alias.clone(),
            resolve: Duration::from_millis(resolve.parse().ok()?),
            connect: Duration::from_millis(connect.parse().ok()?),
            ports: ports.filter(|ports| !ports.is_empty())?,
        })
    }
}

/// What a name resolved to.
struct Name {
    addresses: Vec<IpAddr>,
    error: Option<String>,
    elapsed: Duration,
}

impl Name {
    fn to_line(&self, alias: &str) -> String {
        let addresses: Vec<String> =
            self.addresses.iter().map(|address| quote(&address.to_string())).collect();
        format!(
            "{{\"fact\":\"name\",\"alias\":{},\"addresses\":[{}],\"error\":{},\"elapsed_us\":{}}}\n",
            quote(alias),
            addresses.join(","),
            self.error.as_deref().map_or_else(|| "null".to_owned(), quote),
            self.elapsed.as_micros(),
        )
    }
}

fn resolve(alias: &str, budget: Duration) -> Name {
    let began = Instant::now();
    if let Ok(address) = alias.parse::<IpAddr>() {
        return Name { addresses: vec![address], error: None, elapsed: began.elapsed() };
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let addresses = hosts_entries(&hosts, alias);
    if !addresses.is_empty() {
        return Name { addresses, error: None, elapsed: began.elapsed() };
    }
    let (sender, receiver) = mpsc::channel();
    let asked = alias.to_owned();
    let spawned = std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let answer =
            (asked.as_str(), 0u16).to_socket_addrs().map(|found| found.map(|socket| socket.ip()).collect());
        // The main thread may have given up waiting: nobody is left to tell.
        let _ = sender.send(answer);
    });
    let (addresses, error) = match spawned {
        Err(error) => (Vec::new(), Some(error.to_string())),
        Ok(_) => match receiver.recv_timeout(budget) {
            Ok(Ok(addresses)) => (addresses, None),
            Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
            Err(_) => (Vec::new(), Some(format!("no answer within {} ms", budget.as_millis()))),
        },
    };
    Name { addresses, error, elapsed: began.elapsed() }
}

/// The addresses that the text of `/etc/hosts` gives for `alias`.
fn hosts_entries(hosts: &str, alias: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(alias)) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// One TCP connect and what it showed.
struct Dial {
    target: SocketAddrV4,
    local: Option<Ipv4Addr>,
    errno: i32,
    timed_out: bool,
    elapsed: Duration,
    queue: Vec<QueuedError>,
    tcp: Option<TcpState>,
}

impl Dial {
    fn to_line(&self) -> String {
        let mut line = format!(
            "{{\"fact\":\"dial\",\"port\":{},\"address\":\"{}\",\"local\":{},\"errno\":{},\"errno_name\":{},\
             \"timed_out\":{},\"elapsed_us\":{},\"icmp\":[",
            self.target.port(),
            self.target.ip(),
            self.local.map_or_else(|| "null".to_owned(), |local| format!("\"{local}\"")),
            self.errno,
            quote(sys::errno_name(self.errno)),
            self.timed_out,
            self.elapsed.as_micros(),
        );
        for (index, queued) in self.queue.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                line,
                "{comma}{{\"errno\":{},\"origin\":{},\"type\":{},\"code\":{},\"offender\":{}}}",
                queued.errno,
                queued.origin,
                queued.kind,
                queued.code,
                queued.offender.map_or_else(|| "null".to_owned(), |offender| format!("\"{offender}\"")),
            );
        }
        line.push_str("],\"tcp\":");
        match self.tcp {
            None => line.push_str("null"),
            Some(tcp) => {
                let _ = write!(
                    line,
                    "{{\"state\":{},\"retransmits\":{},\"rtt_us\":{}}}",
                    tcp.state, tcp.retransmits, tcp.rtt_us
                );
            }
        }
        line.push_str("}\n");
        line
    }
}

/// Dials every port of `address` at the same time and waits for the last answer, but no longer than `budget`.
fn dial_all(address: Ipv4Addr, ports: &[u16], budget: Duration) -> Vec<Dial> {
    let began = Instant::now();
    let mut done: Vec<Option<Dial>> = Vec::new();
    let mut waiting: Vec<(usize, ConnectSocket, Instant)> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let target = SocketAddrV4::new(address, *port);
        let dialled = Instant::now();
        done.push(None);
        match ConnectSocket::dial(target) {
            Ok(socket) => waiting.push((index, socket, dialled)),
            Err(errno) => done[index] = Some(failed(target, errno, dialled.elapsed())),
        }
    }
    while !waiting.is_empty() {
        let left = budget.saturating_sub(began.elapsed());
        let ready = sys::wait_writable(waiting.iter().map(|(_, socket, _)| socket), left);
        let late = left.is_zero();
        let mut still = Vec::new();
        for (position, (index, socket, dialled)) in waiting.into_iter().enumerate() {
            let answered = ready.get(position).copied().unwrap_or(false);
            if !answered && !late {
                still.push((index, socket, dialled));
                continue;
            }
            let elapsed = dialled.elapsed();
            // In this order: emptying the error queue clears the socket's pending error.
            let tcp = socket.tcp_state();
            let local = socket.local();
            let pending = if answered { socket.take_error() } else { 0 };
            let queue = socket.error_queue();
            let errno = if answered { verified(pending, tcp, &queue) } else { 0 };
            let target = SocketAddrV4::new(address, ports[index]);
            done[index] = Some(Dial { target, local, errno, timed_out: !answered, elapsed, queue, tcp });
        }
        waiting = still;
    }
    done.into_iter().flatten().collect()
}

/// The errno of an answered connect. "No error" counts only for a socket that has left the states before and after a
/// connection: nothing may look connected because an error got lost.
fn verified(pending: i32, tcp: Option<TcpState>, queue: &[QueuedError]) -> i32 {
    let unconnected = tcp.is_none_or(|tcp| matches!(tcp.state, sys::TCP_SYN_SENT | sys::TCP_CLOSE));
    if pending != 0 || !unconnected {
        return pending;
    }
    queue
        .first()
        .and_then(|queued| i32::try_from(queued.errno).ok())
        .filter(|errno| *errno != 0)
        .unwrap_or(sys::ENOTCONN)
}

fn failed(target: SocketAddrV4, errno: i32, elapsed: Duration) -> Dial {
    Dial { target, local: None, errno, timed_out: false, elapsed, queue: Vec::new(), tcp: None }
}

/// The ARP table. Its format is a heading, then `IP, HW type, flags, HW address, mask, device`; flag 0x2 is ATF_COM,
/// "the hardware address is known" (include/uapi/linux/if_arp.h).
fn neighbours() -> String {
    let table = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    let mut lines = String::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, _, _, device, ..] = words.as_slice() else { continue };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
        let _ = writeln!(
            lines,
            "{{\"fact\":\"neighbour\",\"address\":{},\"complete\":{},\"device\":{}}}",
            quote(address),
            flags & 0x2 != 0,
            quote(device),
        );
    }
    lines
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_file_gives_every_address_of_an_alias() {
        let hosts = "127.0.0.1 localhost\n172.18.0.1\thost.docker.internal\n172.18.0.1 host.openshell.internal # ours\n\
                     # 10.0.0.1 host.openshell.internal\nfd00::1 other host.openshell.internal\n";
        let addresses = hosts_entries(hosts, "Host.OpenShell.Internal");
        assert_eq!(addresses, ["172.18.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        assert!(hosts_entries(hosts, "openshell.internal").is_empty());
    }

    #[test]
    fn control_characters_and_quotes_are_escaped() {
        assert_eq!(quote("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }

    #[test]
    fn a_listener_connects_and_a_closed_port_is_refused_in_one_call() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = gone.local_addr().unwrap().port();
        drop(gone);
        let dials = dial_all(Ipv4Addr::LOCALHOST, &[open, closed], Duration::from_secs(2));
        assert_eq!((dials[0].errno, dials[0].timed_out), (0, false));
        assert_eq!(dials[0].local, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(dials[0].tcp.unwrap().state, 1, "ESTABLISHED");
        assert_eq!(sys::errno_name(dials[1].errno), "ECONNREFUSED");
    }

    #[test]
    fn a_lost_error_never_looks_connected() {
        let tcp = |state| Some(TcpState { state, retransmits: 0, rtt_us: 0 });
        let unreachable = QueuedError { errno: 113, origin: 2, kind: 3, code: 1, offender: None };
        assert_eq!(verified(0, tcp(1), &[]), 0, "ESTABLISHED");
        assert_eq!(verified(0, tcp(8), &[]), 0, "CLOSE_WAIT: the service hung up at once");
        assert_eq!(verified(0, tcp(sys::TCP_CLOSE), &[unreachable]), 113);
        assert_eq!(verified(0, tcp(sys::TCP_CLOSE), &[]), sys::ENOTCONN);
        assert_eq!(verified(0, None, &[]), sys::ENOTCONN);
        assert_eq!(verified(111, tcp(sys::TCP_CLOSE), &[unreachable]), 111);
    }

    #[test]
    fn an_order_needs_a_port() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(Order::parse(&words("alias 100 200 8080 11435")).is_some());
        assert!(Order::parse(&words("alias 100 200")).is_none());
        assert!(Order::parse(&words("alias 100 200 99999")).is_none());
    }
}
