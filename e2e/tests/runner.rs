//! `openshell-harness run` and `scenarios`, as programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Result;
use assert_cmd::assert::OutputAssertExt;
use e2e::programs;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::{contains, ends_with, starts_with};

/// A gateway that does not run: the answer takes no time-out.
const STOPPED: &str = r#"version = 1
title = "Nothing listens"
source = ["derived"]
class = { cause = "not_listening", route = "bridge_gateway", firewall = "none", lifecycle = "fresh" }
events = [
  { network = {} },
]

[[expect]]
target = "8080=gateway"
verdict = "tcp_failed"
cause = "not_listening"
oracle = "not_reached"
"#;

/// A file with that text in a folder that goes with the returned value.
fn file(text: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("stopped.toml");
    fs::write(&path, text)?;
    Ok((folder, path))
}

fn run(arguments: &[&Path]) -> Result<Output> {
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    let mut command = Command::new(programs::harness()?);
    command.arg("run").args(arguments).arg("--probe").arg(programs::probe()?).arg("--oracle").arg(oracle);
    Ok(command.output()?)
}

#[test]
fn a_scenario_that_is_as_expected_ends_with_zero() -> Result<()> {
    let (_folder, path) = file(STOPPED)?;
    let row = "tcp_failed (not_listening)  tcp_failed (not_listening)  not_reached      ok\n";
    let assert = run(&[&path])?.assert().success().stdout(starts_with("scenario").and(contains(row)));
    assert.stdout(ends_with("1 scenarios, 1 expectations, 0 wrong\n"));
    Ok(())
}

/// What is wrong is said in words below its row.
#[test]
fn a_scenario_that_is_not_as_expected_ends_with_one_and_says_why() -> Result<()> {
    let text = STOPPED.replace("not_listening", "dropped") + "says = [\"no such words\"]\n";
    let (_folder, path) = file(&text)?;
    run(&[&path])?
        .assert()
        .code(1)
        .stdout(contains(
            "WRONG\n    the probe says tcp_failed (not_listening) and not tcp_failed (dropped): ",
        ))
        .stdout(contains("\n    \"no such words\" is not said: "))
        .stdout(ends_with("1 scenarios, 1 expectations, 1 wrong\n"));
    Ok(())
}

/// The event that did not happen is named by its line, and the scenarios beside it are run.
#[test]
fn an_event_that_does_not_happen_is_named_and_ends_with_one() -> Result<()> {
    let event = "{ network = {} },\n  { run = \"echo no way >&2; false\" },";
    // Two files of one class would have to say why.
    let broken = STOPPED.replace("\"fresh\"", "\"broken\"").replace("{ network = {} },", event);
    let ((_one, broken), (_other, good)) = (file(&broken)?, file(STOPPED)?);
    run(&[&broken, &good])?
        .assert()
        .code(1)
        .stdout(contains("stopped.toml:7: sh -euc echo no way >&2; false: exit status: 1"))
        .stdout(contains("    no way\n"))
        .stdout(contains("not_reached      ok\n"))
        .stdout(ends_with("2 scenarios, 2 expectations, 1 wrong\n"));
    Ok(())
}

/// All of them are read before the first host boots.
#[test]
fn files_that_are_no_scenarios_end_with_two_and_nothing_is_started() -> Result<()> {
    let (_good, good) = file(STOPPED)?;
    let refused = |text: &str, words: &str| -> Result<()> {
        let (_folder, path) = file(text)?;
        let place = format!("error: {}", path.display());
        run(&[&good, &path])?
            .assert()
            .code(2)
            .stdout("")
            .stderr(starts_with(place).and(contains(words)).and(contains("\nhint: docs/scenarios.md")));
        Ok(())
    };
    refused(&STOPPED.replace("lifecycle", "livecycle"), ":4: unknown field `livecycle`")?;
    refused(
        &STOPPED.replace("network = {}", "network = { subnett = \"x\" }"),
        ":6: unknown field `subnett`",
    )?;
    refused(&STOPPED.replace("version = 1", "version = 9"), ":1: version 9 is not known")?;
    refused(&STOPPED.replace("not_reached", "reached"), "it is ok where it is reached, and only there")?;
    let missing = run(&[Path::new("/no/such/folder")])?;
    missing.assert().code(2).stdout("").stderr(contains("/no/such/folder: No such file"));
    let empty = tempfile::tempdir()?;
    run(&[empty.path()])?.assert().code(2).stdout("").stderr(contains("the folder has no .toml file"));
    Command::new(programs::harness()?).arg("run").output()?.assert().code(2);
    Ok(())
}

#[test]
fn scenarios_are_listed_and_the_schema_is_the_committed_one() -> Result<()> {
    let harness = programs::harness()?;
    let (folder, _) = file(STOPPED)?;
    let listed = Command::new(&harness).arg("scenarios").arg(folder.path()).output()?;
    listed.assert().success().stdout(contains("Nothing listens").and(contains("derived")));
    let schema = Command::new(&harness).args(["scenarios", "--schema"]).output()?;
    let schema = schema.assert().success().stdout(harness::scenario::SCHEMA);
    let schema: serde_json::Value = serde_json::from_slice(&schema.get_output().stdout)?;
    assert_eq!(schema["title"], "Scenario");
    assert_eq!(schema["additionalProperties"], false);
    Ok(())
}
