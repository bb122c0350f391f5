//! The five firewalls that every matrix of the suite has.

use anyhow::Result;
use harness::{Host, NetworkInfo, Posture, Ufw};

/// The host's own way to its services.
const ACCEPT_LO: [&str; 4] = ["-i", "lo", "-j", "ACCEPT"];

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
    /// All of them: first the open one, and the repaired one at the end.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::RuleOf3472, Self::PolicyDrop, Self::UfwDefaultDeny, Self::UfwWithRemedy];

    /// Puts it in force against `port`, and proves it. The host itself goes on reaching its services, so `lo` is accepted,
    /// and so is what an earlier remedy has opened for sandboxes.
    ///
    /// # Errors
    /// When it is not in force.
    pub async fn apply(self, host: &Host, network: &NetworkInfo, port: u16, opened: &[u16]) -> Result<()> {
        if self == Self::PolicyDrop {
            host.command("iptables").args(["-A", "INPUT"]).args(ACCEPT_LO).run().await?;
        }
        Ok(host.apply(&self.posture(network, port, opened), network).await?)
    }

    /// Takes away what [`Firewall::apply`] has put in force, and proves it, so that another one can come.
    ///
    /// # Errors
    /// When it is still in force.
    pub async fn lift(self, host: &Host, network: &NetworkInfo, port: u16) -> Result<()> {
        if self == Self::PolicyDrop {
            host.command("iptables").args(["-D", "INPUT"]).args(ACCEPT_LO).run().await?;
        }
        Ok(host.lift(&self.posture(network, port, &[]), network).await?)
    }

    fn posture(self, network: &NetworkInfo, port: u16, opened: &[u16]) -> Posture {
        match self {
            Self::Open => Posture::Open,
            Self::RuleOf3472 => Posture::drop_port(port),
            Self::PolicyDrop => Posture::InputPolicyDrop,
            Self::UfwDefaultDeny | Self::UfwWithRemedy => {
                let (subnet, gateway) = (network.cidr(), network.gateway);
                let allow = |port: &u16| format!("allow from {subnet} to {gateway} port {port} proto tcp");
                opened.iter().fold(Ufw::brev(), |ufw, port| ufw.rule(&allow(port))).into()
            }
        }
    }
}
