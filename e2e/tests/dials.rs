//! What the dials themselves have to get right: stand-ins, many ports at once, early ends.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::lab::{Answer, GATEWAY, Lab, PROBE};
use harness::service::Gateway;
use harness::{Posture, Ufw};
use probe::{Cause, Ground, Report, TargetReport, Verdict};
use rstest::rstest;

const WITH_STAND_IN: [&str; 3] = ["--port", "8080=gateway", "--stand-in"];

#[tokio::test]
async fn a_stand_in_says_whether_a_service_would_be_reached() -> Result<()> {
    let lab = Lab::without_services().await?;
    let target = alone(&lab, &WITH_STAND_IN).await?;
    assert_eq!((target.verdict, target.cause), (Verdict::Ok, None), "{target:?}");
    assert!(target.summary.contains("nothing listens on 172.18.0.1:8080 yet, and sandboxes would reach it"));
    lab.apply(Ufw::brev()).await?;
    let target = alone(&lab, &WITH_STAND_IN).await?;
    assert_eq!((target.verdict, target.cause), (Verdict::TcpFailed, Some(Cause::Dropped)), "{target:?}");
    assert!(target.summary.contains("sandboxes would be blocked"), "{target:?}");
    let remedy = target.remedy.expect("a firewall is to blame").argv;
    lab.host.command(&remedy[0]).args(&remedy[1..]).run().await?;
    let target = alone(&lab, &WITH_STAND_IN).await?;
    assert_eq!((target.verdict, target.cause), (Verdict::Ok, None), "{target:?}");
    let table = lab.host.network_namespace().run(probe::read_listeners)??;
    assert!(!table.iter().any(|listener| listener.port == GATEWAY), "the stand-in is still there");
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_anywhere_gets_no_stand_in() -> Result<()> {
    let lab = Lab::without_services().await?;
    let _gateway = Gateway::on_loopback().start(&lab.host).await?;
    let answer = lab.check_with(&WITH_STAND_IN).await?;
    answer.all_are(Verdict::TcpFailed, Some(Cause::WrongBind));
    Ok(())
}

/// A host sends ICMP refusals to one address in a burst of six and then once a second. Those that it holds back must not
/// look like drops.
#[tokio::test]
async fn twelve_rejected_ports_are_all_rejected() -> Result<()> {
    let lab = Lab::without_services().await?;
    let ports: Vec<u16> = (9000..9012).collect();
    let _listeners = listen(&lab, &ports)?;
    let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "9000:9011", "-j", "REJECT"];
    lab.host.command("iptables").args(rule).run().await?;
    let answer = check(&lab, &named(&ports)).await?;
    answer.all_are(Verdict::TcpFailed, Some(Cause::Rejected));
    Ok(())
}

/// Without time for that, what was held back is not called anything.
#[tokio::test]
async fn refusals_that_could_not_be_waited_for_are_inconclusive() -> Result<()> {
    let lab = Lab::without_services().await?;
    let ports: Vec<u16> = (9000..9030).collect();
    let _listeners = listen(&lab, &ports)?;
    let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "9000:9029", "-j", "REJECT"];
    lab.host.command("iptables").args(rule).run().await?;
    let arguments = [named(&ports), vec!["--deadline".to_owned(), "10s".to_owned()]].concat();
    let answer = check(&lab, &arguments).await?;
    let count = |verdict, cause| {
        answer.report.targets.iter().filter(|it| (it.verdict, it.cause) == (verdict, Some(cause))).count()
    };
    let (rejected, unknown) =
        (count(Verdict::TcpFailed, Cause::Rejected), count(Verdict::ProbeUnavailable, Cause::Inconclusive));
    assert_eq!(rejected + unknown, ports.len(), "{}", answer.text);
    assert!(rejected >= 6 && unknown > 0, "{rejected} rejected, {unknown} unknown");
    Ok(())
}

/// Silence on a bridge is called after three SYNs of two sockets, long before the time-out.
#[rstest]
#[tokio::test]
async fn a_drop_is_called_early_and_a_dead_link_is_not(#[values(false, true)] link_down: bool) -> Result<()> {
    let lab = Lab::start().await?;
    if link_down {
        lab.host.command("ip").args(["address", "flush", "dev", &lab.network.bridge]).run().await?;
        lab.host.command("ip").args(["address", "add", "172.18.0.1/32", "dev", "lo"]).run().await?;
        lab.host.command("sysctl").args(["-qw", "net.ipv4.conf.all.arp_ignore=8"]).run().await?;
    } else {
        lab.apply(Posture::drop_port(GATEWAY)).await?;
    }
    let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
    let evidence = &answer.report.evidence.ports[0];
    let dial = evidence.sandbox.as_ref().expect("it was dialled");
    let elapsed = Duration::from_micros(dial.elapsed_us);
    if link_down {
        assert_ne!(answer.of(GATEWAY).1, Some(Cause::Dropped), "{}", answer.text);
        assert!(elapsed > Duration::from_secs(3), "{elapsed:?}");
    } else {
        answer.all_are(Verdict::TcpFailed, Some(Cause::Dropped));
        assert!(dial.unanswered >= 3 && dial.sockets == 2, "{dial:?}");
        assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
        assert!(answer.target(GATEWAY).because.contains(&Ground::SynsUnanswered));
    }
    Ok(())
}

/// The handshake is let through, and what follows is refused: that is no silence of the service's.
#[tokio::test]
async fn a_greeting_that_is_refused_by_icmp_is_rejected() -> Result<()> {
    let lab = Lab::start().await?;
    let rule = "-I INPUT -p tcp --dport 8080 -m length --length 80:65535 -j REJECT --reject-with icmp-admin-prohibited";
    lab.host.command("iptables").args(rule.split(' ')).run().await?;
    let answer = lab.check_with(&["--port", "8080=gateway"]).await?;
    answer.all_are(Verdict::TcpFailed, Some(Cause::Rejected));
    Ok(())
}

/// Listeners in the host's namespace that take connections and say nothing.
fn listen(lab: &Lab, ports: &[u16]) -> Result<Vec<TcpListener>> {
    let bind = || -> std::io::Result<Vec<TcpListener>> {
        ports.iter().map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))).collect()
    };
    Ok(lab.host.network_namespace().run(bind)??)
}

async fn check(lab: &Lab, arguments: &[String]) -> Result<Answer> {
    lab.check_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// One check alone: of two at once, one would meet the other's stand-in.
async fn alone(lab: &Lab, arguments: &[&str]) -> Result<TargetReport> {
    let arguments = arguments.iter().copied();
    let output =
        lab.host.command(PROBE).arg("check").args(arguments).args(["--format", "json"]).output().await?;
    let report: Report = serde_json::from_slice(&output.stdout)?;
    report.targets.into_iter().next().context("no target")
}

fn named(ports: &[u16]) -> Vec<String> {
    ports.iter().flat_map(|port| ["--port".to_owned(), port.to_string()]).collect()
}
