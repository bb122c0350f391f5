//! Random rules: prediction, the kernel's trace and the dialler's experience agree.

#![allow(
    clippy::print_stdout,
    reason = "the seed, which a failure is made again from, and what was measured"
)]

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use e2e::fuzz::{self, Case, Tally};
use harness::Host;

/// Dials that wait for a time-out keep no core busy.
const LANES: usize = 8;

/// Names the first seed instead of the clock.
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

fn seeds(number: u64) -> Result<Vec<Case>> {
    let first = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED}={seed}"))?,
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() * 10_000,
    };
    println!("{SEED}={first}");
    Ok((first..first + number).map(fuzz::case).collect())
}

#[tokio::test]
async fn three_answers_about_random_rules_agree() -> Result<()> {
    let tally = agree(seeds(200)?).await?;
    assert!(tally.same >= 150, "too few are told by the rules alone: {:#?}", tally.undetermined);
    Ok(())
}

#[tokio::test]
#[ignore = "long"]
async fn three_answers_about_thousands_of_random_rules_agree() -> Result<()> {
    agree(seeds(2000)?).await?;
    Ok(())
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

#[tokio::test]
#[ignore = "debug"]
async fn debug_some() -> Result<()> {
    let host = Host::builder().start().await?;
    let list: Vec<u64> = std::env::var("SEEDS")?.split(',').map(|it| it.parse().unwrap()).collect();
    for seed in &list {
        println!("{:?}\n{}", fuzz::case(*seed).tool, fuzz::case(*seed).text);
    }
    let tally = fuzz::run(&host, 1, list.into_iter().map(fuzz::case).collect()).await?;
    println!("{} same {:#?}", tally.same, tally.undetermined);
    for it in tally.different.iter().chain(&tally.refused) {
        println!("{it}");
    }
    Ok(())
}
