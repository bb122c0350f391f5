//! The gate of an onboarding: silent when sandboxes reach what was named, a warning when that could not be found out, a
//! stop when they cannot.
//!
//! ```text
//!                     ok, skipped          go on
//!   check ──► ┌─────  probe_unavailable    warn and go on; stop (3) when strict
//!     ▲       │       network_not_found    warn and go on; stop (3) where the network must exist, or when strict
//!     │       └─────  tcp_failed           stop (1)
//!     └── once more, after 1 s: only where the engine's host-gateway may still be starting
//! ```
//!
//! It judges by [`check`] and nothing else, so a gate never disagrees with the answer that a user gets afterwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior};

use crate::check::{Checked, DEFAULT_DEADLINE, Request, check, not_checked};
use crate::deadline::Deadline;
use crate::evidence::Trouble;
use crate::interrupt::Interrupt;
use crate::report::{Report, judge};
use crate::route::Route;
use crate::target::Target;
use crate::verdict::{Cause, Verdict};

/// How long all attempts may take together unless said: ten that time out, with a second between them, and some time
/// to spare.
pub const PREFLIGHT_DEADLINE: Duration = Duration::from_secs(60);

/// How often a host-gateway that does not answer is tried. NemoClaw's number (#5754): the forwarder of an engine in a
/// virtual machine may be ready seconds after the gateway.
pub const HOST_GATEWAY_ATTEMPTS: u32 = 10;

/// The time between two attempts, NemoClaw's too.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What an onboarding is about to call healthy: how the gateway came to be running, or the route to an inference
/// service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LifecyclePath {
    /// This run started the gateway, which creates the network
    #[default]
    Fresh,
    /// An earlier run started the gateway and left its records
    Reused,
    /// The gateway was running without records
    Adopted,
    /// A service manager started the gateway, which creates the network
    ManagedService,
    /// The onboarding leaves a healthy gateway alone altogether
    OuterReuse,
    /// A route to the Ollama proxy is about to be committed; nothing is checked on WSL, where that proxy is not used
    Inference,
}

impl LifecyclePath {
    /// Every path.
    pub const ALL: [Self; 6] =
        [Self::Fresh, Self::Reused, Self::Adopted, Self::ManagedService, Self::OuterReuse, Self::Inference];

    /// Its name in the JSON form.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Reused => "reused",
            Self::Adopted => "adopted",
            Self::ManagedService => "managed_service",
            Self::OuterReuse => "outer_reuse",
            Self::Inference => "inference",
        }
    }

    /// Whether a missing network is a failure: a gateway that was running before has created it, and without it the next
    /// sandbox fails (NemoClaw #9594). One that starts only now may still be about to create it.
    #[must_use]
    pub fn network_must_exist(self) -> bool {
        matches!(self, Self::Reused | Self::Adopted | Self::OuterReuse)
    }
}

/// What the onboarding has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go on.
    Proceed,
    /// Go on, and tell the user that nothing was proven.
    Warn,
    /// Stop: commit nothing, call nothing healthy.
    Stop,
}

/// How a preflight ended, as part of its [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gate {
    /// What was about to be called healthy.
    pub path: LifecyclePath,
    /// Whether it stops also when it could not be found out.
    pub strict: bool,
    /// What to do.
    pub decision: Decision,
    /// How many checks were made: 0 when there was nothing to check, more than 1 behind a host-gateway only.
    pub attempts: u32,
}

/// A gate. The targets are the caller's: 8080 on the paths of a gateway, 11435 before an inference route.
///
/// ```
/// use probe::{Decision, Interrupt, LifecyclePath, Preflight, Target};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), probe::TargetError> {
/// let mut preflight = Preflight::new(vec![Target::parse("8080=gateway", true)?], LifecyclePath::Fresh);
/// # preflight.request.host = Some("unix:///nonexistent.sock".to_owned());
/// let report = preflight.run(&Interrupt::never(), |_| ()).await;
/// match report.preflight.map(|gate| gate.decision) {
///     Some(Decision::Stop) => eprintln!("{}", report.targets[0].summary),
///     _ => println!("the gateway is healthy"),
/// }
/// # assert_eq!((report.exit_code, report.preflight.unwrap().decision), (0, Decision::Warn));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Preflight {
    /// What to check, and how long all attempts may take together.
    pub request: Request,
    /// What is about to be called healthy.
    pub path: LifecyclePath,
    /// Stop also when it could not be found out.
    pub strict: bool,
}

impl Preflight {
    /// A gate for these targets with everything else as it comes.
    #[must_use]
    pub fn new(targets: Vec<Target>, path: LifecyclePath) -> Self {
        let request = Request { targets, deadline: PREFLIGHT_DEADLINE, ..Request::default() };
        Self { request, path, strict: false }
    }

    /// Checks, and decides. `talk` is told the number of each attempt after the first before it begins.
    pub async fn run(&self, interrupt: &Interrupt, mut talk: impl FnMut(u32)) -> Report {
        let deadline = Deadline::after(self.request.deadline);
        if self.path == LifecyclePath::Inference && on_wsl() {
            return self.decide(judge(&self.request, not_checked(&self.request, Trouble::Wsl)).await, 0);
        }
        let mut tick = every(RETRY_INTERVAL);
        let mut attempt = 1;
        loop {
            tick.reset();
            let report = judge(&self.request, self.attempt(deadline, interrupt).await).await;
            let over = attempt == HOST_GATEWAY_ATTEMPTS
                || deadline.left() < RETRY_INTERVAL + self.request.timeout
                || interrupt.number().is_some();
            if over || !may_still_start(&report) {
                return self.decide(report, attempt);
            }
            tokio::select! {
                _ = tick.tick() => {}
                () = interrupt.raised() => return self.decide(report, attempt),
            }
            attempt += 1;
            talk(attempt);
        }
    }

