//! Real UFW.

use std::fmt;

use super::{Posture, PostureError};
use crate::host::{ExecError, Host};

/// UFW with its package's defaults (incoming traffic denied, routed denied, outgoing allowed), or with incoming traffic refused, and some rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ufw {
    rejects: bool,
    rules: Vec<Vec<String>>,
}

impl Ufw {
    /// Incoming traffic is denied, without any rule.
    #[must_use]
    pub fn default_deny() -> Self {
        Self::default()
    }

    /// Incoming traffic is refused (`ufw default reject incoming`), without any rule.
    #[must_use]
    pub fn default_reject() -> Self {
        Self { rejects: true, ..Self::default() }
    }

    /// Whether a port that no rule mentions is refused instead of dropped.
    pub(super) fn rejects(&self) -> bool {
        self.rejects
    }

    /// The machines of Brev: default deny, and SSH on 22 and 2222 allowed (#3340).
    #[must_use]
    pub fn brev() -> Self {
        Self::default_deny().allow("22/tcp").allow("2222/tcp")
    }

    /// Allows what is named as on UFW's command line, such as `22/tcp`.
    #[must_use]
    pub fn allow(self, what: &str) -> Self {
        self.rule(&format!("allow {what}"))
    }

    /// Any rule as on UFW's command line, such as `deny 8080/tcp`.
    #[must_use]
    pub fn rule(mut self, rule: &str) -> Self {
        self.rules.push(rule.split_whitespace().map(str::to_owned).collect());
        self
    }

    /// Adds the rules and enables UFW; it has to say that it is active afterwards, because it can report success and be
    /// off (when a file of its own is unreadable, say).
    pub(super) async fn enable(&self, host: &Host) -> Result<(), PostureError> {
        let posture = || Posture::from(self.clone()).to_string();
        let tool = |source| PostureError::Tool { posture: posture(), source };
        if self.rejects {
            host.command("ufw").args(["default", "reject", "incoming"]).run().await.map_err(tool)?;
        }
        for rule in &self.rules {
            host.command("ufw").args(rule).run().await.map_err(tool)?;
        }
        host.command("ufw").args(["--force", "enable"]).run().await.map_err(tool)?;
        let status = host.command("ufw").arg("status").run().await.map_err(tool)?;
        if status.lines().any(|line| line == "Status: active") {
            return Ok(());
        }
        Err(PostureError::NotInForce { posture: posture(), message: format!("ufw says: {}", status.trim()) })
    }

    /// Disables UFW, and takes all of its rules and what it refuses away.
    pub(super) async fn reset(&self, host: &Host) -> Result<(), ExecError> {
        host.command("ufw").args(["--force", "reset"]).run().await?;
        if self.rejects {
            host.command("ufw").args(["default", "deny", "incoming"]).run().await?;
        }
        Ok(())
    }
}

impl fmt::Display for Ufw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.rejects { "ufw default reject" } else { "ufw default deny" })?;
        self.rules.iter().try_for_each(|rule| write!(f, ", {}", rule.join(" ")))
    }
}
