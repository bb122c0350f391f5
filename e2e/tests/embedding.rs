//! `docs/embedding.md`: its example runs as it is printed, against real hosts, and its table is the code's.
//!
//! Node is a program of the machine and not of this project, so a machine may lack it. Nextest cannot skip a test that has
//! begun, and whether there is a node is known only where the tests run, which may be another machine than the one they were
//! built on. So without it these tests pass with a line on standard error that says so;
//! `what_the_examples_run_with` is shown in every summary (`.config/nextest.toml`); and in the profile `ci` they fail.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::lab::{Lab, PROBE, blames_no_firewall, host_with_probe};
use harness::{Host, Ufw};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const PAGE: &str = include_str!("../../docs/embedding.md");
const EXAMPLE: &str = include_str!("../../docs/embedding/preflight.ts");
const REASONS: &str = include_str!("../../docs/embedding/upstream.ts");
const EMBEDDER: &str = include_str!("../src/bin/embedder.rs");

// --- The page ---------------------------------------------------------------------------------------------------------

#[test]
fn the_page_has_the_examples_word_for_word() {
    for file in [EXAMPLE, REASONS] {
        assert!(PAGE.contains(&format!("\n```ts\n{file}```\n")), "the page has another text than:\n{file}");
    }
    let excerpts: Vec<&str> = blocks("rust").flat_map(str::lines).collect();
    assert!(!excerpts.is_empty());
    for line in excerpts {
        assert!(EMBEDDER.lines().any(|it| it.trim() == line), "embedder.rs has no line {line:?}");
    }
}

/// The page's blocks of code in that language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let begin = format!("\n```{language}\n");
    let parts: Vec<&str> = PAGE.split(begin.as_str()).skip(1).collect();
    parts.into_iter().filter_map(|part| part.split("```").next())
}

/// A row of the table of verdicts, for one cause of it.
#[derive(Debug)]
struct Row {
    verdict: &'static str,
    cause: Option<&'static str>,
    /// Upstream's reason, `none` where it does not ask.
    reason: &'static str,
    upstream: &'static str,
    preflight: &'static str,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| verdict | cause |")).skip(2);
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [verdict, causes, reason, upstream, preflight] = cells[..] else {
            panic!("five columns are expected: {line}")
        };
        let words =
            |cell: &'static str| -> Vec<&'static str> { cell.split('`').skip(1).step_by(2).collect() };
        let reason = words(reason).first().copied().unwrap_or(reason);
        let mut causes: Vec<_> = words(causes).into_iter().map(Some).collect();
        if causes.is_empty() {
            causes.push(None);
        }
        let verdict = words(verdict)[0];
        rows.extend(causes.into_iter().map(|cause| Row { verdict, cause, reason, upstream, preflight }));
    }
    assert!(!rows.is_empty(), "the page has no table of verdicts");
    rows
}

/// What the report's schema allows for a type.
fn allowed(name: &str) -> Result<BTreeSet<String>> {
    let schema: Value = serde_json::from_str(probe::SCHEMA)?;
    let variants = schema["$defs"][name]["oneOf"].as_array().context("it is no enumeration")?;
    let name_of = |variant: &Value| variant["const"].as_str().map(str::to_owned);
    variants.iter().map(name_of).collect::<Option<_>>().context("a variant has no name")
}

#[test]
fn the_table_has_every_verdict_and_every_cause_and_no_other() -> Result<()> {
    let rows = rows();
    let verdicts: BTreeSet<String> = rows.iter().map(|row| row.verdict.to_owned()).collect();
    assert_eq!(verdicts, allowed("Verdict")?);
    let causes: Vec<String> = rows.iter().filter_map(|row| row.cause).map(str::to_owned).collect();
    assert_eq!(causes.iter().cloned().collect::<BTreeSet<_>>(), allowed("Cause")?);
    assert_eq!(causes.len(), allowed("Cause")?.len(), "a cause belongs to one verdict: {causes:?}");
    Ok(())
}

