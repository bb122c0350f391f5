//! Can sandboxes reach the services of their own host, and if not, why.
//!
//! ```text
//!   sandbox 172.18.0.2 ──► bridge 172.18.0.1 ──► INPUT ──► gateway :8080, Ollama proxy :11435
//!        ▲                                         ▲
//!        └ one container dials every port          └ a firewall drops it here, and every check from the host is green
//! ```
//!
//! A check gathers [`Evidence`] from the engine, from a container in a sandbox's place, and from the socket table of the
//! host. [`decide`] turns it into a [`Verdict`]; the [`Report`] says it in words, with the [`Remedy`]. A [`Preflight`] makes
//! a gate of it.
//!
//! ```
//! use probe::{Interrupt, Request, check, judge};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let request = Request { host: Some("unix:///nonexistent.sock".to_owned()), ..Request::default() };
//! let checked = check(&request, &Interrupt::never()).await;
//! let report = judge(&request, checked).await;
//! for target in &report.targets {
//!     println!("{} {}: {}", target.port, target.label, target.summary);
//! }
//! assert_eq!(report.exit_code, 3);
//! # }
//! ```

mod check;
mod clean;
pub mod cli;
mod deadline;
mod dial;
mod drops;
mod engine;
mod evidence;
mod explain;
mod firewall;
mod fix;
mod identity;
mod image;
mod interrupt;
mod listeners;
mod preflight;
mod programs;
mod remedy;
mod report;
mod return_path;
mod route;
mod sanitize;
mod snapshot;
mod standpoint;
mod target;
mod textfile;
pub mod twin;
mod vantage;
mod verdict;

pub use self::snapshot::{Judged, Offline, SnapshotError, take as take_snapshot};
pub use check::{Checked, DEFAULT_DEADLINE, DEFAULT_TIMEOUT, Request, check, observe};
pub use clean::{Cleaned, clean};
pub use deadline::Deadline;
pub use dial::{Answer, Dial, Greeted, Greeting, Icmp, Outcome, TcpState};
pub use drops::Drops;
pub use engine::{
    ChosenBy, ContainerSpec, Discovery, DockerEngine, DryRun, Endpoint, Engine, EngineError, EngineInfo,
    EngineTrouble, Environment, ImageFacts, IpamEntry, LabelledContainer, NetworkFacts, Residents, Spoken,
    discover,
};
pub use evidence::{Evidence, PortEvidence, Trouble};
pub use explain::{
    Decided, ExplainTimes, Explained, Explanation, Leg, Method, RulesSeen, Setting, Station, StepSeen,
    Suspect, SuspectTool, TriedRemedy, UfwRemedy, UfwRule, WalkedPacket, explain, explain_failures,
};
pub use firewall::{Firewall, Tool, detect as detect_firewall};
pub use fix::{Applied, FixError, Fixer, Left, Undoing, Undone};
pub use identity::{
    Authority, AuthorityError, Certificate, Holder, Identity, IdentityEvidence, Owner, OwnerError, OwnerSpec,
    Signed,
};
pub use image::{ImageError, OWNER, OWNER_LABEL, carried as carried_image};
pub use interrupt::Interrupt;
pub use listeners::{HostSide, Listener, Listening, TableError, held_by, host_side, read as read_listeners};
pub use preflight::{
    Decision, Gate, HOST_GATEWAY_ATTEMPTS, LifecyclePath, PREFLIGHT_DEADLINE, Preflight, is_wsl,
};
pub use remedy::Remedy;
pub use report::{BUILD_ID, Report, SCHEMA, SCHEMA_VERSION, TargetReport, VERSION, judge, needs_firewall};
pub use return_path::ReturnPath;
pub use route::{DEFAULT_NETWORK, DOCKER_ALIAS, OPENSHELL_ALIAS, Route, RouteError, bridge_gateway};
pub use sanitize::{MAX_FOREIGN_TEXT, sanitize};
pub use standpoint::Standpoint;
pub use target::{PortSpec, Protocol, Target, TargetError};
pub use vantage::container::{EXPIRES_LABEL, Order, RESOLVE_TIMEOUT, RUN_LABEL, Run, new_run, run, sweep};
pub use vantage::host::dial_all;
pub use vantage::{DialerOutput, Marked, Neighbour, ProtocolError, Resolution, Vantage, VantageError, Via};
pub use verdict::{Cause, Confidence, Ground, Judgement, Verdict, decide, grounds, identity};
