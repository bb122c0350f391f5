//! A snapshot made into a host again: the same verdict, cause and rule; and what nobody's file can do to who replays it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use assert_cmd::assert::OutputAssertExt as _;
use e2e::desk::Desk;
use e2e::lab::{Lab, PROBE};
use e2e::programs;
use e2e::roundtrip::{Tried, scenarios, table, there_and_back};
use e2e::seccomp::no_user_namespaces;
use harness::Ufw;
use harness::image::Image;
use harness::scenario::{Corpus, ScenarioFile};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use rstest::rstest;
use serde_json::{Value, json};

const FILE: &[u8] = include_bytes!("../../harness/testdata/ufw-default-deny.snapshot");

/// What would leave a file behind where a shell, a path or a tool took it for something else.
const PAYLOADS: [&str; 7] = [
    "$(touch CANARY)",
    "`touch CANARY`",
    "x; touch CANARY #",
    "-M CANARY",
    "../../CANARY",
    "x\n-A INPUT -j ACCEPT",
    "include \"CANARY\"",
];

/// Its rows, and no difference that has no reason.
async fn there_and_here(path: &Path) -> Result<()> {
    let file = ScenarioFile::read(path)?;
    let tried = there_and_back(&programs::probe()?, &file).await?;
    if let Tried::Replayed(outcome) = &tried {
        let differs: Vec<_> =
            outcome.targets.iter().filter(|target| !target.agrees && target.cannot.is_none()).collect();
        ensure!(differs.is_empty(), "{}: {differs:#?}\n{:#?}", file.name(), outcome.not_replayed);
    }
    if matches!(tried, Tried::Skipped(_)) { Ok(()) } else { table::check(&file.name(), &tried) }
}

/// Of each firewall and each backend one.
#[rstest]
#[case::ufw("firewall/ufw-rejects-the-port")]
#[case::iptables("firewall/reject-icmp-admin-prohibited")]
#[case::legacy("firewall/legacy-tables")]
#[case::native("firewall/nft-beside-ufw")]
#[case::netdev("firewall/nft-netdev")]
#[case::firewalld("firewall/firewalld-public")]
#[case::output("firewall/output-drop")]
#[case::route("route/reverse-path")]
#[tokio::test]
async fn there_and_back_of(#[case] name: &str) -> Result<()> {
    there_and_here(&scenarios().join(format!("{name}.toml"))).await
}

#[rstest]
#[tokio::test]
#[ignore = "two hosts for each scenario take minutes: scripts/test --long"]
async fn scenario_there_and_back(#[files("scenarios/**/*.toml")] path: PathBuf) -> Result<()> {
    let inside = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&path);
    there_and_here(&programs::checkout().join(inside)).await
}

#[test]
fn the_table_has_every_scenario_and_no_difference_without_a_reason() -> Result<()> {
    let corpus = Corpus::read(&[scenarios()])?;
    let names: BTreeSet<String> = corpus.files.iter().map(ScenarioFile::name).collect();
    assert_eq!(table::names()?, names, "scripts/replay-table writes docs/replay.md anew");
    let bad: Vec<_> = table::committed()?.into_iter().filter(|row| row.ends_with("| NO |")).collect();
    ensure!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

/// A folder with a canary's place, and files in it.
struct Cage {
    folder: tempfile::TempDir,
}

impl Cage {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn canary(&self) -> PathBuf {
        self.folder.path().join("canary")
    }

    fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(programs::harness()?).args(arguments).current_dir(self.folder.path()).output()?)
    }

    /// The program refuses the file, says why, and has done nothing.
    fn is_refused(&self, path: &Path) -> Result<String> {
        let output = self.run(&["replay", &path.display().to_string()])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{:?}: {said}", output.status);
        ensure!(said.starts_with("error: ") && said.contains(" is refused: "), "{said}");
        ensure!(output.stdout.is_empty(), "a refused file has no outcome");
        ensure!(!self.canary().exists(), "the canary is there: {said}");
        Ok(said)
    }
}

fn gzip(text: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    let text = text.to_owned();
    let writer = thread::spawn(move || stdin.write_all(&text));
    let output = child.wait_with_output()?;
    ensure!(matches!(writer.join(), Ok(Ok(()))) && output.status.success(), "gzip failed");
    Ok(output.stdout)
}

