//! Which rule decided: what `openshell-probe explain` names is the rule that the real tool made.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::agreement;
use e2e::agreement::table::{self, Row};
use e2e::lab::{Lab, PROBE};
use harness::{Posture, Ufw};
use probe::{Decided, Explanation, Method, Report, RulesSeen, TriedRemedy, Verdict};
use rstest::rstest;

const TARGET: [&str; 2] = ["--port", "8080=gateway"];

/// What brings a host into the situation.
#[derive(Clone, Copy, Debug)]
enum Situation {
    UfwDefaultDeny,
    UfwDenies,
    UfwDefaultReject,
    PolicyDrop,
    RawPrerouting,
    DropBeforeUfw,
    NftTable,
    Firewalld,
    Legacy,
    AnswersDropped,
    AnswersAfterTheHandshakeDropped,
}

async fn sh(lab: &Lab, line: &str) -> Result<String> {
    Ok(lab.host.command("sh").args(["-ec", line]).run().await?)
}

async fn bring_about(situation: Situation, lab: &Lab) -> Result<()> {
    match situation {
        Situation::UfwDefaultDeny => lab.apply(Ufw::default_deny()).await?,
        Situation::UfwDenies => {
            sh(lab, "ufw allow 22/tcp && ufw deny 8080/tcp && ufw --force enable").await?;
        }
        Situation::UfwDefaultReject => {
            sh(lab, "ufw default reject incoming && ufw --force enable").await?;
        }
        Situation::PolicyDrop => lab.apply(Posture::InputPolicyDrop).await?,
        Situation::RawPrerouting => {
            sh(lab, "iptables -t raw -A PREROUTING -p tcp --dport 8080 -j DROP").await?;
        }
        Situation::DropBeforeUfw => {
            lab.apply(Ufw::default_deny()).await?;
            sh(lab, "iptables -I INPUT -s 172.18.0.0/16 -p tcp --dport 8080 -j DROP").await?;
        }
        Situation::NftTable => lab.apply(Posture::NftDrop).await?,
        Situation::Firewalld => lab.apply(Posture::Firewalld).await?,
        Situation::Legacy => {
            sh(lab, "iptables-legacy -A INPUT -p tcp --dport 8080 -j DROP").await?;
        }
        Situation::AnswersDropped => {
            sh(lab, "iptables -A OUTPUT -p tcp --sport 8080 -j DROP").await?;
        }
        Situation::AnswersAfterTheHandshakeDropped => {
            let rule = "-p tcp -m multiport --sports 8080,11435 -m tcp --tcp-flags SYN NONE -j DROP";
            sh(lab, &format!("iptables -A OUTPUT {rule}")).await?;
        }
    }
    Ok(())
}

async fn report(lab: &Lab, command: &str) -> Result<Report> {
    let output =
        lab.host.command(PROBE).arg(command).args(TARGET).args(["--format", "json"]).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).with_context(|| said)
}

fn explanation(report: &Report) -> Result<&Explanation> {
    report.targets[0].explanation.as_ref().context("no explanation")
}

fn place(decided: &Decided) -> String {
    let Decided { backend, family, table, chain, text, .. } = decided;
    let rule = decided.rule.map_or_else(String::new, |number| format!(" rule {number}"));
    format!("{backend} {family} {table} {chain}{rule}: {text}")
}

