//! `openshell-harness conform`, as a program, and the page of its example.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use assert_cmd::assert::OutputAssertExt as _;
use e2e::programs;
use harness::conform::left_out_always;
use harness::scenario::{Corpus, ScenarioFile};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::{contains, ends_with};
use serde_json::Value;

/// Nothing listens on any of the ports, and no firewall is at fault.
const PORTS: [u16; 7] = [8080, 8081, 8082, 8083, 8084, 8085, 8086];

/// It answers each port in another way, the last one well.
const LIAR: &str = r#"#!/bin/sh
case $2 in
  8080) echo "sudo ufw allow from any to any port $2" >&2; exit 1 ;;
  8081) exit 0 ;;
  8082) sleep 60 ;;
  8083) yes ;;
  8084) exit 3 ;;
  8085) kill -9 $$ ;;
  8086) echo "{\"network\": \"$1\", \"reachable\": false}"; sleep 60 & ;;
esac
"#;

const MAP: &str = r#"version = 1
time_limit_s = 2
output_limit_kb = 1

[[rule]]
pointer = "/reachable"
is = false
answer = "failed"

[[rule]]
exit = 0
answer = "healthy"

[[rule]]
stderr = "ufw allow*port"
answer = "firewall"

[[rule]]
exit = 3
answer = "unknown"
"#;

/// A folder with a scenario of these ports, the map and the program.
fn given() -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let expect = |port: &u16| {
        format!(
            "\n[[expect]]\ntarget = \"{port}=service/tcp\"\nverdict = \"tcp_failed\"\ncause = \"not_listening\"\noracle = \"not_reached\"\n"
        )
    };
    let head = "version = 1\ntitle = \"Nothing listens\"\nsource = [\"derived\"]\n\
        class = { cause = \"not_listening\", route = \"bridge_gateway\", firewall = \"none\", lifecycle = \"fresh\" }\n\
        events = [\n  { network = {} },\n]\n";
    let scenario = folder.path().join("nothing.toml");
    fs::write(&scenario, PORTS.iter().map(expect).fold(head.to_owned(), |text, one| text + &one))?;
    fs::write(folder.path().join("map.toml"), MAP)?;
    let program = folder.path().join("liar.sh");
    fs::write(&program, LIAR)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok((folder, scenario))
}

fn conform(folder: &Path, scenario: &Path, arguments: &[&str], command: &[&str]) -> Result<Output> {
    let mut line = Command::new(programs::harness()?);
    line.current_dir(folder).arg("conform").arg("--probe").arg(programs::probe()?);
    line.args(arguments).arg("--scenarios").arg(scenario).arg("--").args(command);
    Ok(line.output()?)
}

#[test]
fn every_way_to_answer_has_its_score_and_a_false_one_ends_with_one() -> Result<()> {
    let (folder, scenario) = given()?;
    let arguments = ["--map", "map.toml", "--json"];
    let output = conform(folder.path(), &scenario, &arguments, &["./liar.sh", "{network}", "{port}"])?;
    let assert = output.assert().code(1);
    let json: Value = serde_json::from_slice(&assert.get_output().stdout)?;
    let answers = json["answers"].as_array().context("answers")?;
    let found: Vec<(u64, &str, &str)> = answers
        .iter()
        .map(|it| {
            let word = |key: &str| it[key].as_str().unwrap_or("none");
            (it["port"].as_u64().unwrap_or_default(), word("meaning"), word("score"))
        })
        .collect();
    assert_eq!(
        found,
        [
            (8080, "firewall", "false_blame"),
            (8081, "healthy", "false_healthy"),
            (8082, "none", "no_answer"),
            (8083, "none", "no_answer"),
            (8084, "unknown", "no_answer"),
            (8085, "none", "no_answer"),
            (8086, "failed", "right"),
        ],
        "{json:#}"
    );
    let ended = |index: usize| answers[index]["ended"].as_str().unwrap_or_default().to_owned();
    ensure!(ended(2) == "not done within 2s" && ended(3) == "said more than 1 kB", "{json:#}");
    ensure!(ended(5) == "exit 137" && ended(6).contains("\"network\": \"openshell-docker\""), "{json:#}");
    // What it has left running holds its output open, and is not waited for.
    ensure!(answers[6]["elapsed_ms"].as_u64().is_some_and(|ms| ms < 2000), "{json:#}");
    ensure!(json["totals"]["false_blame"] == 1 && json["totals"]["no_answer"] == 4, "{json:#}");
    Ok(())
}