/// `docs/causes.md` has an entry for each cause, below its verdict, and names only evidence that there is.
#[test]
fn every_cause_has_its_entry() -> Result<()> {
    let page = include_str!("../../docs/causes.md");
    let (mut verdict, mut entries) = ("", Vec::new());
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            verdict = heading;
        } else if let Some(heading) = line.strip_prefix("### ") {
            entries.push((verdict, heading));
        }
    }
    let mut expected: Vec<_> = rows().iter().filter_map(|row| Some((row.verdict, row.cause?))).collect();
    expected.sort_unstable();
    let mut found = entries.clone();
    found.sort_unstable();
    assert_eq!(found, expected);
    for part in ["**Looks like**", "**Proof**", "**Do**"] {
        assert_eq!(page.matches(part).count(), entries.len(), "{part}");
    }
    let grounds = allowed("Ground")?;
    for word in page.split('`').skip(1).step_by(2).filter(|word| word.contains('_')) {
        let known = grounds.contains(word)
            || allowed("Cause")?.contains(word)
            || ["rp_filter", "host_gateway_ip"].contains(&word);
        assert!(known, "{word} is neither a cause nor evidence");
    }
    Ok(())
}

/// The decision that is not strict, on a path where the network may be missing: the gate's own tests hold the code to it.
#[test]
fn the_table_has_the_decision_of_each_verdict() {
    for row in rows() {
        let decision = match row.verdict {
            "ok" | "skipped" => "goes on, 0",
            "tcp_failed" | "wrong_service" => "stops, 1",
            _ if row.cause == Some("interrupted") => "stops, 3",
            _ => "warns, 0",
        };
        assert!(row.preflight.starts_with(decision), "{row:?}");
    }
}

// --- The examples -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_the_examples_run_with() -> Result<()> {
    if let Some(node) = Node::find().await? {
        say(&format!("the examples run with node {}, {}", node.version, node.types()));
    }
    Ok(())
}

