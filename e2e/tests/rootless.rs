//! Hosts of an ordinary user: the same verdicts, the same program, and errors that name the way out.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use assert_cmd::assert::OutputAssertExt;
use e2e::firewall::Firewall;
use e2e::lab::Lab;
use e2e::matrix::rows;
use e2e::ordinary::{Ids, SCENARIOS, Tools, User, allowed_skips, has_run_there};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rstest::rstest;

/// Open, the rule of #3472 for one port, UFW for both and what repairs that: one host has them one after the other.
#[tokio::test]
async fn the_core_verdicts_are_the_same_without_root() -> Result<()> {
    if has_run_there()? {
        return Ok(());
    }
    let lab = Lab::start().await?;
    assert!(lab.host.is_rootless());
    for firewall in [Firewall::Open, Firewall::RuleOf3472, Firewall::UfwWithRemedy] {
        rows(&lab, firewall).await?;
    }
    lab.host.shutdown().await?;
    Ok(())
}

#[rstest]
#[tokio::test]
#[ignore = "the whole matrix once more: scripts/test --long"]
async fn the_verdict_without_root_of(
    #[values(
        Firewall::Open,
        Firewall::RuleOf3472,
        Firewall::PolicyDrop,
        Firewall::UfwDefaultDeny,
        Firewall::UfwWithRemedy
    )]
    firewall: Firewall,
) -> Result<()> {
    if has_run_there()? {
        return Ok(());
    }
    let lab = Lab::start().await?;
    assert!(lab.host.is_rootless());
    rows(&lab, firewall).await?;
    lab.host.shutdown().await?;
    Ok(())
}

/// The main job of the program, whole. Its image came from root's by `image export` and `image import`.
#[test]
fn the_bug_is_reproduced_and_repaired_by_an_ordinary_user() -> Result<()> {
    let mut reproduce = User::COMPLETE.command("openshell-harness", &[])?;
    let output = reproduce.arg("reproduce").output()?;
    output
        .assert()
        .success()
        .stdout(contains("8080 gateway        tcp_failed (dropped)"))
        .stdout(contains("$ ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp"))
        .stdout(contains("8080 gateway        ok: sandboxes reach 172.18.0.1:8080"))
        .stdout(contains("the host is gone"));
    Ok(())
}

/// What somebody does with hosts that stay, and with one for a command. It prints what the test looks for.
const HOSTS: &str = r#"
cd "$HOME"
PATH=/mnt/programs:$PATH
mkdir -m 700 run own
echo seen >own/file
export XDG_RUNTIME_DIR="$PWD/run"
openshell-harness up clean
openshell-harness list
openshell-harness exec clean -- sh -c 'echo root is $(id -u) on $(hostname); exit 3' || echo "exec ended with $?"
openshell-harness exec clean -- openshell-probe check
echo 'echo a shell; exit 4' | openshell-harness shell clean || echo "shell ended with $?"
openshell-harness exec clean --in sandbox -- sh -c 'grep -c host.openshell.internal /etc/hosts'
openshell-harness logs clean | grep '== the engine'
openshell-harness pcap clean --link lo --count 2 -o packets &
until openshell-harness exec clean -- bash -c '</dev/tcp/127.0.0.1/8080' && ! kill -0 $!; do :; done 2>/dev/null
wait $! && echo "$(stat -c %s packets) bytes of packets"
openshell-harness exec clean -- openshell-probe snapshot -o - >host.snapshot
openshell-harness down clean
openshell-harness replay host.snapshot --as-scenario case.toml >replayed
openshell-harness up case.toml
openshell-harness exec case -- sh -c 'echo the host of a snapshot has ids of $(cut -c 12-22 /proc/self/uid_map | head -n 1)'
openshell-harness down case
openshell-harness list
openshell-harness exec clean --bind "$PWD/own:rw" -- sh -c "cat $PWD/own/file; echo new >$PWD/own/new; exit 5" || echo "exec ended with $?"
stat -c 'new is of %u' own/new
find run -mindepth 2
"#;

#[test]
fn an_ordinary_user_has_hosts_that_stay_and_one_for_a_command() -> Result<()> {
    let output = User::COMPLETE.command("/bin/sh", &[])?.args(["-ec", HOSTS]).output()?;
    let said = String::from_utf8(output.stdout.clone())?;
    output.assert().success().stderr(
        contains("2 packets")
            .and(contains("clean is gone\n"))
            .and(contains("case is gone\nthere is no host; ")),
    );
    let expected = [
        "clean is up after ",
        "clean  up ",
        "root is 0 on host-1\nexec ended with 3\n",
        "8080 gateway        ok: ",
        "a shell\nshell ended with 4\n1\n== the engine\n",
        " bytes of packets\ncase is up after ",
        "the host of a snapshot has ids of 1000\nseen\nexec ended with 5\nnew is of 1000\n",
    ];
    let mut rest = said.as_str();
    for words in expected {
        let found = rest.find(words);
        assert!(found.is_some(), "{words:?} is not said, or too early:\n{said}");
        rest = &rest[found.unwrap() + words.len()..];
    }
    assert_eq!(rest, "", "nothing is left");
    Ok(())
}