/// Our own probe, by the map of `docs/conform`, is right everywhere.
#[test]
fn a_probe_without_a_false_answer_ends_with_zero() -> Result<()> {
    let (folder, scenario) = given()?;
    let map = docs("openshell-probe.toml");
    let map = map.to_str().context("a path")?;
    let command =
        ["openshell-probe", "check", "--format", "json", "--network", "{network}", "--port", "{port}"];
    let output = conform(folder.path(), &scenario, &["--map", map], &command)?;
    output
        .assert()
        .success()
        .stdout(
            contains(" 8086  not_listening         failed    right          exit 1: ").or(contains(" 8086 ")),
        )
        .stdout(ends_with(
            "7 answers: 7 right, 0 false blame, 0 false healthy, 0 false alarm, 0 no answer\n",
        ));
    Ok(())
}

#[test]
fn what_the_caller_has_to_mend_ends_with_two() -> Result<()> {
    let (folder, scenario) = given()?;
    let refused = |map: &str, command: &[&str], words: &str| -> Result<()> {
        fs::write(folder.path().join("map.toml"), map)?;
        let output = conform(folder.path(), &scenario, &["--map", "map.toml"], command)?;
        output.assert().code(2).stdout("").stderr(contains(words).and(contains("\nhint: ")));
        Ok(())
    };
    let asked = ["./liar.sh", "{network}", "{port}"];
    refused(&MAP.replace("exit = 0", "exitt = 0"), &asked, "error: map.toml:11: unknown field `exitt`")?;
    refused(MAP, &["./liar.sh", "{network}"], "the command has no {port}")?;
    // This one takes a host to be found out.
    refused(
        MAP,
        &["/no/such/probe", "{port}"],
        "error: the command cannot be started in a host: /no/such/probe",
    )?;
    let nobody = conform(folder.path(), &scenario, &["--map", "map.toml"], &["./nobody.sh", "{port}"])?;
    nobody.assert().code(2).stdout("").stderr(contains("./nobody.sh: there is no such file"));
    Ok(())
}

// --- The example ------------------------------------------------------------------------------------------------------

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conform").join(name)
}

/// Whether it still says what is so takes all hosts, and `scripts/conform-table --check`. This takes none: it is about the same
/// scenarios, the same probe and the same map, and counts what it has.
#[test]
fn the_page_of_the_example_is_about_this_probe_and_this_corpus() -> Result<()> {
    let page = fs::read_to_string(docs("nc.md"))?;
    let hint = "docs/conform/nc.md is of another probe, map or corpus\nhint: scripts/conform-table";
    for name in ["nc.sh", "nc.toml"] {
        let output = Command::new("sha256sum").arg(docs(name)).output()?;
        let digest = String::from_utf8(output.stdout)?.split(' ').next().unwrap_or_default().to_owned();
        ensure!(page.contains(&format!("- {name} {digest}\n")), "{hint}");
    }
    let rows = page.split("| scenario | is | answer |").nth(1).context("the table of answers")?;
    let rows: Vec<Vec<&str>> = rows
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect()))
        .collect();
    let found: BTreeSet<(String, String)> =
        rows.iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    let corpus = Corpus::read(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")])?;
    let asked = |file: &&ScenarioFile| left_out_always(file).is_none();
    let names = |file: &ScenarioFile| {
        let at = |at: &Option<String>| at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
        let name = |it: &harness::scenario::format::Expect| {
            (format!("{} {}{}", file.name(), it.target.port, at(&it.at)), it.reason())
        };
        file.scenario.expect.iter().map(name).collect::<Vec<_>>()
    };
    let all: BTreeSet<_> = corpus.files.iter().filter(asked).flat_map(names).collect();
    // What a machine cannot build is in no row there.
    let certain = |file: &&ScenarioFile| asked(file) && file.scenario.skip_unless.is_empty();
    let certain: BTreeSet<_> = corpus.files.iter().filter(certain).flat_map(names).collect();
    let missing: Vec<_> = certain.difference(&found).collect();
    let gone: Vec<_> = found.difference(&all).collect();
    ensure!(missing.is_empty() && gone.is_empty(), "lacks {missing:?}, has {gone:?}\n{hint}");
    for score in ["right", "false blame", "false healthy", "false alarm", "no answer"] {
        let is = |row: &&Vec<&str>| row[2].trim_start_matches("**").starts_with(score);
        let line = format!("| {score} | {} |\n", rows.iter().filter(is).count());
        ensure!(page.contains(&line), "{line}{hint}");
    }
    Ok(())
}

