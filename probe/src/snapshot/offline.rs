//! A snapshot judged where its host is not: by its rules alone.

use serde::Serialize;
use snapshot::{Decided, Snapshot, Target};

use super::ufw;
use crate::explain::{Explanation, Files, of_walk};

/// What is said of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offline {
    /// The snapshot's schema.
    pub schema: String,
    /// The release of the probe that made it.
    pub made_by: String,
    /// What the check exited with there.
    pub exit_code: u8,
    /// One for each port.
    pub targets: Vec<Judged>,
}

/// One port of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The port, and what the check said of it there.
    pub port: u16,
    /// What lives there, where it is one of OpenShell's services.
    pub label: Option<String>,
    /// The verdict there.
    pub verdict: String,
    /// The cause there.
    pub cause: Option<String>,
    /// The rule that was named there.
    pub there: Option<Decided>,
    /// What the carried rules say here; `None` where they are not in the snapshot, or are of another machine.
    pub here: Option<Explanation>,
    /// Whether both name the same rule; `None` where there was none, or nothing can be said here.
    pub agrees: Option<bool>,
}

impl Offline {
    /// Judges each port of a snapshot by static evaluation: nothing is run, asked or dialled.
    #[must_use]
    pub fn judge(snapshot: &Snapshot) -> Self {
        let rules = snapshot.ufw.as_ref().and_then(|ufw| ufw.rules.as_deref());
        // Files that say more than typed values are not carried.
        let files = Files { ufw_rules: rules.map(ufw::as_file), nftables: Vec::new() };
        Self {
            schema: snapshot.schema.clone(),
            made_by: snapshot.system.probe.to_string(),
            exit_code: snapshot.check.exit_code,
            targets: snapshot.check.targets.iter().map(|target| judged(snapshot, target, &files)).collect(),
        }
    }
}

fn judged(snapshot: &Snapshot, target: &Target, files: &Files) -> Judged {
    let walk = snapshot.walk(target);
    let here = walk.as_ref().zip(snapshot.rules.as_ref());
    Judged {
        port: target.port,
        label: target.label.as_ref().map(ToString::to_string),
        verdict: target.verdict.to_string(),
        cause: target.cause.as_ref().map(ToString::to_string),
        there: target.decided.clone(),
        here: here.map(|(walk, rules)| of_walk(target.port, walk, rules, files)),
        agrees: walk.as_ref().and_then(|walk| Snapshot::agrees(target, walk)),
    }
}
