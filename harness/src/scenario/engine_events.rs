//! What happens to the engine.

use std::time::Duration;

use super::events::{EventError, Stage};
use super::format::{Disturbance, EngineCall, EngineEvent, RelayEvent};
use crate::engine::Interference;

/// A user who is in no group that may open the engine's socket.
const NOBODY_SPECIAL: (u32, u32) = (1000, 1000);

impl Stage<'_> {
    pub(super) async fn happen_to_engine(&mut self, event: EngineEvent) -> Result<(), EventError> {
        match event {
            EngineEvent::Kill => self.machine.kill_engine().await?,
            EngineEvent::Freeze => self.machine.freeze_engine().await?,
            EngineEvent::Restart => self.machine.restart_engine().await?,
            EngineEvent::DenyPermission => self.user = Some(NOBODY_SPECIAL),
        }
        Ok(())
    }

    /// There is one relay, with all disturbances until now.
    pub(super) fn disturb(&mut self, event: &RelayEvent) -> Result<(), EventError> {
        let EngineCall { method, path } = &event.call;
        self.disturbances =
            std::mem::take(&mut self.disturbances).when(method, path, Interference::from(&event.then));
        // The engine needs its place back before another relay can take it.
        self.relay = None;
        self.relay = Some(self.disturbances.clone().start(self.machine)?);
        Ok(())
    }
}

impl From<&Disturbance> for Interference {
    fn from(disturbance: &Disturbance) -> Self {
        match disturbance {
            Disturbance::Fail(message) => Self::fail(message),
            Disturbance::DelayMs(delay) => Self::Delay(Duration::from_millis(*delay)),
            Disturbance::Cut => Self::Cut,
            Disturbance::Hang => Self::Hang,
            Disturbance::Alter(patch) => Self::merge(patch.clone().into()),
        }
    }
}
