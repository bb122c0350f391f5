//! The five firewalls that every matrix of the suite has.

use anyhow::Result;
use harness::{Host, NetworkInfo, Posture, Ufw};

/// What a host's firewall does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Firewall {
    /// Nothing.
    Open,
    /// `-I INPUT -s <subnet> -p tcp --dport <port> -j DROP`, word for word.
    RuleOf3472,
    /// `-P INPUT DROP`.
    PolicyDrop,
    /// UFW on a machine of Brev's.
    UfwDefaultDeny,
    /// The same, after the command that the probe printed.
    UfwWithRemedy,
}

impl Firewall {
    /// Puts it in force against `port`, and proves it. The host itself goes on reaching its services, so `lo` is accepted,
    /// and so is what an earlier remedy has opened for sandboxes.
    ///
    /// # Errors
    /// When it is not in force.
    pub async fn apply(self, host: &Host, network: &NetworkInfo, port: u16, opened: &[u16]) -> Result<()> {
        let posture = match self {
            Self::Open => Posture::Open,
            Self::RuleOf3472 => Posture::drop_port(port),
            Self::PolicyDrop => {
                host.command("iptables").args(["-A", "INPUT", "-i", "lo", "-j", "ACCEPT"]).run().await?;
                Posture::InputPolicyDrop
            }
            Self::UfwDefaultDeny | Self::UfwWithRemedy => {
                let (subnet, gateway) = (network.cidr(), network.gateway);
                let allow = |port: &u16| format!("allow from {subnet} to {gateway} port {port} proto tcp");
                opened.iter().fold(Ufw::brev(), |ufw, port| ufw.rule(&allow(port))).into()
            }
        };
        Ok(host.apply(&posture, network).await?)
    }
}
