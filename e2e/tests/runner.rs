//! `openshell-harness run` and `scenarios`, as programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
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
    let (folder, path) = file(STOPPED)?;
    let results = folder.path().join("results");
    let row = "tcp_failed (not_listening)  tcp_failed (not_listening)  not_reached      ok\n";
    let output = run(&[&path, "--results".as_ref(), &results])?;
    ensure!(!results.exists(), "nothing is written where all is right");
    let assert = output.assert().success().stdout(starts_with("scenario").and(contains(row)));
    assert.stdout(ends_with("1 scenarios, 1 expectations, 0 wrong\n"));
    Ok(())
}

/// What is wrong is said in words below its row, and for GitHub's runner; and everything about it lies in a folder.
#[test]
fn a_scenario_that_is_not_as_expected_ends_with_one_and_leaves_a_folder() -> Result<()> {
    let text = STOPPED.replace("not_listening", "dropped") + "says = [\"no such words\"]\n";
    let (folder, path) = file(&text)?;
    let results = folder.path().join("results");
    let output = run(&[&path, "--format".as_ref(), "github".as_ref(), "--results".as_ref(), &results])?;
    let kept = results.join(folder.path().file_name().context("a name")?).join("stopped");
    let annotation = format!("::error file={},line=9,title=", path.display());
    output
        .assert()
        .code(1)
        .stdout(contains(
            "WRONG\n    the probe says tcp_failed (not_listening) and not tcp_failed (dropped): ",
        ))
        .stdout(contains("\n    \"no such words\" is not said: "))
        .stdout(contains(annotation).and(contains("%0A\"no such words\" is not said: ")))
        .stdout(contains("1 scenarios, 1 expectations, 1 wrong\n"))
        .stdout(ends_with(format!("\n\nresults: {}\n", kept.display())));
    let text = |name: &str| fs::read_to_string(kept.join(name)).with_context(|| name.to_owned());
    ensure!(text("summary.txt")?.contains("  WRONG     the probe says tcp_failed (not_listening)"));
    ensure!(text("scenario.toml")?.contains("no such words"));
    ensure!(text("timeline.txt")?.contains("  line 6: { network = {} }\n"), "{}", text("timeline.txt")?);
    let report: probe::Report = serde_json::from_str(&text("report.json")?)?;
    ensure!(report.targets[0].port == 8080);
    let (before, after) = (text("rules-before.txt")?, text("rules-after.txt")?);
    for rules in [&before, &after] {
        ensure!(rules.starts_with("### iptables-nft-save\n") && rules.contains("DOCKER"), "{rules}");
    }
    // Nobody listens: the kernel let the packet pass, and refused it.
    ensure!(text("trace.txt")?.contains("172.18.0.1:8080: connection refused; "), "{}", text("trace.txt")?);
    ensure!(text("engine.log")?.contains("API listen on"), "{}", text("engine.log")?);
    let packets = fs::read(kept.join("packets.pcap"))?;
    ensure!(packets.starts_with(&[0x4d, 0x3c, 0xb2, 0xa1]), "no pcap file with nanoseconds");
    // A SYN to 172.18.0.1:8080: the address, and the port before the sequence number.
    let to_the_gateway =
        |packet: &[u8]| packet[..4] == [172, 18, 0, 1] && packet[6..8] == 8080_u16.to_be_bytes();
    ensure!(packets.windows(8).any(to_the_gateway), "no packet to the gateway");
    Ok(())
}

/// Everything is kept on demand, and said as JSON and as a page.
#[test]
fn results_are_kept_on_demand_and_written_for_machines_and_people() -> Result<()> {
    let (folder, path) = file(STOPPED)?;
    let (results, page) = (folder.path().join("kept"), folder.path().join("report.html"));
    let arguments: [&Path; 8] = [
        &path,
        "--keep-all".as_ref(),
        "--results".as_ref(),
        &results,
        "--format".as_ref(),
        "json".as_ref(),
        "--report".as_ref(),
        &page,
    ];
    let assert = run(&arguments)?.assert().success();
    let json: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout)?;
    let scenario = &json["scenarios"][0];
    ensure!(scenario["status"] == "ok" && scenario["targets"][0]["oracle"] == "not_reached", "{scenario}");
    ensure!(scenario["checks"][0]["reports"][0]["exit_code"] == 1, "{scenario}");
    let kept = Path::new(scenario["folder"].as_str().context("a folder")?);
    ensure!(kept.join("packets.pcap").is_file() && kept.join("rules-after.txt").is_file());
    let page = fs::read_to_string(page)?;
    ensure!(page.contains("<h1>1 scenarios as expected</h1>") && page.contains("Nothing listens"));
    Ok(())
}

/// The event that did not happen is named by its line, and the scenarios beside it are run.
#[test]
fn an_event_that_does_not_happen_is_named_and_ends_with_one() -> Result<()> {
    let event = "{ network = {} },\n  { run = \"echo no way >&2; false\" },";
    // Two files of one class would have to say why.
    let broken = STOPPED.replace("\"fresh\"", "\"broken\"").replace("{ network = {} },", event);
    let ((_one, broken), (_other, good)) = (file(&broken)?, file(STOPPED)?);
    let results = tempfile::tempdir()?;
    let output = run(&[&broken, &good, "--results".as_ref(), results.path()])?;
    output
        .assert()
        .code(1)
        .stdout(contains("stopped.toml:7: sh -euc echo no way >&2; false: exit status: 1"))
        .stdout(contains("    no way\n"))
        .stdout(contains("not_reached      ok\n"))
        .stdout(contains("2 scenarios, 2 expectations, 1 wrong\n\nresults: "));
    let kept = fs::read_dir(results.path())?.next().context("a folder")??.path().join("stopped");
    let timeline = fs::read_to_string(kept.join("timeline.txt"))?;
    ensure!(timeline.contains("line 7: { run = \"echo no way >&2; false\" }  FAILED\n"), "{timeline}");
    ensure!(kept.join("rules-after.txt").is_file() && !kept.join("report.json").exists());
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
    let report = run(&[&good, "--report".as_ref(), "/no/such/folder/report.html".as_ref()])?;
    report
        .assert()
        .code(2)
        .stdout("")
        .stderr(contains("there is no folder /no/such/folder\n\nhint: mkdir -p"));
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
