//! A fix gets a signal just before one of its changes: SIGKILL leaves what is settled later, others are heard.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::lab::{Lab, PROBE};
use e2e::programs;
use e2e::watch::{self, Seen, WATCHER};

use super::{TARGET, deny, fix, nothing_is_journalled, rules, sh, undo_to};

/// A host with the watcher, and UFW's default deny.
async fn denied_and_watched() -> Result<Lab> {
    deny(watch::lab(&programs::own("watcher", env!("CARGO_BIN_EXE_watcher"))).await?).await
}

/// A fix that gets a signal at one of its points, and the end of all that it had started.
async fn signalled(lab: &Lab, signal: Option<(&str, usize)>) -> Result<Seen> {
    sh(lab, "rm -rf /var/lib/openshell-probe").await?;
    let mut command = lab.host.command(WATCHER).args(["--to", "/root/seen.json"]);
    if let Some((signal, at)) = signal {
        command = command.args(["--signal", signal, "--at", &at.to_string()]);
    }
    let watched = command.arg("--").arg(PROBE).args(TARGET).arg("--yes").deadline(Duration::from_secs(60));
    let output = watched.output().await?;
    let seen = sh(lab, "cat /root/seen.json && rm /root/seen.json").await;
    let seen = seen.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(serde_json::from_str(&seen)?)
}

/// The points of a fix: from the journal's folder to the entry that says `applied`.
async fn points(lab: &Lab, before: &str) -> Result<Vec<String>> {
    let seen = signalled(lab, None).await?;
    ensure!(seen.code == Some(0), "{seen:#?}");
    let wanted = ["writes /var/lib/openshell-probe", "runs /usr/sbin/ufw allow", "the end of it"];
    for wanted in wanted {
        ensure!(seen.points.iter().any(|it| it.starts_with(wanted)), "{wanted}: {:#?}", seen.points);
    }
    undo_to(lab, before, "not signalled").await?;
    Ok(seen.points)
}

/// Whatever the point, what is left is wholly there and journalled, or wholly not: `again` says what comes next.
async fn killed_at(lab: &Lab, before: &str, at: usize, point: &str, again: bool) -> Result<()> {
    let seen = signalled(lab, Some(("SIGKILL", at))).await?;
    let situation = format!("SIGKILL at {at}, {point}, again: {again}");
    ensure!(seen.code.is_none(), "{situation}: {seen:#?}");
    if again {
        let (code, said) = fix(lab, &["--yes"], None).await?;
        ensure!(code == Some(0), "{situation}: {said}");
        let rule = rules(lab).await?;
        ensure!(rule.matches("### tuple ### allow tcp 8080").count() == 1, "{situation}: {rule}");
    }
    undo_to(lab, before, &situation).await?;
    Ok(())
}

/// After a signal that can be heard it takes back by itself.
async fn stopped_at(lab: &Lab, before: &str, signal: &str, at: usize, point: &str) -> Result<()> {
    let seen = signalled(lab, Some((signal, at))).await?;
    let situation = format!("{signal} at {at}, {point}");
    let code = match signal {
        "SIGHUP" => 129,
        "SIGINT" => 130,
        _ => 143,
    };
    ensure!(seen.code == Some(code), "{situation}: {seen:#?}");
    ensure!(rules(lab).await? == before, "{situation}");
    nothing_is_journalled(lab).await.context(situation)
}

#[tokio::test]
async fn a_fix_that_is_killed_anywhere_is_undone() -> Result<()> {
    let lab = denied_and_watched().await?;
    let before = rules(&lab).await?;
    let points = points(&lab, &before).await?;
    for (at, point) in points.iter().enumerate() {
        killed_at(&lab, &before, at, point, false).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_fix_that_is_interrupted_takes_back_what_it_began() -> Result<()> {
    let lab = denied_and_watched().await?;
    let before = rules(&lab).await?;
    let points = points(&lab, &before).await?;
    let of = |start: &str| points.iter().position(|it| it.starts_with(start)).context("no such point");
    let (runs, end, last) = (of("runs")?, of("the end")?, points.len() - 1);
    for (signal, at) in [("SIGINT", runs), ("SIGTERM", end), ("SIGHUP", last), ("SIGTERM", 0)] {
        stopped_at(&lab, &before, signal, at, &points[at]).await?;
    }
    killed_at(&lab, &before, end, &points[end], true).await
}

/// Every signal at every point, and both ways on.
#[tokio::test]
#[ignore = "thirty runs: the profile `long`"]
async fn a_fix_survives_every_signal_at_every_point() -> Result<()> {
    let lab = denied_and_watched().await?;
    let before = rules(&lab).await?;
    for (at, point) in points(&lab, &before).await?.iter().enumerate() {
        killed_at(&lab, &before, at, point, true).await?;
        for signal in ["SIGHUP", "SIGINT", "SIGTERM"] {
            stopped_at(&lab, &before, signal, at, point).await?;
        }
    }
    Ok(())
}
