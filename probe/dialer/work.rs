//! The work of the dialer: an order → its facts, and the connections that it still holds.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::dial::{Dial, Greeted};
use crate::greeting::Protocol;
use crate::hex::{hexed, unhexed};
use crate::job::{Job, Surroundings};
use crate::mark::mark_all;
use crate::sys::{self, ConnectSocket, QueuedError};

/// How long the connections are kept when nobody ends the standard input.
const HOLD: Duration = Duration::from_secs(5);
/// A Linux host answers one address with ICMP errors in a burst of six and then once a second (net/ipv4/icmp.c,
/// `net.ipv4.icmp_ratelimit`), so later refusals look like silence.
const ICMP_INTERVAL: Duration = Duration::from_millis(1050);
/// A refusal takes less than a millisecond.
const ICMP_PATIENCE: Duration = Duration::from_millis(300);

/// What is to be dialled.
pub struct Order {
    pub(crate) alias: String,
    pub(crate) resolve: Duration,
    pub(crate) connect: Duration,
    /// For everything.
    pub(crate) total: Duration,
    pub(crate) ports: Vec<Port>,
}

/// A port to dial.
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
    /// Said to a service that speaks TLS, on a connection of its own; empty for nothing.
    pub(crate) hello: Vec<u8>,
}

/// What an order's dials showed. The connections are held until this is dropped.
pub struct Spoken {
    facts: String,
    _held: Vec<ConnectSocket>,
}

impl Spoken {
    /// The facts, one JSON object a line, the last of which says that they are whole.
    #[must_use]
    pub fn facts(&self) -> &str {
        &self.facts
    }

    /// Keeps the connections until standard input ends, but for no longer than five seconds.
    pub fn hold(self) {
        sys::wait_for_end_of_input(HOLD);
    }
}

impl Port {
    fn parse(word: &str) -> Option<Self> {
        let (number, rest) = word.split_once(':').unwrap_or((word, "tcp"));
        let (protocol, hello) = rest.split_once(':').unwrap_or((rest, ""));
        Some(Self {
            number: number.parse().ok()?,
            protocol: Protocol::parse(protocol)?,
            hello: unhexed(hello)?,
        })
    }

    fn start(&self, address: Ipv4Addr, budget: Duration) -> Job {
        Job::start(SocketAddrV4::new(address, self.number), self.protocol, self.hello.clone(), budget)
    }
}

