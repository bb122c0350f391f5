//! The dialer's output: one JSON object a line, as `probe/dialer/main.rs` documents it.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::dial::{Dial, Greeted, Icmp, Outcome, TcpState};
use crate::sanitize::sanitize;

/// The line that makes the output whole.
pub(crate) const LAST_LINE: &str = "{\"fact\":\"end\"}";

/// What the alias resolved to where the dials started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resolution {
    /// The name.
    pub alias: String,
    /// Its addresses, in the order they were given.
    pub addresses: Vec<IpAddr>,
    /// Why there are none.
    pub error: Option<String>,
    /// Microseconds.
    pub elapsed_us: u64,
}

impl Resolution {
    /// The address that is dialled.
    #[must_use]
    pub fn dialled(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })
    }
}

/// An entry of the ARP table where the dials started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Neighbour {
    /// The neighbour's address.
    pub address: Ipv4Addr,
    /// Its hardware address is known.
    pub complete: bool,
    /// The interface, inside the container.
    pub device: String,
}

/// Everything the dialer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialerOutput {
    /// What the alias resolved to.
    pub resolution: Resolution,
    /// The dials, in the order of the ports.
    pub dials: Vec<Dial>,
    /// What services answered to the ClientHello that was sent for their port.
    pub flights: Vec<(u16, Vec<u8>)>,
    /// The ARP table after the dials.
    pub neighbours: Vec<Neighbour>,
    /// SYNs that were sent to be counted, in the place of dials.
    pub marked: Vec<(u16, Marked)>,
}

/// SYNs that a rule's counters can tell from everybody else's, because each carries a payload. No answer is waited for, and a
/// service that one reaches is not given the payload: without a cookie a server leaves it out (RFC 7413).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// How many.
    pub packets: u64,
    /// Bytes of all of them, without headers.
    pub payload: u64,
}

/// Why an output tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The output ends before its last line.
    #[error("the dialer's output is cut short: '{output}'")]
    Incomplete {
        /// What there is, safe to print.
        output: String,
    },
    /// A line is not one of the dialer's.
    #[error("the dialer's output has an unknown line: '{line}'")]
    Line {
        /// The line, safe to print.
        line: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
enum Fact {
    Name(Resolution),
    Dial(RawDial),
    Flight { port: u16, bytes: String },
    Neighbour(Neighbour),
    Marked { port: u16, packets: u64, payload: u64 },
    End,
}

#[derive(Deserialize)]
struct RawDial {
    port: u16,
    address: Ipv4Addr,
    local: Option<Ipv4Addr>,
    local_port: Option<u16>,
    errno: i32,
    errno_name: String,
    timed_out: bool,
    elapsed_us: u64,
    icmp: Vec<Icmp>,
    tcp: Option<TcpState>,
    unanswered: u32,
    sockets: u32,
    limited: bool,
    greetings: Vec<Greeted>,
    held: Option<u16>,
    silent: Option<u16>,
}

impl DialerOutput {
    /// Reads the dialer's output.
    ///
    /// # Errors
    /// When it is not whole, or not the dialer's.
    pub fn parse(output: &str) -> Result<Self, ProtocolError> {
        let mut parsed = Self::default();
        for line in output.lines().filter(|line| !line.trim().is_empty()) {
            let fact = serde_json::from_str(line);
            match fact.map_err(|_| ProtocolError::Line { line: sanitize(line) })? {
                Fact::Name(resolution) => {
                    let error = resolution.error.as_deref().map(sanitize);
                    parsed.resolution = Resolution { error, ..resolution };
                }
                Fact::Dial(raw) => parsed.dials.push(raw.into()),
                Fact::Flight { port, bytes } => {
                    let bytes =
                        unhexed(&bytes).ok_or_else(|| ProtocolError::Line { line: sanitize(line) })?;
                    parsed.flights.push((port, bytes));
                }
                Fact::Neighbour(neighbour) => parsed.neighbours.push(neighbour),
                Fact::Marked { port, packets, payload } => {
                    parsed.marked.push((port, Marked { packets, payload }));
                }
                Fact::End => return Ok(parsed),
            }
        }
        Err(ProtocolError::Incomplete { output: sanitize(output) })
    }
}

/// The bytes of digits in hexadecimal.
fn unhexed(digits: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

impl From<RawDial> for Dial {
    fn from(raw: RawDial) -> Self {
        let outcome = match (raw.timed_out, raw.errno) {
            (true, _) => Outcome::TimedOut,
            (false, 0) => Outcome::Connected,
            (false, errno) => Outcome::Failed { errno, name: sanitize(&raw.errno_name) },
        };
        Self {
            address: raw.address,
            port: raw.port,
            local: raw.local,
            local_port: raw.local_port,
            outcome,
            elapsed_us: raw.elapsed_us,
            icmp: raw.icmp,
            tcp: raw.tcp,
            unanswered: raw.unanswered,
            sockets: raw.sockets,
            limited: raw.limited,
            greetings: raw.greetings,
            held: raw.held,
            silent: raw.silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"{"fact":"name","alias":"host.openshell.internal","addresses":["172.18.0.1"],"error":null,"elapsed_us":25}
{"fact":"dial","port":8080,"address":"172.18.0.1","local":"172.18.0.2","local_port":40000,"errno":113,"errno_name":"EHOSTUNREACH","timed_out":false,"elapsed_us":740,"icmp":[{"errno":113,"origin":2,"type":3,"code":13,"offender":"172.18.0.1"}],"tcp":{"state":7,"retransmits":0,"rtt_us":0},"unanswered":0,"sockets":0,"limited":false,"greetings":[],"held":null}
{"fact":"flight","port":8080,"bytes":"16ff"}
{"fact":"marked","port":8080,"packets":3,"payload":3633}
{"fact":"neighbour","address":"172.18.0.1","complete":true,"device":"eth0"}
{"fact":"end"}
"#;

    #[test]
    fn a_whole_output_is_read() {
        let output = DialerOutput::parse(OUTPUT).unwrap();
        assert_eq!(output.resolution.dialled(), Some(Ipv4Addr::new(172, 18, 0, 1)));
        let refusal = output.dials[0].refusal().unwrap();
        assert_eq!((refusal.kind, refusal.code), (3, 13));
        assert_eq!(output.marked, [(8080, Marked { packets: 3, payload: 3633 })]);
        assert!(output.neighbours[0].complete);
        assert_eq!(output.flights, [(8080, vec![0x16, 0xff])]);
    }

    #[test]
    fn an_output_without_its_end_tells_nothing() {
        let cut = OUTPUT.replace("{\"fact\":\"end\"}\n", "");
        assert!(matches!(DialerOutput::parse(&cut), Err(ProtocolError::Incomplete { .. })));
        assert!(matches!(DialerOutput::parse(""), Err(ProtocolError::Incomplete { .. })));
    }

    #[test]
    fn a_strangers_line_is_an_error() {
        let error = DialerOutput::parse("exec \u{1b}[31mformat error\n").unwrap_err();
        let odd = OUTPUT.replace("16ff", "16f");
        assert!(matches!(DialerOutput::parse(&odd), Err(ProtocolError::Line { .. })));
        assert_eq!(error, ProtocolError::Line { line: "exec \\u{1b}[31mformat error".to_owned() });
    }
}