#[tokio::test]
async fn the_table_and_the_code_give_the_same_reasons() -> Result<()> {
    let Some(node) = Node::find().await? else { return Ok(()) };
    let target = |row: &Row| json!({ "verdict": row.verdict, "cause": row.cause, "summary": "" });
    let rows = rows();
    let veth = "failed to add the host (veth1) <=> sandbox (veth2) pair interfaces: operation not supported";
    let mut targets: Vec<Value> = rows.iter().map(target).collect();
    targets.push(json!({ "verdict": "probe_unavailable", "cause": "engine_error", "summary": veth }));
    let script = r#"
        import { stopsUpstream, upstreamReason } from "./upstream.EXTENSION";
        const answers = JSON.parse(process.argv[2]).map((it) => [upstreamReason(it) ?? "none", stopsUpstream(it)]);
        console.log(JSON.stringify(answers));
    "#;
    let output = node.run(script, &Value::Array(targets)).await?;
    let mut answers: Vec<(String, bool)> =
        serde_json::from_slice(&output.stdout).with_context(|| Ended::of(&output).talk)?;
    assert_eq!(answers.pop(), Some(("veth_unsupported".to_owned(), true)));
    assert_eq!(answers.len(), rows.len());
    for (row, (reason, stops)) in rows.iter().zip(&answers) {
        assert_eq!((row.reason, row.upstream.starts_with("stops")), (reason.as_str(), *stops), "{row:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_open_path_is_silent() -> Result<()> {
    let Some(node) = Node::find().await? else { return Ok(()) };
    let lab = Lab::start().await?;
    let probe = node.probe_in(&lab.host)?;
    for exit_on_failure in [true, false] {
        let ended = node.verify(&probe, "reused", exit_on_failure).await?;
        assert_eq!(ended, Ended { code: 0, answer: "healthy: ok, upstream goes on".into(), talk: "".into() });
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_port_stops_until_the_printed_command_is_run() -> Result<()> {
    let Some(node) = Node::find().await? else { return Ok(()) };
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let probe = node.probe_in(&lab.host)?;
    let (subnet, gateway) = (lab.network.cidr(), lab.network.gateway);
    let summary = format!(
        "no answer from {gateway}:8080: a service listens there, and this host's firewall drops what sandboxes send"
    );
    let remedy = format!("ufw allow from {subnet} to {gateway} port 8080 proto tcp");
    let talk = format!("error: sandboxes cannot reach 8080 gateway: {summary}\n\nhint: {remedy}\n");

    let ended = node.verify(&probe, "reused", true).await?;
    assert_eq!(ended, Ended { code: 1, answer: "".into(), talk: talk.clone() });
    let ended = node.verify(&probe, "reused", false).await?;
    let answer =
        format!("thrown: the preflight of 8080=gateway says stop (exit code 1): {summary}; {remedy}");
    assert_eq!(ended, Ended { code: 0, answer, talk });

    let argv: Vec<&str> = remedy.split(' ').collect();
    lab.host.command(argv[0]).args(argv[1..].iter().copied()).run().await?;
    let ended = node.verify(&probe, "reused", true).await?;
    assert_eq!((ended.code, ended.talk.as_str()), (0, ""));
    Ok(())
}

#[tokio::test]
async fn a_missing_network_stops_where_a_gateway_was_running_before() -> Result<()> {
    let Some(node) = Node::find().await? else { return Ok(()) };
    let host = host_with_probe().await?;
    let probe = node.probe_in(&host)?;
    let stopped = node.verify(&probe, "reused", true).await?;
    assert_eq!((stopped.code, stopped.answer.as_str()), (1, ""));
    assert!(stopped.talk.starts_with("error: sandboxes cannot be created: "), "{}", stopped.talk);
    let thrown = node.verify(&probe, "reused", false).await?;
    let begin = "thrown: the preflight of 8080=gateway says stop (exit code 3): ";
    assert!(thrown.answer.starts_with(begin) && thrown.answer.contains("openshell-docker"), "{thrown:?}");
    let fresh = node.verify(&probe, "fresh", true).await?;
    assert_eq!((fresh.code, fresh.answer.as_str()), (0, "healthy: probe_unavailable, upstream goes on"));
    assert!(fresh.talk.starts_with("warning: could not verify "), "{}", fresh.talk);
    for ended in [stopped, thrown, fresh] {
        blames_no_firewall(&format!("{}{}", ended.answer, ended.talk));
    }
    Ok(())
}

/// A firewall is in force, and nobody can see what it does.
#[tokio::test]
async fn a_stopped_engine_is_a_warning_and_the_reason_at_which_upstream_stops() -> Result<()> {
    let Some(node) = Node::find().await? else { return Ok(()) };
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let pid = lab.host.engine()?.pid().to_string();
    lab.host.command("kill").args([format!("-{}", Signal::SIGKILL as i32), pid]).run().await?;
    let probe = node.probe_in(&lab.host)?;
    for exit_on_failure in [true, false] {
        let ended = node.verify(&probe, "reused", exit_on_failure).await?;
        let answer = "healthy: docker_daemon_unreachable, upstream stops";
        assert_eq!((ended.code, ended.answer.as_str()), (0, answer));
        assert!(ended.talk.starts_with("warning: could not verify "), "{}", ended.talk);
        blames_no_firewall(&ended.talk);
    }
    Ok(())
}

/// What is the caller's own to judge: there was no answer.
#[rstest]
#[case::missing(None, "ENOENT")]
#[case::hangs(Some("exec sleep 600"), "ETIMEDOUT")]
#[case::killed(Some("kill -KILL $$"), "ended by SIGKILL")]
#[case::says_nothing(Some("exit 0"), "no report")]
#[case::says_something_else(Some("echo hello"), "no report")]
#[tokio::test]
async fn no_answer_is_a_warning(#[case] program: Option<&str>, #[case] why: &str) -> Result<()> {
    let Some(node) = Node::find().await? else { return Ok(()) };
    let probe = match program {
        Some(program) => node.program(program)?,
        None => node.folder.path().join("missing"),
    };
    let ended = node.verify_within(&probe, "fresh", true, Some(Duration::from_millis(500))).await?;
    assert_eq!((ended.code, ended.answer.as_str()), (0, "healthy: no report"));
    let begin = "warning: could not verify that sandboxes reach 8080=gateway: ";
    assert!(ended.talk.starts_with(begin) && ended.talk.contains(why), "{}", ended.talk);
    assert_eq!(ended.talk.lines().count(), 1, "{}", ended.talk);
    Ok(())
}

/// An exit code without a report is a stop too: nothing was checked, or the user wanted it to end.
#[tokio::test]
async fn a_wrong_command_line_and_a_signal_stop() -> Result<()> {
    let Some(node) = Node::find().await? else { return Ok(()) };
    let probe = e2e::programs::probe()?;
    let wrong = node.verify(&probe, "found", true).await?;
    assert_eq!((wrong.code, wrong.answer.as_str()), (1, ""));
    assert!(wrong.talk.contains("invalid value 'found' for '--path"), "{}", wrong.talk);
    let other = node.verify(&node.program("echo hello; exit 101")?, "fresh", true).await?;
    assert_eq!((other.code, other.answer.as_str()), (1, ""), "{}", other.talk);
    let interrupted = node.verify(&node.program("exit 130")?, "fresh", false).await?;
    let answer = "thrown: the preflight of 8080=gateway says stop (exit code 130): see its message";
    assert_eq!((interrupted.code, interrupted.answer.as_str()), (0, answer));
    Ok(())
}

// --- Node -------------------------------------------------------------------------------------------------------------

/// The machine's node, and a folder with the examples in a form that it reads.
struct Node {
    program: PathBuf,
    version: String,
    /// Whether it reads TypeScript itself, since 22.6.
    strips_types: bool,
    folder: TempDir,
}

/// How a script ended.
#[derive(Debug, Eq, PartialEq)]
struct Ended {
    code: i32,
    answer: String,
    talk: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = text(&output.stdout).trim_end().to_owned();
        Self { code: output.status.code().unwrap_or(-1), answer, talk: text(&output.stderr) }
    }
}

impl Node {
    /// `None` where there is none, after saying so.
    async fn find() -> Result<Option<Self>> {
        let Some(program) = in_path("node") else {
            let reason = "there is no node here, so the examples of docs/embedding.md were not run";
            // In CI nothing is left out unseen.
            ensure!(std::env::var("NEXTEST_PROFILE").as_deref() != Ok("ci"), "{reason}");
            say(&format!("skipped: {reason}"));
            return Ok(None);
        };
        let asked = bounded(Command::new(&program).arg("--version")).await?;
        let version = Ended::of(&asked).answer.trim_start_matches('v').to_owned();
        let flag = bounded(Command::new(&program).args(["--experimental-strip-types", "--version"])).await?;
        let node = Self { program, version, strips_types: flag.status.success(), folder: TempDir::new()? };
        for (name, source) in [("preflight", EXAMPLE), ("upstream", REASONS)] {
            let source = if node.strips_types { source.to_owned() } else { without_types(source) };
            let file = node.folder.path().join(format!("{name}.{}", node.extension()));
            fs::write(&file, source)?;
            if !node.strips_types {
                let checked = bounded(Command::new(&node.program).arg("--check").arg(&file)).await?;
                ensure!(checked.status.success(), "no JavaScript is left: {}", Ended::of(&checked).talk);
            }
        }
        Ok(Some(node))
    }

    fn types(&self) -> &'static str {
        if self.strips_types { "which strips their types" } else { "after their types were erased" }
    }

    /// That of a module, with types or without.
    fn extension(&self) -> &'static str {
        if self.strips_types { "mts" } else { "mjs" }
    }

    /// Runs a module with an argument. `EXTENSION` in it is that of the examples.
    async fn run(&self, script: &str, argument: &Value) -> Result<Output> {
        let main = self.folder.path().join("main.mjs");
        fs::write(&main, script.replace("EXTENSION", self.extension()))?;
        let mut command = Command::new(&self.program);
        if self.strips_types {
            // Its warning is about itself, and the examples are to be silent.
            command.args(["--experimental-strip-types", "--no-warnings"]);
        }
        bounded(command.arg(main).arg(argument.to_string())).await
    }

    /// An onboarding that asks the example, says what it was told, and goes on to call the gateway healthy.
    async fn verify(&self, probe: &Path, path: &str, exit_on_failure: bool) -> Result<Ended> {
        self.verify_within(probe, path, exit_on_failure, None).await
    }

    async fn verify_within(
        &self,
        probe: &Path,
        path: &str,
        exit_on_failure: bool,
        limit: Option<Duration>,
    ) -> Result<Ended> {
        let script = r#"
            import { verifySandboxBridgeGatewayReachableOrExit } from "./preflight.EXTENSION";
            import { stopsUpstream, upstreamReason } from "./upstream.EXTENSION";
            try {
              const report = verifySandboxBridgeGatewayReachableOrExit(JSON.parse(process.argv[2]));
              const upstream = report?.targets.some(stopsUpstream) ? "upstream stops" : "upstream goes on";
              const reasons = report?.targets.map(upstreamReason);
              console.log(`healthy: ${report ? `${reasons}, ${upstream}` : "no report"}`);
            } catch (error) {
              console.log(`thrown: ${error.message}`);
            }
        "#;
        let mut options =
            json!({ "port": "8080=gateway", "path": path, "exitOnFailure": exit_on_failure, "probe": probe });
        if let Some(limit) = limit {
            options["timeoutMs"] = u64::try_from(limit.as_millis())?.into();
        }
        Ok(Ended::of(&self.run(script, &options).await?))
    }

    /// A shell script as a program.
    fn program(&self, script: &str) -> Result<PathBuf> {
        let file = self.folder.path().join("probe");
        fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(file)
    }

    /// The probe inside a host, as a program of the machine. Node is not in a host's image and needs the machine's libraries,
    /// so node stays outside and the probe alone goes in, with an environment like that of any program in the host.
    fn probe_in(&self, host: &Host) -> Result<PathBuf> {
        let nsenter = in_path("nsenter").context("there is no nsenter here: it is in util-linux")?;
        self.program(&format!(
            "exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 {} \\\n  \
             --target {} --mount --uts --ipc --net --pid --root --wd {PROBE} \"$@\"",
            nsenter.display(),
            host.init_pid(),
        ))
    }
}

/// Erases the types of an example for a node that cannot. The examples keep to forms that can be told from JavaScript without
/// understanding it: an `interface` at the top level, which ends with a line `}`, and the name of such an interface after a
/// colon. `node --check` sees afterwards whether more was there.
fn without_types(source: &str) -> String {
    let (mut kept, mut names) = (String::new(), Vec::new());
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        match line.strip_prefix("interface ").and_then(|rest| rest.strip_suffix(" {")) {
            Some(name) => {
                names.push(name);
                lines.by_ref().find(|line| *line == "}");
            }
            None => kept.extend([line, "\n"]),
        }
    }
    for name in names {
        for annotation in [format!(": {name} | undefined"), format!(": {name}")] {
            kept = kept.replace(&annotation, "");
        }
    }
    kept
}

/// What a command said within two minutes; it does not outlive this.
async fn bounded(command: &mut Command) -> Result<Output> {
    match tokio::time::timeout(Duration::from_secs(120), command.kill_on_drop(true).output()).await {
        Ok(output) => output.with_context(|| format!("run {:?}", command.as_std())),
        Err(_) => bail!("{:?} did not end", command.as_std()),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[allow(clippy::print_stderr, reason = "a skip has to be seen")]
fn say(text: &str) {
    eprintln!("{text}");
}
