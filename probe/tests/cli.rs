//! The program as its users meet it: arguments, exit codes, and engines that are not there or not well.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod engine;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use engine::{FakeEngine, Reply, program};
use predicates::prelude::*;
use serde_json::{Value, json};

/// The program in an environment of its own: no engine of this machine is in reach.
fn probe() -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .timeout(Duration::from_secs(60));
    command
}

fn report(command: &mut Command, code: i32) -> Value {
    let output = command.args(["--format", "json"]).assert().code(code).get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn host(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

#[test]
fn wrong_arguments_exit_2_and_name_the_argument() {
    let table: [(&[&str], &str); 23] = [
        (&[], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["check", "--port", "0"], "--port"),
        (&["check", "--port", "65536"], "--port"),
        (&["check", "--optional-port", "80=a b"], "--optional-port"),
        (&["check", "--port", "80", "--port", "80"], "port 80 twice"),
        (&["check", "--port", "80", "--optional-port", "80=x"], "port 80 twice"),
        (&["check", "--timeout", "0s"], "--timeout"),
        (&["check", "--timeout", "soon"], "--timeout"),
        (&["check", "--timeout", "30s"], "--deadline"),
        (&["check", "--deadline=-1"], "--deadline"),
        (&["check", "--network", "../x"], "--network"),
        (&["check", "--alias", "a b"], "--alias"),
        (&["check", "--host-gateway-ip", "fd00::1"], "--host-gateway-ip"),
        (&["check", "--ca", "/nonexistent/ca.crt"], "failed to read /nonexistent/ca.crt"),
        (&["check", "--ca", "/"], "failed to read /"),
        (&["check", "--ca", "/dev/null"], "failed to read /dev/null"),
        (&["check", "--ca", "/etc/hostname"], "/etc/hostname has no certificate"),
        (&["check", "--owner", "8080"], "PORT=USER"),
        (&["check", "--owner", "8080=no-such-user"], "there is no user no-such-user"),
        (&["check", "--owner", "9=0"], "name it with --port 9"),
        (&["check", "--owner", "8080=0", "--owner", "8080=1"], "port 8080 twice"),
        (&["preflight", "--port", "8080", "--owner", "8081=0"], "name it with --port 8081"),
    ];
    for (arguments, named) in table {
        let assert = probe().args(arguments).assert().code(2).stdout("");
        assert.stderr(predicate::str::contains(named));
    }
}

#[test]
fn a_file_of_authorities_is_read_before_anything_else_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    let check = |text: &str, ports: &[&str]| {
        std::fs::write(&file, text).unwrap();
        probe().args(["check", "--ca"]).arg(&file).args(ports).assert()
    };
    let named = || predicate::str::contains(file.to_str().unwrap().to_owned());
    for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        check(text, &[]).code(2).stdout("").stderr(named());
    }
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    check(&authority, &["--port", "80/http"]).code(2).stderr(predicate::str::contains("no port speaks gRPC"));
    // Then the engine is asked, and is not there.
    check(&authority, &[]).code(3);
}

#[test]
fn a_wrong_network_in_the_environment_is_named_too() {
    let assert = probe().arg("check").env("OPENSHELL_DOCKER_NETWORK_NAME", "a/b").assert();
    assert.code(2).stderr(predicate::str::contains("OPENSHELL_DOCKER_NETWORK_NAME"));
    let report = report(probe().arg("check").env("OPENSHELL_DOCKER_NETWORK_NAME", "sandboxes"), 3);
    assert_eq!(report["network"], "sandboxes");
}

#[test]
fn the_version_carries_the_build_id() {
    let id = probe().arg("build-id").assert().success().get_output().stdout.clone();
    let id = String::from_utf8(id).unwrap().trim().to_owned();
    assert_eq!(id, probe::BUILD_ID);
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let version = format!("openshell-probe {} (build {id})\n", env!("CARGO_PKG_VERSION"));
    probe().arg("--version").assert().success().stdout(version).stderr("");
}

#[test]
fn the_schema_is_the_committed_one() {
    probe().arg("schema").assert().success().stdout(include_str!("../schema/report.v1.json"));
}

#[test]
fn help_names_every_exit_code() {
    let assert = probe().args(["check", "--help"]).assert().success();
    assert.stdout(predicate::str::contains(
        "0 reachable, 1 not reachable, 2 wrong arguments, 3 could not be found out",
    ));
}

