//! What happens to the engine.

use super::events::{EventError, Stage};
use super::format::EngineEvent;

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
}
