//! This host as a snapshot: what decides about sandboxes' packets, as typed values, read-only.
//!
//! ```text
//!  check and explain ─► report ──────────────┐
//!  rules of all backends ────────────────────┤
//!  ip -j, /proc/sys, the socket table ───────┼─► Names, Mapping: allow list ─► Snapshot
//!  UFW's files (read, never sourced), zones ─┤
//!  the engine's networks ────────────────────┘
//! ```
//!
//! What is carried is what [`snapshot`] has a type for. What cannot be read, or may not be carried, is named in
//! [`snapshot::Snapshot::left_out`].

mod checked;
mod engine;
mod firewalld;
mod network;
pub(crate) mod offline;
mod system;
mod ufw;

use std::fs::File;
use std::io::{self, Read as _};

use snapshot::{Carrier, LeftOut, Mapping, Names, Net, SCHEMA_VERSION, Snapshot, What, Why};

use crate::check::Request;
use crate::engine::NetworkFacts;
use crate::explain::{self, Capture, CaptureError, Explained};
use crate::interrupt::Interrupt;
use crate::report::{Report, judge};

pub use offline::{Judged, Offline};

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no randomness for the mapping's key, and without it addresses would be told.
    #[error("read random bytes for the mapping of addresses: {0}")]
    Random(#[source] io::Error),
    /// A signal ended it.
    #[error("it was interrupted")]
    Interrupted,
}

/// What is gathered, and how what may not be told is told.
pub(crate) struct Gathering {
    pub(crate) mapping: Mapping,
    pub(crate) names: Names,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) root: bool,
}

impl Gathering {
    /// Notes that something is not carried.
    pub(crate) fn leave(&mut self, what: What, why: Why, count: impl Into<Option<usize>>) {
        let count = count.into();
        if count != Some(0) {
            self.left_out.push(LeftOut { what, why, count });
        }
    }
}

/// Checks, explains, and gathers what decides. Nothing of the machine is changed but for the check's own container.
///
/// # Errors
/// When there can be no mapping, or a signal came. Everything else that cannot be read is left out, and named.
pub async fn take(request: &Request, interrupt: &Interrupt) -> Result<Snapshot, SnapshotError> {
    let mut key = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut key))
        .map_err(SnapshotError::Random)?;
    let Explained { checked, explanations, times } = explain::explain(request, interrupt, None).await;
    if interrupt.number().is_some() {
        return Err(SnapshotError::Interrupted);
    }
    let report = judge(request, checked).await.explained(explanations, times);
    let root = nix::unistd::geteuid().is_root();
    let mut gathering = Gathering {
        mapping: Mapping::new(key, &kept(report.evidence.network.as_ref())),
        names: Names::new(system::secrets()),
        left_out: Vec::new(),
        root,
    };
    Ok(gather(&mut gathering, request, &report).await)
}

/// The sandboxes' addresses, which remedies and rules speak of.
fn kept(network: Option<&NetworkFacts>) -> Vec<Net> {
    let pools = network.into_iter().flat_map(|network| &network.ipam);
    let addresses = pools.flat_map(|pool| [pool.subnet.as_deref(), pool.gateway.as_deref()]);
    addresses.flatten().filter_map(Net::parse).collect()
}

async fn gather(gathering: &mut Gathering, request: &Request, report: &Report) -> Snapshot {
    let check = checked::check(gathering, report);
    let (rules, not_carried) = rules(gathering).await;
    let bridge = check.bridge.clone();
    let (links, addresses) = network::links(gathering).await;
    let engine = engine::engine(report.evidence.engine.as_ref());
    let mut snapshot = Snapshot {
        schema: SCHEMA_VERSION.to_owned(),
        system: system::system(gathering).await,
        engine,
        networks: engine::networks(gathering, request, report).await,
        links,
        addresses,
        routes: network::routes(gathering).await,
        policy_rules: network::policy_rules(gathering).await,
        sysctls: network::sysctls(bridge.as_ref()),
        ufw: ufw::ufw(gathering),
        firewalld: firewalld::firewalld(gathering, rules.as_ref()).await,
        rules,
        not_carried,
        listeners: network::listeners(gathering),
        check,
        left_out: Vec::new(),
    };
    let (parts, renamed) = (snapshot.not_carried.len(), gathering.names.renamed());
    gathering.leave(What::PartsOfRules, Why::NotAllowed, parts);
    gathering.leave(What::Names, Why::NotAllowed, renamed);
    snapshot.left_out.append(&mut gathering.left_out);
    snapshot
}

async fn rules(gathering: &mut Gathering) -> (Option<ruleset::Ruleset>, Vec<snapshot::NotCarried>) {
    let capture = if gathering.root { Some(Capture::take().await) } else { None };
    let capture = match capture {
        None => {
            gathering.leave(What::Rules, Why::NeedsRoot, None);
            return (None, Vec::new());
        }
        Some(Err(error)) => {
            let why = match error {
                CaptureError::Restless => Why::Changing,
                CaptureError::NoProgram => Why::NoProgram,
            };
            gathering.leave(What::Rules, why, None);
            return (None, Vec::new());
        }
        Some(Ok(capture)) => capture,
    };
    gathering.leave(What::SomeRules, Why::Unreadable, capture.unseen.len());
    let mut carrier = Carrier::new(&gathering.mapping, &mut gathering.names);
    let rules = carrier.rules(&capture.rules);
    (Some(rules), carrier.not_carried())
}