fn given() -> Result<Value> {
    Ok(serde_json::from_slice(&snapshot::to_json(&snapshot::read(FILE)?)?)?)
}

#[test]
fn a_hostile_file_is_refused_and_nothing_happens() -> Result<()> {
    let cage = Cage::new()?;
    let refused = |name: &str, content: &[u8], why: &str| {
        let said = cage.is_refused(&cage.file(name, content)?)?;
        ensure!(said.contains(why), "{name}: {why:?} is not in {said}");
        Ok(())
    };
    refused("text", b"#!/bin/sh\ntouch canary\n", "it is no gzip file")?;
    refused("latin", &gzip(b"{\"schema\": \"1.0\xff\"}")?, "is not UTF-8")?;
    refused("bomb", &gzip(&vec![b' '; 64 << 20])?, "more than 32 MiB after decompression")?;
    let rules = "{\"number\":1,\"parts\":[{\"do\":\"accept\"}]},".repeat((100 << 20) / 42);
    refused("rules", &gzip(format!("{{\"rules\":[{rules}").as_bytes())?, "more than 32 MiB")?;
    let mut other = given()?;
    other["schema"] = json!("2.0");
    refused("schema", &gzip(&serde_json::to_vec(&other)?)?, "its schema is \"2.0\"")?;
    std::os::unix::fs::symlink("/dev/zero", cage.folder.path().join("device"))?;
    ensure!(cage.is_refused(&cage.folder.path().join("device"))?.contains("no regular file"));
    cage.is_refused(&cage.folder.path().join("none"))?;
    Ok(())
}

/// Every text of a snapshot, once for each place that is not another one's like.
#[test]
fn no_text_of_a_file_gets_anywhere() -> Result<()> {
    let cage = Cage::new()?;
    let mut texts = Vec::new();
    let given = given()?;
    find(&given, String::new(), String::new(), &mut texts);
    let mut seen = BTreeSet::new();
    texts.retain(|(_, kind)| seen.insert(kind.clone()));
    ensure!(texts.len() > 30, "{texts:?}");
    for (at, (pointer, kind)) in texts.iter().enumerate() {
        for payload in PAYLOADS {
            let mut value = given.clone();
            let place = value.pointer_mut(pointer).context("a place")?;
            *place = payload.replace("CANARY", &cage.canary().display().to_string()).into();
            let text = serde_json::to_vec(&value)?;
            ensure!(snapshot::read_json(&text).is_err(), "{kind} takes {payload:?}");
            // Through the program, another one at each place.
            if payload == PAYLOADS[at % PAYLOADS.len()] {
                cage.is_refused(&cage.file("hostile", &gzip(&text)?)?)?;
            }
        }
    }
    Ok(())
}

/// The pointers of all texts, each with its place without numbers.
fn find(value: &Value, pointer: String, kind: String, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(_) => texts.push((pointer, kind)),
        Value::Array(all) => {
            let each = all.iter().enumerate();
            each.for_each(|(at, it)| find(it, format!("{pointer}/{at}"), format!("{kind}[]"), texts));
        }
        Value::Object(all) => {
            all.iter()
                .for_each(|(key, it)| find(it, format!("{pointer}/{key}"), format!("{kind}.{key}"), texts));
        }
        _ => {}
    }
}

