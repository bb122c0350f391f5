//! The command line.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use testcontainers::core::Host;

use crate::orders::{Kind, Orders, Target, Tls};

/// What a real sandbox experiences when it calls the services of its host.
#[derive(Parser)]
#[command(name = "oracle")]
pub(crate) struct Arguments {
    /// The network that the sandbox joins.
    #[arg(long, value_name = "NAME")]
    pub(crate) network: String,
    /// A name that the sandbox has in its /etc/hosts.
    #[arg(long = "host", value_name = "NAME:ADDRESS|NAME:host-gateway", value_parser = host)]
    pub(crate) hosts: Vec<(String, HostAddress)>,
    /// A resolver of the sandbox instead of the host's own.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Option<IpAddr>,
    /// The name that the sandbox dials.
    #[arg(long, value_name = "NAME", default_value = "host.openshell.internal")]
    alias: String,
    /// What all times are multiplied with: 10 s for a connect, 1, 2, 4 and 4 s between attempts.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// How often it tries, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=5))]
    attempts: u32,
    /// What is called. A gateway is called by gRPC and everything else by HTTP, unless a kind is said.
    #[arg(long = "target", value_name = "PORT=LABEL[/grpc|/grpc-tls|/http]", required = true, value_parser = target)]
    targets: Vec<Target>,
    /// What the service at a port calls itself in the header `x-openshell-stand-in`; an answer without is another's then.
    #[arg(long = "expect-marker", value_name = "PORT=NAME", value_parser = marker)]
    markers: Vec<(u16, String)>,
    /// Who signs the gateway's certificate, as a PEM file.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The sandbox's certificate, as a PEM file.
    #[arg(long, value_name = "FILE", requires = "ca", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, as a PEM file.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// What a name in /etc/hosts leads to.
#[derive(Clone, Debug)]
pub(crate) enum HostAddress {
    /// An address.
    Address(IpAddr),
    /// What the engine takes for its host.
    HostGateway,
}

impl From<&HostAddress> for Host {
    fn from(address: &HostAddress) -> Self {
        match address {
            HostAddress::Address(address) => Self::Addr(*address),
            HostAddress::HostGateway => Self::HostGateway,
        }
    }
}

impl Arguments {
    /// What the supervisor is told. A command line that contradicts itself ends the program with 2.
    ///
    /// # Errors
    /// When a certificate cannot be read.
    pub(crate) fn orders(&self) -> Result<Orders> {
        let mut targets = self.targets.clone();
        if targets.iter().any(|target| target.kind == Kind::GrpcTls) && self.ca.is_none() {
            wrong("a target of kind grpc-tls needs --ca FILE");
        }
        for (index, target) in targets.iter().enumerate() {
            if targets[..index].iter().any(|other| other.port == target.port) {
                wrong(&format!("--target {}: the port is named twice", target.port));
            }
        }
        for (port, name) in &self.markers {
            let Some(target) = targets.iter_mut().find(|target| target.port == *port) else {
                wrong(&format!("--expect-marker {port}={name}: there is no --target with port {port}"));
            };
            target.marker = Some(name.clone());
        }
        let tls = self.ca.as_deref().map(|authority| {
            let client = self.cert.as_deref().zip(self.key.as_deref());
            let client = client.map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?)));
            anyhow::Ok(Tls { authority: read(authority)?, client: client.transpose()? })
        });
        let (alias, attempts, scale) = (self.alias.clone(), self.attempts, self.scale);
        Ok(Orders { alias, attempts, scale, tls: tls.transpose()?, targets })
    }
}

fn wrong(message: &str) -> ! {
    Arguments::command().error(ErrorKind::ArgumentConflict, message).exit()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn host(word: &str) -> Result<(String, HostAddress), String> {
    let (name, address) = word.split_once(':').ok_or("expected NAME:ADDRESS or NAME:host-gateway")?;
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    let address = match address {
        "host-gateway" => HostAddress::HostGateway,
        address => HostAddress::Address(address.parse().map_err(|_| format!("{address:?} is no address"))?),
    };
    Ok((name.to_owned(), address))
}

fn scale(word: &str) -> Result<f64, String> {
    let scale: f64 = word.parse().map_err(|_| "it has to be a number".to_owned())?;
    (scale > 0.0 && scale <= 10.0)
        .then_some(scale)
        .ok_or_else(|| "it has to be above 0 and at most 10".to_owned())
}

fn port(word: &str) -> Result<u16, String> {
    word.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{word:?} is no port"))
}

fn target(word: &str) -> Result<Target, String> {
    let (number, label) = word.split_once('=').ok_or("expected PORT=LABEL or PORT=LABEL/KIND")?;
    let (label, kind) = match label.split_once('/') {
        None if label == "gateway" => (label, Kind::Grpc),
        None => (label, Kind::Http),
        Some((label, "grpc")) => (label, Kind::Grpc),
        Some((label, "grpc-tls")) => (label, Kind::GrpcTls),
        Some((label, "http")) => (label, Kind::Http),
        Some((_, kind)) => return Err(format!("{kind:?} is none of grpc, grpc-tls, http")),
    };
    if label.is_empty() {
        return Err("the label is missing".to_owned());
    }
    Ok(Target { port: port(number)?, label: label.to_owned(), kind, marker: None })
}

fn marker(word: &str) -> Result<(u16, String), String> {
    let (number, name) = word.split_once('=').ok_or("expected PORT=NAME")?;
    Ok((port(number)?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(word: &str) -> Kind {
        target(word).unwrap().kind
    }

    #[test]
    fn only_a_gateway_is_called_by_grpc_unless_a_kind_is_said() {
        assert_eq!(kind("8080=gateway"), Kind::Grpc);
        assert_eq!(kind("11435=ollama-proxy"), Kind::Http);
        assert_eq!(kind("8080=gateway/grpc-tls"), Kind::GrpcTls);
        assert_eq!(kind("4000=router/grpc"), Kind::Grpc);
        assert_eq!(kind("8080=gateway/http"), Kind::Http);
        for wrong in ["8080", "0=gateway", "8080=", "8080=/grpc", "8080=gateway/udp", "x=gateway"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
