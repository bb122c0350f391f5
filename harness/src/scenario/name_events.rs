//! Resolvers and name servers. They are on the engine's host: sandboxes ask whom that one asks.

use std::net::IpAddr;

use super::events::{EventError, Stage};
use super::format::{NameServerEvent, ResolverEvent};
use super::services::Running;
use crate::service::NameServer;

impl Stage<'_> {
    pub(super) fn set_resolver(&self, event: &ResolverEvent) -> Result<(), EventError> {
        let path = self.machine.path("/etc/resolv.conf");
        let written = std::fs::write(path, format!("nameserver {}\n", event.nameserver));
        written.map_err(|error| EventError::Wrong(format!("write /etc/resolv.conf: {error}")))
    }

    pub(super) async fn start_name_server(&mut self, event: &NameServerEvent) -> Result<(), EventError> {
        let name = event.address.to_string();
        self.refuse_second(&name)?;
        let mut server = NameServer::at(event.address);
        for (known, address) in &event.records {
            let IpAddr::V4(address) = self.address(*address)? else {
                return Err(EventError::Wrong(format!("the record {known} has no IPv4 address")));
            };
            server = server.record(known, address);
        }
        if event.silent {
            server = server.silent();
        }
        // Its own interface: names of these may have 15 letters, and an address is there once.
        let interface = format!("dns{:08x}", event.address.to_bits());
        self.machine.add_interface(&interface, event.address, 32).await?;
        let server = server.start(self.machine).await?;
        self.services.push((name, Running::of(self.machine, server)));
        Ok(())
    }
}
