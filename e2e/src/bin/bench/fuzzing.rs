//! How fast random rules are predicted, traced and dialled.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::fuzz;
use harness::Host;

use crate::{Figure, progress};

/// As the tests: dials that wait for a time-out keep no core busy.
const LANES: usize = 8;
/// The cases of the profile `ci`, the same ones every time.
const CASES: u64 = 200;

/// Cases a second on one core. Both cores are busy meanwhile, with the tools that load rules above all.
pub(crate) async fn fuzzing() -> Result<Figure> {
    progress("fuzzing: random rules");
    let host = Host::builder().start().await?;
    let start = Instant::now();
    let tally = fuzz::run(&host, LANES, (1..=CASES).map(fuzz::case).collect()).await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(tally.different.is_empty() && tally.refused.is_empty(), "{tally:?}");
    let cores = std::thread::available_parallelism()?.get();
    let rate = CASES as f64 / seconds / cores as f64;
    let from = format!("{CASES} cases in {seconds:.2} s on {cores} cores");
    Ok(Figure::at_least("fuzzing: cases a second and core", rate, "", 20.0, from))
}
