//! A row of the core matrix: both ports, a firewall, one port affected or both.

use anyhow::Result;
use harness::{Posture, Ufw};
use probe::{Cause, Verdict};

use crate::firewall::Firewall;
use crate::lab::{Answer, GATEWAY, Lab, PROXY};

/// Which ports the firewall affects: the case's own, or both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Affected {
    /// The case's own.
    OnePort,
    /// Both.
    BothPorts,
}

const OK: (Verdict, Option<Cause>) = (Verdict::Ok, None);
const DROPPED: (Verdict, Option<Cause>) = (Verdict::TcpFailed, Some(Cause::Dropped));

/// Gives a host that firewall, checks, and repairs it where the row is about that.
///
/// # Errors
/// When a part does not start or a command fails.
///
/// # Panics
/// When the probe says something else than it should.
pub async fn row(lab: &Lab, port: u16, firewall: Firewall, affected: Affected) -> Result<()> {
    let other = if port == GATEWAY { PROXY } else { GATEWAY };
    match firewall {
        Firewall::Open => {
            lab.apply(Posture::Open).await?;
            let answer = match affected {
                Affected::OnePort => lab.check_with(&["--port", &port.to_string()]).await?,
                Affected::BothPorts => lab.check().await?,
            };
            assert_eq!(answer.of(port), OK, "{}", answer.text);
            assert_eq!(answer.code, 0);
            answer.blames_no_firewall();
        }
        Firewall::RuleOf3472 => {
            let ports = if affected == Affected::BothPorts { vec![port, other] } else { vec![port] };
            lab.apply(Posture::DropPorts(ports)).await?;
            expect(&lab.check().await?, lab, affected, port, other, "iptables");
        }
        Firewall::PolicyDrop => {
            lab.apply(Posture::InputPolicyDrop).await?;
            if affected == Affected::OnePort {
                let port = other.to_string();
                let rule = ["-A", "INPUT", "-p", "tcp", "--dport", &port, "-j", "ACCEPT"];
                lab.host.command("iptables").args(rule).run().await?;
            }
            expect(&lab.check().await?, lab, affected, port, other, "iptables");
        }
        Firewall::UfwDefaultDeny => {
            let ufw = Ufw::brev();
            let ufw = if affected == Affected::OnePort { ufw.allow(&format!("{other}/tcp")) } else { ufw };
            lab.apply(ufw).await?;
            expect(&lab.check().await?, lab, affected, port, other, "ufw");
        }
        Firewall::UfwWithRemedy => {
            lab.apply(Ufw::brev()).await?;
            let answer = lab.check().await?;
            expect(&answer, lab, Affected::BothPorts, port, other, "ufw");
            let repaired = if affected == Affected::BothPorts { vec![port, other] } else { vec![port] };
            for port in &repaired {
                let argv = answer.remedy(*port);
                lab.host.command(&argv[0]).args(&argv[1..]).run().await?;
            }
            let answer = lab.check().await?;
            assert_eq!(answer.of(port), OK, "{}", answer.text);
            // One command opens one port and no other.
            let (of_other, code) = if affected == Affected::BothPorts { (OK, 0) } else { (DROPPED, 1) };
            assert_eq!(answer.of(other), of_other, "{}", answer.text);
            assert_eq!(answer.code, code);
        }
    }
    Ok(())
}

/// The port is dropped, the other one as far as it is affected, and the advice is the tool's own command.
fn expect(answer: &Answer, lab: &Lab, affected: Affected, port: u16, other: u16, tool: &str) {
    assert_eq!(answer.of(port), DROPPED, "{}", answer.text);
    let of_other = if affected == Affected::BothPorts { DROPPED } else { OK };
    assert_eq!(answer.of(other), of_other, "{}", answer.text);
    assert_eq!(answer.code, 1);
    let (subnet, gateway) = (lab.network.cidr(), lab.network.gateway);
    let command = match tool {
        "ufw" => format!("ufw allow from {subnet} to {gateway} port {port} proto tcp"),
        _ => format!("iptables -I INPUT -s {subnet} -d {gateway} -p tcp --dport {port} -j ACCEPT"),
    };
    assert_eq!(answer.remedy(port).join(" "), command);
    let address = format!("{gateway}:{port}");
    let summary = &answer.target(port).summary;
    assert!(summary.contains(&address) && summary.contains("firewall"), "{summary}");
    if affected == Affected::OnePort {
        assert!(answer.target(other).remedy.is_none() && answer.target(other).hints.is_empty());
    }
}
