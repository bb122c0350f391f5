//! `check`, `preflight` and `explain` change nothing of the machine: each call into the kernel is looked at, theirs and those
//! of all that they start, and each request to the engine.

use anyhow::{Context as _, Result, ensure};
use e2e::lab::{Lab, PROBE};
use e2e::programs;
use e2e::watch::{self, Seen, WATCHER};
use harness::Ufw;
use harness::service::{Gateway, GatewayMode};

/// What root can ask for: all that may run where nothing may change.
const MODES: [&str; 11] = [
    "check --port 8080=gateway --port 11435=ollama-proxy",
    "check --format json --optional-port 8080 --optional-port 9999",
    "check --stand-in --port 7777=gateway",
    "check --dry-run",
    "check --owner 8080=root --port 8080=gateway",
    "check --ca /etc/openshell/tls/ca.crt --port 8443=gateway/grpc",
    "explain --port 8080=gateway --port 11435=ollama-proxy",
    "explain --format json",
    "explain --stand-in --port 7777=gateway",
    "preflight --port 8080=gateway",
    "preflight --strict --path inference --port 11435 --format json",
];

async fn sh(lab: &Lab, line: &str) -> Result<String> {
    Ok(lab.host.command("sh").args(["-ec", line]).run().await?)
}

async fn start() -> Result<Lab> {
    watch::lab(&programs::own("watcher", env!("CARGO_BIN_EXE_watcher"))).await
}

/// What a command changes.
async fn watched(lab: &Lab, command: &[&str]) -> Result<Seen> {
    let to = "/root/seen.json";
    let command_line = lab.host.command(WATCHER).args(["--to", to, "--"]).args(command.iter().copied());
    let output = command_line.output().await?;
    let seen = sh(lab, &format!("cat {to} && rm {to}")).await;
    let seen = seen.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let seen: Seen = serde_json::from_str(&seen)?;
    ensure!(seen.calls > 20, "{command:?} was not watched: {seen:#?}");
    Ok(seen)
}

/// What the engine has, besides the dialer's image.
async fn engine(lab: &Lab) -> Result<String> {
    sh(lab, "docker ps -aq; docker network ls -q --no-trunc; docker volume ls -q; docker image ls -q | wc -l")
        .await
}

/// What the twin makes for itself, in the words of the watch.
const TWINS: [&str; 5] = [
    "rtnetlink message 16",
    "runs /usr/sbin/iptables-nft-restore",
    "netfilter message 16",
    "mounts: /run",
    "writes /proc/sys/net/",
];

