//! The check itself: gather the evidence, in the order that makes it proof.

mod end;
mod identity;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use self::end::View;
use crate::deadline::Deadline;
use crate::dial::{Dial, Outcome};
use crate::engine::{
    ContainerSpec, DockerEngine, Endpoint, Engine, EngineError, EngineInfo, Environment, NetworkFacts,
    discover,
};
use crate::evidence::{Evidence, PortEvidence, Trouble};
use crate::identity::{Authority, IdentityEvidence, Owner, hidden_uid};
use crate::image::{self, ImageError};
use crate::interrupt::Interrupt;
use crate::listeners::{self, Listener};
use crate::route::{DEFAULT_NETWORK, OPENSHELL_ALIAS, Route};
use crate::sanitize::sanitize;
use crate::standpoint::Standpoint;
use crate::target::{Protocol, Target};
use crate::vantage::container::{self, Order};
use crate::vantage::netns::Seat;
use crate::vantage::{self, DialerOutput, Neighbour, Resolution, Vantage, VantageError, Via, host};

/// What to check.
#[derive(Clone, Debug)]
pub struct Request {
    /// The sandbox network.
    pub network: String,
    /// The name that sandboxes dial.
    pub alias: String,
    /// The ports, each at most once.
    pub targets: Vec<Target>,
    /// How long one dial may take. TCP repeats itself after 1 s; no silence that is shorter is called a drop.
    pub timeout: Duration,
    /// How long everything may take, except the removal of the container.
    pub deadline: Duration,
    /// OpenShell's setting `host_gateway_ip`.
    pub host_gateway_ip: Option<Ipv4Addr>,
    /// How a sandbox's place is taken.
    pub via: Via,
    /// Where nothing listens, listen for the time of the dial.
    pub stand_in: bool,
    /// For an explanation: where the firewall stops packets, send some more that the rules' counters can tell from others. A check
    /// sends none.
    pub mark: bool,
    /// The authority that signs the certificates of the services that speak gRPC; `None` when that is not known.
    pub authority: Option<Authority>,
    /// Whose the sockets of ports must be, where that is known.
    pub owners: BTreeMap<u16, Owner>,
    /// `--host`.
    pub host: Option<String>,
    /// What the environment says about engines.
    pub environment: Environment,
}

/// Longer than the 3.06 s after which the kernel gives an unanswered ARP up, so that a dead link does not look like a
/// firewall.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(3500);
/// Generous: a check takes half a second, and [`DEFAULT_TIMEOUT`] more when something is dropped.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

impl Default for Request {
    /// An OpenShell host as it comes: its network, its alias, its two ports, the engine of this process's environment.
    fn default() -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            alias: OPENSHELL_ALIAS.to_owned(),
            targets: Target::defaults(),
            timeout: DEFAULT_TIMEOUT,
            deadline: DEFAULT_DEADLINE,
            host_gateway_ip: None,
            via: Via::default(),
            stand_in: false,
            mark: false,
            authority: None,
            owners: BTreeMap::new(),
            host: None,
            environment: Environment::current(),
        }
    }
}

/// The evidence, and what went wrong without changing it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Everything that was observed.
    pub evidence: Evidence,
    /// Trouble that a user should know of, such as a container that could not be removed. Safe to print.
    pub warnings: Vec<String>,
}

/// Looks for the engine and gathers evidence with it.
pub async fn check(request: &Request, interrupt: &Interrupt) -> Checked {
    let deadline = Deadline::after(request.deadline);
    let found = tokio::select! {
        found = discover(request.host.as_deref(), &request.environment, deadline) => found,
        () = interrupt.raised() => return failed(request, None, Trouble::Interrupted),
    };
    let discovery = match found {
        Ok(discovery) => discovery,
        Err(error) => return failed(request, None, error.into()),
    };
    let endpoint = discovery.endpoint.clone();
    match DockerEngine::new(&discovery, deadline) {
        Ok(engine) => observe(&engine, endpoint, request, deadline, interrupt).await,
        Err(error) => failed(request, Some(endpoint), error.into()),
    }
}

