//! `fix` opens what UFW closes, keeps a journal, and takes back what it added and nothing else.

mod journal;
mod killed;
mod together;
mod ufw;

use anyhow::{Result, ensure};
use e2e::lab::{Lab, PROBE};
use harness::Ufw;

const TARGET: [&str; 3] = ["fix", "--port", "8080=gateway"];
const BOTH: [&str; 5] = ["fix", "--port", "8080=gateway", "--port", "11435=ollama-proxy"];
const ALLOW: &str = "allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp";
const FOLDER: &str = "/var/lib/openshell-probe/fixes";

async fn sh(lab: &Lab, line: &str) -> Result<String> {
    Ok(lab.host.command("sh").args(["-ec", line]).run().await?)
}

/// UFW's default deny. With the first rule that a user gives or takes, UFW also makes rules of its own for 'limit'.
async fn denied() -> Result<Lab> {
    deny(Lab::start().await?).await
}

async fn deny(lab: Lab) -> Result<Lab> {
    lab.apply(Ufw::default_deny()).await?;
    sh(&lab, "ufw allow 9/tcp && ufw delete allow 9/tcp").await?;
    Ok(lab)
}

/// The exit code, and what was said, of any of the probe's commands.
async fn run(lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = lab.host.command(PROBE).args(arguments.iter().copied()).output().await?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

/// Undoes, and sees that nothing of a fix is left.
async fn undo_to(lab: &Lab, before: &str, situation: &str) -> Result<String> {
    let (code, said) = run(lab, &["fix", "--undo"]).await?;
    ensure!(code == Some(0), "{situation}: {said}");
    ensure!(rules(lab).await? == before, "{situation}: {said}");
    nothing_is_journalled(lab).await?;
    Ok(said)
}

async fn nothing_is_journalled(lab: &Lab) -> Result<()> {
    let journal = sh(lab, &format!("test ! -d {FOLDER} || ls -A {FOLDER}")).await?;
    ensure!(journal.is_empty(), "{journal}");
    Ok(())
}

/// The exit code, and what was said.
async fn fix(lab: &Lab, more: &[&str], variable: Option<&str>) -> Result<(Option<i32>, String)> {
    let mut command = lab.host.command(PROBE).args(TARGET).args(more.iter().copied());
    if let Some(name) = variable {
        command = command.env(name, "1");
    }
    let output = command.output().await?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

/// All rules, without what counts and what numbers them, and UFW's own record.
async fn rules(lab: &Lab) -> Result<String> {
    let line = "for family in ip ip6; do ${family}tables-nft-save; done | sed -e '/^#/d' -e 's/ \\[[0-9:]*\\]$//'; \
        nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*//'; cat /etc/ufw/user.rules /etc/ufw/user6.rules";
    sh(lab, line).await
}

#[tokio::test]
async fn a_fix_opens_the_path_and_its_undo_leaves_the_rules_as_they_were() -> Result<()> {
    let lab = denied().await?;
    let before = rules(&lab).await?;
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(0), "{said}");
    ensure!(rules(&lab).await?.contains("### tuple ### allow tcp 8080 172.18.0.1 any 172.18.0.0/16 in\n"));
    let kept = sh(&lab, &format!("stat -c '%a %u' {FOLDER} {FOLDER}/*.json")).await?;
    assert_eq!(kept, "700 0\n600 0\n");
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(0), "nothing is left to do: {said}");
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(0) && said.contains(ALLOW), "{said}");
    assert_eq!(rules(&lab).await?, before);
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(0) && said.contains("nothing to undo"), "{said}");
    Ok(())
}

#[tokio::test]
async fn without_consent_nothing_is_changed() -> Result<()> {
    let lab = denied().await?;
    let before = rules(&lab).await?;
    for (more, variable) in
        [(&[][..], None), (&[], Some("NEMOCLAW_AUTO_FIX_FIREWALL")), (&["--dry-run", "--yes"], None)]
    {
        let (code, said) = fix(&lab, more, variable).await?;
        ensure!(code == Some(1) && said.contains(ALLOW), "{said}");
        assert_eq!(rules(&lab).await?, before, "{more:?} {variable:?}");
    }
    let group = sh(&lab, "stat -c %g /run/docker.sock").await?.trim().parse()?;
    for more in ["--yes", "--undo"] {
        let user = lab.host.command(PROBE).args(TARGET).arg(more).user(1000, group).output().await?;
        let said = String::from_utf8_lossy(&user.stderr).into_owned();
        ensure!(user.status.code() == Some(3) && said.contains("hint: sudo openshell-probe fix"), "{said}");
    }
    assert_eq!(rules(&lab).await?, before);
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(0) && said.contains("nothing to undo"), "no journal yet: {said}");
    let (code, said) = fix(&lab, &[], Some("OPENSHELL_PROBE_AUTO_FIX")).await?;
    ensure!(code == Some(0), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_others_added_meanwhile_stays() -> Result<()> {
    let lab = denied().await?;
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(0), "{said}");
    sh(
        &lab,
        "iptables -I INPUT -p tcp --dport 4444 -j ACCEPT; ufw allow 5555/tcp; docker network create other",
    )
    .await?;
    let before = rules(&lab).await?;
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(0), "{said}");
    let after = rules(&lab).await?;
    let gone: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
    ensure!(!gone.is_empty() && gone.iter().all(|line| line.contains("8080")), "{gone:#?}");
    ensure!(after.contains("--dport 4444") && after.contains("--dport 5555"));
    sh(&lab, "docker network inspect other").await?;
    Ok(())
}

#[tokio::test]
async fn before_a_deny_the_rule_is_put_first() -> Result<()> {
    let lab = Lab::start().await?;
    sh(&lab, "ufw allow 22/tcp && ufw deny 8080/tcp && ufw --force enable").await?;
    let before = rules(&lab).await?;
    let (code, said) = fix(&lab, &["--yes", "--interface"], None).await?;
    ensure!(code == Some(0) && said.contains("warning") && said.contains("allow in on br-"), "{said}");
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(0), "{said}");
    assert_eq!(rules(&lab).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_rule_that_existed_is_not_moved_nor_removed() -> Result<()> {
    let lab = Lab::start().await?;
    sh(&lab, &format!("ufw deny 8080/tcp && ufw {ALLOW} && ufw --force enable")).await?;
    let before = rules(&lab).await?;
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(1) && said.contains("not moved"), "{said}");
    fix(&lab, &["--undo"], None).await?;
    assert_eq!(rules(&lab).await?, before);
    Ok(())
}
