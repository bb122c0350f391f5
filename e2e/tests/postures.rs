//! Firewalls beside UFW's default and plain iptables: each is proven by the harness, and seen by the probe for what it does.

use anyhow::Result;
use e2e::lab::{GATEWAY, Lab};
use harness::{Posture, Ufw};
use probe::{Cause, Verdict};
use rstest::rstest;

#[rstest]
#[case::firewalld(Posture::Firewalld, Cause::Rejected)]
#[case::ufw_default_reject(Ufw::default_reject().into(), Cause::Rejected)]
#[case::nft_policy_drop(Posture::NftDrop, Cause::Dropped)]
#[tokio::test]
async fn the_cause_of(#[case] posture: Posture, #[case] cause: Cause) -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(posture).await?;
    lab.check().await?.all_are(Verdict::TcpFailed, Some(cause));
    Ok(())
}

/// The commands that open the path, each in its tool's own words.
#[rstest]
#[case::firewalld_zone(
    Posture::Firewalld,
    &["firewall-cmd", "--zone=trusted", "--add-interface=$BRIDGE"]
)]
#[case::firewalld_rich_rule(
    Posture::Firewalld,
    &["firewall-cmd", "--add-rich-rule=rule family=ipv4 source address=$SUBNET destination address=$GATEWAY port port=8080 protocol=tcp accept"]
)]
#[case::nft(
    Posture::NftDrop,
    &["nft", "insert", "rule", "inet", "filter", "input", "ip", "saddr", "$SUBNET", "ip", "daddr", "$GATEWAY", "tcp", "dport", "8080", "accept"]
)]
#[case::ufw(
    Ufw::default_reject().into(),
    &["ufw", "allow", "from", "$SUBNET", "to", "$GATEWAY", "port", "8080", "proto", "tcp"]
)]
#[tokio::test]
async fn what_opens(#[case] posture: Posture, #[case] command: &[&str]) -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(posture).await?;
    let (subnet, gateway) = (lab.network.cidr(), lab.network.gateway.to_string());
    let filled = |word: &&str| {
        let word = word.replace("$SUBNET", &subnet).replace("$GATEWAY", &gateway);
        word.replace("$BRIDGE", &lab.network.bridge)
    };
    lab.host.command(command[0]).args(command[1..].iter().map(filled)).run().await?;
    let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::Ok, None), "{}", answer.text);
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
