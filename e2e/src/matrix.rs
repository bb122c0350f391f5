//! The rows of the core matrix: a firewall against one of the two ports, against the other, and against both, one after another
//! on one host.

use anyhow::Result;
use harness::{Posture, Ufw};
use probe::{Cause, Verdict};

use crate::firewall::Firewall;
use crate::lab::{Answer, GATEWAY, Lab, PROBE, PROXY, checks_by};

const OK: (Verdict, Option<Cause>) = (Verdict::Ok, None);
const DROPPED: (Verdict, Option<Cause>) = (Verdict::TcpFailed, Some(Cause::Dropped));

/// The affected ports of the rows.
const ROWS: [&[u16]; 3] = [&[GATEWAY], &[PROXY], &[GATEWAY, PROXY]];

/// The rows of a firewall. Afterwards UFW and a policy are still in force.
///
/// # Errors
/// When a part of the host fails.
///
/// # Panics
/// When the probe says anything else than it should.
pub async fn rows(lab: &Lab, firewall: Firewall) -> Result<()> {
    match firewall {
        Firewall::Open => open(lab).await?,
        Firewall::RuleOf3472 => {
            for affected in ROWS {
                let posture = Posture::DropPorts(affected.to_vec());
                lab.apply(posture.clone()).await?;
                expect(&lab.check().await?, lab, affected, "iptables");
                lab.lift(posture).await?;
            }
        }
        Firewall::PolicyDrop => {
            lab.apply(Posture::InputPolicyDrop).await?;
            for affected in ROWS {
                let others = others(affected).map(|port| port.to_string());
                let rules: Vec<_> =
                    others.map(|port| format!("INPUT -p tcp --dport {port} -j ACCEPT")).collect();
                for rule in &rules {
                    lab.run(&format!("iptables -A {rule}")).await?;
                }
                expect(&lab.check().await?, lab, affected, "iptables");
                for rule in &rules {
                    lab.run(&format!("iptables -D {rule}")).await?;
                }
            }
        }
        Firewall::UfwDefaultDeny => {
            lab.apply(Ufw::brev()).await?;
            for affected in ROWS {
                for port in others(affected) {
                    lab.run(&format!("ufw allow {port}/tcp")).await?;
                }
                expect(&lab.check().await?, lab, affected, "ufw");
                for port in others(affected) {
                    lab.run(&format!("ufw delete allow {port}/tcp")).await?;
                }
            }
        }
        Firewall::UfwWithRemedy => {
            lab.apply(Ufw::brev()).await?;
            let both = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];
            let blocked = checks_by(|| lab.host.command(PROBE), &both).await?;
            expect(&blocked, lab, &[GATEWAY, PROXY], "ufw");
            // One command opens one port and no other.
            for repaired in ROWS {
                for port in repaired {
                    lab.run(&blocked.remedy(*port).join(" ")).await?;
                }
                let answer = lab.check().await?;
                for port in [GATEWAY, PROXY] {
                    let is = if repaired.contains(&port) { OK } else { DROPPED };
                    assert_eq!(answer.of(port), is, "{repaired:?}: {}", answer.text);
                }
                assert_eq!(answer.code, i32::from(repaired.len() < 2));
                for port in repaired {
                    let rule = blocked.remedy(*port)[1..].join(" ");
                    lab.run(&format!("ufw delete {rule}")).await?;
                }
            }
        }
    }
    Ok(())
}

async fn open(lab: &Lab) -> Result<()> {
    lab.apply(Posture::Open).await?;
    for ports in ROWS {
        let answer = match ports {
            [port] => lab.check_with(&["--port", &port.to_string()]).await?,
            // Also the two forms, by two checks at once.
            _ => {
                let both = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];
                checks_by(|| lab.host.command(PROBE), &both).await?
            }
        };
        for port in ports {
            assert_eq!(answer.of(*port), OK, "{}", answer.text);
        }
        assert_eq!(answer.code, 0);
        answer.blames_no_firewall();
    }
    Ok(())
}

/// The port that is not affected, if there is one.
fn others(affected: &[u16]) -> impl Iterator<Item = u16> {
    [GATEWAY, PROXY].into_iter().filter(move |port| !affected.contains(port))
}

/// The affected ports are dropped and no other, and the advice is the tool's own command.
fn expect(answer: &Answer, lab: &Lab, affected: &[u16], tool: &str) {
    let (subnet, gateway) = (lab.network.cidr(), lab.network.gateway);
    assert_eq!(answer.code, 1);
    for port in others(affected) {
        assert_eq!(answer.of(port), OK, "{affected:?}: {}", answer.text);
        assert!(answer.target(port).remedy.is_none() && answer.target(port).hints.is_empty());
    }
    for port in affected {
        assert_eq!(answer.of(*port), DROPPED, "{affected:?}: {}", answer.text);
        let command = match tool {
            "ufw" => format!("ufw allow from {subnet} to {gateway} port {port} proto tcp"),
            _ => format!("iptables -I INPUT -s {subnet} -d {gateway} -p tcp --dport {port} -j ACCEPT"),
        };
        assert_eq!(answer.remedy(*port).join(" "), command);
        let address = format!("{gateway}:{port}");
        let summary = &answer.target(*port).summary;
        assert!(summary.contains(&address) && summary.contains("firewall"), "{summary}");
    }
}
