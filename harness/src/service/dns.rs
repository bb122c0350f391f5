//! A name server that knows a few names: a resolver of one's own, or one that has never heard of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;

use super::process::{Service, ServiceError};
use super::stand_in::{announce, say};
use crate::host::Host;

/// What it is called.
pub(super) const NAME: &str = "name-server";

/// The largest question that is read; without extensions RFC 1035 allows 512.
const MESSAGE_LIMIT: usize = 1500;

/// The header of RFC 1035, 4.1.1.
const HEADER: usize = 12;

/// Describes a name server on port 53, over UDP; [`start`](Self::start) starts it.
///
/// Its address has to be one of the host's ([`Host::add_interface`]). Sandboxes ask through the engine's own resolver, which
/// asks whom the host's `/etc/resolv.conf` names when their container is created.
#[derive(Clone, Debug)]
pub struct NameServer {
    config: Config,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Config {
    address: SocketAddr,
    records: BTreeMap<String, Ipv4Addr>,
    silent: bool,
}

impl NameServer {
    /// Listens at this address and knows no name: everything does not exist (`NXDOMAIN`).
    #[must_use]
    pub fn at(address: impl Into<IpAddr>) -> Self {
        let config = Config { address: (address.into(), 53).into(), records: BTreeMap::new(), silent: false };
        Self { config }
    }

    /// Knows this name; it has no IPv6 address.
    #[must_use]
    pub fn record(mut self, name: &str, address: Ipv4Addr) -> Self {
        self.config.records.insert(name.to_ascii_lowercase(), address);
        self
    }

    /// Never answers.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.config.silent = true;
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead, as it does when the host does not have its address.
    pub async fn start(self, host: &Host) -> Result<Service, ServiceError> {
        Service::start(host, NAME, &self.config).await
    }
}

/// The process of a stand-in.
pub(super) async fn run(config: Config) -> Result<Infallible, String> {
    let address = config.address;
    let socket =
        UdpSocket::bind(address).await.map_err(|error| format!("failed to bind to {address}: {error}"))?;
    announce(&[address])?;
    let mut message = [0; MESSAGE_LIMIT];
    loop {
        // An error here is about an asker that is gone.
        let Ok((length, peer)) = socket.recv_from(&mut message).await else { continue };
        let Some(question) = Question::read(&message[..length]) else { continue };
        say(format_args!("question peer={peer} name={:?} type={}", question.name, question.kind));
        if !config.silent {
            let _ = socket.send_to(&question.answer(&config.records), peer).await;
        }
    }
}

/// The one question of a message.
struct Question<'a> {
    message: &'a [u8],
    /// Where the question ends.
    end: usize,
    name: String,
    kind: u16,
}

impl<'a> Question<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut at = HEADER;
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?);
        let end = at + 4;
        (message.len() >= end).then(|| Self { message, end, name: labels.join("."), kind })
    }

    fn answer(&self, records: &BTreeMap<String, Ipv4Addr>) -> Vec<u8> {
        const A: u16 = 1;
        const NO_SUCH_NAME: u8 = 3;
        let record = records.get(&self.name);
        let address = record.filter(|_| self.kind == A);
        let mut answer = self.message[..self.end].to_vec();
        // An answer, recursion asked for and available; then the counts of questions, answers, authorities, extras.
        answer[2..4].copy_from_slice(&[0x81, 0x80 | if record.is_some() { 0 } else { NO_SUCH_NAME }]);
        answer[4..HEADER].copy_from_slice(&[0, 1, 0, address.is_some().into(), 0, 0, 0, 0]);
        if let Some(address) = address {
            // The name of the question, type A, class IN, ten seconds, four bytes.
            answer.extend([0xC0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4]);
            answer.extend(address.octets());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, kind as u8, 0, 1]);
        let records = BTreeMap::from([("inference.local".to_owned(), Ipv4Addr::new(172, 18, 0, 1))]);
        Question::read(&message).unwrap().answer(&records)
    }

    #[test]
    fn a_known_name_has_its_address() {
        let answer = ask("Inference.Local", 1);
        assert_eq!(answer[..HEADER], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(answer.ends_with(&[0, 4, 172, 18, 0, 1]), "{answer:?}");
    }

    #[test]
    fn a_known_name_has_no_other_record_and_an_unknown_one_does_not_exist() {
        assert_eq!(ask("inference.local", 28)[3..8], [0x80, 0, 1, 0, 0]);
        assert_eq!(ask("other.local", 1)[3..8], [0x83, 0, 1, 0, 0]);
    }

    #[test]
    fn what_is_cut_off_is_no_question() {
        for message in [&[][..], &[0; HEADER], b"\0\0\0\0\0\0\0\0\0\0\0\0\x05ab", &[0; HEADER + 4]] {
            assert!(Question::read(message).is_none(), "{message:?}");
        }
    }
}
