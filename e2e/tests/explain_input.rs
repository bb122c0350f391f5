//! What `openshell-probe explain` says where it sees less than all, or more than is good: other packets, other tools, rules that
//! nobody understands, and no right to look.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::{Lab, PROBE};
use e2e::seccomp::{no_user_namespaces, program};
use harness::{Noise, Posture, Ufw};
use probe::{Cause, Explanation, Method, Report, RulesSeen, Station, SuspectTool, Verdict};

const TARGET: [&str; 2] = ["--port", "8080=gateway"];

async fn sh(lab: &Lab, line: &str) -> Result<String> {
    Ok(lab.host.command("sh").args(["-ec", line]).run().await?)
}

/// What `explain` says in both forms, by a command that may be run by another.
async fn explain(lab: &Lab, before: &[&str], arguments: &[&str]) -> Result<(Report, String)> {
    let mut forms = Vec::new();
    for format in ["json", "text"] {
        let output = run(lab, before, &[arguments, &["--format", format]].concat()).await?;
        let said = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(matches!(output.status.code(), Some(0 | 1)), "{said}");
        forms.push((output.stdout, said));
    }
    let (text, (json, said)) = (forms.pop().context("no text")?.1, forms.pop().context("no JSON")?);
    Ok((serde_json::from_slice(&json).with_context(|| said)?, text))
}

/// The JSON form alone.
async fn report(lab: &Lab, before: &[&str]) -> Result<Report> {
    let output = run(lab, before, &["--format", "json"]).await?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn run(lab: &Lab, before: &[&str], arguments: &[&str]) -> Result<Output> {
    let words = [before, &[PROBE, "explain"], &TARGET, arguments].concat();
    let (program, words) = words.split_first().context("no program")?;
    // Ten thousand rules take a debug build ten seconds, and a busy machine three times as long.
    let command = lab.host.command(*program).args(words.iter().copied()).deadline(Duration::from_secs(120));
    Ok(command.output().await?)
}

fn explained(report: &Report) -> Result<&Explanation> {
    report.targets[0].explanation.as_ref().context("no explanation")
}

fn notes(explanation: &Explanation) -> String {
    explanation.notes.join("\n")
}

fn place(explanation: &Explanation) -> Option<String> {
    let decided = explanation.decided.as_ref()?;
    Some(format!("{} {} {} {}", decided.backend, decided.table, decided.chain, decided.text))
}

/// A user who is not root learns the same verdict, a suspect that is marked as one, and what root would learn. Files that are
/// none hold nothing up, and UFW is not named where it is off.
#[tokio::test]
async fn without_root_a_suspect_is_inferred_from_files() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::default_deny()).await?;
    let group = sh(&lab, "stat -c %g /run/docker.sock").await?.trim().to_owned();
    let user = [
        "env",
        "HOME=/home/user",
        "setpriv",
        "--reuid=1000",
        &format!("--regid={group}"),
        "--clear-groups",
        "--",
    ];
    let (report, text) = explain(&lab, &user, &[]).await?;
    let explanation = explained(&report)?;
    assert_eq!(
        (report.targets[0].verdict, report.targets[0].cause),
        (Verdict::TcpFailed, Some(Cause::Dropped))
    );
    assert_eq!((explanation.seen, &explanation.decided), (RulesSeen::Inferred, &None), "{explanation:#?}");
    let [suspect] = explanation.suspects.as_slice() else { anyhow::bail!("{explanation:#?}") };
    assert_eq!((suspect.tool, suspect.inferred), (SuspectTool::Ufw, true));
    assert_eq!(suspect.files, ["/etc/ufw/ufw.conf", "/etc/default/ufw"]);
    assert!(text.contains("  inferred   UFW is enabled and drops what comes in unless"), "{text}");
    assert!(text.contains("by which rule was not seen"), "{text}");
    assert!(
        notes(explanation).contains("sudo openshell-probe explain --port 8080=gateway"),
        "{explanation:#?}"
    );
    assert!(explanation.way.iter().any(|leg| leg.station == Station::Firewall && leg.stopped.is_some()));
    // The same by a check.
    let output = lab
        .host
        .command(user[0])
        .args(user[1..].iter().copied())
        .args([PROBE, "check"])
        .args(TARGET)
        .output()
        .await?;
    let checked = String::from_utf8(output.stdout)?;
    assert!(checked.contains("  inferred   UFW is enabled and drops"), "{checked}");
    // The rules stay, and the files are none any more.
    for line in [
        "sed -i s/ENABLED=yes/ENABLED=no/ /etc/ufw/ufw.conf",
        "rm /etc/ufw/ufw.conf && mkfifo -m 644 /etc/ufw/ufw.conf",
    ] {
        sh(&lab, line).await?;
        let silent = self::report(&lab, &user).await?;
        assert_eq!(explained(&silent)?.suspects, [], "{line}: {silent:#?}");
        assert_eq!(silent.targets[0].cause, Some(Cause::Dropped), "{line}");
        ensure!(!silent.targets[0].hints.iter().any(|hint| hint.contains("ufw")), "{line}: {silent:#?}");
    }
    Ok(())
}

