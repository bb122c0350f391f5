//! Real UFW.

use std::fmt;

use super::{Posture, PostureError};
use crate::host::Host;

/// UFW with its packages' defaults (incoming traffic denied, routed denied, outgoing allowed) and some rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ufw {
    rules: Vec<Vec<String>>,
}

impl Ufw {
    /// Incoming traffic is denied, without any rule.
    #[must_use]
    pub fn default_deny() -> Self {
        Self::default()
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
}

impl fmt::Display for Ufw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ufw default deny")?;
        self.rules.iter().try_for_each(|rule| write!(f, ", {}", rule.join(" ")))
    }
}
