//! Hosts that stay: `openshell-harness up`, `list`, `down`, `logs`, `clean`, and what is left when anything is killed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use assert_cmd::assert::OutputAssertExt;
use e2e::desk::{Desk, Terminal, until};
use harness::standing::ProcessId;
use harness::{BootStep, Preset, scenario::Corpus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::{contains, is_empty};
use serde_json::Value;

/// The process of that place in a host's list.
fn process(host: &Value, pointer: &str) -> ProcessId {
    serde_json::from_value(host.pointer(pointer).unwrap().clone()).unwrap()
}

fn end(process: &ProcessId, signal: Signal) {
    kill(Pid::from_raw(process.pid), signal).unwrap();
}

/// Control groups that are named after a process.
fn control_groups_of(pid: i32) -> usize {
    fn count(folder: &Path, part: &str) -> usize {
        let folders = fs::read_dir(folder).into_iter().flatten().flatten();
        folders
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| {
                let name = entry.file_name();
                let is_its = name.to_string_lossy().starts_with("openshell-harness.")
                    && name.to_string_lossy().contains(part);
                usize::from(is_its) + count(&entry.path(), part)
            })
            .sum()
    }
    count(Path::new("/sys/fs/cgroup"), &format!(".{pid}."))
}

/// The parent of a process: for an init the keeper of its host.
fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether a process has a handler for a signal.
fn catches(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    mask.is_some_and(|mask| u64::from_str_radix(mask, 16).unwrap() >> (signal as i32 - 1) & 1 == 1)
}

/// Session and terminal of a process.
fn session(pid: i32) -> (i32, i32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<i32> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(1)
        .take(4)
        .map(|it| it.parse().unwrap())
        .collect();
    (fields[2], fields[3])
}

#[test]
fn a_host_outlives_its_terminal_and_two_users_have_the_same_one_at_once() -> Result<()> {
    let (mine, other) = (Desk::new()?, Desk::new()?);
    let mut terminal = Terminal::start(&mine.command(&["up", "clean"]))?;
    terminal.until_shown("clean is up after")?;
    assert!(terminal.wait()?.success());
    drop(terminal);
    other.succeed(&["up", "clean"])?;

    let (host, others) = (mine.until("clean", "up")?, other.until("clean", "up")?);
    let (caretaker, init) = (process(&host, "/caretaker"), process(&host, "/hosts/0/init"));
    assert_eq!(session(caretaker.pid), (caretaker.pid, 0), "a session of its own, and no terminal");
    end(&caretaker, Signal::SIGHUP);
    assert_eq!(mine.until("clean", "up")?["caretaker"], host["caretaker"]);
    assert_eq!(host["network"]["gateway"], others["network"]["gateway"], "the same address");
    assert_ne!(host["hosts"], others["hosts"]);
    for (desk, text) in [(&mine, "mine"), (&other, "other")] {
        desk.shell("clean", &format!("echo {text} >/etc/whose"))?;
    }
    assert_eq!(mine.shell("clean", "cat /etc/whose")?, "mine");
    // Those who may not see it are kept out by the folder.
    assert_eq!(fs::metadata(mine.folder())?.permissions().mode() & 0o777, 0o700);

    let second = mine.run(&["up", "clean"])?.assert().code(1).stdout(is_empty());
    second.stderr(contains(
        "error: there is a host clean already, and it is up\n\nhint: openshell-harness down",
    ));
    mine.run(&["logs", "clean"])?
        .assert()
        .success()
        .stdout(contains("  ready\n").and(contains("== the engine\n")));
    // What is there is no remainder.
    mine.run(&["clean", "--yes"])?.assert().success().stdout(is_empty()).stderr(contains("nothing of yours"));

    // One user's `down` is no other's.
    mine.run(&["down", "clean"])?.assert().success().stderr("clean is gone\n");
    assert!(!caretaker.is_alive() && !init.is_alive());
    assert_eq!(mine.look("clean")?, Value::Null);
    assert_eq!(fs::read_dir(mine.folder())?.count(), 0);
    assert_eq!(other.until("clean", "up")?["caretaker"], others["caretaker"]);

    // Whatever is killed: it is seen, and goes.
    let (caretaker, init) = (process(&others, "/caretaker"), process(&others, "/hosts/0/init"));
    let keeper = parent(init.pid);
    other.shell("clean", "pkill -KILL -x dockerd")?;
    let down = other.until("clean", "engine-down")?;
    assert!(down["why"].as_str().unwrap().starts_with("the engine does not answer"), "{down}");
    end(&init, Signal::SIGKILL);
    let dead = other.until("clean", "dead")?;
    assert!(dead["why"].as_str().unwrap().contains("the first process of"), "{dead}");
    until("its caretaker ends with the host", || !caretaker.is_alive())?;
    other.run(&["logs", "clean"])?.assert().success().stdout(contains("== the engine\n"));
    let refused = other.run(&["exec", "clean", "--", "true"])?.assert().code(125);
    refused.stderr(contains("error: host clean is dead: the first process of"));
    let asked =
        other.run(&["clean"])?.assert().code(2).stdout(contains("host clean (dead): the first process"));
    asked.stderr(contains("hint: --yes"));
    assert_eq!(other.look("clean")?["state"], "dead", "it was listed, and not removed");
    other.run(&["clean", "--yes"])?.assert().success();
    assert_eq!((other.look("clean")?, control_groups_of(keeper)), (Value::Null, 0));
    Ok(())
}

