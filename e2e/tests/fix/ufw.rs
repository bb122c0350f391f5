//! UFW refuses, half refuses, is gone, or has been used by others meanwhile.

use anyhow::{Result, ensure};
use e2e::lab::Lab;

use super::{ALLOW, BOTH, denied, fix, nothing_is_journalled, rules, run, sh, undo_to};

/// Puts a program before UFW, which does what it does and more.
async fn ufw_that(lab: &Lab, script: &str) -> Result<()> {
    let place = "/usr/local/sbin/ufw";
    sh(lab, &format!("cat >{place} <<'END'\n#!/bin/sh\n{script}\nEND\nchmod 755 {place}")).await?;
    Ok(())
}

const REAL: &str = "/usr/sbin/ufw \"$@\"";
const BLOCK: &str = "nft 'table inet block { chain input { type filter hook input priority 5; tcp dport { 8080, 11435 } drop; }; }'";

#[tokio::test]
async fn what_ufw_does_not_do_is_taken_back_or_named() -> Result<()> {
    let lab = denied().await?;
    let before = rules(&lab).await?;
    let yes = [&BOTH[..], &["--yes"]].concat();

    ufw_that(&lab, "echo 'no room' >&2; exit 1").await?;
    let (code, said) = run(&lab, &yes).await?;
    ensure!(code == Some(3) && said.contains("error: ufw: no room"), "{said}");
    assert_eq!(rules(&lab).await?, before);
    nothing_is_journalled(&lab).await?;

    ufw_that(&lab, &format!("{REAL}; test \"$1\" = delete")).await?;
    let (code, said) = run(&lab, &yes).await?;
    ensure!(code == Some(3) && said.contains("error: ufw: "), "it adds, and says that it failed: {said}");
    assert_eq!(rules(&lab).await?, before);
    nothing_is_journalled(&lab).await?;

    // Somebody's table closes the path while the rule is added, and UFW does not take one of the two back.
    let refusal = "case \"$*\" in delete*11435*) echo 'not now' >&2; exit 1;; esac";
    ufw_that(&lab, &format!("{refusal}; {REAL} && {BLOCK}")).await?;
    let (code, said) = run(&lab, &yes).await?;
    ensure!(code == Some(3), "{said}");
    ensure!(said.contains("port 8080: still closed: the rule was removed again"), "{said}");
    let by_hand = ALLOW.replace("8080", "11435");
    for wanted in [format!("left: ufw {by_hand}: ufw: not now"), format!("by hand: ufw delete {by_hand}")] {
        ensure!(said.contains(&wanted), "{wanted}: {said}");
    }
    sh(&lab, "nft delete table inet block").await?;

    // Together with the one that is left, one more: the first that fails keeps the second from nothing.
    ufw_that(&lab, &format!("{refusal}; {REAL}")).await?;
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(0), "{said}");
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(3) && said.contains(&format!("removed: ufw {ALLOW}")), "{said}");
    ensure!(said.contains(&format!("left: ufw {by_hand}: ufw: not now")), "{said}");
    sh(&lab, "rm /usr/local/sbin/ufw").await?;
    undo_to(&lab, &before, "UFW does it again").await?;

    // The rule alone opens nothing where a table was there before: nothing is tried.
    sh(&lab, BLOCK).await?;
    let closed = rules(&lab).await?;
    let (code, said) = run(&lab, &yes).await?;
    ensure!(code == Some(1) && rules(&lab).await? == closed, "{said}");
    sh(&lab, "nft delete table inet block").await?;

    // UFW cannot write.
    sh(&lab, "mount --bind /etc/ufw /etc/ufw && mount -o remount,ro,bind /etc/ufw").await?;
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(3) && said.contains("error: ufw: "), "{said}");
    sh(&lab, "umount /etc/ufw").await?;
    assert_eq!(rules(&lab).await?, before);
    nothing_is_journalled(&lab).await
}

#[tokio::test]
async fn an_undo_after_others_had_their_way_with_ufw() -> Result<()> {
    let lab = denied().await?;
    let before = rules(&lab).await?;
    let fixed = async || {
        let (code, said) = fix(&lab, &["--yes"], None).await?;
        ensure!(code == Some(0), "{said}");
        anyhow::Ok(())
    };
    fixed().await?;
    sh(&lab, &format!("ufw delete {ALLOW}")).await?;
    let said = undo_to(&lab, &before, "removed by hand").await?;
    ensure!(said.contains(&format!("gone already: ufw {ALLOW}")), "{said}");

    fixed().await?;
    sh(&lab, "ufw disable").await?;
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(0) && said.contains("removed"), "{said}");
    sh(&lab, "ufw --force enable").await?;
    assert_eq!(rules(&lab).await?, before, "disabled");

    fixed().await?;
    sh(&lab, "mv /usr/sbin/ufw /usr/sbin/away").await?;
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(
        code == Some(3) && said.contains("ufw is not installed") && said.contains("left: ufw allow"),
        "{said}"
    );
    sh(&lab, "mv /etc/ufw /etc/away").await?;
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(0) && said.contains("gone already"), "purged: {said}");
    nothing_is_journalled(&lab).await?;
    sh(&lab, &format!("mv /etc/away /etc/ufw; mv /usr/sbin/away /usr/sbin/ufw; ufw delete {ALLOW}")).await?;

    fixed().await?;
    sh(&lab, "ufw --force reset").await?;
    let said = run(&lab, &["fix", "--undo"]).await?;
    ensure!(said.0 == Some(0) && said.1.contains("gone already"), "{said:?}");
    nothing_is_journalled(&lab).await?;

    // UFW is off by now: what closes the path is not its to open.
    sh(&lab, "iptables -I INPUT -p tcp --dport 8080 -j DROP").await?;
    let off = rules(&lab).await?;
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(1) && !said.contains("to be run as root"), "{said}");
    assert_eq!(rules(&lab).await?, off);
    nothing_is_journalled(&lab).await
}