impl Order {
    /// Reads the words of the dialer's command line; `None` when they are none.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let [alias, resolve, connect, total, ports @ ..] = arguments else { return None };
        let milliseconds = |text: &String| text.parse().ok().map(Duration::from_millis);
        let ports: Option<Vec<Port>> = ports.iter().map(|word| Port::parse(word)).collect();
        Some(Self {
            alias: alias.clone(),
            resolve: milliseconds(resolve)?,
            connect: milliseconds(connect)?,
            total: milliseconds(total)?,
            ports: ports.filter(|ports| !ports.is_empty())?,
        })
    }

    /// Sends SYNs that counters can tell from others', and dials nothing.
    #[must_use]
    pub fn mark(&self) -> Spoken {
        let name = resolve(&self.alias, self.resolve);
        let mut facts = name.to_line(&self.alias);
        if let Some(address) = name.addresses.iter().find_map(v4) {
            let targets: Vec<_> =
                self.ports.iter().map(|port| SocketAddrV4::new(address, port.number)).collect();
            facts.push_str(&mark_all(&targets, || arp().iter().any(|entry| entry.complete)));
        }
        facts.push_str("{\"fact\":\"end\"}\n");
        Spoken { facts, _held: Vec::new() }
    }

    /// Dials from the network namespace of the calling thread. The time for everything runs from `began`.
    #[must_use]
    pub fn run(&self, began: Instant) -> Spoken {
        let name = resolve(&self.alias, self.resolve);
        let mut facts = name.to_line(&self.alias);
        let mut held = Vec::new();
        if let Some(address) = name.addresses.iter().find_map(v4) {
            let dials;
            (dials, held) = dial_all(address, self, began);
            for dial in dials {
                facts.push_str(&dial.to_line());
                facts.push_str(&dial.flight_line());
            }
            facts.push_str(&neighbour_lines());
        }
        facts.push_str("{\"fact\":\"end\"}\n");
        Spoken { facts, _held: held }
    }
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
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
pub(crate) fn hosts_entries(hosts: &str, alias: &str) -> Vec<IpAddr> {
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

impl Dial {
    fn to_line(&self) -> String {
        let mut line = format!(
            "{{\"fact\":\"dial\",\"port\":{},\"address\":\"{}\",\"local\":{},\"local_port\":{},\"errno\":{},\
             \"errno_name\":{},\"timed_out\":{},\"elapsed_us\":{},\"icmp\":{},\"tcp\":",
            self.target.port(),
            self.target.ip(),
            self.local.map_or_else(|| "null".to_owned(), |local| format!("\"{}\"", local.ip())),
            self.local.map_or_else(|| "null".to_owned(), |local| local.port().to_string()),
            self.errno,
            quote(sys::errno_name(self.errno)),
            self.timed_out,
            self.elapsed.as_micros(),
            icmp(&self.queue),
        );
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
        let greetings: Vec<String> = self.greetings.iter().map(Greeted::to_object).collect();
        let _ = writeln!(
            line,
            ",\"unanswered\":{},\"sockets\":{},\"limited\":{},\"greetings\":[{}],\"held\":{},\"silent\":{}}}",
            self.unanswered,
            self.sockets,
            self.limited,
            greetings.join(","),
            self.held.map_or_else(|| "null".to_owned(), |port| port.to_string()),
            self.silent.map_or_else(|| "null".to_owned(), |port| port.to_string()),
        );
        line
    }

    fn flight_line(&self) -> String {
        self.flight.as_deref().map_or_else(String::new, |bytes| {
            format!(
                "{{\"fact\":\"flight\",\"port\":{},\"bytes\":\"{}\"}}\n",
                self.target.port(),
                hexed(bytes)
            )
        })
    }
}

impl Greeted {
    fn to_object(&self) -> String {
        let answer = hexed(&self.answer);
        format!(
            "{{\"greeting\":\"{}\",\"acknowledged\":{},\"answer\":\"{answer}\",\"kind\":{},\"closed\":{},\
             \"errno\":{},\"elapsed_us\":{}}}",
            self.greeting.name(),
            self.acknowledged,
            self.kind.map_or_else(|| "null".to_owned(), |kind| format!("\"{}\"", kind.name())),
            self.closed,
            self.errno,
            self.elapsed.as_micros(),
        )
    }
}

/// A list of queued errors.
fn icmp(queue: &[QueuedError]) -> String {
    let entry = |queued: &QueuedError| {
        format!(
            "{{\"errno\":{},\"origin\":{},\"type\":{},\"code\":{},\"offender\":{}}}",
            queued.errno,
            queued.origin,
            queued.kind,
            queued.code,
            queued.offender.map_or_else(|| "null".to_owned(), |offender| format!("\"{offender}\"")),
        )
    };
    format!("[{}]", queue.iter().map(entry).collect::<Vec<_>>().join(","))
}

/// Dials and greets every port of `address` at the same time. The second value are connections to keep open.
pub(crate) fn dial_all(address: Ipv4Addr, order: &Order, began: Instant) -> (Vec<Dial>, Vec<ConnectSocket>) {
    let mut jobs: Vec<Job> = order.ports.iter().map(|port| port.start(address, order.connect)).collect();
    run(&mut jobs, address, order.total.saturating_sub(began.elapsed()), false);
    let refusals = jobs.iter().filter(|job| job.was_refused_by_icmp()).count();
    let (mut dials, mut held) = (Vec::new(), Vec::new());
    for job in jobs {
        let (dial, sockets) = job.finish();
        dials.push(dial);
        held.extend(sockets);
    }
    if refusals > 0 {
        for (dial, port) in dials.iter_mut().zip(&order.ports).filter(|(dial, _)| dial.timed_out) {
            // One at a time, each when the next answer is allowed.
            if order.total.saturating_sub(began.elapsed()) < ICMP_INTERVAL + ICMP_PATIENCE {
                dial.limited = true;
                continue;
            }
            // The peer's kernel counts the time; nothing tells when it is over.
            sys::wait(&[], ICMP_INTERVAL);
            let mut again = [port.start(address, ICMP_PATIENCE)];
            run(&mut again, address, ICMP_PATIENCE, true);
            let [again] = again;
            if again.was_refused_by_icmp() {
                let elapsed = dial.elapsed;
                *dial = again.finish().0;
                dial.elapsed = elapsed;
            }
        }
    }
    held.extend(dials.iter_mut().filter_map(renew));
    (dials, held)
}

/// One more SYN where the last one may be a second old. A host whose answers are dropped on their way out has a half-open
/// connection for no longer (net/ipv4/inet_connection_sock.c, `reqsk_timer_handler`), and it is looked for after this.
fn renew(dial: &mut Dial) -> Option<ConnectSocket> {
    if !dial.timed_out || dial.sockets > 1 {
        return None;
    }
    let socket = ConnectSocket::dial(dial.target).ok()?;
    dial.local = socket.local().or(dial.local);
    Some(socket)
}

/// Takes every job to its end, or all of them to the end of `budget`.
pub(crate) fn run(jobs: &mut [Job], address: Ipv4Addr, budget: Duration, refusals: bool) {
    let began = Instant::now();
    while jobs.iter().any(|job| !job.is_done()) {
        let left = budget.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
        let next = jobs.iter().map(Job::next).min().unwrap_or(left).min(left);
        let waits: Vec<Vec<_>> = jobs.iter().map(Job::waits).collect();
        let ready = sys::wait(&waits.concat(), next);
        let counts: Vec<usize> = waits.iter().map(Vec::len).collect();
        drop(waits);
        let around = Surroundings {
            neighbour: arp().iter().any(|entry| entry.address == address.to_string() && entry.complete),
            refusals: refusals || jobs.iter().any(Job::was_refused_by_icmp),
        };
        let mut rest = ready.as_slice();
        for (job, count) in jobs.iter_mut().zip(counts) {
            let (own, others) = rest.split_at(count.min(rest.len()));
            job.advance(own, around);
            rest = others;
        }
    }
}

/// An entry of the ARP table.
struct Neighbour {
    address: String,
    complete: bool,
    device: String,
}

/// The ARP table of this thread's network namespace. Its format is a heading, then `IP, HW type, flags, HW address, mask, device`; flag 0x2 is ATF_COM,
/// "the hardware address is known" (include/uapi/linux/if_arp.h).
fn arp() -> Vec<Neighbour> {
    let table = std::fs::read_to_string("/proc/thread-self/net/arp").unwrap_or_default();
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, _, _, device, ..] = words.as_slice() else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
        Some(Neighbour {
            address: (*address).to_owned(),
            complete: flags & 0x2 != 0,
            device: (*device).to_owned(),
        })
    };
    table.lines().skip(1).filter_map(entry).collect()
}

fn neighbour_lines() -> String {
    let mut lines = String::new();
    for entry in arp() {
        let _ = writeln!(
            lines,
            "{{\"fact\":\"neighbour\",\"address\":{},\"complete\":{},\"device\":{}}}",
            quote(&entry.address),
            entry.complete,
            quote(&entry.device),
        );
    }
    lines
}

/// A JSON string.
pub(crate) fn quote(text: &str) -> String {
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
