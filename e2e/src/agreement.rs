//! Which rule decided, asked of everybody who can say so, on the hosts of the corpus.
//!
//! ```text
//!  a check of a scenario that blames a firewall
//!     ├─ openshell-probe explain   the evaluated rules, the twin's trace, the counters      ─┐
//!     ├─ a dial of our own         the kernel's trace on the very host, the socket's answer  ├─► the same rule
//!     └─ the scenario              the cause that is expected                               ─┘
//! ```
//!
//! Who has nothing to say about a scenario is in [`SILENT`], with the reason; whoever is there and speaks all the same makes
//! the test fail too, so that no entry outlives its reason.

mod judge;
mod silent;
pub mod table;
mod traced;

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use harness::scenario::format::{Expect, Scenario};
use harness::scenario::{Look, Moment, Observer};
use harness::{Host, NetworkInfo};
use probe::{Cause, DEFAULT_NETWORK, Report};

use crate::lab::PROBE;

pub use judge::{Layer, differences, layers, rows, rule};
pub use silent::{SILENT, Silence};
pub use traced::{Dropped, Spot, Traced};

/// What was said of one target.
#[derive(Debug)]
pub struct Seen {
    /// Its port.
    pub port: u16,
    /// What `explain` says of it.
    pub report: Report,
    /// What the kernel says of a dial to it.
    pub traced: Traced,
}

/// Asks at the last check of one scenario.
#[derive(Debug)]
pub struct Watcher<'a> {
    scenario: &'a Scenario,
    seen: Mutex<Vec<Seen>>,
}

/// The targets of the last check that a firewall on the engine's own machine stops.
pub fn blamed(scenario: &Scenario) -> impl Iterator<Item = &Expect> {
    let here = scenario.persona.machine().is_none();
    let blames = |expect: &&Expect| expect.cause.is_some_and(Cause::is_firewall);
    scenario.expect.iter().filter(move |expect| here && expect.at.is_none()).filter(blames)
}

impl<'a> Watcher<'a> {
    /// Of this scenario.
    #[must_use]
    pub fn new(scenario: &'a Scenario) -> Self {
        Self { scenario, seen: Mutex::default() }
    }

    /// What was seen.
    #[must_use]
    pub fn into_seen(self) -> Vec<Seen> {
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, host: &Host, network: &str) -> Result<()> {
        let targets: Vec<&Expect> = blamed(self.scenario).collect();
        let report = self.explain(host, &targets).await?;
        let network = host.engine()?.inspect_network(network).await?;
        let ports: Vec<u16> = targets.iter().map(|expect| expect.target.port).collect();
        let traced = traced::dial(host, &network, self.address(&network)?.into(), &ports)?;
        let seen = ports.into_iter().zip(traced);
        let seen = seen.map(|(port, traced)| Seen { port, report: report.clone(), traced });
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(())
    }

    /// `explain`, as the scenario has `check`.
    async fn explain(&self, host: &Host, targets: &[&Expect]) -> Result<Report> {
        let ports = targets.iter().flat_map(|expect| ["--port", &expect.target.argument]);
        let command = host.command(PROBE).arg("explain").args(ports).args(&self.scenario.check);
        let output = command.args(["--format", "json"]).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).context(said)
    }

    /// What the sandbox's alias leads to.
    fn address(&self, network: &NetworkInfo) -> Result<Ipv4Addr> {
        let check = &self.scenario.check;
        let at = check.iter().position(|argument| argument == "--host-gateway-ip");
        match at.and_then(|at| check.get(at + 1)) {
            Some(address) => address.parse().with_context(|| address.clone()),
            None => Ok(network.gateway),
        }
    }
}

impl Observer for Watcher<'_> {
    fn booted<'a>(&'a self, _: &'a Host) -> Look<'a> {
        Box::pin(async { Ok(()) })
    }

    fn checked<'a>(&'a self, moment: Moment<'a>) -> Look<'a> {
        Box::pin(async move {
            if moment.expected.iter().all(|(_, expect)| expect.at.is_some()) {
                return Ok(());
            }
            let network = moment.network.unwrap_or(DEFAULT_NETWORK);
            self.ask(moment.host, network).await.map_err(boxed)
        })
    }
}

fn boxed(error: anyhow::Error) -> Box<dyn Error + Send + Sync> {
    error.into()
}
