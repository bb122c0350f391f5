//! The gate as an onboarding meets it, where no sandbox can be made: what it says, and where, and with what it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod engine;

use std::time::Duration;

use assert_cmd::Command;
use engine::FakeEngine;
use predicates::prelude::*;
use serde_json::Value;

fn preflight() -> Command {
    let mut command = Command::new(engine::program());
    command
        .arg("preflight")
        .env_clear()
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .timeout(Duration::from_secs(60));
    command
}

#[test]
fn wrong_arguments_exit_2_and_name_the_argument() {
    let table: [(&[&str], &str); 9] = [
        (&[], "--port"),
        (&["--port", "0"], "--port"),
        (&["--port", "80", "--port", "80"], "port 80 twice"),
        (&["--port", "80", "--path", "found"], "--path"),
        (&["--port", "80", "--optional-port", "81"], "--optional-port"),
        (&["--port", "80", "--timeout", "60s"], "--deadline"),
        (&["--port", "80", "--timeout", "500ms"], "too short for a gate"),
        (&["--port", "80", "--host", "bogus"], "--host \"bogus\" is no endpoint"),
        (&["--port", "80", "--host", "ssh://machine"], "unix:///path or tcp://host:port"),
    ];
    for (arguments, named) in table {
        preflight().args(arguments).assert().code(2).stdout("").stderr(predicate::str::contains(named));
    }
}

#[test]
fn help_says_what_each_exit_code_means_and_what_each_path_is() {
    let assert = preflight().arg("--help").assert().success();
    let assert = assert.stdout(predicate::str::contains("1 stop: not reachable"));
    assert.stdout(predicate::str::contains("- outer-reuse:").and(predicate::str::contains("WSL")));
}

#[test]
fn what_could_not_be_found_out_is_a_warning() {
    let assert = preflight().args(["--port", "8080=gateway"]).assert().code(0).stdout("");
    let talk = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    insta::assert_snapshot!(talk, @r"
    warning: could not verify that sandboxes reach 8080 gateway: failed to reach the engine at unix:///nonexistent/docker.sock: no engine answers: No such file or directory (os error 2)
    warning: this does not prove that they cannot; going on

    hint: start the engine: sudo systemctl start docker, or name another with --host or DOCKER_HOST
    ");
}

#[test]
fn strict_makes_a_stop_of_it() {
    let assert = preflight().args(["--port", "8080=gateway", "--strict"]).assert().code(3).stdout("");
    assert.stderr(predicate::str::starts_with("error: could not verify that sandboxes reach 8080 gateway"));
}

/// What is known is said, strict or not.
#[test]
fn strict_does_not_hide_that_the_network_is_missing() {
    let engine = FakeEngine::start(engine::without_networks);
    let arguments = ["--port", "8080=gateway", "--path", "reused", "--strict"];
    let assert = preflight().args(arguments).env("DOCKER_HOST", engine.host()).assert().code(3);
    assert.stderr(predicate::str::starts_with("error: sandboxes cannot be created"));
}

/// A fresh gateway may be about to create it; one that was running before has done so.
#[test]
fn a_missing_network_stops_only_where_it_must_exist() {
    let engine = FakeEngine::start(engine::without_networks);
    for (path, code) in [
        ("fresh", 0),
        ("managed-service", 0),
        ("inference", 0),
        ("reused", 3),
        ("adopted", 3),
        ("outer-reuse", 3),
    ] {
        let arguments = ["--port", "8080=gateway", "--path", path, "--format", "json"];
        let assert = preflight().args(arguments).env("DOCKER_HOST", engine.host()).assert().code(code);
        let output = assert.get_output();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["targets"][0]["verdict"], "network_not_found", "{path}");
        let decision = if code == 0 { "warn" } else { "stop" };
        assert_eq!(report["preflight"]["decision"], decision, "{path}");
        assert_eq!(report["preflight"]["path"], path.replace('-', "_"));
        assert_eq!(report["preflight"]["attempts"], 1, "a bridge is there or is not");
        assert_eq!(report["exit_code"], code);
        let talk = String::from_utf8(output.stderr.clone()).unwrap().to_lowercase();
        assert!(talk.starts_with(if code == 0 { "warning: " } else { "error: " }), "{talk}");
        for word in ["firewall", "ufw", "iptables", "blocked"] {
            assert!(!talk.contains(word), "{word}: {talk}");
        }
    }
}

#[test]
fn a_check_says_nothing_of_a_gate() {
    let mut command = Command::new(engine::program());
    let arguments = ["check", "--port", "8080", "--host", "unix:///nonexistent.sock", "--format", "json"];
    let output = command.env_clear().args(arguments).assert().code(3).get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report.get("preflight"), None);
}

/// Whoever interrupts it does not want to go on, though nothing was found out.
#[tokio::test]
async fn an_interrupted_gate_stops() {
    use probe::{Cause, Decision, Interrupt, LifecyclePath, Preflight, Target};
    let engine = FakeEngine::start(|_| engine::Reply::Silence);
    let interrupt = Interrupt::listen().unwrap();
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
    interrupt.raised().await;
    let mut preflight = Preflight::new(vec![Target::parse("8080", true).unwrap()], LifecyclePath::Fresh);
    preflight.request.host = Some(engine.host());
    let report = preflight.run(&interrupt, |_| ()).await;
    assert_eq!(report.targets[0].cause, Some(Cause::Interrupted));
    assert_eq!((report.preflight.unwrap().decision, report.exit_code), (Decision::Stop, 3));
}