/// Effect, place, the setting, whether every rule on the way counts, and how the remedy begins that is run.
#[rstest]
#[case::ufw_default_deny(
    Situation::UfwDefaultDeny,
    "dropped",
    "nft ip filter INPUT: policy DROP",
    "ufw default deny incoming",
    true,
    Some("ufw allow from")
)]
#[case::ufw_denies(
    Situation::UfwDenies,
    "dropped",
    "nft ip filter ufw-user-input rule 2: -p tcp -m tcp --dport 8080 -j DROP",
    "[2] of 'ufw status numbered': deny tcp 8080",
    true,
    Some("ufw prepend allow from")
)]
#[case::ufw_default_reject(
    Situation::UfwDefaultReject,
    "rejected with port-unreachable",
    "nft ip filter ufw-reject-input rule 1: -j REJECT --reject-with icmp-port-unreachable",
    "ufw default reject incoming",
    true,
    Some("ufw allow from")
)]
#[case::policy_drop(
    Situation::PolicyDrop,
    "dropped",
    "nft ip filter INPUT: policy DROP",
    "iptables -P INPUT DROP",
    true,
    Some("iptables -I INPUT 1 -s")
)]
#[case::raw_prerouting(
    Situation::RawPrerouting,
    "dropped",
    "nft ip raw PREROUTING rule 1: -p tcp -m tcp --dport 8080 -j DROP",
    "iptables -t raw -L PREROUTING 1",
    true,
    None
)]
#[case::drop_before_ufw(
    Situation::DropBeforeUfw,
    "dropped",
    "nft ip filter INPUT rule 1: -s 172.18.0.0/16 -p tcp -m tcp --dport 8080 -j DROP",
    "iptables -L INPUT 1",
    true,
    None
)]
#[case::nft_table(
    Situation::NftTable,
    "dropped",
    "native inet filter input: policy drop",
    "nft list chain inet filter input",
    false,
    Some("nft insert rule inet filter input")
)]
#[case::firewalld(
    Situation::Firewalld,
    "rejected with admin-prohibited",
    "native inet firewalld filter_INPUT_POLICIES rule",
    "firewalld's zone public",
    false,
    Some("firewall-cmd --zone=public --add-rich-rule=")
)]
#[case::legacy(
    Situation::Legacy,
    "dropped",
    "legacy ip filter INPUT rule 1: -p tcp -m tcp --dport 8080 -j DROP",
    "iptables -L INPUT 1",
    true,
    None
)]
#[case::answers_dropped(
    Situation::AnswersDropped,
    "dropped",
    "nft ip filter OUTPUT rule 1: -p tcp -m tcp --sport 8080 -j DROP",
    "iptables -L OUTPUT 1",
    false,
    None
)]
#[case::answers_after_the_handshake_dropped(
    Situation::AnswersAfterTheHandshakeDropped,
    "dropped",
    "nft ip filter OUTPUT rule 1: -p tcp -m multiport --sports 8080,11435",
    "iptables -L OUTPUT 1",
    false,
    Some("iptables -I OUTPUT 1 -s 172.18.0.1 -d 172.18.0.0/16 -p tcp -m tcp --sport 8080 -j ACCEPT")
)]
#[tokio::test]
async fn the_deciding_rule_is_named(
    #[case] situation: Situation,
    #[case] effect: &str,
    #[case] rule: &str,
    #[case] setting: &str,
    #[case] counts: bool,
    #[case] remedy: Option<&str>,
) -> Result<()> {
    let lab = Lab::start().await?;
    bring_about(situation, &lab).await?;
    let report = report(&lab, "explain").await?;
    let explanation = explanation(&report)?;
    ensure!(explanation.seen == RulesSeen::Rules, "{explanation:#?}");
    let decided = explanation.decided.as_ref().with_context(|| format!("{report:#?}"))?;
    assert_eq!(decided.effect, effect, "{explanation:#?}");
    assert!(place(decided).starts_with(rule), "{}\n{explanation:#?}", place(decided));
    let found = decided.setting.as_ref().context("no setting")?;
    assert!(found.text.contains(setting), "{found:?}");
    assert!(explanation.confirmed_by.contains(&Method::Static), "{explanation:#?}");
    assert!(explanation.confirmed_by.contains(&Method::Twin), "{explanation:#?}");
    if matches!(situation, Situation::Legacy) {
        let remedy = explanation.remedies.first().context("no remedy")?;
        assert!(
            remedy.proven && remedy.commands[0].starts_with("iptables-legacy -I INPUT 1 "),
            "{remedy:#?}"
        );
    }
    assert_eq!(explanation.confirmed_by.contains(&Method::Counters), counts, "{explanation:#?}");
    let host = format!("explain/{situation:?}");
    let row = Row {
        host: host.clone(),
        port: 8080,
        rule: agreement::rule(decided),
        packet: decided.packet.clone(),
        layers: agreement::layers(explanation),
        socket: None,
    };
    table::check(&host, &[row])?;
    let last = explanation.walk.last().and_then(|packet| packet.steps.last()).context("no walk")?;
    assert!(last.decides, "{explanation:#?}");
    match remedy {
        Some(begins) => the_remedy_opens_the_path_and_can_be_taken_back(&lab, explanation, begins).await,
        None => Ok(()),
    }
}