/// A bug report becomes a test: the whole way through the programs, on hosts without any right on the machine.
#[tokio::test]
async fn a_bug_report_becomes_a_scenario() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let targets = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];
    lab.host.command(PROBE).args(["snapshot", "-o", "/root/host"]).args(targets).run().await?;
    let bytes = fs::read(lab.host.path("/root/host"))?;
    lab.host.shutdown().await?;

    let cage = Cage::new()?;
    cage.file("host.snapshot", &bytes)?;
    let said = |output: &Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let replayed = cage.run(&["replay", "host.snapshot", "--as-scenario", "case.toml", "--json"])?;
    ensure!(replayed.status.code() == Some(0), "{}", said(&replayed));
    let outcome: Value = serde_json::from_slice(&replayed.stdout)?;
    assert_eq!(outcome["agrees"], true);
    for target in outcome["targets"].as_array().context("no targets")? {
        for side in ["there", "here"] {
            let found = &target[side];
            assert_eq!((&found["verdict"], &found["cause"]), (&json!("tcp_failed"), &json!("dropped")));
            let place = (&found["decided"]["table"], &found["decided"]["chain"], &found["decided"]["rule"]);
            assert_eq!(place, (&json!("filter"), &json!("INPUT"), &Value::Null));
        }
    }
    let run = cage.run(&["run", "case.toml"])?;
    ensure!(run.status.code() == Some(0), "{}", said(&run));
    ensure!(said(&run).contains("2 expectations, 0 wrong"), "{}", said(&run));

    // What is there stays, and root's rights are asked for by name.
    let before = fs::read(cage.folder.path().join("case.toml"))?;
    let again = cage.run(&["replay", "host.snapshot", "--as-scenario", "case.toml"])?;
    ensure!(again.status.code() == Some(2) && said(&again).contains("hint: --force"), "{}", said(&again));
    assert_eq!(fs::read(cage.folder.path().join("case.toml"))?, before);
    let root = cage.run(&["--privilege", "root", "replay", "host.snapshot"])?;
    ensure!(root.status.code() == Some(2) && said(&root).contains("--trust"), "{}", said(&root));
    let left = |it: &Value| it["what"].as_str().is_some_and(|what| what.starts_with("options of networks"));
    ensure!(!outcome["not_replayed"].as_array().context("no list")?.iter().any(left), "{outcome:#}");
    has_no_rights(&cage)?;
    the_host_stays(&cage)?;
    without_user_namespaces(&cage)?;
    odd(&cage).await
}