    async fn attempt(&self, deadline: Deadline, interrupt: &Interrupt) -> Checked {
        let request = Request { deadline: deadline.at_most(DEFAULT_DEADLINE), ..self.request.clone() };
        check(&request, interrupt).await
    }

    fn decide(&self, mut report: Report, attempts: u32) -> Report {
        let verdicts: Vec<Verdict> = report.targets.iter().map(|target| target.verdict).collect();
        let interrupted = report.targets.iter().any(|target| target.cause == Some(Cause::Interrupted));
        let (decision, exit_code) = match decision(&verdicts, self.path, self.strict) {
            // Whoever interrupts it does not want to go on.
            (Decision::Warn, _) if interrupted => (Decision::Stop, 3),
            decided => decided,
        };
        report.exit_code = exit_code;
        report.preflight = Some(Gate { path: self.path, strict: self.strict, decision, attempts });
        report
    }
}

/// The decision over all targets, and the exit code that says it.
fn decision(verdicts: &[Verdict], path: LifecyclePath, strict: bool) -> (Decision, u8) {
    let any = |wanted: Verdict| verdicts.contains(&wanted);
    let unknown = any(Verdict::ProbeUnavailable) || any(Verdict::NetworkNotFound);
    if any(Verdict::TcpFailed) || any(Verdict::WrongService) {
        (Decision::Stop, 1)
    } else if any(Verdict::NetworkNotFound) && path.network_must_exist() || unknown && strict {
        (Decision::Stop, 3)
    } else if unknown {
        (Decision::Warn, 0)
    } else {
        (Decision::Proceed, 0)
    }
}

/// Whether a later attempt may end otherwise: behind a host-gateway only, whose forwarder starts on its own (NemoClaw
/// #5513). A bridge is there or is not, and what a firewall drops it drops again.
fn may_still_start(report: &Report) -> bool {
    report.evidence.route == Some(Route::HostGateway)
        && report.targets.iter().any(|target| target.verdict == Verdict::TcpFailed)
}

/// Whether this is Linux on Windows, by the kernel's own name. Environment variables do not survive `sudo`.
fn on_wsl() -> bool {
    std::fs::read_to_string("/proc/version").is_ok_and(|version| is_wsl(&version))
}

/// Whether a kernel's version, as `/proc/version` has it, is that of Linux on Windows.
#[must_use]
pub fn is_wsl(kernel: &str) -> bool {
    kernel.to_ascii_lowercase().contains("microsoft")
}

fn every(period: Duration) -> Interval {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

#[cfg(test)]
mod tests {
    use super::*;

    use Verdict::{NetworkNotFound, Ok, ProbeUnavailable, Skipped, TcpFailed, WrongService};

    #[test]
    fn a_failure_stops_on_every_path() {
        for path in LifecyclePath::ALL {
            for strict in [false, true] {
                for verdict in [TcpFailed, WrongService] {
                    assert_eq!(decision(&[Ok, verdict], path, strict), (Decision::Stop, 1), "{path:?}");
                }
                assert_eq!(decision(&[Ok, Skipped], path, strict), (Decision::Proceed, 0), "{path:?}");
            }
        }
    }

    #[test]
    fn what_could_not_be_found_out_stops_only_where_it_is_told_to() {
        for path in LifecyclePath::ALL {
            assert_eq!(decision(&[Ok, ProbeUnavailable], path, false), (Decision::Warn, 0), "{path:?}");
            assert_eq!(decision(&[Ok, ProbeUnavailable], path, true), (Decision::Stop, 3), "{path:?}");
            assert_eq!(decision(&[ProbeUnavailable, TcpFailed], path, true), (Decision::Stop, 1), "{path:?}");
        }
    }

    #[test]
    fn a_missing_network_stops_where_a_gateway_was_running_before() {
        let stops: Vec<&str> = LifecyclePath::ALL
            .into_iter()
            .filter(|path| decision(&[NetworkNotFound], *path, false) == (Decision::Stop, 3))
            .map(LifecyclePath::name)
            .collect();
        assert_eq!(stops, ["reused", "adopted", "outer_reuse"]);
        assert_eq!(decision(&[NetworkNotFound], LifecyclePath::Fresh, false), (Decision::Warn, 0));
        assert_eq!(decision(&[NetworkNotFound], LifecyclePath::Fresh, true), (Decision::Stop, 3));
    }

    #[test]
    fn the_name_of_a_path_is_that_of_the_json_form() {
        for path in LifecyclePath::ALL {
            assert_eq!(serde_json::to_value(path).unwrap(), path.name());
        }
    }

    #[test]
    fn wsl_is_known_by_its_kernel() {
        assert!(is_wsl("Linux version 5.15.153.1-microsoft-standard-WSL2 (root@x) (gcc)"));
        assert!(is_wsl("Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)"));
        assert!(!is_wsl("Linux version 6.12.48+deb13-amd64 (debian-kernel@lists.debian.org)"));
    }
}