#[test]
fn without_an_engine_every_target_is_unavailable() {
    let report = report(probe().args(["check", "--port", "8080=gateway", "--optional-port", "11435"]), 3);
    assert_eq!(report["schema_version"], probe::SCHEMA_VERSION);
    assert_eq!(report["exit_code"], 3);
    for target in report["targets"].as_array().unwrap() {
        assert_eq!(target["verdict"], "probe_unavailable");
        assert_eq!(target["cause"], "daemon_unreachable");
        assert_eq!(target["remedy"], Value::Null);
    }
}

#[test]
fn the_answer_without_an_engine_reads_well() {
    let output = probe().arg("check").assert().code(3).stderr("").get_output().stdout.clone();
    insta::assert_snapshot!(String::from_utf8(output).unwrap(), @r"
    8080 gateway        probe_unavailable (daemon_unreachable): failed to reach the engine at unix:///nonexistent/docker.sock: no engine answers: No such file or directory (os error 2)
    11435 ollama-proxy  probe_unavailable (daemon_unreachable): failed to reach the engine at unix:///nonexistent/docker.sock: no engine answers: No such file or directory (os error 2)

    hint: start the engine: sudo systemctl start docker, or name another with --host or DOCKER_HOST
    ");
}

#[test]
fn an_engine_that_never_answers_is_unreachable_within_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let began = Instant::now();
    let report = report(probe().args(["check", "--port", "8080"]).env("DOCKER_HOST", host(&socket)), 3);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(report["targets"][0]["cause"], "daemon_unreachable");
    let trouble = report["trouble"].as_str().unwrap();
    assert!(trouble.contains("took the connection but gave no answer"), "{trouble}");
}

#[test]
fn an_engine_that_falls_silent_after_its_ping_is_bounded_by_the_deadline() {
    let engine = FakeEngine::start(|request| match request.path.as_str() {
        "/_ping" => Reply::ping(),
        _ => Reply::Silence,
    });
    let began = Instant::now();
    let arguments = ["check", "--port", "8080", "--timeout", "500ms", "--deadline", "1.5s"];
    let report = report(probe().args(arguments).env("DOCKER_HOST", engine.host()), 3);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(report["targets"][0]["cause"], "daemon_unreachable");
}

#[test]
fn a_socket_without_permission_says_how_to_get_it() {
    use std::os::unix::process::CommandExt as _;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root may open every socket, so the program runs as nobody, from a folder that nobody may enter.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("openshell-probe");
    std::fs::copy(program(), &copy).unwrap();
    let mut command = std::process::Command::new(&copy);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let arguments = ["check", "--port", "8080", "--format", "json"];
    let output = command.env_clear().env("DOCKER_HOST", host(&socket)).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["targets"][0]["cause"], "permission_denied");
    assert_eq!(report["targets"][0]["hints"][0], "sudo usermod -aG docker $USER");
}

#[test]
fn a_stranger_behind_the_socket_is_no_engine() {
    let engine = FakeEngine::start(|_| Reply::Status(200, json!("nginx")));
    let report = report(probe().args(["check", "--port", "8080"]).env("DOCKER_HOST", engine.host()), 3);
    assert_eq!(report["targets"][0]["cause"], "engine_error");
}

#[test]
fn the_endpoint_and_its_choice_are_reported() {
    let engine = FakeEngine::start(engine::without_networks);
    let chosen = |command: &mut Command| {
        report(command.args(["check", "--port", "8080"]), 3)["evidence"]["endpoint"].clone()
    };
    let by = |how: &str| json!({ "url": engine.host(), "chosen_by": how });
    assert_eq!(chosen(probe().env("DOCKER_HOST", engine.host())), by("docker_host"));
    let flag = ["check", "--port", "8080", "--host", &engine.host()];
    assert_eq!(report(probe().args(flag), 3)["evidence"]["endpoint"], by("flag"));
}