/// Gathers evidence with `engine`.
pub async fn observe(
    engine: &impl Engine,
    endpoint: Endpoint,
    request: &Request,
    deadline: Deadline,
    interrupt: &Interrupt,
) -> Checked {
    let answers = tokio::select! {
        answers = ask(engine, request) => answers,
        () = interrupt.raised() => return failed(request, Some(endpoint), Trouble::Interrupted),
    };
    let Answers { info, network, image, swept } = answers;
    let mut evidence = Evidence { endpoint: Some(endpoint), ports: unseen(request), ..Evidence::default() };
    let mut warnings: Vec<String> = swept.err().map(|error| error.to_string()).into_iter().collect();
    let placed = place(&mut evidence, request, info, network);
    let (info, network, route) = match placed {
        Ok(placed) => placed,
        Err(trouble) => {
            evidence.trouble = Some(trouble);
            return Checked { evidence, warnings };
        }
    };
    let before = listeners::read().ok();
    for port in &mut evidence.ports {
        port.listeners_before = of_port(before.as_deref(), port.target.port);
    }
    let here = matches!(evidence.standpoint, Some(Standpoint::EngineHost { .. }));
    let stand_ins = match route.address().filter(|_| here && !engine.is_rehearsal()) {
        Some(address) if request.stand_in => stand_in(&mut evidence, address, &mut warnings),
        None if request.stand_in => {
            warnings.push("--stand-in needs the engine's own host: nothing was opened".to_owned());
            Vec::new()
        }
        _ => Vec::new(),
    };
    let unused = |port: &&PortEvidence| {
        here && !port.target.required && port.listeners_before.as_ref().is_some_and(Vec::is_empty)
    };
    let ports: Vec<(u16, Protocol)> = evidence
        .ports
        .iter()
        .filter(|port| !unused(port))
        .map(|port| (port.target.port, port.protocol()))
        .collect();
    if ports.is_empty() {
        second_look(&mut evidence, listeners::read().ok().as_deref());
        return Checked { evidence, warnings };
    }
    let handshakes = identity::begin(request, &ports);
    let mut order = Order {
        run: container::new_run(),
        image: String::new(),
        network: network.id.clone(),
        route,
        alias: request.alias.clone(),
        ports: ports.clone(),
        hellos: handshakes.iter().map(|(port, it)| (*port, it.hello().to_vec())).collect(),
        timeout: request.timeout,
        deadline: deadline.left(),
    };
    let place = match (request.via, image) {
        (Via::Netns, _) => {
            Seat::find(engine, &network, evidence.standpoint.as_ref(), &order).await.map(Place::Namespace)
        }
        (Via::Container, Ok(found)) => match image::ensure(engine, &info, found).await {
            Ok(image) => {
                order.image = image;
                order.deadline = deadline.left();
                Ok(Place::Container(order.container(&info)))
            }
            Err(error) => Err(error.into()),
        },
        (Via::Container, Err(error)) => Err(error.into()),
    };
    let place = match place {
        Ok(place) => place,
        Err(trouble) => {
            second_look(&mut evidence, listeners::read().ok().as_deref());
            evidence.trouble = Some(trouble);
            return Checked { evidence, warnings };
        }
    };
    if let (Place::Namespace(seat), true) = (&place, engine.is_rehearsal()) {
        evidence.vantage = seat.vantage();
        return Checked { evidence, warnings };
    }
    let owned = |port: &&PortEvidence| port.identity.owner.is_some() && !port.stand_in;
    let owned: Vec<u16> = evidence.ports.iter().filter(owned).map(|port| port.target.port).collect();
    let view = View::before(evidence.standpoint.as_ref(), owned).await;
    let look = async |output: Option<&DialerOutput>| view.at_the_end(output, interrupt).await;
    let from_sandbox = async {
        match place {
            Place::Container(spec) => container::run(engine, &spec, interrupt, look).await.into(),
            Place::Namespace(seat) => vantage::netns::run(seat, interrupt, look).await,
        }
    };
    let from_host = async {
        match (here, route.address()) {
            (true, Some(address)) if !engine.is_rehearsal() => {
                let ports: Vec<u16> = ports.iter().map(|(port, _)| *port).collect();
                host::dial_all(address, &ports, request.timeout).await
            }
            _ => Vec::new(),
        }
    };
    let (run, host_dials) = tokio::join!(from_sandbox, from_host);
    drop(stand_ins);
    warnings.extend(run.left);
    evidence.vantage = run.from;
    evidence.drops = run.after.drops;
    second_look(&mut evidence, run.after.table.as_deref());
    match run.output {
        Ok(output) => {
            let hop = next_hop(route, &network, &output.neighbours);
            for port in &mut evidence.ports {
                let own = |dial: &&Dial| dial.port == port.target.port;
                port.sandbox = output.dials.iter().find(own).cloned();
                port.host = host_dials.iter().find(own).cloned();
                let side = run.after.sides.iter().find(|(of, _)| *of == port.target.port);
                port.host_side = side.map(|(_, side)| *side);
                port.identity.held_by =
                    run.after.users.iter().find(|(of, _)| *of == port.target.port).map(|(_, uid)| *uid);
                let way = run.after.ways.iter().find(|(of, _)| *of == port.target.port);
                port.return_path = way.map(|(_, way)| way.clone());
                let failed = port.sandbox.as_ref().is_some_and(|dial| dial.outcome != Outcome::Connected);
                if port.ends_elsewhere() || here && failed {
                    match engine.publishers(port.target.port, &network.id).await {
                        Ok(names) => port.published_by = names,
                        Err(error) => warnings.push(error.to_string()),
                    }
                }
            }
            identity::certificates(&mut evidence, request, handshakes, &output.flights);
            evidence.next_hop = hop;
            evidence.resolution = Some(match &evidence.vantage {
                Vantage::Container => output.resolution,
                // The address was dialled, not the name.
                Vantage::Netns { .. } => Resolution { alias: sanitize(&request.alias), ..output.resolution },
            });
            evidence.trouble = taken_meanwhile(engine, &evidence, &network).await.err();
        }
        Err(trouble) => evidence.trouble = Some(trouble),
    }
    if here {
        identity::holders(&mut evidence);
    }
    Checked { evidence, warnings }
}

