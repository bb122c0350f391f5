//! Firewalls beside UFW's default and plain iptables: each is proven by the harness, and seen by the probe for what it does.

use anyhow::Result;
use e2e::lab::{GATEWAY, Lab};
use harness::{Posture, Ufw};
use probe::{Cause, Verdict};
use rstest::rstest;

/// What each of them looks like, and the commands that open the path, each in its tool's own words; a second one comes after
/// the first was taken back.
#[rstest]
#[case::firewalld(Posture::Firewalld, Cause::Rejected, &[
    (
        "firewall-cmd --zone=trusted --add-interface=$BRIDGE",
        Some("firewall-cmd --zone=trusted --remove-interface=$BRIDGE"),
    ),
    (
        "firewall-cmd --add-rich-rule=\"rule family=ipv4 source address=$SUBNET destination address=$GATEWAY \
            port port=8080 protocol=tcp accept\"",
        None,
    ),
])]
#[case::nft(Posture::NftDrop, Cause::Dropped, &[
    ("nft insert rule inet filter input ip saddr $SUBNET ip daddr $GATEWAY tcp dport 8080 accept", None),
])]
#[case::ufw_default_reject(Ufw::default_reject().into(), Cause::Rejected, &[
    ("ufw allow from $SUBNET to $GATEWAY port 8080 proto tcp", None),
])]
#[tokio::test]
async fn the_cause_of_and_what_opens(
    #[case] posture: Posture,
    #[case] cause: Cause,
    #[case] ways: &[(&str, Option<&str>)],
) -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(posture).await?;
    lab.check().await?.all_are(Verdict::TcpFailed, Some(cause));
    for (command, undo) in ways {
        sh(&lab, command).await?;
        let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
        assert_eq!(answer.of(GATEWAY), (Verdict::Ok, None), "{command}: {}", answer.text);
        if let Some(undo) = undo {
            sh(&lab, undo).await?;
            let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
            assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(cause)), "{undo}: {}", answer.text);
        }
    }
    Ok(())
}

async fn sh(lab: &Lab, command: &str) -> Result<()> {
    let shell = lab.host.command("sh").args(["-ec", command]).env("SUBNET", lab.network.cidr());
    let shell = shell.env("GATEWAY", lab.network.gateway.to_string()).env("BRIDGE", &lab.network.bridge);
    shell.run().await?;
    Ok(())
}

/// An engine that finds firewalld when it starts puts its bridges into a zone that accepts everything: the usual state of
/// Fedora and RHEL, and the reason why firewalld is in the way of other bridges only.
#[tokio::test]
async fn an_engine_that_knows_firewalld_opens_its_bridges() -> Result<()> {
    if e2e::ordinary::skips("an_engine_that_knows_firewalld_opens_its_bridges") {
        return Ok(());
    }
    let lab = Lab::start().await?;
    lab.apply(Posture::Firewalld).await?;
    lab.check().await?.all_are(Verdict::TcpFailed, Some(Cause::Rejected));
    lab.host.restart_engine().await?;
    let zone = format!("--get-zone-of-interface={}", lab.network.bridge);
    assert_eq!(lab.host.command("firewall-cmd").arg(zone).run().await?.trim(), "docker");
    lab.check().await?.all_are(Verdict::Ok, None);
    Ok(())
}