#[test]
fn a_missing_network_is_its_own_verdict_and_no_firewall() {
    let engine = FakeEngine::start(engine::without_networks);
    let mut command = probe();
    command.args(["check", "--port", "8080=gateway"]).env("DOCKER_HOST", engine.host());
    let report = report(&mut command, 3);
    assert_eq!(report["targets"][0]["verdict"], "network_not_found");
    assert_eq!(report["targets"][0]["cause"], Value::Null);
    let text = report.to_string().to_lowercase();
    for word in ["ufw", "iptables"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn a_network_without_an_ipv4_gateway_is_named_as_such() {
    for (ipam, cause) in [
        (json!([{ "Subnet": "fd00::/64", "Gateway": "fd00::1" }]), "no_ipv4_gateway"),
        (json!([{ "Subnet": "172.18.0.0/16" }]), "no_ipv4_gateway"),
        (json!([{ "Subnet": "172.18.0.0/16", "Gateway": "not an address" }]), "invalid_gateway"),
    ] {
        let engine = FakeEngine::start(engine::with_network("bridge", ipam));
        let mut command = probe();
        let report = report(command.args(["check", "--port", "8080"]).env("DOCKER_HOST", engine.host()), 3);
        assert_eq!(report["targets"][0]["verdict"], "probe_unavailable");
        assert_eq!(report["targets"][0]["cause"], cause);
    }
}

#[test]
fn an_engine_of_another_processor_is_refused_before_anything_is_loaded() {
    let ipam = json!([{ "Subnet": "203.0.113.0/24", "Gateway": "203.0.113.1" }]);
    let network = engine::with_network("bridge", ipam);
    let engine = FakeEngine::start(move |request| match request.path.as_str() {
        path if path.ends_with("/info") => Reply::Status(200, json!({ "Architecture": "riscv64" })),
        _ => network(request),
    });
    let report = report(probe().args(["check", "--port", "8080"]).env("DOCKER_HOST", engine.host()), 3);
    assert_eq!(report["targets"][0]["cause"], "image_unavailable");
    assert!(engine.requests().iter().all(|request| !request.contains("POST")), "{:?}", engine.requests());
}

#[test]
fn the_engines_text_cannot_reach_the_terminal_raw() {
    let engine = FakeEngine::start(|request| match request.path.as_str() {
        "/_ping" => Reply::ping(),
        _ => Reply::Status(500, json!({ "message": format!("\u{1b}[31m{}", "x".repeat(5000)) })),
    });
    let assert = probe().args(["check", "--port", "8080"]).env("DOCKER_HOST", engine.host()).assert().code(3);
    let output = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(!output.contains('\u{1b}') && output.contains("\\u{1b}[31m"), "{output}");
    assert!(output.lines().all(|line| line.len() < 1000), "{output}");
}

/// The bridge of this network is not here. Without root it is not even asked for.
#[test]
fn without_the_networks_bridge_there_is_no_dial_from_a_namespace() {
    let ipam = json!([{ "Subnet": "203.0.113.0/24", "Gateway": "203.0.113.1" }]);
    let engine = FakeEngine::start(engine::with_network("bridge", ipam));
    let mut command = probe();
    command.args(["check", "--via", "netns", "--port", "8080"]).env("DOCKER_HOST", engine.host());
    if !nix::unistd::geteuid().is_root() {
        command
            .assert()
            .code(2)
            .stdout("")
            .stderr(predicate::str::starts_with("error: --via netns takes root"));
        return;
    }
    let report = report(&mut command, 3);
    assert_eq!(report["targets"][0]["verdict"], "probe_unavailable");
    assert_eq!(report["targets"][0]["cause"], "vantage_unavailable");
    let summary = report["targets"][0]["summary"].as_str().unwrap();
    assert!(summary.contains("on the engine's own host only"), "{summary}");
    assert!(engine.requests().iter().all(|request| request.starts_with("GET ")), "{:?}", engine.requests());
}

#[test]
fn a_preflight_dials_by_a_container_only() {
    probe().args(["preflight", "--via", "netns", "--port", "8080"]).assert().code(2);
}

#[test]
fn a_rehearsal_changes_nothing() {
    let ipam = json!([{ "Subnet": "203.0.113.0/24", "Gateway": "203.0.113.1" }]);
    let engine = FakeEngine::start(engine::with_network("bridge", ipam));
    let mut command = probe();
    command.args(["check", "--port", "8080", "--dry-run"]).env("DOCKER_HOST", engine.host());
    let assert = command.assert().success();
    let output = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(output.contains("would POST /images/load"), "{output}");
    assert!(
        output.contains("\"CapDrop\":[\"ALL\"]") && output.contains("\"ReadonlyRootfs\":true"),
        "{output}"
    );
    assert!(output.contains("host.openshell.internal:203.0.113.1"), "{output}");
    assert!(engine.requests().iter().all(|request| request.starts_with("GET ")), "{:?}", engine.requests());
}

#[test]
fn an_interrupted_check_removes_its_container() {
    use nix::sys::signal::{Signal, kill};
    use std::sync::mpsc;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let ipam = json!([{ "Subnet": "203.0.113.0/24", "Gateway": "203.0.113.1" }]);
        let network = engine::with_network("bridge", ipam);
        let image = probe::carried_image();
        let (attached, is_attached) = mpsc::channel();
        let attached = std::sync::Mutex::new(attached);
        let engine = FakeEngine::start(move |request| match request.path.as_str() {
            path if path.starts_with("/images/") => Reply::Status(
                200,
                json!({
                    "Id": image.id,
                    "Architecture": image.architecture,
                    "RootFS": { "Type": "layers", "Layers": image.layers },
                }),
            ),
            "/containers/create" => Reply::Status(201, json!({ "Id": "c0ffee", "Warnings": [] })),
            "/containers/c0ffee/attach" => {
                attached.lock().unwrap().send(()).unwrap();
                Reply::Silence
            }
            "/containers/c0ffee" => Reply::Raw("HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
            _ => network(request),
        });
        let mut command = std::process::Command::new(program());
        command.env_clear().env("DOCKER_HOST", engine.host()).args(["check", "--port", "8080"]);
        let child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        is_attached.recv_timeout(Duration::from_secs(20)).unwrap();
        kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "interrupted\n");
        assert!(output.stdout.is_empty());
        let requests = engine.requests();
        assert_eq!(requests.last().map(String::as_str), Some("DELETE /containers/c0ffee"), "{requests:?}");
    }
}

#[test]
fn clean_without_an_engine_exits_3() {
    probe()
        .arg("clean")
        .assert()
        .code(3)
        .stdout("")
        .stderr(predicate::str::starts_with("error: failed to reach"));
}

/// Files and terminals are looked at before anything is read of the host.
#[test]
fn a_snapshot_is_refused_before_anything_is_gathered() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there");
    std::fs::write(&there, "mine, and no snapshot").unwrap();
    let there = there.to_str().unwrap();
    let refused = |arguments: &[&str], said: &str| {
        probe()
            .arg("snapshot")
            .args(arguments)
            .assert()
            .code(2)
            .stdout("")
            .stderr(predicate::str::contains(said));
    };
    refused(&["-o", there], "there exists: use another name, or --force to replace it");
    refused(&["--show", "-o", "-"], "both want standard output");
    refused(&["--from", there], "--show");
    refused(&["--from", there, "--show"], "there is refused: it is no gzip file");
    refused(&["--from", "/nonexistent", "--show"], "cannot be read: No such file");
    refused(&["--from", "/dev/zero", "--show"], "it is no regular file");
    assert_eq!(std::fs::read_to_string(there).unwrap(), "mine, and no snapshot");
}

/// A file is judged where its host is not, and a hostile one is refused in words.
#[test]
fn a_snapshots_rules_are_judged_anywhere() {
    let corpus = |name: &str| format!("{}/snapshot/tests/corpus/{name}.snapshot", env!("CARGO_MANIFEST_DIR"));
    let denied = "8080: dropped by ip filter ufw-user-input rule 2: -p tcp -m tcp --dport 8080 -j DROP";
    probe().args(["explain", "--from", &corpus("ufw-rules")]).assert().code(1).stdout(
        predicate::str::contains(denied).and(predicate::str::contains("compared   the same rule as there")),
    );
    let json = probe()
        .args(["explain", "--format", "json", "--from", &corpus("ufw-default-deny")])
        .output()
        .unwrap();
    let judged: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(judged["targets"][0]["agrees"], true);
    assert_eq!(judged["targets"][0]["here"]["decided"]["chain"], "INPUT");
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut");
    let whole = std::fs::read(corpus("ufw-rules")).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let said =
        predicate::str::contains("is refused: it is cut off after").and(predicate::str::contains("hint: "));
    probe().args(["explain", "--from"]).arg(&cut).assert().code(2).stdout("").stderr(said);
}
