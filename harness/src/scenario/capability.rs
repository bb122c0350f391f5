//! What a scenario needs and a machine may not have.

use super::format::Capability;
use crate::host::{ExecError, Host};
use crate::machine::would_load;

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
            Self::TrafficControl => (
                "ip link add trial0 type bridge; trap 'ip link delete trial0' EXIT
                 tc qdisc add dev trial0 clsact
                 tc filter add dev trial0 ingress bpf da bytecode '1,6 0 0 0'",
                "the kernel has not loaded sch_ingress and cls_bpf",
            ),
            Self::Ipsec => ("ip xfrm policy", "the kernel has not loaded xfrm_user"),
            Self::Firewalld => ("command -v firewall-cmd", "the image has no firewalld"),
        }
    }

    /// The modules that the trial would make the kernel load, where it could. A loaded module outlives the host.
    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::BrNetfilter => &["br_netfilter"],
            Self::Macvlan => &["macvlan"],
            Self::Ipvlan => &["ipvlan"],
            Self::XtRecent => &["xt_recent"],
            Self::NftBridge => &["nf_tables"],
            Self::TrafficControl => &["sch_ingress", "cls_bpf"],
            Self::Ipsec => &["xfrm_user"],
            Self::Ipv6 | Self::Firewalld => &[],
        }
    }

    /// The reason why the scenario cannot be built here, if there is one.
    ///
    /// # Errors
    /// When it could not be tried.
    pub(super) async fn missing(self, host: &Host) -> Result<Option<&'static str>, ExecError> {
        let (trial, reason) = self.trial();
        if !would_load(self.modules()).is_empty() {
            return Ok(Some(reason));
        }
        let output = host.command("sh").args(["-ec", trial]).output().await?;
        Ok((!output.status.success()).then_some(reason))
    }
}