#[test]
fn whoever_of_its_keepers_is_killed_the_host_is_gone_and_goes() -> Result<()> {
    let desk = Desk::new()?;
    for name in ["a", "b", "c", "d"] {
        desk.succeed(&["up", "clean", "--name", name])?;
    }
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| desk.until(name, "up").unwrap());

    let (caretaker, init) = (process(&a, "/caretaker"), process(&a, "/hosts/0/init"));
    end(&caretaker, Signal::SIGKILL);
    let dead = desk.until("a", "dead")?;
    assert_eq!(dead["why"], "its caretaker was killed");
    until("the kernel ends the host", || !init.is_alive())?;

    let init = process(&b, "/hosts/0/init");
    let keeper = parent(init.pid);
    assert!(control_groups_of(keeper) > 0);
    kill(Pid::from_raw(keeper), Signal::SIGKILL)?;
    desk.until("b", "dead")?;

    // No list has a host whose folder was removed, so it ends by itself.
    let (caretaker, init) = (process(&d, "/caretaker"), process(&d, "/hosts/0/init"));
    let its_keeper = parent(init.pid);
    fs::remove_dir_all(desk.folder().join("d"))?;
    until("a host without a folder ends", || !caretaker.is_alive() && !init.is_alive())?;
    until("and its control groups are swept", || control_groups_of(its_keeper) == 0)?;

    // One that does not listen is told so, and ends nevertheless.
    let caretaker = process(&c, "/caretaker");
    end(&caretaker, Signal::SIGSTOP);
    let stuck = desk.until("c", "stuck")?;
    assert!(stuck["why"].as_str().unwrap().starts_with("its caretaker does not answer"), "{stuck}");

    desk.run(&["down", "a", "b", "c"])?.assert().success().stderr("a is gone\nb is gone\nc is gone\n");
    assert_eq!(fs::read_dir(desk.folder())?.count(), 0);
    assert!(!caretaker.is_alive());
    until("the control groups are swept", || control_groups_of(keeper) == 0)?;
    Ok(())
}

/// The boot waits at a step, so that something can happen there.
#[test]
fn a_boot_that_is_interrupted_or_fails_leaves_nothing() -> Result<()> {
    let desk = Desk::new()?;
    let begin = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        command.env(BootStep::STOP_AT, BootStep::EngineStarted.name());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let is_booting = || desk.look("clean").is_ok_and(|host| host["state"] == "booting");
    let is_gone = || fs::read_dir(desk.folder()).is_ok_and(|folder| folder.count() == 0);

    // The command is killed.
    let mut command = begin(&["up", "clean"])?;
    until("it boots", is_booting)?;
    let caretaker = process(&desk.look("clean")?, "/caretaker");
    command.kill()?;
    command.wait()?;
    until("the boot is given up", || is_gone() && !caretaker.is_alive())?;

    // Its caretaker is killed.
    let command = begin(&["up", "clean"])?;
    until("it boots", is_booting)?;
    end(&process(&desk.look("clean")?, "/caretaker"), Signal::SIGKILL);
    let output = command.wait_with_output()?;
    output.assert().code(1).stderr(contains("the caretaker ended while the host booted: signal: 9"));
    desk.run(&["down", "clean"])?.assert().success();
    assert!(is_gone());

    // Somebody ends it.
    let command = begin(&["up", "clean"])?;
    until("it boots", is_booting)?;
    desk.run(&["down", "clean"])?.assert().success();
    command.wait_with_output()?.assert().code(1).stderr(contains("the boot was ended by a signal"));
    assert!(is_gone());

    // Its folder is removed.
    let command = begin(&["up", "clean"])?;
    until("it boots", is_booting)?;
    fs::remove_dir_all(desk.folder().join("clean"))?;
    let output = command.wait_with_output()?;
    output.assert().code(1).stderr(contains("the record of the host was removed while it booted"));
    assert!(is_gone());

    // A host for one command is given up by a signal; whether it had begun by then makes no difference.
    let command = begin(&["exec", "clean", "--", "true"])?;
    let pid = Pid::from_raw(command.id() as i32);
    until("it catches signals", || catches(pid.as_raw(), Signal::SIGINT))?;
    kill(pid, Signal::SIGINT)?;
    command.wait_with_output()?.assert().code(130);

    // The boot fails in its own words.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("broken.toml");
    let text = Preset::named("clean")?.text;
    fs::write(&file, text.replace("{ proxy = {} },", "{ run = \"echo no way >&2; false\" },"))?;
    let failed = desk.run(&["up", file.to_str().unwrap()])?.assert().code(1).stdout(is_empty());
    failed.stderr(contains("broken.toml:8: sh -euc echo no way").and(contains("    no way\n")));
    assert!(is_gone());
    Ok(())
}

