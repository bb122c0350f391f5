//! Dials the host from inside a container and says what it saw, one JSON object a line.
//!
//! ```text
//! openshell-dialer <alias> <resolve ms> <connect ms> <total ms> <port>[:grpc[:HELLO]|:http|:tcp]…
//! ```
//!
//! It runs alone in an otherwise empty image, as nobody, with a read-only root: so it is one static file that needs no
//! library, and it speaks a protocol simple enough to be written by hand. Its facts, in this order:
//!
//! - `{"fact":"name", "alias", "addresses", "error", "elapsed_us"}`: what the alias resolves to. `/etc/hosts` is asked
//!   first, as in a sandbox, then the resolver, which gets its own budget because no connect timeout bounds it.
//! - `{"fact":"dial", "port", "address", "local", "local_port", "errno", "errno_name", "timed_out", "elapsed_us", "icmp",
//!   "tcp", "unanswered", "sockets", "limited", "greetings", "held"}`: one for every port, all dialled at the same time.
//!   Connected means `errno` 0 and not timed out; then a greeting of the port's protocol follows, and what came back.
//! - `{"fact":"flight", "port", "bytes"}`: what a service that speaks TLS answered to the ClientHello that the order has for
//!   its port, `HELLO` in hexadecimal, on a connection of its own. What it means, the probe knows.
//! - `{"fact":"marked", "port", "packets", "payload"}`: with `--mark` before everything else, in the place of dials and what
//!   follows from them: SYNs with a payload that were sent to a port.
//! - `{"fact":"neighbour", "address", "complete", "device"}`: the ARP table after the dials.
//! - `{"fact":"end"}`: the output is whole. Without it nothing may be concluded from what is missing.
//!
//! Then it keeps a connection to every port open, so that the host can be asked whether they end there, until its standard
//! input ends.
//!
//! The exit code is 0 whenever the facts were printed, whatever they say.

#![allow(unreachable_pub, reason = "the library beside this program shows what is public in the same files")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the facts are this program's standard output")]

mod dial;
mod greeting;
mod hex;
mod job;
mod mark;
mod sys;
mod work;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use work::Order;

fn main() -> ExitCode {
    let began = Instant::now();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let only_mark = arguments.first().is_some_and(|first| first == "--mark");
    if only_mark {
        arguments.remove(0);
    }
    let Some(order) = Order::parse(&arguments) else {
        eprintln!(
            "usage: openshell-dialer [--mark] <alias> <resolve ms> <connect ms> <total ms> <port>[:grpc[:HELLO]|:http|:tcp]…"
        );
        return ExitCode::from(2);
    };
    let spoken = if only_mark { order.mark() } else { order.run(began) };
    let mut out = std::io::stdout();
    if out.write_all(spoken.facts().as_bytes()).and_then(|()| out.flush()).is_err() {
        return ExitCode::FAILURE;
    }
    if !only_mark {
        spoken.hold();
    }
    // A resolver thread may still hang: it ends with the process.
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests;
