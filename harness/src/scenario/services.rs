//! Services that start, stop, and hang.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::events::{EventError, Stage};
use super::format::{Address, ContainerEvent, GatewayEvent, Lifecycle, Mode, ProxyEvent, ServiceEvent};
use crate::host::Host;
use crate::service::gateway::{GatewayProgram, GatewaySetup};
use crate::service::{Gateway, GatewayMode, OllamaProxy, OtherService, Service, ServiceManager};

/// The names that events have for the two services of OpenShell's.
const GATEWAY: &str = "gateway";
const PROXY: &str = "proxy";

/// How long an accept queue may take to be filled; measured: 0.1 s for 1025 connections.
const FILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long one connection of these may take. A queue that is full answers no SYN.
const FILL_PATIENCE: Duration = Duration::from_millis(200);

/// An image out of the host's own userland, with nothing but `sleep` in it.
const SLEEPER: &str = "
    docker image inspect sleeper:lab >/dev/null 2>&1 && exit
    ldd /usr/bin/sleep | grep -o '/[^ ]* (0x' | cut -d ' ' -f 1 >/tmp/sleeper
    echo /usr/bin/sleep >>/tmp/sleeper
    tar -c --dereference --hard-dereference -P -T /tmp/sleeper | docker import - sleeper:lab";

/// Removes an onboarding's records, as if somebody else had started the gateway.
const FORGET: &str = "rm /root/.local/state/nemoclaw/openshell-docker-gateway/openshell-gateway.pid /root/.local/state/nemoclaw/openshell-docker-gateway/runtime.json";

/// A service that runs.
pub(super) struct Running<'host> {
    host: &'host Host,
    /// Its process in that host, where it is known.
    pid: Option<i32>,
    addresses: Vec<SocketAddr>,
    /// What ends it, when this program started it.
    service: Option<Service>,
}

impl<'host> Running<'host> {
    pub(super) fn of(host: &'host Host, service: Service) -> Self {
        let addresses = service.addresses().to_vec();
        Self { host, pid: Some(service.pid()), addresses, service: Some(service) }
    }

    async fn signal(&self, pid: i32, signal: &str) -> Result<(), EventError> {
        self.host.command("kill").args([format!("-{signal}"), pid.to_string()]).run().await?;
        Ok(())
    }
}