/// The host's root is nobody on the machine, whoever made it.
fn has_no_rights(cage: &Cage) -> Result<()> {
    let mut shell = Command::new(programs::harness()?)
        .args(["replay", "host.snapshot", "--shell"])
        .current_dir(cage.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    shell.stdin.take().context("no pipe")?.write_all(b"sed 's/^/ids: /' /proc/self/uid_map; exit 7\n")?;
    let output = shell.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(7), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let ids = said.lines().find_map(|line| line.strip_prefix("ids: ")).context("no ids")?;
    let ids: Vec<u32> = ids.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(ids[0] == 0 && ids[1] != 0, "the host's root is the machine's: {ids:?}");
    Ok(())
}

/// Whoever got the report stays in its host, or runs one command there, and that host's root is nobody on the machine either.
fn the_host_stays(cage: &Cage) -> Result<()> {
    let desk = Desk::new()?;
    let run = |arguments: &[&str]| desk.command(arguments).current_dir(cage.folder.path()).output();
    let outside = |uid_map: &str| uid_map.split_whitespace().nth(1).map(str::to_owned);
    run(&["up", "case.toml"])?.assert().success().stdout(contains("case is up after "));
    let listed = desk.look("case")?;
    ensure!(listed["state"] == "up" && listed["network"]["name"] == "openshell-docker", "{listed:#}");
    let owner = outside(&desk.shell("case", "cat /proc/self/uid_map")?).context("no ids")?;
    ensure!(owner != "0", "the host's root is the machine's");
    ensure!(desk.shell("case", "iptables -S INPUT | head -n 1")? == "-P INPUT DROP");
    run(&["exec", "case", "--", "openshell-probe", "check"])?.assert().code(1).stdout(contains("(dropped)"));
    run(&["exec", "case", "--in", "sandbox", "--", "cat", "/etc/hosts"])?
        .assert()
        .success()
        .stdout(contains("host.openshell.internal"));
    run(&["up", "clean", "--name", "case"])?
        .assert()
        .code(1)
        .stderr(contains("there is a host case already"));
    run(&["down", "case"])?.assert().success();
    ensure!(desk.look("case")?.is_null());

    let line = "cat /proc/self/uid_map; exit 7";
    let fresh = run(&["exec", "case.toml", "--", "sh", "-c", line])?;
    ensure!(fresh.status.code() == Some(7), "{}", String::from_utf8_lossy(&fresh.stderr));
    ensure!(outside(&String::from_utf8(fresh.stdout)?) == Some(owner));
    let trusted = run(&["exec", "case.toml", "--trust", "--", "sh", "-c", line])?;
    ensure!(outside(&String::from_utf8(trusted.stdout)?).as_deref() == Some("0"));
    run(&["--privilege", "root", "up", "case.toml"])?.assert().code(2).stderr(contains("--trust"));
    // A foreign scenario names no command.
    let text = fs::read_to_string(cage.folder.path().join("case.toml"))?;
    let event = format!("events = [{{ run = \"touch {}\" }}]", cage.canary().display());
    cage.file("evil.toml", text.replace("events = []", &event).as_bytes())?;
    for arguments in [&["up", "evil.toml"][..], &["exec", "evil.toml", "--trust", "--", "true"]] {
        run(arguments)?
            .assert()
            .code(2)
            .stderr(contains("events: a scenario with a snapshot names nothing else"));
    }
    ensure!(!cage.canary().exists());
    Ok(())
}

/// Where the kernel lets nobody make a user namespace, nothing is made unless it is asked for by name.
fn without_user_namespaces(cage: &Cage) -> Result<()> {
    let filter = cage.file("filter", &no_user_namespaces())?;
    let rootfs = Image::debian_13()?.rootfs();
    // The image's own setpriv, which is young enough, by the image's own loader.
    let loaders =
        ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"].map(|it| rootfs.join("usr").join(it));
    let loader = loaders.into_iter().find(|it| it.is_file()).context("the image has no loader")?;
    let libraries = rootfs.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let run = |arguments: &[&str]| -> Result<Output> {
        let mut command = Command::new(&loader);
        command.arg("--library-path").arg(&libraries).arg(rootfs.join("usr/bin/setpriv"));
        command.arg("--seccomp-filter").arg(&filter).arg(programs::harness()?).args(arguments);
        Ok(command.current_dir(cage.folder.path()).output()?)
    };
    for arguments in [
        &["replay", "host.snapshot"][..],
        &["replay", "host.snapshot", "--shell"],
        &["replay", "host.snapshot", "--as-scenario", "other.toml"],
        &["run", "case.toml"],
        &["up", "case.toml"],
        &["exec", "case.toml", "--", "true"],
    ] {
        let refused = run(arguments)?.assert().code(2).stdout("");
        refused.stderr(contains("user namespace: ").and(contains("\nhint: as root, --trust gives the host")));
    }
    ensure!(!cage.folder.path().join("other.toml").exists());
    run(&["replay", "host.snapshot", "--trust"])?.assert().success().stdout(contains("8080 gateway: agrees"));
    Ok(())
}

/// A file that the reader takes and that no host ever had: what cannot be made is named, and the rest is asked.
async fn odd(cage: &Cage) -> Result<()> {
    let mut value = given()?;
    let link = |name: &str| json!({"name": name, "kind": "device", "up": true, "master": null, "mtu": 0, "mac": null});
    value["links"] = json!([link("all"), link("1..5"), link("a@b"), link("br-sandbox:1"), link("lo")]);
    value["engine"] = json!({"version": null, "system": "other", "architecture": null});
    let pool = json!([{"subnet": "172.18.0.0/16", "gateway": "172.18.0.1"}]);
    let network = |name: &str, role: &str, bridge: &str| json!({"name": name, "role": role, "driver": "bridge", "bridge": bridge, "pools": pool, "options": [], "internal": false});
    value["networks"] = json!([
        network("openshell-docker", "sandboxes", "br-sandbox"),
        network("network-1", "other", "br-sandbox"),
        network("network-2", "other", "lo")
    ]);
    value["policy_rules"] = json!([{"v6": false, "priority": 0, "negated": true, "from": null, "to": null, "input": null,
        "output": null, "mark": null, "mask": null, "protocol": "exec", "from_port": null, "to_port": null, "table": "main"}]);
    let text = serde_json::to_vec(&value)?;
    snapshot::read_json(&text).context("the reader takes it")?;
    let path = cage.file("odd.snapshot", &gzip(&text)?)?;
    let output = cage.run(&["replay", "--json", &path.display().to_string()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    let outcome: Value = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
    let left: Vec<String> = outcome["not_replayed"]
        .as_array()
        .context("nothing is left out")?
        .iter()
        .map(|it| format!("{}: {}", it["what"], it["why"]))
        .collect();
    for what in ["interface all", "interface br-sandbox:1", "network network-1", "rule 0 of policy routing"] {
        ensure!(left.iter().any(|it| it.contains(what)), "{what} is not in {left:#?}");
    }
    // The rules are the captured ones all the same.
    assert_eq!(outcome["targets"][0]["here"]["decided"]["chain"], "INPUT", "{outcome:#}");
    ensure!(!cage.canary().exists());
    Ok(())
}
