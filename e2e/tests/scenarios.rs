//! The corpus: every file of `e2e/scenarios` is a test, and in the profile `long` two more, under harder conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::agreement::{SILENT, Watcher, blamed, differences, rows, table};
use e2e::programs;
use harness::Noise;
use harness::results::keep;
use harness::scenario::{Answer, Corpus, Keep, Outcome, Recorded, Row, Runner, ScenarioFile, Tally, User};
use probe::{Cause, Verdict};
use rstest::rstest;

/// The skips that the profile `ci` allows, a file's name and a reason a line.
const ALLOWED_SKIPS: &str = include_str!("../scenarios/allowed-skips.txt");

#[rstest]
#[tokio::test]
async fn scenario(#[files("scenarios/**/*.toml")] path: PathBuf) -> Result<()> {
    let file = ScenarioFile::read(&here(&path))?;
    if blamed(&file.scenario).next().is_none() {
        return as_expected(&runner()?, &path).await;
    }
    // Where a firewall is to blame, on the same host: the rules, the twin, the kernel and a socket name one rule.
    let watcher = Watcher::new(&file.scenario);
    let recorded = runner()?.run_recorded(&file, Some(&watcher), Keep::Wrong).await;
    if judge(&file, &recorded)? {
        let (name, seen) = (file.name(), watcher.into_seen());
        let differences = differences(&name, &file.scenario, &seen);
        if !differences.is_empty() {
            let rows = Tally::default().add(&file, recorded.result.as_ref());
            return Err(wrong(&results_folder(), &file, &recorded, &rows, &differences));
        }
        table::check(&name, &rows(&name, &file.scenario, &seen))?;
    }
    Ok(())
}

#[rstest]
#[tokio::test]
#[ignore = "the whole corpus once more takes minutes: scripts/test --long"]
async fn scenario_as_a_group_member(#[files("scenarios/**/*.toml")] path: PathBuf) -> Result<()> {
    as_expected(&group_member(runner()?), &path).await
}

#[rstest]
#[tokio::test]
#[ignore = "the whole corpus once more takes minutes: scripts/test --long"]
async fn scenario_with_noise_and_two_checks(#[files("scenarios/**/*.toml")] path: PathBuf) -> Result<()> {
    as_expected(&noisy(runner()?), &path).await
}

/// Of every kind of answer one, so that it does not take the long profile to see what breaks.
#[rstest]
#[case::open("open/both-ports")]
#[case::dropped("firewall/ufw-brev")]
#[case::rejected("firewall/reject-icmp-port-unreachable")]
#[case::unresponsive("service/frozen-gateway")]
#[case::full_queue("service/full-queue")]
#[case::no_network("network/missing")]
#[tokio::test]
async fn sample_as_a_group_member(#[case] name: &str) -> Result<()> {
    as_expected(&group_member(without_oracle()?), &named(name)).await
}

/// A REJECT answers every SYN of the noise too, and a full queue is not the only one of its host.
#[rstest]
#[case::open("open/both-ports")]
#[case::dropped("firewall/ufw-brev")]
#[case::rejected("firewall/ufw-default-reject")]
#[case::unresponsive("service/frozen-gateway")]
#[case::full_queue("service/full-queue")]
#[case::no_network("network/missing")]
#[tokio::test]
async fn sample_with_noise_and_two_checks(#[case] name: &str) -> Result<()> {
    as_expected(&noisy(without_oracle()?), &named(name)).await
}

/// No answer counts that came while it was quiet.
#[tokio::test]
async fn too_little_noise_is_no_outcome() -> Result<()> {
    let file = ScenarioFile::read(&here(&named("network/missing")))?;
    let outcome = without_oracle()?.noise(Noise::default().at_least(1_000_000)).run(&file).await;
    let error = outcome.err().context("an outcome without the noise")?.to_string();
    ensure!(error.starts_with("noise: ") && error.contains(" packets/s and not 1000000: "), "{error}");
    Ok(())
}

/// Runs a file of the corpus, and fails where something is not as the file says.
async fn as_expected(runner: &Runner, path: &Path) -> Result<()> {
    let file = ScenarioFile::read(&here(path))?;
    judge(&file, &runner.run_recorded(&file, None, Keep::Wrong).await)?;
    Ok(())
}

