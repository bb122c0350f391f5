//! Commands that run in a sandbox's place: in a container on the sandboxes' network.

use std::sync::atomic::{AtomicU32, Ordering};

use super::program::is_container;
use super::protocol::Window;
use crate::host::{ExecError, Host};
use crate::scenario::Stand;

/// The image of a container that is made for a command: what a shell needs, out of the host's own userland.
const IMAGE: &str = "sandbox:lab";

/// The beginning of such a container's name.
const PREFIX: &str = "openshell-sandbox-";

/// Makes that image, once.
const MAKE_IMAGE: &str = "
    docker image inspect sandbox:lab >/dev/null 2>&1 && exit
    list=$(mktemp)
    for tool in bash cat date env false getent grep head hostname id ip ls mkdir ping ps rm sed sleep ss stty tail timeout true tty uname wc; do
        path=$(command -v $tool) && [ -x \"$path\" ] || continue
        printf '%s\\n' \"$path\"
        ldd \"$path\" 2>/dev/null | grep -o '/[^ ]* (0x' | cut -d ' ' -f 1
    done >\"$list\"
    printf '%s\\n' /bin/sh /etc/passwd /etc/group /etc/nsswitch.conf >>\"$list\"
    sort -u \"$list\" | tar -c --ignore-failed-read --dereference --hard-dereference -P -T - | docker import - sandbox:lab";

/// The names that OpenShell's driver gives to the host.
const ALIASES: [&str; 2] = ["host.openshell.internal", "host.docker.internal"];

/// The shell of containers, whatever image they are of.
const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash; exec sh";

/// A command line of the engine's for a program in a sandbox's place.
pub(super) struct InSandbox {
    pub(super) argv: Vec<String>,
    /// The container that was made for it, which goes with it.
    pub(super) made: Option<String>,
}

/// What runs the program: in the container of that name, in the one that runs on the network, or in a new one.
pub(super) async fn enter(
    stand: &Stand<'_>,
    wanted: Option<&str>,
    argv: Option<&[String]>,
    environment: &[(String, String)],
    terminal: Option<&Window>,
) -> Result<InSandbox, String> {
    let host = stand.user();
    let running = match wanted {
        Some(name) => Some(name.to_owned()),
        None => running(stand).await?.into_iter().next(),
    };
    let mut line = vec!["docker".to_owned()];
    let mut made = None;
    line.push(if running.is_some() { "exec" } else { "run" }.to_owned());
    line.push("--interactive".to_owned());
    if let Some(window) = terminal {
        line.push("--tty".to_owned());
        let kind = window.kind.as_deref().unwrap_or("xterm");
        line.extend(["--env".to_owned(), format!("TERM={kind}")]);
    }
    for (name, value) in environment {
        line.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    match running {
        Some(container) => line.push(container),
        None => {
            let network = stand.network().ok_or(
                "there is no network of sandboxes on this host, and no container is named (--in sandbox:CONTAINER)",
            )?;
            host.command("sh").args(["-ec", MAKE_IMAGE]).run().await.map_err(words)?;
            // Nobody else makes containers of this name on this host.
            static NUMBER: AtomicU32 = AtomicU32::new(1);
            let name = format!("{PREFIX}{}", NUMBER.fetch_add(1, Ordering::Relaxed));
            let gateway = network.gateway.to_string();
            let address = if stand.has_virtual_machine() { "host-gateway" } else { &gateway };
            line.extend(["--rm", "--name", &name, "--network", &network.name].map(str::to_owned));
            for alias in ALIASES {
                line.extend(["--add-host".to_owned(), format!("{alias}:{address}")]);
            }
            line.push(IMAGE.to_owned());
            made = Some(name);
        }
    }
    match argv {
        Some(argv) => line.extend(argv.iter().cloned()),
        None => line.extend(["sh", "-c", SHELL].map(str::to_owned)),
    }
    Ok(InSandbox { argv: line, made })
}

/// The containers that run on the sandboxes' network, the newest first.
pub(super) async fn running(stand: &Stand<'_>) -> Result<Vec<String>, String> {
    let Some(network) = stand.network() else { return Ok(Vec::new()) };
    let filter = format!("network={}", network.name);
    // Those of commands like this one are nobody's sandbox.
    let arguments = ["ps", "--filter", &filter, "--filter", "status=running", "--format", "{{.Names}}"];
    let listed = stand.user().command("docker").args(arguments).run().await.map_err(words)?;
    let names = listed.lines().filter(|name| is_container(name) && !name.starts_with(PREFIX));
    Ok(names.map(str::to_owned).collect())
}

/// The host's end of a container's link to its network.
pub(super) async fn link_of(stand: &Stand<'_>, container: &str) -> Result<String, String> {
    const SCRIPT: &str = "
        pid=$(docker inspect --format '{{.State.Pid}}' \"$1\")
        index=$(cat /proc/$pid/root/sys/class/net/eth0/iflink)
        ip -o link show | sed -n \"s/^$index: \\([^:@]*\\).*/\\1/p\"";
    let container = match container {
        "" => running(stand).await?.into_iter().next().ok_or("no sandbox runs on this host")?,
        name => name.to_owned(),
    };
    let found = stand.machine().command("sh").args(["-euc", SCRIPT, "sh", &container]).run().await;
    let link = found.map_err(words)?.trim().to_owned();
    if link.is_empty() { Err(format!("container {container} has no link to a bridge")) } else { Ok(link) }
}

/// Ends a container that was made for a command whose client may have been killed.
pub(super) async fn remove(host: &Host, container: &str) {
    let _ = host.command("docker").args(["rm", "--force", container]).output().await;
}

fn words(error: ExecError) -> String {
    error.to_string()
}