/// By what the sandbox's place is taken.
enum Place {
    Container(ContainerSpec),
    Namespace(Seat),
}

/// A container may have got the address that was dialled from, and then a failure may be its doing.
async fn taken_meanwhile(
    engine: &impl Engine,
    evidence: &Evidence,
    network: &NetworkFacts,
) -> Result<(), Trouble> {
    let Vantage::Netns { address, .. } = evidence.vantage else { return Ok(()) };
    let failed = |dial: &Dial| dial.outcome != Outcome::Connected;
    if !evidence.ports.iter().any(|port| port.sandbox.as_ref().is_some_and(failed)) {
        return Ok(());
    }
    match engine.residents(&network.id).await?.taken.contains(&address) {
        true => Err(VantageError::Taken { address }.into()),
        false => Ok(()),
    }
}

/// Listens on `address` for each target that nothing listens for, as its service would. A port that is taken anywhere is
/// left alone.
fn stand_in(evidence: &mut Evidence, address: Ipv4Addr, warnings: &mut Vec<String>) -> Vec<TcpListener> {
    let mut opened = Vec::new();
    for port in &mut evidence.ports {
        if !port.listeners_before.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        match TcpListener::bind((address, port.target.port)) {
            Ok(listener) => {
                opened.push(listener);
                port.stand_in = true;
            }
            Err(error) => {
                warnings.push(format!("no stand-in on {address}:{}: {error}", port.target.port));
            }
        }
    }
    let table = listeners::read().ok();
    for port in evidence.ports.iter_mut().filter(|port| port.stand_in) {
        port.listeners_before = of_port(table.as_deref(), port.target.port);
    }
    opened
}

/// The engine's answers to everything that can be asked at once.
struct Answers {
    info: Result<EngineInfo, EngineError>,
    network: Result<Option<NetworkFacts>, EngineError>,
    image: Result<Option<String>, ImageError>,
    swept: Result<usize, EngineError>,
}

async fn ask(engine: &impl Engine, request: &Request) -> Answers {
    let with_containers = async {
        match request.via {
            Via::Container => tokio::join!(image::find(engine), container::sweep(engine)),
            Via::Netns => (Ok(None), Ok(0)),
        }
    };
    let (info, network, (image, swept)) =
        tokio::join!(engine.info(), engine.network(&request.network), with_containers);
    Answers { info, network, image, swept }
}

/// Where sandboxes are, how they get to their host, and whether that host is here.
fn place(
    evidence: &mut Evidence,
    request: &Request,
    info: Result<EngineInfo, EngineError>,
    network: Result<Option<NetworkFacts>, EngineError>,
) -> Result<(EngineInfo, NetworkFacts, Route), Trouble> {
    let info = info?;
    evidence.engine = Some(info.clone());
    let network = network?.ok_or_else(|| Trouble::NetworkNotFound { name: sanitize(&request.network) })?;
    evidence.network = Some(network.clone());
    let route = Route::resolve(&info, &network, request.host_gateway_ip)?;
    evidence.route = Some(route);
    evidence.standpoint = Some(Standpoint::find(&network, route));
    Ok((info, network, route))
}

/// The container's next hop: the target itself inside the sandbox subnet, the bridge's address for everything else.
fn next_hop(route: Route, network: &NetworkFacts, neighbours: &[Neighbour]) -> Option<Neighbour> {
    let find = |address| neighbours.iter().find(|neighbour| neighbour.address == address).cloned();
    let gateway = crate::route::bridge_gateway(network).ok()?;
    route.address().and_then(find).or_else(|| find(gateway))
}

fn second_look(evidence: &mut Evidence, table: Option<&[Listener]>) {
    for port in &mut evidence.ports {
        port.listeners_after = of_port(table, port.target.port);
    }
}

fn of_port(table: Option<&[Listener]>, port: u16) -> Option<Vec<Listener>> {
    Some(table?.iter().filter(|listener| listener.port == port).cloned().collect())
}

fn unseen(request: &Request) -> Vec<PortEvidence> {
    let hidden_uid = hidden_uid();
    let empty = |target: &Target| PortEvidence {
        target: target.clone(),
        sandbox: None,
        host: None,
        stand_in: false,
        host_side: None,
        return_path: None,
        published_by: Vec::new(),
        identity: IdentityEvidence {
            owner: request.owners.get(&target.port).cloned(),
            hidden_uid,
            ..IdentityEvidence::default()
        },
        listeners_before: None,
        listeners_after: None,
    };
    request.targets.iter().map(empty).collect()
}

/// What is known when nothing was looked at, and why not.
pub(crate) fn not_checked(request: &Request, trouble: Trouble) -> Checked {
    failed(request, None, trouble)
}

fn failed(request: &Request, endpoint: Option<Endpoint>, trouble: Trouble) -> Checked {
    let evidence =
        Evidence { endpoint, ports: unseen(request), trouble: Some(trouble), ..Evidence::default() };
    Checked { evidence, warnings: Vec::new() }
}
