//! A gateway that a service manager has: it is restarted, and its unit is not touched.

use probe::LifecyclePath;

use super::error::GatewayError;
use super::identity::{process, settled_owners};
use super::setup::{Ensured, GatewaySetup};
use super::state::end;
use crate::service::manager::ServiceManager;

impl GatewaySetup<'_> {
    pub(super) async fn restart_managed(&self, manager: &ServiceManager) -> Result<Ensured, GatewayError> {
        let before = manager.status().await?;
        // A unit that runs another program under our name is not trusted with the port.
        if before.program != self.program.path() {
            return Err(GatewayError::Manager {
                message: format!("its unit runs {}, not {}", before.program, self.program.path()),
            });
        }
        // One of our own that was started without the manager goes out of its way.
        if let Some((running, _)) = self.recorded()
            && before.main_pid != Some(running.pid)
        {
            end(self.host, &running).await?;
        }
        let listeners = settled_owners(self.host, self.port).await?;
        if let Some(other) = listeners.iter().find(|owner| owner.pid != before.main_pid) {
            return Err(self.foreign(other));
        }
        let launch = self.prepare().await?;
        let after = manager.restart(launch.args, launch.environment).await?;
        let gone = || GatewayError::Ended { log: manager.log() };
        let pid = after.main_pid.ok_or_else(gone)?;
        let running = process(self.host, pid).ok_or_else(gone)?;
        self.until_healthy(&running).await?;
        // The manager's process is none of the records'.
        self.records().forget()?;
        let preflight = self.preflight(LifecyclePath::ManagedService).await?;
        Ok(Ensured { path: LifecyclePath::ManagedService, pid, preflight })
    }
}
