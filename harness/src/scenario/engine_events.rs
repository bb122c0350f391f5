//! What happens to the engine.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{interval, timeout};

use super::events::{EventError, Stage};
use super::format::EngineEvent;

/// How long a killed engine may take to be gone; measured: 20 ms.
const GONE_DEADLINE: Duration = Duration::from_secs(10);

/// A user who is in no group that may open the engine's socket.
const NOBODY_SPECIAL: (u32, u32) = (1000, 1000);

impl Stage<'_> {
    pub(super) async fn happen_to_engine(&mut self, event: EngineEvent) -> Result<(), EventError> {
        match event {
            EngineEvent::Kill => self.kill_engine().await,
            EngineEvent::Freeze => self.signal(self.host.engine()?.pid(), "STOP").await,
            EngineEvent::Restart => Ok(self.host.engine()?.restart(self.host).await?),
            EngineEvent::DenyPermission => {
                self.user = Some(NOBODY_SPECIAL);
                Ok(())
            }
        }
    }

    /// It takes a moment to end, and resets a connection meanwhile.
    pub(super) async fn kill_engine(&self) -> Result<(), EventError> {
        let engine = self.host.engine()?;
        self.signal(engine.pid(), "KILL").await?;
        let gone = async {
            let mut tick = interval(Duration::from_millis(3));
            while UnixStream::connect(engine.socket()).await.is_ok() {
                tick.tick().await;
            }
        };
        let late = |_| EventError::Wrong(format!("the engine still answers after {GONE_DEADLINE:?}"));
        timeout(GONE_DEADLINE, gone).await.map_err(late)
    }
}
