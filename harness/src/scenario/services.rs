//! Services that start, stop, and hang.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::events::{EventError, Stage};
use super::format::{ContainerEvent, GatewayEvent, Lifecycle, Mode, ProxyEvent, ServiceEvent};
use crate::service::{Gateway, GatewayMode, OllamaProxy, Service};

/// The names that events have for the two services of OpenShell's.
const GATEWAY: &str = "gateway";
const PROXY: &str = "proxy";

/// How long an accept queue may take to be filled; measured: 0.1 s for 1025 connections.
const FILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long one connection of these may take. A queue that is full answers no SYN.
const FILL_PATIENCE: Duration = Duration::from_millis(200);

/// A service that runs.
pub(super) struct Running {
    /// Its process in the host; a service in a container has none that is known.
    pid: Option<i32>,
    addresses: Vec<SocketAddr>,
    /// What ends it, when this program started it.
    service: Option<Service>,
}

impl From<Service> for Running {
    fn from(service: Service) -> Self {
        Self { pid: Some(service.pid()), addresses: service.addresses().to_vec(), service: Some(service) }
    }
}

impl Stage<'_> {
    pub(super) async fn start_gateway(&mut self, event: &GatewayEvent) -> Result<(), EventError> {
        self.refuse_second(GATEWAY)?;
        if event.lifecycle != Lifecycle::StandIn {
            return Err(EventError::Wrong("only the lifecycle stand_in".to_owned()));
        }
        let binds = event.bind.iter().map(|bind| self.address(*bind)).collect::<Result<Vec<IpAddr>, _>>()?;
        let gateway = match binds[..] {
            [only] => Gateway::on_loopback().bind_address(only),
            [first, second] => Gateway::on(second).bind_address(first),
            _ => return Err(EventError::Wrong("bind has one or two addresses".to_owned())),
        };
        let mode = match event.mode {
            Mode::Plain => GatewayMode::Plain,
            Mode::Tls => GatewayMode::Tls,
        };
        let gateway = gateway.port(event.port).mode(mode).start(self.host).await?;
        self.services.push((GATEWAY.to_owned(), gateway.into()));
        Ok(())
    }

    pub(super) async fn start_proxy(&mut self, event: &ProxyEvent) -> Result<(), EventError> {
        self.refuse_second(PROXY)?;
        let address = self.address(event.bind)?;
        let proxy = OllamaProxy::new().bind_address(address).port(event.port).start(self.host).await?;
        self.services.push((PROXY.to_owned(), proxy.into()));
        Ok(())
    }

    pub(super) async fn start_service(&mut self, _event: &ServiceEvent) -> Result<(), EventError> {
        Err(EventError::Wrong("no other services".to_owned()))
    }

    pub(super) async fn start_container(&mut self, _event: &ContainerEvent) -> Result<(), EventError> {
        Err(EventError::Wrong("no containers".to_owned()))
    }

    pub(super) async fn stop(&mut self, name: &str) -> Result<(), EventError> {
        let index = self.index(name)?;
        let (_, running) = self.services.remove(index);
        if let Some(pid) = running.pid {
            // One that is stopped could not end.
            self.signal(pid, "CONT").await?;
        }
        if let Some(service) = running.service {
            service.stop().await?;
        }
        Ok(())
    }

    pub(super) async fn freeze(&mut self, name: &str) -> Result<(), EventError> {
        let (_, running) = &self.services[self.index(name)?];
        let pid =
            running.pid.ok_or_else(|| EventError::Wrong(format!("{name} is no process of this host")))?;
        self.signal(pid, "STOP").await
    }

    pub(super) async fn fill_queue(&mut self, name: &str) -> Result<(), EventError> {
        self.freeze(name).await?;
        let (_, running) = &self.services[self.index(name)?];
        let addresses = running.addresses.clone();
        let filled = self.host.network_namespace().run(|| addresses.iter().try_for_each(|it| fill(*it)));
        let filled = filled.unwrap_or_else(|error| Err(error.to_string()));
        filled.map_err(|message| EventError::Wrong(format!("fill the accept queue of {name}: {message}")))
    }

    pub(super) async fn signal(&self, pid: i32, signal: &str) -> Result<(), EventError> {
        self.host.command("kill").args([format!("-{signal}"), pid.to_string()]).run().await?;
        Ok(())
    }

    fn refuse_second(&self, name: &str) -> Result<(), EventError> {
        let runs = self.services.iter().any(|(known, _)| known == name);
        let message = || EventError::Wrong(format!("{name} runs already: stop it first"));
        if runs { Err(message()) } else { Ok(()) }
    }

    fn index(&self, name: &str) -> Result<usize, EventError> {
        let found = self.services.iter().position(|(known, _)| known == name);
        found.ok_or_else(|| {
            let known: Vec<_> = self.services.iter().map(|(known, _)| known.as_str()).collect();
            EventError::Wrong(format!("no service {name:?} runs; there are: {}", known.join(", ")))
        })
    }
}

/// Connects until the kernel says that the queue of the listener is full. A connection that was made and closed stays in the
/// queue until its service takes it out.
fn fill(address: SocketAddr) -> Result<(), String> {
    let begun = Instant::now();
    let target = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new([127, 0, 0, 1].into(), address.port()),
        _ => address,
    };
    while begun.elapsed() < FILL_DEADLINE {
        let table = probe::read_listeners().map_err(|error| error.to_string())?;
        let listener = table.iter().find(|one| one.address == address.ip() && one.port == address.port());
        let listener = listener.ok_or_else(|| format!("nothing listens on {address}"))?;
        if listener.queue_full() {
            return Ok(());
        }
        for _ in 0..=listener.queue_limit.saturating_sub(listener.queued) {
            // The last one may find the queue full: the table decides.
            let _ = TcpStream::connect_timeout(&target, FILL_PATIENCE);
        }
    }
    Err(format!("{address} is not full after {FILL_DEADLINE:?}"))
}