/// One host with UFW: the picture, counters under noise and without packets, rules that open more, and no twin.
#[tokio::test]
async fn what_is_said_beside_the_rule() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::default_deny()).await?;
    let (left_out, text) = explain(&lab, &[], &["--no-packets"]).await?;
    let explanation = explained(&left_out)?;
    assert_eq!(explanation.no_counters.as_deref(), Some("--no-packets"), "{explanation:#?}");
    assert!(explanation.walk.iter().flat_map(|packet| &packet.steps).all(|step| step.counted.is_none()));
    assert!(text.contains("  confirmed  static+twin (no counters: --no-packets)\n"), "{text}");
    let picture: Vec<&str> =
        text.lines().filter(|line| line.contains(" -X  ") || line.contains('^')).collect();
    let [way, why] = picture.as_slice() else { anyhow::bail!("{text}") };
    assert!(
        way.starts_with("  sandbox -> br-") && way.ends_with("-> prerouting -> input -X  172.18.0.1:8080"),
        "{text}"
    );
    assert!(why.contains("dropped: ip filter INPUT policy"), "{text}");
    assert!(picture.iter().all(|line| line.chars().count() <= 80), "{text}");

    let noise = Noise::default().at_least(200).start(&lab.host, &[8080]).await?;
    let noisy = report(&lab, &[]).await?;
    let measured = noise.stop(&lab.host).await?;
    println!("{} packets of noise a second", measured.packets_per_second);
    let explanation = explained(&noisy)?;
    assert_eq!(
        explanation.confirmed_by,
        [Method::Static, Method::Twin, Method::Counters],
        "{explanation:#?}"
    );
    let last = explanation.walk[0].steps.last().context("no steps")?;
    assert!(last.counted.is_some_and(|counted| counted > 20), "the policy drops the noise too: {last:?}");

    // No user namespace: a filter as container runtimes have it, and then one that only takes away what is done in it.
    for (name, filter) in [("namespaces", no_user_namespaces()), ("mount", no_mount())] {
        sh(&lab, &format!("printf '{}' > /run/filter-{name}", octal(&filter))).await?;
        let forbidden =
            report(&lab, &["setpriv", "--seccomp-filter", &format!("/run/filter-{name}"), "--"]).await?;
        let explanation = explained(&forbidden)?;
        assert_eq!(explanation.confirmed_by, [Method::Static, Method::Counters], "{name}: {explanation:#?}");
        assert!(
            notes(explanation).contains("no twin: ") && notes(explanation).contains("seccomp"),
            "{name}: {explanation:#?}"
        );
        assert_eq!(place(explanation).as_deref(), Some("nft filter INPUT policy DROP"), "{name}");
    }

    // A rule for everybody: where the path is open by it, and where it is blocked all the same.
    sh(&lab, "ufw allow 8080/tcp").await?;
    let wide = "also opens this port to everybody: ip filter ufw-user-input rule ";
    let (open, text) = explain(&lab, &[], &[]).await?;
    assert_eq!(open.targets[0].verdict, Verdict::Ok);
    assert!(notes(explained(&open)?).contains(wide), "{open:#?}");
    assert!(text.contains("of 'ufw status numbered': allow tcp 8080"), "{text}");
    assert!(text.contains("-> prerouting -> input -> 172.18.0.1:8080\n"), "{text}");
    sh(&lab, "ufw prepend deny from 172.18.0.0/16 to any port 8080 proto tcp").await?;
    let blocked = report(&lab, &[]).await?;
    assert_eq!(blocked.targets[0].verdict, Verdict::TcpFailed);
    assert!(notes(explained(&blocked)?).contains(wide), "{blocked:#?}");
    Ok(())
}