/// The machine's node, and what of it the hosts have to see: the program and the libraries that a small image lacks.
struct Node {
    version: String,
    binds: Vec<PathBuf>,
}

impl Node {
    fn find() -> Result<Option<Self>> {
        let Ok(found) = Command::new("sh").args(["-c", "command -v node && node --version"]).output() else {
            return Ok(None);
        };
        let said = String::from_utf8(found.stdout)?;
        let Some((program, version)) = said.trim().split_once('\n') else {
            return Ok(None);
        };
        let program = fs::canonicalize(program)?;
        let libraries = Command::new("ldd").arg(&program).output().map(|it| it.stdout).unwrap_or_default();
        let libraries = String::from_utf8(libraries)?;
        let mut binds = vec![program];
        for path in libraries.lines().filter_map(|line| line.split(" => ").nth(1)?.split(' ').next()) {
            let (path, name) = (Path::new(path), Path::new(path).file_name().context("a library")?);
            // Those of libc belong to the loader of the image.
            if ["libstdc++.", "libgcc_s.", "libatomic."]
                .iter()
                .any(|own| name.to_string_lossy().starts_with(own))
            {
                binds.push(fs::canonicalize(path.parent().context("a folder")?)?.join(name));
            }
        }
        Ok(Some(Self { version: version.to_owned(), binds }))
    }
}

/// Shown in every summary, as nextest cannot skip a test that has begun.
#[test]
fn what_the_preflight_runs_with() -> Result<()> {
    match Node::find()? {
        Some(node) => println!("docs/conform/preflight.mjs runs with node {}", node.version),
        None => println!("the machine has no node, so docs/conform/preflight.mjs is not run"),
    }
    Ok(())
}

/// It connects from the host: so it is right about sockets, and sees no firewall that drops what comes from sandboxes.
#[test]
fn a_preflight_run_with_node_is_right_about_sockets_and_blind_for_firewalls() -> Result<()> {
    let Some(node) = Node::find()? else { return Ok(()) };
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut line = Command::new(programs::harness()?);
    line.arg("conform").arg("--probe").arg(programs::probe()?).arg("--map").arg(docs("preflight.toml"));
    line.arg("--json").arg("--bind").arg(fs::canonicalize(docs("preflight.mjs"))?);
    for bind in &node.binds {
        line.arg("--bind").arg(bind);
    }
    line.arg("--scenarios");
    line.args(
        ["bind/nothing-listens", "bind/loopback-only", "firewall/ufw-brev", "vm/network-missing"]
            .map(|name| corpus.join(format!("{name}.toml"))),
    );
    line.arg("--")
        .arg(&node.binds[0])
        .arg(fs::canonicalize(docs("preflight.mjs"))?)
        .args(["{network}", "{port}"]);
    let assert = line.output()?.assert().code(1);
    let json: Value = serde_json::from_slice(&assert.get_output().stdout)?;
    let word = |it: &Value, key: &str| it[key].as_str().unwrap_or("none").to_owned();
    let answers = json["answers"].as_array().context("answers")?.iter();
    let found: Vec<String> = answers
        .map(|it| {
            format!("{} {} {} {}", word(it, "scenario"), it["port"], word(it, "meaning"), word(it, "score"))
        })
        .collect();
    let expected = [
        "bind/loopback-only 8080 failed right",
        "bind/loopback-only 11435 healthy right",
        "bind/nothing-listens 8080 failed right",
        "bind/nothing-listens 11435 failed right",
        "firewall/ufw-brev 8080 healthy false_healthy",
        "firewall/ufw-brev 11435 healthy false_healthy",
        "vm/network-missing 8080 unknown no_answer",
        "vm/network-missing 11435 unknown no_answer",
    ];
    assert_eq!(found, expected, "{json:#}");
    Ok(())
}

/// The documentation's own map is one, and so are those beside it.
#[test]
fn every_map_of_the_documentation_is_one() -> Result<()> {
    let page = fs::read_to_string(docs("../conform.md"))?;
    let example =
        page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).context("a map")?;
    harness::conform::Map::parse("docs/conform.md".as_ref(), example)?;
    for name in ["nc.toml", "openshell-probe.toml", "preflight.toml"] {
        harness::conform::Map::read(&docs(name))?;
    }
    Ok(())
}
