//! Programs in hosts: `openshell-harness exec`, `shell` and `pcap`, as somebody at a terminal and as a script uses them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Result;
use assert_cmd::assert::OutputAssertExt;
use e2e::desk::{Desk, Terminal, until, until_said};
use e2e::programs;
use harness::image::Image;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::{contains, is_empty};

/// The host of all tests here that need one that stays.
const NAME: &str = "brev-ufw";

#[test]
fn a_program_believes_that_it_is_on_that_machine() -> Result<()> {
    let desk = Desk::new()?;
    desk.succeed(&["up", NAME])?;
    codes_and_streams(&desk)?;
    signals(&desk)?;
    a_shell_on_a_terminal(&desk)?;
    in_a_sandbox(&desk)?;
    packets(&desk)?;
    desk.run(&["down", NAME])?.assert().success();
    Ok(())
}

fn codes_and_streams(desk: &Desk) -> Result<()> {
    let code = |command: &[&str], code: i32| -> Result<_> {
        let output = desk.run(&[&["exec", NAME, "--"], command].concat())?;
        Ok(output.assert().code(code))
    };
    code(&["bash", "-c", "ufw status; docker network ls"], 0)?
        .stdout(contains("Status: active").and(contains("openshell-docker   bridge")))
        .stderr(is_empty());
    code(&["sh", "-c", "echo out; echo err >&2; exit 7"], 7)?.stdout("out\n").stderr("err\n");
    code(&["sh", "-c", "kill -TERM $$"], 128 + 15)?;
    code(&["no-such-program"], 127)?.stderr("error: no-such-program: not found in the host\n");
    code(&["/etc/passwd"], 126)?.stderr(contains("/etc/passwd: Permission denied"));
    code(&["sh", "-c", "test ! -t 0 && id -u && readlink /var/run && cat /etc/hostname"], 0)?
        .stdout("0\n/run\nbrev-host\n");
    // The probe of the same build is on the path, and finds what a user of that machine finds.
    code(&["openshell-probe", "check", "--port", "8080=gateway"], 1)?
        .stdout(contains("tcp_failed (dropped)"));

    let mut command = desk.command(&["exec", NAME, "--env", "A=b c", "--workdir", "/tmp", "--"]);
    let mut command = command.args(["sh", "-c", "pwd; echo \"$A\"; cat"]);
    command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    // More than a pipe takes at once.
    let sent = "x".repeat(300_000);
    let (mut stdin, text) = (child.stdin.take().unwrap(), sent.clone());
    let writer = thread::spawn(move || stdin.write_all(text.as_bytes()));
    child.wait_with_output()?.assert().success().stdout(format!("/tmp\nb c\n{sent}"));
    writer.join().unwrap()?;
    desk.run(&["exec", NAME, "--workdir", "/no/such", "--", "true"])?.assert().code(125);
    Ok(())
}

