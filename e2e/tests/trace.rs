//! The kernel's own word about which rule decided, with the real tools' rules and on their own hosts.

#![allow(clippy::print_stdout, reason = "a test that could not be made says so")]

use std::io::ErrorKind;

use anyhow::{Context, Result};
use e2e::lab::{GATEWAY, Lab, PROXY};
use harness::{Posture, Ufw};
use nftrace::{Family, Packets, Place};
use rstest::rstest;

/// What decides about a sandbox's connection to the gateway, as table, chain and place.
#[rstest]
#[case::ufw_default_deny(Ufw::default_deny().into(), "ip filter INPUT policy: drop")]
#[case::ufw_deny(Ufw::default_deny().rule("allow 22/tcp").rule("deny 8080/tcp").into(), "ip filter ufw-user-input rule 2: drop")]
#[case::ufw_default_reject(Ufw::default_reject().into(), "ip filter ufw-reject-input rule 1: drop")]
#[case::iptables_policy(Posture::InputPolicyDrop, "ip filter INPUT policy: drop")]
#[case::iptables_rules(Posture::DropPorts(vec![11435, 8080]), "ip filter INPUT rule 1: drop")]
#[case::nft_policy(Posture::NftDrop, "inet filter input policy: drop")]
#[tokio::test]
async fn the_decision_of(#[case] posture: Posture, #[case] decided: &str) -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(posture).await?;
    let dial = lab.host.trace_dial(&lab.network, GATEWAY)?;
    assert_eq!(dial.decided.to_string(), decided, "{:#?}", dial.decided.trace);
    assert!(dial.decided.is_dropped() && dial.outcome.is_err(), "{:?}", dial.outcome);
    Ok(())
}

#[tokio::test]
async fn firewalld_refuses_by_a_rule_of_its_zone() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::Firewalld).await?;
    let dial = lab.host.trace_dial(&lab.network, GATEWAY)?;
    let decision = dial.decided.decision.clone().context("nothing decided")?;
    assert_eq!((decision.family, decision.table.as_str()), (Family::Inet, "firewalld"), "{}", dial.decided);
    assert!(dial.decided.is_dropped());
    assert_eq!(dial.outcome, Err(ErrorKind::HostUnreachable));
    let listing = lab.host.command("nft").args(["-a", "list", "chain", "inet", "firewalld", &decision.chain]);
    let handle = format!("# handle {}", decision.rule.context("a policy decided")?);
    let listing = listing.run().await?;
    let line = listing.lines().find(|line| line.ends_with(&handle)).with_context(|| listing.clone())?;
    assert!(line.contains("reject"), "{line}");
    Ok(())
}

/// The place is that of `iptables-save`.
#[tokio::test]
async fn a_position_is_the_line_that_iptables_save_prints() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev().rule("deny 8080/tcp")).await?;
    let dial = lab.host.trace_dial(&lab.network, GATEWAY)?;
    let position = dial.decided.position.with_context(|| dial.decided.to_string())?;
    let saved = lab.host.command("iptables-save").run().await?;
    let mut rules = saved.lines().filter(|line| line.starts_with("-A ufw-user-input "));
    let line = rules.nth(position - 1).with_context(|| saved.clone())?;
    assert_eq!(line, "-A ufw-user-input -p tcp -m tcp --dport 8080 -j DROP");
    Ok(())
}

/// A rule ahead of UFW's, which no command of UFW's shows and no `ufw allow` helps against.
#[tokio::test]
async fn a_rule_ahead_of_ufw_decides_and_not_ufw() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::default_deny().allow("8080/tcp")).await?;
    let before = lab.host.trace_dial(&lab.network, GATEWAY)?;
    assert_eq!(before.outcome, Ok(()));
    assert_eq!(before.decided.to_string(), "ip filter ufw-user-input rule 1: accept");
    let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP"];
    lab.host.command("iptables").args(rule).run().await?;
    let after = lab.host.trace_dial(&lab.network, GATEWAY)?;
    assert_eq!(after.outcome, Err(ErrorKind::TimedOut));
    assert_eq!(after.decided.to_string(), "ip filter INPUT rule 1: drop");
    Ok(())
}

