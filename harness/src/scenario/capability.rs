//! What a scenario needs and a machine may not have.

use super::format::Capability;
use crate::host::{ExecError, Host};

impl Capability {
    /// What is tried in the host, and what is missing when it does not work. It leaves nothing behind.
    fn trial(self) -> (&'static str, &'static str) {
        match self {
            Self::BrNetfilter => (
                "test -e /proc/sys/net/bridge/bridge-nf-call-iptables",
                "the kernel has not loaded br_netfilter",
            ),
            Self::Ipv6 => ("test -e /proc/net/if_inet6", "the kernel has no IPv6"),
            Self::Macvlan => (
                "ip link add trial0 type bridge; trap 'ip link delete trial0' EXIT
                 ip link add link trial0 name trial1 type macvlan",
                "the kernel has not loaded macvlan",
            ),
            Self::Ipvlan => (
                "ip link add trial0 type bridge; trap 'ip link delete trial0' EXIT
                 ip link add link trial0 name trial1 type ipvlan",
                "the kernel has not loaded ipvlan",
            ),
            Self::XtRecent => (
                "iptables -N trial; trap 'iptables -F trial; iptables -X trial' EXIT
                 iptables -A trial -m recent --name trial --set",
                "the kernel has not loaded xt_recent",
            ),
            Self::NftBridge => (
                "nft add table bridge trial; trap 'nft delete table bridge trial' EXIT
                 nft 'add chain bridge trial in { type filter hook input priority 0; }'",
                "the kernel has not loaded nf_tables_bridge",
            ),
            Self::Firewalld => ("command -v firewall-cmd", "the image has no firewalld"),
        }
    }

    /// The reason why the scenario cannot be built here, if there is one.
    ///
    /// # Errors
    /// When it could not be tried.
    pub(super) async fn missing(self, host: &Host) -> Result<Option<&'static str>, ExecError> {
        let (trial, reason) = self.trial();
        let output = host.command("sh").args(["-ec", trial]).output().await?;
        Ok((!output.status.success()).then_some(reason))
    }
}