/// Whether it was run, where all is as the file says. Otherwise everything about it is kept, and the error, which is what JUnit
/// has of a test, names the cause and the folder.
#[expect(clippy::print_stdout, reason = "the log of a test says what was skipped and measured")]
fn judge(file: &ScenarioFile, recorded: &Recorded) -> Result<bool> {
    if let Ok(outcome) = &recorded.result {
        if let Some(reason) = &outcome.skipped {
            println!("skipped: {}: {reason}", file.name());
            let allowed =
                ALLOWED_SKIPS.lines().any(|line| line.split_whitespace().next() == Some(&file.name()));
            ensure!(allowed, "{} is skipped ({reason}) and not in allowed-skips.txt", file.name());
            return Ok(false);
        }
        if let Some(noise) = outcome.noise {
            println!("{}: {} packets/s of noise: {noise:?}", file.name(), noise.packets_per_second);
        }
    }
    let mut tally = Tally::default();
    let rows = tally.add(file, recorded.result.as_ref());
    if tally.wrong == 0 {
        return Ok(true);
    }
    let mismatches =
        rows.iter().flat_map(|row| row.mismatches.iter().map(move |it| format!("{}: {it}", row.target)));
    Err(wrong(&results_folder(), file, recorded, &rows, &mismatches.collect::<Vec<_>>()))
}

/// Keeps everything about it in a folder of `results`. The error is one line, because that is what JUnit has as the message of a
/// failure: what is wrong, and where the folder is.
fn wrong(
    results: &Path,
    file: &ScenarioFile,
    recorded: &Recorded,
    rows: &[Row],
    what: &[String],
) -> anyhow::Error {
    let kept = match keep(results, file, recorded, rows) {
        Ok(folder) => folder.display().to_string(),
        Err(error) => format!("not kept: {error}"),
    };
    let line = format!("{}: {}; results: {kept}", file.name(), what.join("; "));
    anyhow!(line.lines().map(str::trim).collect::<Vec<_>>().join(" "))
}

#[test]
fn what_is_wrong_is_one_line_with_the_cause_and_the_folder() -> Result<()> {
    let results = tempfile::tempdir()?;
    let file = ScenarioFile::read(&here(&named("network/missing")))?;
    let answer = Answer {
        verdict: Verdict::TcpFailed,
        cause: Some(Cause::Dropped),
        identity: probe::Identity::Unverified,
        summary: "no answer".to_owned(),
        hints: vec!["ufw allow\n  something".to_owned()],
        remedy: Some("ufw allow".to_owned()),
        experience: None,
        beside: Vec::new(),
    };
    let outcome = Outcome {
        skipped: None,
        answers: vec![answer],
        experiences: BTreeMap::new(),
        noise: None,
        elapsed: Duration::ZERO,
    };
    let recorded = Recorded { result: Ok(outcome), steps: Vec::new(), checks: Vec::new(), files: Vec::new() };
    let mut tally = Tally::default();
    let rows = tally.add(&file, recorded.result.as_ref());
    ensure!(tally.wrong == 1, "{rows:?}");
    let mismatches: Vec<String> = rows.iter().flat_map(|row| row.mismatches.clone()).collect();
    let said = wrong(results.path(), &file, &recorded, &rows, &mismatches).to_string();
    let folder = results.path().join("network/missing");
    ensure!(said.starts_with("network/missing: the probe says tcp_failed (dropped) and not "), "{said}");
    ensure!(said.lines().count() == 1, "{said}");
    ensure!(said.ends_with(&format!("; results: {}", folder.display())), "{said}");
    ensure!(std::fs::read_to_string(folder.join("summary.txt"))?.contains("tcp_failed (dropped)"));
    Ok(())
}

/// `scripts/test` and the workflow name one that outlives the run.
fn results_folder() -> PathBuf {
    let temporary = || std::env::temp_dir().join("openshell-results");
    std::env::var_os("OPENSHELL_RESULTS").map_or_else(temporary, PathBuf::from)
}

/// A file of the checkout that this runs in.
fn here(compiled: &Path) -> PathBuf {
    let inside = compiled.strip_prefix(env!("CARGO_MANIFEST_DIR"));
    inside.map_or_else(|_| compiled.to_owned(), |inside| programs::checkout().join(inside))
}

/// The samples are about the probe: what a sandbox experiences there is known from the whole corpus.
fn without_oracle() -> Result<Runner> {
    Ok(Runner::new(programs::probe()?))
}

