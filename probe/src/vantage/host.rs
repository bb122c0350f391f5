//! The host's own dial. It goes over `lo`, where most firewalls accept everything, so it never speaks for a sandbox: a
//! connect supports that a service is there, a refusal contradicts it, a timeout says nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::net::TcpStream;

use crate::dial::{Dial, Outcome};

/// Dials `address` on each of `ports` at the same time, each for no longer than `timeout`.
pub async fn dial_all(address: Ipv4Addr, ports: &[u16], timeout: Duration) -> Vec<Dial> {
    let dials = ports.iter().map(|port| dial(address, *port, timeout));
    futures_util::future::join_all(dials).await
}

async fn dial(address: Ipv4Addr, port: u16, timeout: Duration) -> Dial {
    let began = Instant::now();
    let connect = TcpStream::connect(SocketAddrV4::new(address, port));
    let (outcome, local) = match tokio::time::timeout(timeout, connect).await {
        Ok(Ok(stream)) => (Outcome::Connected, stream.local_addr().ok()),
        Ok(Err(error)) => (failed(&error), None),
        Err(_) => (Outcome::TimedOut, None),
    };
    let ip = local.map(|address| SocketAddr::ip(&address)).and_then(|address| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    Dial {
        address,
        port,
        local: ip,
        local_port: local.map(|address| address.port()),
        outcome,
        elapsed_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        icmp: Vec::new(),
        tcp: None,
        unanswered: 0,
        sockets: 0,
        limited: false,
        greetings: Vec::new(),
        held: None,
        silent: None,
    }
}

fn failed(error: &io::Error) -> Outcome {
    let errno = error.raw_os_error().unwrap_or(0);
    Outcome::Failed { errno, name: format!("{:?}", Errno::from_raw(errno)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_connects_and_a_closed_port_is_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = gone.local_addr().unwrap().port();
        drop(gone);
        let dials = dial_all(Ipv4Addr::LOCALHOST, &[open, closed], Duration::from_secs(2)).await;
        assert_eq!(dials[0].outcome, Outcome::Connected);
        assert!(dials[1].outcome.is_error("ECONNREFUSED"), "{:?}", dials[1].outcome);
    }
}