/// All modes change nothing, with one of these exit codes, and what the twin makes is seen and told apart.
async fn nothing_changes(lab: &Lab, situation: &str, codes: &[i32]) -> Result<()> {
    for mode in MODES {
        let command: Vec<&str> = std::iter::once(PROBE).chain(mode.split(' ')).collect();
        let seen = watched(lab, &command).await?;
        assert_eq!(seen.changes, Vec::<String>::new(), "{situation}: {mode}: {seen:#?}");
        ensure!(codes.contains(&seen.code.unwrap_or(-1)), "{situation}: {mode}: {seen:#?}");
        let dialled = seen.requests.iter().any(|it| it == "POST /containers/create");
        ensure!(dialled != mode.contains("dry-run"), "{situation}: {mode}: {seen:#?}");
        let made = |start: &&str| seen.apart.iter().any(|it| it.starts_with(start));
        let twin = TWINS.iter().all(made);
        ensure!(twin == mode.starts_with("explain"), "{situation}: {mode}: {seen:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn checks_gates_and_explanations_change_nothing() -> Result<()> {
    let lab = start().await?;
    let secured = Gateway::on(lab.network.gateway).port(8443).mode(GatewayMode::Tls);
    let _secured = secured.start(&lab.host).await?;
    // The first one loads the dialer's image.
    let first = watched(&lab, &[PROBE, "check"]).await?;
    assert_eq!(first.changes, Vec::<String>::new());
    ensure!(first.requests.contains(&"POST /images/load".to_owned()), "{first:#?}");
    let before = engine(&lab).await?;
    nothing_changes(&lab, "open", &[0]).await?;

    lab.apply(Ufw::default_deny()).await?;
    // The old tables, sets and tables of nft's own are read too.
    sh(&lab, "iptables-legacy -A FORWARD -j ACCEPT; nft add table inet own; nft add set inet own s '{ type ipv4_addr; }'").await?;
    nothing_changes(&lab, "UFW", &[0, 1]).await?;
    assert_eq!(engine(&lab).await?, before);
    Ok(())
}

/// What the watch must not miss, and what it says of it. In this order: some are about what the one before has made.
const CHANGES: [(&str, &str); 28] = [
    ("iptables-legacy -t nat -S", "makes the table nat of iptables by asking about it"),
    ("iptables-legacy-save -t mangle", "makes the table mangle of iptables by asking about it"),
    ("ip6tables-legacy -t raw -S", "makes the table raw of ip6tables by asking about it"),
    ("iptables-legacy -A INPUT -p tcp --dport 1 -j ACCEPT", "sets a table of iptables"),
    ("ip6tables-legacy -A INPUT -p tcp --dport 1 -j ACCEPT", "sets a table of ip6tables"),
    ("iptables-nft -A INPUT -p tcp --dport 1 -j ACCEPT", "netfilter message 16"),
    ("iptables-nft -Z", "netfilter message 16"),
    ("nft add table inet made", "netfilter message 16"),
    ("nft reset counters", "nf_tables message 21"),
    ("ip link set lo mtu 65000", "rtnetlink message"),
    ("ip link add made type bridge", "rtnetlink message 16"),
    ("ip address add 10.99.0.1/32 dev lo", "rtnetlink message 20"),
    ("ip route add blackhole 10.98.0.0/24", "rtnetlink message 24"),
    ("ip rule add pref 99 lookup main", "rtnetlink message 32"),
    ("ip xfrm policy flush", "xfrm message 29"),
    ("sysctl -w net.ipv4.conf.lo.forwarding=1", "writes /proc/sys/net/ipv4/conf/lo/forwarding"),
    ("sh -c 'cd /proc/sys/net && echo 1 >ipv4/ip_forward'", "writes /proc/sys/net/ipv4/ip_forward"),
    ("touch /root/made", "writes /root/made"),
    ("chmod 600 /root/made", "writes /root/made"),
    ("mv /root/made /root/moved", "writes /root/moved"),
    ("rm /root/moved", "writes /root/moved"),
    ("mount -t tmpfs none /mnt", "mounts"),
    ("umount /mnt", "unmounts"),
    ("ufw status", "runs /usr/sbin/ufw status"),
    ("nsenter -t 1 -n true", "enters a namespace"),
    ("docker network create made", "asks the engine: POST /networks/create"),
    ("docker network rm made", "asks the engine: DELETE /networks/made"),
    ("unshare --net --mount ip link set lo up", ""),
];

#[tokio::test]
async fn the_watch_sees_changes_of_every_kind() -> Result<()> {
    let lab = start().await?;
    lab.apply(Ufw::default_deny()).await?;
    let mut missed = Vec::new();
    for (line, said) in CHANGES {
        let command = ["sh", "-c", &format!("exec {line}")];
        let seen = watched(&lab, &command).await?;
        // In namespaces of its own nothing but its beginning there is seen.
        let seen_it = match said {
            "" => {
                seen.changes.iter().all(|it| it.starts_with("runs "))
                    && seen.apart.iter().any(|it| it.starts_with("rtnetlink"))
            }
            _ => seen.changes.iter().any(|it| it.starts_with(said)),
        };
        if !seen_it || seen.code != Some(0) {
            missed.push((line, said, seen));
        }
    }
    ensure!(missed.is_empty(), "{missed:#?}");
    // A signal to somebody else, and a file of the machine's from within namespaces of one's own.
    let other = lab.host.command("sleep").arg("1000").spawn().await?;
    let seen = watched(&lab, &["kill", &other.pid().to_string()]).await?;
    ensure!(seen.changes == [format!("sends signal 15 to {}", other.pid())], "{seen:#?}");
    let apart = "mount -t tmpfs none /run && : >/run/its-own && : >/root/the-machines";
    let seen = watched(&lab, &["unshare", "-Urnm", "sh", "-ec", apart]).await?;
    assert_eq!(seen.changes, ["writes /root/the-machines"], "{seen:#?}");
    ensure!(seen.apart.contains(&"writes /run/its-own".to_owned()), "{seen:#?}");
    Ok(())
}
