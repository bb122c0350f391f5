//! Postures: firewalls in a given state, applied by the real tools and proven before a test trusts them.

mod control;
mod firewalld;
mod ufw;

use std::fmt;

use control::{ControlPort, Seen};

use crate::engine::NetworkInfo;
use crate::host::{ExecError, Host};

pub use ufw::Ufw;

/// A firewall in a given state.
///
/// ```no_run
/// # async fn example(host: &harness::Host, network: &harness::NetworkInfo) -> Result<(), harness::PostureError> {
/// use harness::{Posture, Ufw};
///
/// host.apply(&Posture::from(Ufw::default_deny().allow("22/tcp")), network).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Posture {
    /// No firewall. Proven: a listener that nobody mentions is reached.
    Open,
    /// The literal rules of #3472: `iptables -I INPUT -s <subnet> -p tcp --dport <port> -j DROP`, one for each port.
    DropPorts(Vec<u16>),
    /// `iptables -P INPUT DROP` and nothing else, so that not even `lo` is accepted.
    InputPolicyDrop,
    /// UFW, enabled.
    Ufw(Ufw),
    /// firewalld as its package has it, started after the engine, so that the network's bridge is in its default zone.
    /// That zone refuses what it does not allow.
    Firewalld,
    /// A table of nftables' own, beside those of iptables, which do not show it: `inet filter` with an input chain whose
    /// policy is to drop, and only `lo` and what is established are accepted.
    NftDrop,
}

/// What [`Posture::NftDrop`] gives to `nft -f`; after the example for a workstation in Debian's nftables.
const NFT_DROP: &str = "\
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    iif lo accept
    ct state established,related accept
  }
}
";

impl Posture {
    /// The rule of #3472 for one port.
    #[must_use]
    pub fn drop_port(port: u16) -> Self {
        Self::DropPorts(vec![port])
    }

    /// What a sandbox sees of a port that it does not open.
    fn shows(&self) -> Seen {
        match self {
            Self::Open => Seen::Reached,
            Self::Firewalld => Seen::Refused,
            Self::Ufw(ufw) if ufw.rejects() => Seen::Refused,
            Self::Ufw(_) | Self::DropPorts(_) | Self::InputPolicyDrop | Self::NftDrop => Seen::NoAnswer,
        }
    }
}

impl From<Ufw> for Posture {
    fn from(ufw: Ufw) -> Self {
        Self::Ufw(ufw)
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::DropPorts(ports) => {
                write!(
                    f,
                    "iptables DROP of {}",
                    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" and ")
                )
            }
            Self::InputPolicyDrop => f.write_str("iptables policy DROP"),
            Self::Ufw(ufw) => ufw.fmt(f),
            Self::Firewalld => f.write_str("firewalld"),
            Self::NftDrop => f.write_str("nftables policy drop"),
        }
    }
}

/// What a firewall does with what sandboxes send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Passage {
    /// It lets it through.
    Open,
    /// It drops or refuses it.
    Blocked,
}

impl fmt::Display for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Blocked => "blocked",
        })
    }
}

/// Why a host does not have the posture that it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostureError {
    /// A tool failed.
    #[error("posture {posture}: {source}")]
    Tool {
        /// The posture.
        posture: String,
        /// What failed.
        source: ExecError,
    },
    /// A tool reported success, and the state is not what it should be.
    #[error("posture {posture}: {message}")]
    NotInForce {
        /// The posture.
        posture: String,
        /// What was found.
        message: String,
    },
    /// The proof could not be made.
    #[error("posture {posture}: the control port could not be tried: {source}")]
    Control {
        /// The posture.
        posture: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Host {
    /// Gives the host a posture and proves it with a control port: a listener, seen in the host's socket table, is
    /// dialled from the sandbox side of the network's bridge before and after. Before, it has to be reached; after, it
    /// has to be what the posture says.
    ///
    /// # Errors
    /// When a tool fails, or the control port tells that the posture is not in force.
    pub async fn apply(&self, posture: &Posture, network: &NetworkInfo) -> Result<(), PostureError> {
        let control = ControlPort::open(self, posture, network)?;
        control.expect(Seen::Reached, "before it was applied").await?;
        let tool = |source| PostureError::Tool { posture: posture.to_string(), source };
        match posture {
            Posture::Open => return Ok(()),
            Posture::DropPorts(ports) => {
                for port in ports {
                    let rule = self.command("iptables").args(["-I", "INPUT"]);
                    rule.args(drop_rule(network, *port)).run().await.map_err(tool)?;
                }
            }
            Posture::InputPolicyDrop => {
                self.command("iptables").args(["-P", "INPUT", "DROP"]).run().await.map_err(tool)?;
            }
            Posture::Ufw(ufw) => ufw.enable(self).await?,
            Posture::Firewalld => firewalld::start(self).await?,
            Posture::NftDrop => {
                let script = ["-c", "printf %s \"$1\" | nft -f -", "sh", NFT_DROP];
                self.command("sh").args(script).run().await.map_err(tool)?;
            }
        }
        control.expect(posture.shows(), "after it was applied").await
    }
    /// Takes a posture away again by its own tool, so that a host can have one after another, and proves it with a control
    /// port. UFW loses all of its rules (`ufw reset`), also those that it was given later.
    ///
    /// # Errors
    /// When a tool fails, the control port is still closed, or the posture is [`Posture::Firewalld`]: an engine treats its
    /// bridges differently once it has met firewalld, so such a host does not become what it was.
    pub async fn lift(&self, posture: &Posture, network: &NetworkInfo) -> Result<(), PostureError> {
        let tool = |source| PostureError::Tool { posture: posture.to_string(), source };
        match posture {
            Posture::Open => {}
            Posture::DropPorts(ports) => {
                for port in ports {
                    let rule = self.command("iptables").args(["-D", "INPUT"]);
                    rule.args(drop_rule(network, *port)).run().await.map_err(tool)?;
                }
            }
            Posture::InputPolicyDrop => {
                self.command("iptables").args(["-P", "INPUT", "ACCEPT"]).run().await.map_err(tool)?;
            }
            Posture::Ufw(ufw) => ufw.reset(self).await.map_err(tool)?,
            Posture::NftDrop => {
                self.command("nft").args(["delete", "table", "inet", "filter"]).run().await.map_err(tool)?;
            }
            Posture::Firewalld => {
                let message = "it cannot be taken away from a running host".to_owned();
                return Err(PostureError::NotInForce { posture: posture.to_string(), message });
            }
        }
        ControlPort::open(self, posture, network)?.expect(Seen::Reached, "after it was taken away").await
    }
}

/// The rule of #3472, without the chain.
fn drop_rule(network: &NetworkInfo, port: u16) -> [String; 8] {
    let port = port.to_string();
    ["-s", &network.cidr(), "-p", "tcp", "--dport", &port, "-j", "DROP"].map(str::to_owned)
}
