//! The named steps of a boot.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A step of a host's boot, in their order. Each is announced when it begins.
///
/// With `OPENSHELL_HARNESS_STOP_AT=<step>` in a creator's environment its hosts wait at that step until the creator is
/// gone. Tests end a creator there and look for what is left.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BootStep {
    /// The keeper runs and has read what the host is to be.
    Keeper,
    /// The control groups of the host are made.
    Cgroups,
    /// The first process of the new namespaces runs and has proven that they are not the machine's.
    Isolated,
    /// It has joined its control groups and has a control group namespace.
    CgroupsJoined,
    /// The host's tmpfs and its root filesystem are mounted.
    RootMounted,
    /// `/proc`, `/sys`, `/dev`, `/run` and the binds are mounted.
    Furnished,
    /// The machine's files are out of sight.
    Pivoted,
    /// Privileges that a host does not need are dropped.
    PrivilegesDropped,
    /// The host takes requests.
    Ready,
    /// The engine's process is started.
    EngineStarted,
    /// The engine has answered.
    EngineReady,
}

impl BootStep {
    /// All steps.
    pub const ALL: [Self; 11] = [
        Self::Keeper,
        Self::Cgroups,
        Self::Isolated,
        Self::CgroupsJoined,
        Self::RootMounted,
        Self::Furnished,
        Self::Pivoted,
        Self::PrivilegesDropped,
        Self::Ready,
        Self::EngineStarted,
        Self::EngineReady,
    ];

    /// The environment variable that names the step to stop at.
    pub const STOP_AT: &'static str = "OPENSHELL_HARNESS_STOP_AT";

    /// Its name in kebab case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Cgroups => "cgroups",
            Self::Isolated => "isolated",
            Self::CgroupsJoined => "cgroups-joined",
            Self::RootMounted => "root-mounted",
            Self::Furnished => "furnished",
            Self::Pivoted => "pivoted",
            Self::PrivilegesDropped => "privileges-dropped",
            Self::Ready => "ready",
            Self::EngineStarted => "engine-started",
            Self::EngineReady => "engine-ready",
        }
    }

    /// Whether the creator takes this step itself, after the host has booted.
    pub(crate) fn is_the_creators(self) -> bool {
        self >= Self::EngineStarted
    }
}

/// Told every step of a boot when it begins.
pub(super) type Observer = Arc<dyn Fn(BootStep) + Send + Sync>;

/// Who follows a boot, and where it is to stop.
pub(crate) struct Steps {
    pub(super) observer: Option<Observer>,
    pub(super) stop_at: Option<BootStep>,
}

impl Steps {
    /// A step that the host has announced.
    pub(super) fn tell(&self, step: BootStep) {
        if let Some(observer) = &self.observer {
            observer(step);
        }
    }

    /// A step that the creator takes itself.
    pub(crate) async fn reach(&self, step: BootStep) {
        self.tell(step);
        if self.stop_at == Some(step) {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Display for BootStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BootStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|step| step.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("{text:?} is no boot step; there are: {known}")
        })
    }
}
