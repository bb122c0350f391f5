//! The decision before anything is started: a healthy gateway is left alone altogether.

use std::fmt;

use probe::LifecyclePath;

use super::error::{Drift, GatewayError};
use super::setup::{Ensured, GatewaySetup};
use super::state::NetworkMark;

/// What an onboarding does about a gateway that may be running.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OuterReuse {
    /// Nothing: it is healthy, and sandboxes reach it.
    Skip(Box<Ensured>),
    /// Go on to [`GatewaySetup::ensure_gateway`].
    Start(StartReason),
}

/// Why a gateway is not left alone.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StartReason {
    /// None is recorded, or it is gone.
    NotRunning,
    /// It runs and is not well.
    NotHealthy(String),
    /// It is not what is wanted.
    Drifted(Drift),
    /// The sandbox network is gone.
    NetworkAbsent,
    /// The sandbox network is another one than the gateway was started for, under the same name: a check of the name
    /// would not see it.
    NetworkRecreated {
        /// The one that the gateway was started for; `None` when it is not recorded.
        was: Option<NetworkMark>,
        /// The one that is there.
        is: NetworkMark,
    },
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no gateway of an earlier run is there"),
            Self::NotHealthy(why) => write!(f, "the gateway is not healthy: {why}"),
            Self::Drifted(drift) => write!(f, "the gateway is not what is wanted: {drift}"),
            Self::NetworkAbsent => f.write_str("the sandbox network is gone"),
            Self::NetworkRecreated { is, .. } => {
                write!(f, "the sandbox network was recreated since the gateway started, with {}", is.gateway)
            }
        }
    }
}

impl GatewaySetup<'_> {
    /// Decides whether the gateway of an earlier run is left alone. Nothing is started, ended or written.
    ///
    /// # Errors
    /// When it would be left alone and sandboxes do not reach it, or when the engine does not say whether there is a
    /// network: that is no reason to restart anything.
    pub async fn reuse_gateway(&self) -> Result<OuterReuse, GatewayError> {
        let _lock = self.records().lock().await?;
        let start = |reason| Ok(OuterReuse::Start(reason));
        let Some((running, marker)) = self.recorded() else { return start(StartReason::NotRunning) };
        if let Err(why) = self.metadata().await {
            return start(StartReason::NotHealthy(why));
        }
        if !self.is_the_listener(&running)? {
            return start(StartReason::Drifted(Drift::NotListening));
        }
        if let Some(drift) = self.drift_of(&running, &marker.environment)? {
            return start(StartReason::Drifted(drift));
        }
        let engine = self.host.engine()?;
        let Some(found) = engine.find_network(&self.network).await? else {
            return start(StartReason::NetworkAbsent);
        };
        let is = NetworkMark { id: found.id, gateway: found.gateway };
        if marker.network.as_ref() != Some(&is) {
            return start(StartReason::NetworkRecreated { was: marker.network, is });
        }
        let preflight = self.preflight(LifecyclePath::OuterReuse).await?;
        Ok(OuterReuse::Skip(Box::new(Ensured {
            path: LifecyclePath::OuterReuse,
            pid: running.pid,
            preflight,
        })))
    }
}
