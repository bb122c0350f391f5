//! The twin: a machine's firewall, replayed where nothing depends on it.
//!
//! ```text
//!  this process ──Plan──► twin (own user, network, mount, process id namespace; nobody's identity)
//!                           │  bridge, links, routes ─► the captured rules, by the real tools ─► per stage: change, dial, trace
//!               ◄──Answer───┘
//! ```
//!
//! In the twin the bridge, the links and their addresses have the machine's names and values. Real connections are dialled in
//! it and the kernel's own trace says which rule decides about each. It takes no privilege and touches nothing of the
//! machine: it refuses to do anything before it has proved that its network namespace is another one.
//!
//! A [`Plan`] has stages. Each may change the rules first, and its [`Trial`]s are dialled all at once. So a remedy can be
//! tried beside what it must not open.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use probe::twin::{Address, Bridge, Origin, Plan, Programs, Rules, Stage, Trial, run};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n".to_owned();
//! let trial = Trial { from: Origin::Sandbox, to: "172.18.0.1:8080".parse()?, data: 1 };
//! let plan = Plan {
//!     rules: Rules { ipv4: Some(policy), ..Rules::default() },
//!     programs: Programs::find(),
//!     bridge: Bridge {
//!         name: "br-sandbox".to_owned(),
//!         addresses: vec![Address { ip: "172.18.0.1".parse()?, prefix: 16 }],
//!     },
//!     sandbox: vec!["172.18.0.2".parse()?],
//!     stages: vec![Stage { name: "as captured".to_owned(), trials: vec![trial], ..Stage::default() }],
//!     ..Plan::default()
//! };
//! let answer = run(&plan, None, Duration::from_secs(10)).await?;
//! let decision = answer.trial(0, 0).and_then(|it| it.decision.as_ref());
//! assert_eq!(decision.map(|it| it.step.to_string()).as_deref(), Some("ip filter INPUT policy: drop"));
//! # Ok(())
//! # }
//! ```
//!
//! What a twin does not have: the state of `limit`, `recent` and `quota`, the connections that the machine tracks, other
//! policy routes than the plan's, and the machine's sockets. All ports of the trials have a listener.

mod answer;
mod enclosure;
mod error;
mod inside;
mod plan;
mod process;
mod run;

use std::process::ExitCode;

pub use answer::{Answer, Decision, Icmp, Outcome, StageAnswer, Step, TrialAnswer, Unset};
pub use error::{Failure, Obstacle, RestoreError, TwinError};
pub use plan::{
    Address, Bridge, Link, MOST_TEXT, MOST_TRIALS, Origin, Plan, Programs, Rules, Stage, Sysctl, Trial,
};
pub use run::run;

/// The hidden command that makes a process a twin.
const COMMAND: &str = "twin";

/// Marks a twin's process. Without it the command is anybody's word; and a program that knows nothing of [`hook`], started as
/// a twin, does not start twins without end.
const MARK: &str = "OPENSHELL_PROBE_TWIN";

/// Becomes the twin if this process was started as one. A program that calls [`run`] without another program's path has to
/// call this first in its `main`, before it starts any thread.
#[must_use]
pub fn hook() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let asked = arguments.next()? == COMMAND && arguments.next().is_none();
    (asked && std::env::var_os(MARK).is_some()).then(process::main)
}
