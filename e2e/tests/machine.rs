//! What the machine sees of all this: nothing, once it is over.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use assert_cmd::assert::OutputAssertExt;
use e2e::lab::{Lab, host_with_probe};
use e2e::programs;
use harness::image::Cache;
use harness::{Engine, Fingerprint, Host, Ufw};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// Rulesets, links, addresses, routes, settings, mounts, modules, profiles, control groups, namespaces, and files.
#[tokio::test]
async fn the_machine_is_as_it_was_after_a_host_with_everything() -> Result<()> {
    // The last test's hosts may be about to vanish.
    let before = Fingerprint::at_rest()?;
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    lab.check().await?;
    lab.host.command("sysctl").args(["-w", "net.ipv4.conf.all.rp_filter=2"]).run().await?;
    lab.host.command("ip").args(["route", "add", "blackhole", "203.0.113.0/24"]).run().await?;
    lab.host.shutdown().await?;
    // What cargo and the test runner write beside the suite is theirs.
    let allowed = ["CARGO_HOME", "CARGO_TARGET_DIR"].map(std::env::var_os).into_iter().flatten();
    let allowed: Vec<_> = allowed.map(Into::into).chain(["/root".into()]).collect();
    // What other programs of a machine make for a moment is gone at the second look; what a host left is not.
    let mut differences = Vec::new();
    for _ in 0..3 {
        differences = before.differences(&Fingerprint::take()?, &allowed)?;
        // A process of another test's that is still ending takes its namespaces along; what this host left would be more of them.
        differences.retain(|line| !line.starts_with("namespaces: - "));
        if differences.is_empty() {
            break;
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

/// The comparison would see it: a host's own namespace, looked at in the machine's place, differs.
#[tokio::test]
async fn the_machine_is_as_it_was_only_if_nothing_is_left() -> Result<()> {
    let before = Fingerprint::take()?;
    let host = Host::builder().start().await?;
    let differences = before.differences(&Fingerprint::take()?, &["/".into()])?;
    for section in ["control groups: + ", "namespaces: + "] {
        assert!(differences.iter().any(|line| line.starts_with(section)), "{section}: {differences:#?}");
    }
    // Neither is a machine as it was that has lost something which it had at rest.
    let with_the_host = Fingerprint::at_rest()?;
    host.shutdown().await?;
    let differences = with_the_host.differences(&Fingerprint::at_rest()?, &["/".into()])?;
    for section in ["control groups: - ", "namespaces: - "] {
        assert!(differences.iter().any(|line| line.starts_with(section)), "{section}: {differences:#?}");
    }
    Ok(())
}

/// The main job, whole, as `scripts/reproduce` runs it.
#[test]
fn the_bug_is_reproduced_diagnosed_and_repaired() -> Result<()> {
    let output = Command::new(programs::harness()?).args(["reproduce"]).output()?;
    output
        .assert()
        .success()
        .stdout(contains("8080 gateway        tcp_failed (dropped)"))
        .stdout(contains("11435 ollama-proxy  tcp_failed (dropped)"))
        .stdout(contains("$ ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp"))
        .stdout(contains("8080 gateway        ok: sandboxes reach 172.18.0.1:8080"))
        .stdout(contains("the host is gone"))
        .stdout(contains("\u{1b}").not());
    Ok(())
}

/// A host runs the whole main job inside itself, beside its own dockerd: this is a machine with a Docker.
#[tokio::test]
async fn a_host_runs_inside_a_host_beside_its_dockerd() -> Result<()> {
    let cache = Cache::open()?;
    let outer = Host::builder()
        .name("machine")
        .engine(Engine::Docker)
        .bind_writable(cache.folder(), "/cache")
        .bind(programs::harness()?, "/usr/local/bin/openshell-harness")
        .bind(programs::probe()?, "/usr/local/bin/openshell-probe")
        .start()
        .await?;
    let inner = outer.command("openshell-harness").arg("reproduce").env("OPENSHELL_HARNESS_CACHE", "/cache");
    let output = inner.output().await?;
    output.assert().success().stdout(contains("reproduced and repaired"));
    // Its own dockerd has noticed nothing.
    let networks = outer.engine()?.client().list_networks(None).await?;
    assert_eq!(networks.len(), 3, "bridge, host, none: {networks:#?}");
    outer.shutdown().await?;
    Ok(())
}

/// The engine of the machine itself, in a host of it: an outer host plays the machine.
#[tokio::test]
async fn the_machines_own_engine_runs_in_a_host() -> Result<()> {
    let cache = Cache::open()?;
    let outer = Host::builder()
        .name("machine")
        .engine(Engine::Docker)
        .bind_writable(cache.folder(), "/cache")
        .bind(programs::own("creator", env!("CARGO_BIN_EXE_creator")), "/usr/local/bin/creator")
        .start()
        .await?;
    outer
        .command("sh")
        .args(["-c", "mkdir -p /etc/docker; echo broken > /etc/docker/daemon.json"])
        .run()
        .await?;
    let creator = outer.command("creator").args(["--hosts", "1", "--engine", "--image", "machine"]);
    let said = creator.env("OPENSHELL_HARNESS_CACHE", "/cache").run().await?;
    assert!(said.ends_with("up\n"), "{said}");
    outer.shutdown().await?;
    Ok(())
}

#[test]
fn without_root_the_harness_says_what_to_do() -> Result<()> {
    // The program is copied to where anybody may read it; the image stays where it is.
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let program = folder.path().join("openshell-harness");
    std::fs::copy(programs::harness()?, &program)?;
    std::fs::copy(programs::probe()?, folder.path().join("openshell-probe"))?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).uid(65534).gid(65534).env_clear().env("HOME", folder.path());
        command.output()
    };
    // Nobody has ids of its own on no machine, so there are no hosts without root for it either: `binary(rootless)` has those.
    run(&["--privilege", "root", "reproduce"])?
        .assert()
        .code(1)
        .stderr(contains("only be made by root").and(contains("hint: run this with sudo")));
    for arguments in [&["reproduce"][..], &["image", "build"]] {
        run(arguments)?.assert().code(1).stderr(contains("error: ").and(contains("\nhint: ")));
    }
    run(&["doctor"])?.assert().code(1).stdout(contains("blocked  privilege: "));
    Ok(())
}

#[test]
fn a_wrong_command_line_ends_with_two_and_a_missing_image_with_its_command() -> Result<()> {
    let harness = programs::harness()?;
    let run = |arguments: &[&str]| Command::new(&harness).args(arguments).output();
    run(&[])?.assert().code(2);
    run(&["reproduce", "--probe"])?.assert().code(2);
    run(&["no-such-command"])?.assert().code(2).stderr(contains("no-such-command"));
    let missing = run(&["image", "verify", "fedora"])?;
    missing
        .assert()
        .code(1)
        .stderr(contains("there is no image definition \"fedora\"; there are: debian-12"));
    let folder = tempfile::tempdir()?;
    let output = Command::new(&harness)
        .arg("reproduce")
        .env("OPENSHELL_HARNESS_CACHE", folder.path())
        .output()
        .context("run the harness")?;
    output.assert().code(1).stderr(contains("hint: openshell-harness image build debian-13"));
    let wrong = Command::new(&harness).arg("doctor").env("OPENSHELL_HARNESS_STOP_AT", "nowhere").output()?;
    wrong.assert().success();
    let wrong =
        Command::new(&harness).arg("reproduce").env("OPENSHELL_HARNESS_STOP_AT", "nowhere").output()?;
    wrong.assert().failure().stderr(contains("\"nowhere\" is no boot step; there are: keeper"));
    Ok(())
}

/// Two hosts of the same network do not see each other, whatever their addresses.
#[tokio::test]
async fn two_hosts_with_the_same_network_do_not_meet() -> Result<()> {
    let (one, other) = tokio::try_join!(Lab::start(), host_with_probe())?;
    let reach = other.command("bash").args(["-c", "echo > /dev/tcp/172.18.0.1/8080"]).output().await?;
    assert!(!reach.status.success(), "{reach:?}");
    assert_eq!(one.check().await?.code, 0);
    Ok(())
}
