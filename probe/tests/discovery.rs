//! Which engine is asked, in an environment that each test makes.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod engine;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use engine::{FakeEngine, Reply};
use probe::{ChosenBy, Deadline, EngineTrouble, Environment, discover};
use serde_json::json;

async fn chosen(flag: Option<&str>, environment: &Environment) -> Result<(String, ChosenBy), EngineTrouble> {
    let found = discover(flag, environment, Deadline::after(Duration::from_secs(10))).await;
    found.map(|found| (found.endpoint.url, found.endpoint.chosen_by)).map_err(|error| error.trouble)
}

fn docker_at(folder: &Path, name: &str) -> FakeEngine {
    FakeEngine::at(&folder.join(name), engine::without_networks)
}

/// A docker CLI configuration whose current context is `lab`.
fn context(folder: &Path, host: &str) {
    std::fs::write(folder.join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
    // The SHA-256 of "lab".
    let digest = "a51146d38077ff992eba84cf1d5e9b249073503eb74868699016153b031a38f7";
    let meta = json!({ "Name": "lab", "Endpoints": { "docker": { "Host": host } } });
    std::fs::create_dir_all(folder.join("contexts/meta").join(digest)).unwrap();
    std::fs::write(folder.join("contexts/meta").join(digest).join("meta.json"), meta.to_string()).unwrap();
}

#[tokio::test]
async fn the_flag_outranks_docker_host_and_that_outranks_the_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, three] = ["one", "two", "three"].map(|name| docker_at(folder.path(), name));
    let environment = Environment {
        docker_host: Some(two.host()),
        sockets: vec![folder.path().join("three")],
        ..Environment::default()
    };
    assert_eq!(chosen(Some(&one.host()), &environment).await, Ok((one.host(), ChosenBy::Flag)));
    assert_eq!(chosen(None, &environment).await, Ok((two.host(), ChosenBy::DockerHost)));
    let environment = Environment { docker_host: None, ..environment };
    assert_eq!(chosen(None, &environment).await, Ok((three.host(), ChosenBy::LocalSocket)));
}

#[tokio::test]
async fn a_docker_host_that_is_down_is_final() {
    let folder = tempfile::tempdir().unwrap();
    let _local = docker_at(folder.path(), "local");
    let environment = Environment {
        docker_host: Some("unix:///nonexistent/docker.sock".to_owned()),
        sockets: vec![folder.path().join("local")],
        ..Environment::default()
    };
    assert!(matches!(chosen(None, &environment).await, Err(EngineTrouble::Unreachable { .. })));
}

#[tokio::test]
async fn sockets_are_tried_in_order_and_podman_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let _podman = FakeEngine::at(&folder.path().join("podman"), |_| Reply::podman_ping());
    let docker = docker_at(folder.path(), "docker");
    let _later = docker_at(folder.path(), "later");
    let sockets = ["missing", "podman", "docker", "later"].map(|name| folder.path().join(name)).to_vec();
    let environment = Environment { sockets, ..Environment::default() };
    assert_eq!(chosen(None, &environment).await, Ok((docker.host(), ChosenBy::LocalSocket)));
}

#[tokio::test]
async fn the_docker_clis_context_is_the_last_resort() {
    let folder = tempfile::tempdir().unwrap();
    let (local, remote) = (docker_at(folder.path(), "local"), docker_at(folder.path(), "remote"));
    context(folder.path(), &remote.host());
    let mut environment = Environment {
        docker_config: Some(folder.path().to_owned()),
        sockets: vec![folder.path().join("local")],
        ..Environment::default()
    };
    assert_eq!(chosen(None, &environment).await, Ok((local.host(), ChosenBy::LocalSocket)));
    environment.sockets = vec![folder.path().join("missing")];
    assert_eq!(chosen(None, &environment).await, Ok((remote.host(), ChosenBy::CliContext)));
    environment.docker_context = Some("default".to_owned());
    assert!(chosen(None, &environment).await.is_err());
}

#[tokio::test]
async fn the_error_is_about_the_socket_that_came_closest() {
    let folder = tempfile::tempdir().unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(folder.path().join("silent")).unwrap();
    let sockets = ["missing", "silent", "gone"].map(|name| folder.path().join(name)).to_vec();
    let environment = Environment { sockets, ..Environment::default() };
    assert!(matches!(chosen(None, &environment).await, Err(EngineTrouble::Silent { .. })));
}

#[tokio::test]
async fn endpoints_of_other_kinds_are_named_as_unsupported() {
    for url in [
        "ssh://host",
        "npipe:////./pipe/docker_engine",
        "https://host:2376",
        "docker.sock",
        "unix://relative",
    ] {
        let answer = chosen(Some(url), &Environment::default()).await;
        assert!(matches!(answer, Err(EngineTrouble::Unsupported { .. })), "{url}: {answer:?}");
    }
}

/// A home that is another user's is no engine that one may not open.
#[tokio::test]
async fn a_local_socket_that_nobody_can_see_is_not_permission_denied() {
    let folder = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let engine = docker_at(&home, "docker.sock");
    let socket = home.join("docker.sock");
    allow(folder.path(), 0o755);
    allow(&socket, 0o000);
    let environment = Environment { sockets: vec![socket], ..Environment::default() };
    let named = Environment { docker_host: Some(engine.host()), ..Environment::default() };
    // Root may enter every folder, so this thread looks at files as nobody.
    let own = nix::unistd::geteuid();
    nix::unistd::setfsuid(nobody());
    let visible = chosen(None, &environment).await;
    nix::unistd::setfsuid(own);
    allow(&home, 0o000);
    nix::unistd::setfsuid(nobody());
    let (hidden, said) = (chosen(None, &environment).await, chosen(None, &named).await);
    nix::unistd::setfsuid(own);
    allow(&home, 0o755);
    assert_eq!(visible, Err(EngineTrouble::PermissionDenied));
    assert!(matches!(hidden, Err(EngineTrouble::Unreachable { .. })), "{hidden:?}");
    assert_eq!(said, Err(EngineTrouble::PermissionDenied), "that there is one was said");
}

/// Who may do nothing more than everybody; whoever is not root already stays the same.
fn nobody() -> nix::unistd::Uid {
    let own = nix::unistd::geteuid();
    if own.is_root() { nix::unistd::Uid::from_raw(65534) } else { own }
}