/// Every file of the corpus. What a host without root could not show would be named in the list, with a reason.
#[test]
#[ignore = "the whole corpus once more takes minutes: scripts/test --long"]
fn every_scenario_is_the_same_without_root() -> Result<()> {
    let mut run = User::COMPLETE.command("openshell-harness", &[])?;
    let output = run.args(["run", "--at-once", "2", SCENARIOS]).output()?;
    let said = String::from_utf8(output.stdout.clone())?;
    output.assert().success().stdout(contains(" expectations, 0 wrong"));
    let skipped: BTreeSet<_> =
        said.lines().filter(|line| line.ends_with(" skipped")).filter_map(first_word).collect();
    let allowed: BTreeSet<_> = allowed_skips().map(|(name, _)| name).collect();
    assert!(skipped.is_subset(&allowed), "skipped and not in the list: {skipped:?}\n{said}");
    Ok(())
}

fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

/// What is missing is named before anything is tried, with the command that helps.
#[rstest]
#[case::no_tools(
    Ids::Both,
    Tools::Missing,
    "hosts without root need newuidmap",
    "sudo apt-get install uidmap"
)]
#[case::no_ids(Ids::Neither, Tools::There, "/etc/subuid gives", "sudo usermod --add-subuids 100000-165535")]
#[case::no_groups(Ids::UsersOnly, Tools::There, "/etc/subgid gives", "--add-subgids 100000-165535")]
#[case::few_ids(Ids::Few, Tools::There, "1000 ids in a row", "sudo usermod --add-subuids 100000-165535")]
#[case::no_rights(Ids::Both, Tools::Powerless, "newuidmap: ", "newuidmap has to be set-user-ID root")]
fn what_hosts_without_root_lack_is_named(
    #[case] ids: Ids,
    #[case] tools: Tools,
    #[case] missing: &str,
    #[case] way_out: &str,
) -> Result<()> {
    let user = User { ids, tools, image: false };
    let run = |argument: &str| {
        user.command("openshell-harness", &[])?.arg(argument).output().map_err(anyhow::Error::from)
    };
    run("reproduce")?
        .assert()
        .code(1)
        .stderr(contains("error: ").and(contains(missing)))
        .stderr(contains("\nhint: ").and(contains(way_out)));
    // The doctor says the same, and goes on.
    run("doctor")?
        .assert()
        .code(1)
        .stdout(contains("blocked  privilege: ").and(contains(missing)))
        .stdout(contains("hint: ").and(contains(way_out)))
        .stdout(contains(" mmdebstrap: "));
    Ok(())
}

#[test]
fn an_ordinary_user_has_an_image_of_its_own_and_no_host_of_roots() -> Result<()> {
    let user = User { image: false, ..User::COMPLETE };
    let run = |arguments: &[&str]| {
        user.command("openshell-harness", &[])?.args(arguments).output().map_err(anyhow::Error::from)
    };
    run(&["--privilege", "root", "reproduce"])?
        .assert()
        .code(1)
        .stderr(contains("error: a host with privilege root can only be made by root"))
        .stderr(contains("hint: run this with sudo, or with privilege user"));
    run(&["--privilege", "nobody", "reproduce"])?
        .assert()
        .code(2)
        .stderr(contains("there are: auto, root, user"));
    run(&["reproduce"])?
        .assert()
        .code(1)
        .stderr(contains("image debian-13 is not in the cache /mnt/cache/user-1000"))
        .stderr(contains("hint: openshell-harness image build debian-13"));
    Ok(())
}

/// Root's hosts without root belong to an id that owns nothing, and cannot be where only root may go.
#[test]
fn roots_hosts_without_root_leave_a_closed_cache_alone() -> Result<()> {
    let closed = tempfile::tempdir()?;
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700))?;
    let output = std::process::Command::new(e2e::programs::harness()?)
        .args(["--privilege", "user", "image", "list"])
        .env("OPENSHELL_HARNESS_CACHE", closed.path().join("cache"))
        .output()?;
    // Theirs is in /var/cache then.
    output.assert().success();
    assert!(!closed.path().join("cache").exists(), "they could not enter it");
    Ok(())
}