fn runner() -> Result<Runner> {
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    Ok(Runner::new(programs::probe()?).oracle(oracle))
}

fn group_member(runner: Runner) -> Runner {
    runner.user(User::GroupMember)
}

fn noisy(runner: Runner) -> Runner {
    runner.noise(Noise::default()).checks_at_once(2)
}

/// A file of the corpus, as `openshell-harness scenarios` names it.
fn named(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name).with_extension("toml")
}

/// What a failing scenario says, without a host: JUnit has it as the failure's message.
#[test]
fn a_failure_names_the_cause_and_the_folder() -> Result<()> {
    let file = ScenarioFile::read(&here(&named("open/both-ports")))?;
    let result = Ok(Outcome::default());
    let recorded = Recorded { result, steps: Vec::new(), checks: Vec::new(), files: Vec::new() };
    let said = judge(&file, &recorded).err().context("a failure")?.to_string();
    let (cause, folder) = said.split_once("; results: ").context("a folder")?;
    ensure!(cause.starts_with("open/both-ports: 8080 gateway: there is no answer"), "{cause}");
    let kept = std::fs::read_to_string(Path::new(folder).join("summary.txt"))?;
    std::fs::remove_dir_all(folder)?;
    ensure!(kept.contains("WRONG     there is no answer"), "{kept}");
    Ok(())
}

fn corpus() -> Result<Corpus> {
    Ok(Corpus::read(&[here(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))])?)
}

#[test]
fn every_class_is_one_or_says_why_it_is_not() -> Result<()> {
    Ok(corpus()?.check()?)
}

/// So that it is the one line, and nothing else about the host, that makes the difference.
#[test]
fn every_class_has_a_file_that_differs_from_an_ok_one_in_one_line() -> Result<()> {
    let corpus = corpus()?;
    let without: Vec<String> = corpus.without_control().iter().map(|file| file.name()).collect();
    ensure!(without.is_empty(), "no file of these classes has a control: {}", without.join(", "));
    Ok(())
}

#[test]
fn the_allowed_skips_are_of_scenarios_that_may_be_skipped() -> Result<()> {
    let may: BTreeSet<String> = corpus()?
        .files
        .iter()
        .filter(|file| !file.scenario.skip_unless.is_empty())
        .map(ScenarioFile::name)
        .collect();
    for line in ALLOWED_SKIPS.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.split_whitespace().next().context("a name")?;
        ensure!(may.contains(name), "{name} is never skipped");
    }
    Ok(())
}

#[test]
fn who_is_silent_about_a_rule_is_so_in_a_scenario_that_blames_a_firewall() -> Result<()> {
    let corpus = corpus()?;
    let blames = |file: &&ScenarioFile| blamed(&file.scenario).next().is_some();
    let known: BTreeSet<String> = corpus.files.iter().filter(blames).map(ScenarioFile::name).collect();
    for silence in SILENT {
        ensure!(known.contains(silence.scenario), "{} blames no firewall", silence.scenario);
        ensure!(!silence.layers.is_empty() && !silence.because.is_empty(), "{silence:?}");
    }
    Ok(())
}

/// The page has a row of every host that blames a firewall, and of no other.
#[test]
fn the_table_of_agreement_is_whole() -> Result<()> {
    let blames = |file: &ScenarioFile| blamed(&file.scenario).next().is_some();
    let known: BTreeSet<String> =
        corpus()?.files.iter().filter(|it| blames(it)).map(ScenarioFile::name).collect();
    let written = table::hosts()?.into_iter().filter(|host| !host.starts_with("explain/"));
    let written: BTreeSet<String> = written.collect();
    let differ: Vec<_> = known.symmetric_difference(&written).collect();
    ensure!(differ.is_empty(), "scripts/agreement-table: {differ:?}");
    Ok(())
}

/// Which scenarios blame a firewall is asked of the class, too: what is left out of the agreement is in a virtual machine.
#[test]
fn every_class_of_a_firewall_is_asked_for_its_rule() -> Result<()> {
    for file in corpus()?.files {
        let scenario = &file.scenario;
        let class = ["dropped", "rejected", "reply_dropped"].contains(&scenario.class.cause.as_str());
        let asked = blamed(scenario).next().is_some();
        ensure!(asked == (class && scenario.persona.machine().is_none()), "{}: asked: {asked}", file.name());
    }
    Ok(())
}