#[test]
fn bad_names_and_words_end_with_two_and_say_the_way_out() -> Result<()> {
    let desk = Desk::new()?;
    let refused = |arguments: &[&str], words: &str| -> Result<()> {
        desk.run(arguments)?.assert().code(2).stdout(is_empty()).stderr(contains(words));
        Ok(())
    };
    for name in ["../x", "a b", "ü", ".", "a/b", "\u{1b}[2J", "-x", &"x".repeat(64)] {
        refused(&["up", "clean", &format!("--name={name}")], "is no name of a host")?;
        refused(&["down", "--", name], "is no name of a host")?;
    }
    refused(&["up", "brev-ufv"], "hint: did you mean brev-ufw?")?;
    refused(&["up", "../clean"], "../clean: No such file")?;
    refused(&["exec", "clear", "--", "true"], "hint: did you mean clean?")?;
    refused(&["exec", "clean"], "CMD")?;
    refused(&["exec", "clean", "--bind", "/etc", "--", "true"], "would hide the host's own")?;
    refused(&["exec", "clean", "--image", "debian-7", "--", "true"], "there is no image definition")?;
    refused(&["exec", "clean", "--in", "vm", "--", "true"], "there are host, engine, sandbox")?;
    refused(&["shell", "clean"], "hint: openshell-harness up clean")?;
    refused(&["logs", "nobody"], "there is no host nobody; there is none")?;
    refused(&["pcap", "nobody", "-o", "/dev/null"], "there is no host nobody")?;
    refused(&["pcap", "nobody", "--duration", "0s"], "more than nothing")?;
    refused(&["presets", "--show", "k3s"], "there is no preset \"k3s\"")?;
    refused(&["down"], "<NAME>")?;

    // A place that others may use is none for hosts.
    let open = tempfile::tempdir()?;
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777))?;
    let list = desk.command(&["list"]).env("XDG_RUNTIME_DIR", open.path()).output()?;
    list.assert().code(1).stderr(contains("others may use it (mode 777)"));
    Ok(())
}

#[test]
fn presets_are_listed_and_completions_are_shell() -> Result<()> {
    let desk = Desk::new()?;
    let listed: Vec<Value> = serde_json::from_str(&desk.succeed(&["presets", "--json"])?)?;
    let names: Vec<&str> = listed.iter().map(|preset| preset["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["brev-ufw", "clean", "firewalld", "k3s-legacy", "nft-only", "vm-desktop"]);
    assert!(
        listed.iter().all(|preset| preset["meaning"].is_string() && preset.as_object().unwrap().len() == 2)
    );
    let text = desk.succeed(&["presets"])?;
    assert_eq!(text.lines().count(), names.len(), "a line each");
    assert_eq!(desk.succeed(&["presets", "--show", "clean"])?, Preset::named("clean")?.text);
    assert_eq!(desk.succeed(&["list", "--json"])?, "[]\n");

    let script = desk.succeed(&["completions", "bash"])?;
    let asked = "COMP_WORDS=(openshell-harness down --); COMP_CWORD=2; _openshell__harness openshell-harness -- down; echo ${COMPREPLY[*]}";
    let bash = Command::new("bash").args(["-euc", &format!("{script}\n{asked}")]).output()?;
    bash.assert().success().stdout(contains("--all")).stderr(is_empty());
    for shell in ["zsh", "fish"] {
        assert!(desk.succeed(&["completions", shell])?.contains("presets"), "{shell}");
    }
    Ok(())
}

/// What the corpus shows of its files is shown of the presets too: each does and expects what one of them does and expects.
#[test]
fn every_preset_is_a_file_of_the_corpus() -> Result<()> {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let corpus = Corpus::read(&[scenarios])?;
    for preset in Preset::all() {
        let scenario = preset.file()?.scenario;
        let expected = |of: &harness::scenario::Scenario| -> Vec<_> {
            of.expect.iter().map(|it| (it.target.clone(), it.verdict, it.cause, it.oracle)).collect()
        };
        let same = corpus.files.iter().find(|file| {
            let other = &file.scenario;
            (other.persona, &other.events, &other.skip_unless, &other.class)
                == (scenario.persona, &scenario.events, &scenario.skip_unless, &scenario.class)
                && expected(other) == expected(&scenario)
        });
        assert!(same.is_some(), "{} is no file of the corpus any more", preset.name);
    }
    Ok(())
}
