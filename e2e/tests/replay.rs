//! A snapshot made into a host again: the same verdict, cause and rule; and what nobody's file can do to who replays it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use e2e::lab::{Lab, PROBE};
use e2e::programs;
use e2e::roundtrip::{Tried, scenarios, table, there_and_back};
use harness::Ufw;
use harness::scenario::{Corpus, ScenarioFile};
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
    has_no_rights(&cage)?;
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