/// A sandbox's container lives for half a second; its packets are picked on a port that came after the trace began.
#[tokio::test]
async fn a_container_that_comes_and_goes_is_traced() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::drop_port(GATEWAY)).await?;
    let mut trace = lab.host.trace(&Place::Bridges, &[GATEWAY, PROXY])?;
    lab.check().await?;
    let flows = trace.drain()?;
    let of = |port: u16| flows.iter().filter(move |it| it.flow().destination.port() == port);
    assert!(of(GATEWAY).count() > 0 && of(PROXY).count() > 0, "{flows:#?}");
    for flow in of(GATEWAY) {
        assert_eq!(flow.to_string(), "ip filter INPUT rule 1: drop");
    }
    assert!(of(PROXY).all(|it| !it.is_dropped()), "{flows:#?}");
    assert!(flows.iter().all(|it| it.flow().source.ip() != it.flow().destination.ip()));
    Ok(())
}

/// An open path is decided by whatever accepts last, and other ports are not traced.
#[tokio::test]
async fn what_accepts_is_said_and_what_is_not_asked_for_is_not() -> Result<()> {
    let lab = Lab::start().await?;
    let dial = lab.host.trace_dial(&lab.network, GATEWAY)?;
    assert_eq!(dial.outcome, Ok(()));
    assert!(!dial.decided.is_dropped(), "{}", dial.decided);
    let mut trace = lab.host.trace(&Place::Bridges, &[GATEWAY])?;
    assert_eq!(lab.host.trace_dial(&lab.network, PROXY)?.outcome, Ok(()));
    assert!(trace.drain()?.is_empty());
    Ok(())
}

/// A SYN that is accepted, and an ACK that is dropped: the connection stands for the one who dialled.
#[tokio::test]
async fn a_drop_after_the_handshake_is_seen_with_all_packets() -> Result<()> {
    let lab = Lab::start().await?;
    let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "8080", "!", "--syn", "-j", "DROP"];
    lab.host.command("iptables").args(rule).run().await?;
    let mut trace = lab.host.trace_packets(&Place::Bridges, &[GATEWAY], Packets::All)?;
    let dial = lab.host.trace_dial(&lab.network, GATEWAY)?;
    assert_eq!((dial.outcome, dial.decided.is_dropped()), (Ok(()), false));
    let flows = trace.drain()?;
    assert_eq!(flows.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ip filter INPUT rule 1: drop"]);
    Ok(())
}

/// A packet is the same one after its destination was translated.
#[tokio::test]
async fn what_decides_after_a_translation_belongs_to_the_dial() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::drop_port(GATEWAY)).await?;
    let rule = ["-t", "nat", "-I", "PREROUTING", "-p", "tcp", "--dport", "9999", "-j", "REDIRECT"];
    lab.host.command("iptables").args(rule).args(["--to-ports", "8080"]).run().await?;
    let dial = lab.host.trace_dial(&lab.network, 9999)?;
    assert_eq!(dial.outcome, Err(ErrorKind::TimedOut));
    assert_eq!(dial.decided.to_string(), "ip filter INPUT rule 1: drop");
    assert_eq!(dial.decided.flow().destination.port(), 9999);
    Ok(())
}

/// A bridge may ask iptables itself, before the host's own IPv4 sees the packet: its table `raw` is then met inside of it.
#[tokio::test]
async fn a_bridge_that_asks_iptables_is_traced_too() -> Result<()> {
    let lab = Lab::start().await?;
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if lab.host.command("sh").args(["-ec", &format!("echo 1 >{setting}")]).run().await.is_err() {
        println!("not tried: the kernel has no br_netfilter");
        return Ok(());
    }
    let rule = ["-t", "raw", "-I", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "DROP"];
    lab.host.command("iptables").args(rule).run().await?;
    let mut trace = lab.host.trace(&Place::Bridges, &[GATEWAY])?;
    let dial = lab.host.trace_dial(&lab.network, GATEWAY)?;
    assert_eq!(dial.decided.to_string(), "ip raw PREROUTING rule 1: drop");
    let flows = trace.drain()?;
    assert_eq!(flows.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ip raw PREROUTING rule 1: drop"]);
    Ok(())
}

/// What the crate's documentation says of legacy tables.
#[tokio::test]
async fn a_legacy_table_drops_and_nf_tables_knows_nothing_of_it() -> Result<()> {
    let lab = Lab::start().await?;
    let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP"];
    lab.host.command("iptables-legacy").args(rule).run().await?;
    let dial = lab.host.trace_dial(&lab.network, GATEWAY)?;
    assert_eq!(dial.outcome, Err(ErrorKind::TimedOut));
    assert!(!dial.decided.is_dropped(), "{}", dial.decided);
    Ok(())
}