fn signals(desk: &Desk) -> Result<()> {
    let begin = |line: &str| {
        let mut command = desk.command(&["exec", NAME, "--", "sh", "-c", line]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        until_said(child.stdout.as_mut().unwrap(), "ready\n")?;
        Ok::<_, anyhow::Error>(child)
    };
    let pid = |child: &std::process::Child| Pid::from_raw(child.id() as i32);
    // dash forgets a signal that comes while it starts a program (20 of 1,500, also without a host), and waits for that then.
    let until_runs = |program: &str| {
        let command = format!("pgrep -fx '{program}'");
        until(program, || desk.shell(NAME, &command).is_ok())
    };
    // It is passed on to the program and to what that has started, as from a terminal.
    let child = begin("echo ready; sleep 1001")?;
    until_runs("sleep 1001")?;
    kill(pid(&child), Signal::SIGINT)?;
    child.wait_with_output()?.assert().code(128 + 2);
    let child = begin("trap 'echo caught; exit 3' TERM; sleep 1002 & echo ready; wait")?;
    until_runs("sleep 1002")?;
    kill(pid(&child), Signal::SIGTERM)?;
    child.wait_with_output()?.assert().code(3).stdout("caught\n");
    // Who cannot pass anything on takes the program along.
    let mut child = begin("echo ready; exec sleep 4321")?;
    until_runs("sleep 4321")?;
    child.kill()?;
    child.wait()?;
    until("the program ends with its command", || desk.shell(NAME, "pgrep -fx 'sleep 4321'").is_err())
}

fn a_shell_on_a_terminal(desk: &Desk) -> Result<()> {
    let mut terminal = Terminal::start(&desk.command(&["shell", NAME]))?;
    // The words differ from what is typed, which is shown too.
    terminal.type_keys("tty; stty size; hostname\r")?;
    terminal.until_shown("/dev/pts/0\r\n24 80\r\nbrev-host\r\n")?;
    terminal.type_keys("case $- in *m*) echo jobs''-on;; esac\r")?;
    terminal.until_shown("jobs-on")?;
    // While the shell prepares its prompt, readline gets the size and sets it again: what changes between is lost, also elsewhere.
    let until_resized = "until [ \"$(stty size)\" = '30 100' ]; do sleep 0.05; done; echo re''sized";
    terminal.type_keys(&format!("echo wait''ing; {until_resized}\r"))?;
    terminal.until_shown("waiting")?;
    terminal.resize(30, 100)?;
    terminal.until_shown("resized")?;
    terminal.type_keys("echo be''gun; sleep 1000\r")?;
    terminal.until_shown("begun")?;
    // A shell that is about to start a job does not hear the signal in every moment.
    until("the job has begun", || desk.shell(NAME, "pgrep -fx 'sleep 1000'").is_ok())?;
    terminal.type_keys("\x03")?;
    terminal.type_keys("echo code=$?.\r")?;
    terminal.until_shown("code=130.")?;
    terminal.type_keys("exit 9\r")?;
    assert_eq!(terminal.wait()?.code(), Some(9));

    // Without a terminal it is a shell for scripts.
    let mut shell = desk.command(&["shell", NAME]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    shell.stdin.take().unwrap().write_all(b"echo from a script; exit 4\n")?;
    shell.wait_with_output()?.assert().code(4).stdout("from a script\n");
    Ok(())
}

fn in_a_sandbox(desk: &Desk) -> Result<()> {
    let inside = |place: &str, line: &str| desk.run(&["exec", NAME, "--in", place, "--", "bash", "-c", line]);
    // One that is made for the command, with the names that OpenShell gives: it is where packets are dropped.
    let dial =
        "grep -c openshell.internal /etc/hosts; timeout 1 bash -c '</dev/tcp/host.openshell.internal/8080'";
    inside("sandbox", dial)?.assert().code(124).stdout("1\n");
    assert_eq!(desk.shell(NAME, "docker ps --all --quiet")?, "", "it went with the command");
    // One that runs, by its name and by itself.
    let line =
        "docker run --detach --rm --name box --network openshell-docker sandbox:lab sleep 1000 >/dev/null";
    desk.shell(NAME, line)?;
    for place in ["sandbox", "sandbox:box"] {
        let found = inside(place, "cat /proc/1/comm; exit 6")?.assert().code(6);
        found.stdout("sleep\n");
    }
    inside("sandbox:nobody", "true")?.assert().code(1).stderr(contains("nobody"));
    Ok(())
}

fn packets(desk: &Desk) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("packets.pcap");
    let read = |file: &std::path::Path| -> Result<String> {
        let mut command = desk.command(&["exec", NAME, "--", "tcpdump", "-nr", "-"]);
        Ok(String::from_utf8(command.stdin(File::open(file)?).output()?.stdout)?)
    };
    // A number of packets, to a file.
    let path = file.to_str().unwrap();
    let mut command = desk.command(&["pcap", NAME, "--link", "lo", "--count", "2", "-o", path]);
    let mut capture = command.stderr(Stdio::piped()).spawn()?;
    until_said(capture.stderr.as_mut().unwrap(), "capturing on lo")?;
    desk.shell(NAME, "bash -c '</dev/tcp/127.0.0.1/8080'")?;
    capture.wait_with_output()?.assert().success().stderr(contains("2 packets"));
    let text = read(&file)?;
    assert!(text.contains("127.0.0.1.8080: Flags [S]") && text.contains("Flags [S.]"), "{text}");

    // The link of a sandbox, to a pipe, until Ctrl-C: its SYN has no answer.
    let mut command = desk.command(&["pcap", NAME, "--sandbox", "box"]);
    let mut capture = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    until_said(capture.stderr.as_mut().unwrap(), "capturing on veth")?;
    let dial = "timeout 1 bash -c '</dev/tcp/172.18.0.1/8080'";
    desk.run(&["exec", NAME, "--in", "sandbox:box", "--", "bash", "-c", dial])?.assert().code(124);
    kill(Pid::from_raw(capture.id() as i32), Signal::SIGINT)?;
    let mut bytes = Vec::new();
    capture.stdout.take().unwrap().read_to_end(&mut bytes)?;
    capture.wait_with_output()?.assert().success();
    fs::write(&file, bytes)?;
    let text = read(&file)?;
    assert!(text.contains("> 172.18.0.1.8080: Flags [S]") && !text.contains("Flags [S.]"), "{text}");

    desk.run(&["pcap", NAME, "--link", "nope"])?.assert().code(1).stderr(contains("there are: br-"));
    // A capture that fails leaves no file, and what is in one that is there; one that begins replaces that.
    let (new, old) = (folder.path().join("new"), folder.path().join("old"));
    fs::write(&old, [b'x'; 4096])?;
    for path in [&new, &old] {
        let to_file = ["pcap", NAME, "--link", "nope", "-o", path.to_str().unwrap()];
        desk.run(&to_file)?.assert().code(1).stderr(contains("there are: br-"));
    }
    assert!(!new.exists(), "an empty file was left behind");
    assert_eq!(fs::read(&old)?, [b'x'; 4096]);
    desk.succeed(&["pcap", NAME, "--link", "lo", "--duration", "1ms", "-o", old.to_str().unwrap()])?;
    assert!(fs::read(&old)?.starts_with(&0xa1b2_3c4d_u32.to_ne_bytes()), "nanoseconds");
    assert!(old.metadata()?.len() < 4096, "what was there is gone");
    desk.run(&["pcap", NAME, "--duration", "1ms"])?.assert().success();
    Ok(())
}

/// Nothing has to be up, and nothing is afterwards.
#[test]
fn a_host_for_one_command_sees_what_it_is_shown() -> Result<()> {
    let desk = Desk::new()?;
    let shown = tempfile::tempdir()?;
    let (own, read_only) = (shown.path().join("own"), shown.path().join("read-only"));
    for folder in [&own, &read_only] {
        fs::create_dir(folder)?;
        fs::write(folder.join("file"), "seen\n")?;
    }
    let (own, read_only) = (own.to_str().unwrap(), read_only.to_str().unwrap());
    let line =
        format!("cat {own}/file {read_only}/file; echo new >{own}/new; echo new >{read_only}/new; exit 5");
    let output = desk.run(&[
        "exec",
        "clean",
        "--bind",
        &format!("{own}:rw"),
        "--bind",
        read_only,
        "--",
        "sh",
        "-c",
        &line,
    ])?;
    output.assert().code(5).stdout("seen\nseen\n").stderr(contains("Read-only file system"));
    assert_eq!(fs::read_to_string(shown.path().join("own/new"))?, "new\n");
    assert!(!shown.path().join("read-only/new").exists());
    assert_eq!(desk.succeed(&["list", "--json"])?, "[]\n");
    Ok(())
}

/// What a program sees and does on a host of the machine's own userland.
const ON_THE_MACHINE: &str = r#"
cat /usr/local/marker
echo other >/usr/local/marker
touch /usr/local/new
ls -A /root | wc -l
openshell-probe check
iptables -S INPUT
exit 5
"#;

/// This machine may have no engine, so it is given one, in a mount namespace.
#[test]
fn a_host_of_the_machines_own_userland_leaves_it_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = programs::harness()?;
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        include_str!("commands/machine.sh"),
        "sh",
    ]);
    command.arg(folder.path()).arg(Image::debian_13()?.rootfs()).arg(programs.parent().unwrap());
    command.args(["openshell-harness", "exec", "clean", "--image", "machine", "--"]);
    let output = command.args(["sh", "-c", ON_THE_MACHINE]).output()?;
    let said = String::from_utf8(output.stdout.clone())?;
    output.assert().code(5);
    assert!(said.starts_with("of the machine\n0\nengine "), "{said}");
    assert!(said.contains("8080 gateway        ok: ") && said.contains("\n-P INPUT ACCEPT\n"), "{said}");
    assert!(said.ends_with("\nof the machine\nof its root\nnothing new\n"), "{said}");
    Ok(())
}