impl Stage<'_> {
    pub(super) async fn start_gateway(&mut self, event: &GatewayEvent) -> Result<(), EventError> {
        self.refuse_second(GATEWAY)?;
        if event.lifecycle != Lifecycle::StandIn {
            return self.onboard(event).await;
        }
        let usual = [Address::Ip(Ipv4Addr::LOCALHOST.into()), Address::Bridge];
        // A forwarder dials 127.0.0.1, and the bridge is on another machine.
        let usual = if self.vm.is_some() { &usual[..1] } else { &usual };
        let bind = event.bind.as_deref().unwrap_or(usual);
        let binds = bind.iter().map(|bind| self.address(*bind)).collect::<Result<Vec<IpAddr>, _>>()?;
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
        self.services.push((GATEWAY.to_owned(), Running::of(self.host, gateway)));
        Ok(())
    }

    /// A gateway as an onboarding starts or finds it; the network is the gateway's own doing.
    async fn onboard(&mut self, event: &GatewayEvent) -> Result<(), EventError> {
        if *event != (GatewayEvent { lifecycle: event.lifecycle, ..GatewayEvent::default() }) {
            return Err(EventError::Wrong(
                "an onboarding chooses the gateway's addresses, port and mode".to_owned(),
            ));
        }
        let program = GatewayProgram::stand_in();
        let setup = GatewaySetup::new(self.host, program.clone(), super::run::PROBE);
        match event.lifecycle {
            Lifecycle::ManagedService => {
                let manager = ServiceManager::start(self.host, &program).await?;
                let managed = GatewaySetup::new(self.host, program, super::run::PROBE).managed_by(&manager);
                managed.ensure_gateway().await?;
                drop(managed);
                // It ends the gateway when it is dropped.
                self.manager = Some(manager);
            }
            Lifecycle::Reused | Lifecycle::Adopted => {
                setup.ensure_gateway().await?;
                if event.lifecycle == Lifecycle::Adopted {
                    self.run(FORGET).await?;
                }
                setup.ensure_gateway().await?;
            }
            Lifecycle::Fresh | Lifecycle::StandIn => drop(setup.ensure_gateway().await?),
        }
        let pid = setup.processes().first().copied();
        let running = Running { host: self.host, pid, addresses: Vec::new(), service: None };
        self.services.push((GATEWAY.to_owned(), running));
        self.look_at_network().await
    }

    pub(super) async fn start_proxy(&mut self, event: &ProxyEvent) -> Result<(), EventError> {
        self.refuse_second(PROXY)?;
        let address = self.address(event.bind)?;
        let proxy = OllamaProxy::new().bind_address(address).port(event.port).start(self.host).await?;
        self.services.push((PROXY.to_owned(), Running::of(self.host, proxy)));
        Ok(())
    }

    pub(super) async fn start_service(&mut self, event: &ServiceEvent) -> Result<(), EventError> {
        self.refuse_second(&event.name)?;
        let binds = event.bind.iter().map(|bind| self.address(*bind)).collect::<Result<Vec<IpAddr>, _>>()?;
        let service = OtherService::new(event.kind, event.port).bind_addresses(binds);
        let service = event.user.into_iter().fold(service, OtherService::user).start(self.host).await?;
        self.services.push((event.name.clone(), Running::of(self.host, service)));
        Ok(())
    }

    /// A container that sleeps, and a process of the host beside it in its network: so no image has to have a service in it.
    pub(super) async fn start_container(&mut self, event: &ContainerEvent) -> Result<(), EventError> {
        self.refuse_second(&event.name)?;
        let inner = event.publish.as_deref().and_then(|publish| publish.rsplit(':').next()?.parse().ok());
        let port = event.port.or(inner).ok_or_else(|| {
            EventError::Wrong(format!("the container {} needs a port, or publish = \"8080:80\"", event.name))
        })?;
        self.machine.command("sh").args(["-ec", SLEEPER]).run().await?;
        let mut arguments =
            vec!["run".to_owned(), "--detach".to_owned(), "--name".to_owned(), event.name.clone()];
        arguments.extend(["--network".to_owned(), event.network.clone()]);
        arguments.extend(event.publish.iter().flat_map(|publish| ["--publish".to_owned(), publish.clone()]));
        arguments.extend(event.ip.iter().flat_map(|ip| ["--ip".to_owned(), ip.to_string()]));
        arguments.extend(["sleeper:lab", "sleep", "infinity"].map(str::to_owned));
        self.machine.command("docker").args(arguments).run().await?;
        let inspect = ["inspect", "--format", "{{.State.Pid}}", &event.name];
        let pid = self.machine.command("docker").args(inspect).run().await?;
        let pid = pid
            .trim()
            .parse()
            .map_err(|_| EventError::Wrong(format!("the container {} has no process: {pid}", event.name)))?;
        let address =
            ["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &event.name];
        let address = self.machine.command("docker").args(address).run().await?;
        self.variables.push((format!("{}_IP", event.name.to_uppercase()), address.trim().to_owned()));
        let service = OtherService::new(event.kind, port).beside(pid).start(self.machine).await?;
        self.services.push((event.name.clone(), Running::of(self.machine, service)));
        Ok(())
    }

    pub(super) async fn stop(&mut self, name: &str) -> Result<(), EventError> {
        let index = self.index(name)?;
        let (_, running) = self.services.remove(index);
        if let Some(pid) = running.pid {
            // One that is stopped could not end.
            running.signal(pid, "CONT").await?;
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
        running.signal(pid, "STOP").await
    }

    pub(super) async fn fill_queue(&mut self, name: &str) -> Result<(), EventError> {
        self.freeze(name).await?;
        let (_, running) = &self.services[self.index(name)?];
        let addresses = running.addresses.clone();
        let filled = running.host.network_namespace().run(|| addresses.iter().try_for_each(|it| fill(*it)));
        let filled = filled.unwrap_or_else(|error| Err(error.to_string()));
        filled.map_err(|message| EventError::Wrong(format!("fill the accept queue of {name}: {message}")))
    }

    pub(super) fn refuse_second(&self, name: &str) -> Result<(), EventError> {
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