/// What is printed is run with the real tool: it opens the path and nothing that was closed before, and what takes it back
/// leaves the rules as they were.
async fn the_remedy_opens_the_path_and_can_be_taken_back(
    lab: &Lab,
    explained: &Explanation,
    begins: &str,
) -> Result<()> {
    let remedy = explained.remedies.first().with_context(|| format!("{explained:#?}"))?;
    assert!(remedy.commands[0].starts_with(begins), "{remedy:#?}");
    assert!(remedy.proven && remedy.controls >= 9, "six of IPv4, three of IPv6: {explained:#?}");
    if remedy.commands[0].starts_with("ufw") {
        let bound = explained.remedies.get(1).with_context(|| format!("{explained:#?}"))?;
        assert!(bound.commands[0].contains("allow in on br-") && bound.proven, "{bound:#?}");
        let tells = |remedy: &TriedRemedy| remedy.note.as_deref().unwrap_or_default().contains("comes in by");
        assert!(!tells(bound), "{bound:#?}");
        // With the first rule that a user gives or takes, UFW also makes rules of its own for 'limit'.
        sh(lab, "ufw allow 9/tcp && ufw delete allow 9/tcp").await?;
    }
    let before = rules(lab).await?;
    for command in &remedy.commands {
        sh(lab, command).await?;
    }
    let after = report(lab, "explain").await?;
    assert_eq!(after.targets[0].verdict, Verdict::Ok, "{after:#?}");
    let open = lab.check_with(&["--port", "8080=gateway", "--port", "11435=ollama-proxy"]).await?;
    assert_ne!(open.report.targets[1].verdict, Verdict::Ok, "the other port has no remedy yet");
    for command in &remedy.undo {
        sh(lab, command).await?;
    }
    let after = rules(lab).await?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let changed: Vec<_> = lines(&before).symmetric_difference(&lines(&after)).cloned().collect();
    assert!(before == after, "{changed:#?}");
    Ok(())
}

/// All rules, without what counts and what numbers them.
async fn rules(lab: &Lab) -> Result<String> {
    let line = "for family in ip ip6; do ${family}tables-nft-save; done | sed -e '/^#/d' -e 's/ \\[[0-9:]*\\]$//'; \
        nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*//'";
    sh(lab, line).await
}

/// One host: before, under and after UFW's default deny.
#[tokio::test]
async fn a_rule_is_named_where_one_decides_and_only_there() -> Result<()> {
    let lab = Lab::start().await?;
    assert_eq!(report(&lab, "check").await?.targets[0].explanation, None, "nothing failed");
    bring_about(Situation::UfwDefaultDeny, &lab).await?;
    check_names_the_rule_of_a_failure_too(&lab).await?;
    explaining_changes_no_rule(&lab).await?;
    sh(&lab, "ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp").await?;
    where_nothing_stops_the_packets_no_rule_is_named(&lab).await
}

async fn check_names_the_rule_of_a_failure_too(lab: &Lab) -> Result<()> {
    let report = report(lab, "check").await?;
    let decided = explanation(&report)?.decided.as_ref().context("no rule")?;
    assert_eq!(place(decided), "nft ip filter INPUT: policy DROP");
    Ok(())
}

/// Reading the rules must not make any: the legacy tools create the table that they list.
async fn explaining_changes_no_rule(lab: &Lab) -> Result<()> {
    let state = "for family in ip ip6; do ${family}tables-nft-save; done | sed -e '/^#/d' -e 's/ \\[[0-9:]*\\]$//'; \
        nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*//'; \
        cat /proc/net/ip_tables_names 2>/dev/null; (ip -o link; ip -o addr; ip route) | \
        sed -e 's/NO-CARRIER,//' -e 's/,LOWER_UP//' -e 's/ state [A-Z]*//' -e 's/ linkdown//'; ls /proc/sys/net/bridge 2>/dev/null; \
        grep -r . /proc/sys/net/ipv4/conf 2>/dev/null";
    let lines = |text: String| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    // The network has had containers by now. Whether its bridge has a carrier is a matter of moments.
    let before = lines(sh(lab, state).await?);
    report(lab, "explain").await?;
    let after = lines(sh(lab, state).await?);
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    Ok(())
}

async fn where_nothing_stops_the_packets_no_rule_is_named(lab: &Lab) -> Result<()> {
    let report = report(lab, "explain").await?;
    let explanation = explanation(&report)?;
    assert_eq!(explanation.decided, None, "{explanation:#?}");
    assert_eq!(explanation.walk.len(), 6, "the handshake, the data and their answer: {explanation:#?}");
    ensure!(explanation.confirmed_by.contains(&Method::Static), "{explanation:#?}");
    Ok(())
}
