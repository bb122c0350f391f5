//! Random rules: prediction, the kernel's trace and the dialler's experience agree.

#![allow(
    clippy::print_stdout,
    reason = "the seed, which a failure is made again from, and what was measured"
)]

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use e2e::fuzz::{self, Case, Tally, Tool, report};
use harness::Host;
use ruleset::Family;

/// Dials that wait for a time-out keep no core busy.
const LANES: usize = 8;

/// Names the first seed.
const SEED: &str = "OPENSHELL_FUZZ_SEED";

async fn agree(cases: Vec<Case>) -> Result<Tally> {
    let host = Host::builder().start().await?;
    let (start, number) = (Instant::now(), cases.len());
    let tally = fuzz::run(&host, LANES, cases).await?;
    let rate = number as f64 / start.elapsed().as_secs_f64();
    println!("{} of {number} agree, {rate:.0} a second; {:#?}", tally.same, tally.undetermined);
    let bad = [tally.different.as_slice(), &tally.refused].concat();
    assert!(
        bad.is_empty(),
        "{} differ, {} are refused:\n{}",
        tally.different.len(),
        tally.refused.len(),
        bad.join("\n")
    );
    Ok(tally)
}

/// So many from `first` on.
fn seeds(first: u64, number: u64) -> Result<Vec<Case>> {
    let first = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED}={seed}"))?,
        Err(_) => first,
    };
    println!("{SEED}={first}");
    Ok((first..first + number).map(fuzz::case).collect())
}

/// The same rules in each run, so that it fails for what has changed; the profile `long` looks for what nobody knows yet.
#[tokio::test]
async fn three_answers_about_random_rules_agree() -> Result<()> {
    let tally = agree(seeds(1, 200)?).await?;
    assert!(tally.same >= 150, "too few are told by the rules alone: {:#?}", tally.undetermined);
    Ok(())
}

#[tokio::test]
#[ignore = "long"]
async fn three_answers_about_thousands_of_random_rules_agree() -> Result<()> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() * 10_000;
    agree(seeds(clock, 2000)?).await?;
    Ok(())
}

/// A case can be tried again: nothing of the first try is left, not even in the lists of recent addresses.
#[tokio::test]
async fn a_second_try_begins_as_the_first() -> Result<()> {
    let host = Host::builder().start().await?;
    // Each try has three packets.
    let text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -m recent --update --hitcount 8 --name again --rsource -j DROP\n\
        -A INPUT -p tcp -m tcp --dport 8080 -m recent --set --name again --rsource\nCOMMIT\n";
    let case = Case { text: text.to_owned(), ..iptables_case()? };
    let tally = fuzz::run(&host, 1, vec![case; 4]).await?;
    assert!(tally.same == 4 && tally.outcomes.len() == 1, "{tally:#?}");
    Ok(())
}

/// A case whose rules are iptables', of IPv4.
fn iptables_case() -> Result<Case> {
    let wanted = |case: &Case| case.tool == Tool::Iptables && case.family == Family::Ip && !case.bridge_nf;
    (1..).map(fuzz::case).find(wanted).context("no case")
}

/// What was found once, and whether it is still so.
#[tokio::test]
async fn what_was_found_before_is_still_so() -> Result<()> {
    let host = Host::builder().start().await?;
    for regression in fuzz::regressions()? {
        let tally = fuzz::run(&host, 1, vec![regression.case]).await?;
        assert!(tally.refused.is_empty(), "{}: {}", regression.name, tally.refused.concat());
        assert_eq!(tally.same == 1, regression.agrees, "{}: {tally:#?}", regression.name);
    }
    Ok(())
}

/// `scripts/fuzz-report` asks for it: the page's own seeds, and the page written anew.
const UPDATE: &str = "OPENSHELL_UPDATE_FUZZ";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fuzz.md")
}

#[tokio::test]
#[ignore = "long"]
async fn the_report_is_written_from_a_run() -> Result<()> {
    if std::env::var_os(UPDATE).is_none() {
        return Ok(());
    }
    let start = Instant::now();
    let tally = agree(report::SEEDS.map(fuzz::case).collect()).await?;
    let measured = report::measured(&tally, start.elapsed().as_secs());
    std::fs::write(page(), report::page(&measured)?)?;
    Ok(())
}

/// What is generated and what was found, counted anew, is what the page says; what came of it is of the rules of today.
#[test]
fn the_report_is_still_so() -> Result<()> {
    let written = std::fs::read_to_string(page()).context("docs/fuzz.md")?;
    let now = report::page(report::measured_of(&written)?)?;
    assert!(now == written, "scripts/fuzz-report writes docs/fuzz.md anew:\n{now}");
    Ok(())
}