/// One host with rules of all kinds, and with fewer and fewer tools.
#[tokio::test]
async fn rules_and_tools_that_are_not_as_they_should_be() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::InputPolicyDrop).await?;

    // Bytes that are no text, in a rule of iptables and in one of nft; they are printed as they can be.
    let comment = "printf 'caf\\351'";
    sh(&lab, &format!("iptables -I INPUT -p tcp --dport 9 -m comment --comment \"$({comment})\" -j ACCEPT"))
        .await?;
    sh(
        &lab,
        &format!(
            "nft add table inet own; nft \"add chain inet own in {{ type filter hook input priority 5; }}\"; \
        nft \"add rule inet own in tcp dport 9 counter accept comment \\\"$({comment})\\\"\""
        ),
    )
    .await?;
    let bytes = report(&lab, &[]).await?;
    let explanation = explained(&bytes)?;
    assert_eq!(place(explanation).as_deref(), Some("nft filter INPUT policy DROP"), "{explanation:#?}");
    ensure!(!notes(explanation).contains("not read"), "{explanation:#?}");

    // Both backends at once.
    sh(&lab, "iptables-legacy -t raw -A PREROUTING -p tcp --dport 8080 -j DROP").await?;
    let both = report(&lab, &[]).await?;
    let dropped = "legacy raw PREROUTING -p tcp -m tcp --dport 8080 -j DROP";
    assert_eq!(place(explained(&both)?).as_deref(), Some(dropped), "{both:#?}");
    // Without the old tools its table is known to be there, and no rule is named.
    sh(&lab, "mkdir /run/gone && mv /usr/sbin/iptables-legacy-save /run/gone/").await?;
    let hidden = report(&lab, &[]).await?;
    assert_eq!(place(explained(&hidden)?), None, "{hidden:#?}");
    let said = notes(explained(&hidden)?);
    assert!(said.contains("contradict") || said.contains("ip raw (legacy)"), "{hidden:#?}");
    sh(&lab, "mv /run/gone/iptables-legacy-save /usr/sbin/ && iptables-legacy -t raw -F").await?;

    // A table of nft's own that nobody can read, under noise: others' packets at the policy confirm nothing.
    sh(
        &lab,
        "nft add table inet first; nft 'add chain inet first in { type filter hook input priority -10; }'; \
        nft add rule inet first in tcp dport 8080 drop; mv /usr/sbin/nft /run/gone/",
    )
    .await?;
    let noise = Noise::default().at_least(200).start(&lab.host, &[8080]).await?;
    let hidden = report(&lab, &[]).await?;
    noise.stop(&lab.host).await?;
    let explanation = explained(&hidden)?;
    assert_eq!(explanation.decided, None, "{explanation:#?}");
    ensure!(!explanation.confirmed_by.contains(&Method::Counters), "{explanation:#?}");
    let said = notes(explanation);
    assert!(said.contains("contradict") || said.contains("inet first"), "{explanation:#?}");
    sh(&lab, "mv /run/gone/nft /usr/sbin/ && nft delete table inet first && nft delete table inet own")
        .await?;

    // A match that is not understood, before what would decide.
    sh(&lab, "iptables -I INPUT -p tcp -m string --algo bm --string anything -j DROP || \
        iptables -I INPUT -m u32 --u32 '0>>28=5' -j DROP || iptables -I INPUT -m time --timestart 00:00 --timestop 00:01 -j DROP").await?;
    let unknown = report(&lab, &[]).await?;
    let explanation = explained(&unknown)?;
    assert_eq!((&explanation.decided, unknown.exit_code), (&None, 1), "{explanation:#?}");
    assert!(notes(explanation).contains("undetermined: "), "{explanation:#?}");
    sh(&lab, "iptables -D INPUT 1").await?;

    // Rules that never rest.
    let restless = "i=0; while [ $i -lt 4000 ]; do nft add table ip restless; nft delete table ip restless; i=$((i+1)); done";
    let changing = lab.host.command("sh").args(["-c", restless]).spawn().await?;
    let changed = report(&lab, &[]).await?;
    drop(changing);
    let explanation = explained(&changed)?;
    assert_eq!((&explanation.decided, changed.exit_code), (&None, 1), "{explanation:#?}");
    assert!(notes(explanation).contains("they changed each of the "), "{explanation:#?}");

    // Nothing that reads any rules.
    sh(&lab, "mv /usr/sbin/nft /usr/sbin/*tables*-save /run/gone/").await?;
    let blind = report(&lab, &[]).await?;
    let explanation = explained(&blind)?;
    assert_eq!((explanation.seen, &explanation.decided), (RulesSeen::Nothing, &None), "{explanation:#?}");
    assert!(notes(explanation).contains("install iptables or nftables"), "{explanation:#?}");
    Ok(())
}

/// Ten thousand rules: the one that decides is the last but one.
#[tokio::test]
async fn ten_thousand_rules_have_one_that_decides() -> Result<()> {
    let lab = Lab::start().await?;
    let make = "{ echo '*filter'; echo ':many - [0:0]'; i=0; while [ $i -lt 10000 ]; do \
        echo \"-A many -s 10.$((i/250)).$((i%250)).0/24 -p tcp -m tcp --dport $((i%60000+1)) -j ACCEPT\"; i=$((i+1)); done; \
        echo '-A many -p tcp -m tcp --dport 8080 -j DROP'; echo '-A many -j ACCEPT'; echo '-A INPUT -j many'; echo COMMIT; } \
        > /run/many && iptables-nft-restore --noflush /run/many";
    sh(&lab, make).await?;
    let report = report(&lab, &[]).await?;
    let explanation = explained(&report)?;
    let decided = explanation.decided.as_ref().with_context(|| format!("{:#?}", explanation.notes))?;
    assert_eq!((decided.chain.as_str(), decided.rule), ("many", Some(10_001)), "{decided:#?}");
    assert_eq!(
        explanation.confirmed_by,
        [Method::Static, Method::Twin, Method::Counters],
        "{:#?}",
        explanation.notes
    );
    Ok(())
}

/// One that forbids what a user namespace is made for, as Ubuntu's AppArmor does: it can be made, and has no rights.
fn no_mount() -> Vec<u8> {
    let mount = if cfg!(target_arch = "aarch64") { 40 } else { 165 };
    program(&[(0x20, 0, 0, 0), (0x15, 0, 1, mount), (0x06, 0, 0, 0x0005_000d), (0x06, 0, 0, 0x7fff_0000)])
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}
