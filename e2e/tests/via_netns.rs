//! `check --via netns`: the same answer as by a container, nobody's address, and nothing left of it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::ListImagesOptions;
use e2e::lab::{Answer, GATEWAY, Lab, PROBE, host_with_probe};
use harness::service::Gateway;
use harness::{Network, Process, Ufw};
use netns::Vantage;
use probe::{Cause, Method, Report, Verdict};

/// How long the kernel may take to end a network namespace and its links.
const END_PATIENCE: Duration = Duration::from_secs(20);

async fn sh(lab: &Lab, line: &str) -> Result<String> {
    Ok(lab.host.command("sh").args(["-ec", line]).run().await?)
}

/// Links, and whose hardware the host knows on the network's bridge. A service that is slow to end its side of a connection may
/// still ask for somebody who is gone; that entry has no hardware.
async fn links(lab: &Lab) -> Result<String> {
    let neighbours = format!("ip -4 neighbour show dev {} | grep lladdr", lab.network.bridge);
    sh(lab, &format!("ls /sys/class/net; {neighbours} || true")).await
}

async fn by(lab: &Lab, via: &str, arguments: &str) -> Result<Answer> {
    let arguments: Vec<&str> = ["--via", via].into_iter().chain(arguments.split(' ')).collect();
    lab.check_with(&arguments).await
}

/// What a user is told about each port, but for the times.
fn told(answer: &Answer) -> Result<BTreeMap<u16, serde_json::Value>> {
    let mut all = BTreeMap::new();
    for target in &answer.report.targets {
        let mut value = serde_json::to_value(target)?;
        let fields = value.as_object_mut().context("a target")?;
        // It says how long a dial took, and the walks count packets.
        fields.retain(|name, _| !["summary", "explanation"].contains(&name.as_str()));
        all.insert(target.port, value);
    }
    Ok(all)
}

fn address(report: &Report) -> Result<Ipv4Addr> {
    match report.evidence.vantage {
        probe::Vantage::Netns { address, .. } => Ok(address),
        ref other => anyhow::bail!("dialled from {other:?}"),
    }
}

/// Both ways say the same; what `--via netns` says is returned.
async fn agree(lab: &Lab, arguments: &str) -> Result<Answer> {
    let netns = by(lab, "netns", arguments).await?;
    let container = by(lab, "container", arguments).await?;
    assert_eq!(told(&netns)?, told(&container)?, "{}\nand\n{}", netns.text, container.text);
    assert_eq!(netns.code, container.code);
    Ok(netns)
}

const PORTS: [(u16, Verdict, Option<Cause>); 7] = [
    (GATEWAY, Verdict::Ok, None),
    (11435, Verdict::Ok, None),
    (8081, Verdict::TcpFailed, Some(Cause::WrongBind)),
    (8082, Verdict::TcpFailed, Some(Cause::NotListening)),
    (8083, Verdict::TcpFailed, Some(Cause::Dropped)),
    (8084, Verdict::TcpFailed, Some(Cause::Rejected)),
    (8085, Verdict::TcpFailed, Some(Cause::Rejected)),
];

const RULES: &str = "iptables -A INPUT -p tcp --dport 8083 -j DROP
    iptables -A INPUT -p tcp --dport 8084 -j REJECT
    iptables -A INPUT -p tcp --dport 8085 -j REJECT --reject-with tcp-reset";

#[tokio::test]
async fn a_namespace_is_told_what_a_container_is_told() -> Result<()> {
    let lab = Lab::start().await?;
    let before = links(&lab).await?;
    let bind = || -> std::io::Result<Vec<TcpListener>> {
        let everywhere = [8083, 8084, 8085].map(|port| (Ipv4Addr::UNSPECIFIED, port));
        everywhere.into_iter().chain([(Ipv4Addr::LOCALHOST, 8081)]).map(TcpListener::bind).collect()
    };
    let _listeners = lab.host.network_namespace().run(bind)??;
    sh(&lab, RULES).await?;
    let ports: Vec<String> = PORTS.iter().map(|(port, ..)| format!("--port {port}")).collect();
    let ports = ports.join(" ").replace("8080", "8080=gateway").replace("11435", "11435=ollama-proxy");

    // Without an image, and without a container.
    let answer = by(&lab, "netns", &ports).await?;
    let images = lab.host.engine()?.client().list_images(None::<ListImagesOptions>).await?;
    assert!(images.is_empty(), "{images:?}");
    for (port, verdict, cause) in PORTS {
        let sandbox = answer.report.evidence.ports.iter().find(|it| it.target.port == port);
        assert_eq!(answer.of(port), (verdict, cause), "{}\n{sandbox:#?}", answer.text);
    }
    assert!(answer.text.contains("vantage   172.18.0.2"), "{}", answer.text);
    assert_eq!(links(&lab).await?, before, "nothing is left");

    let container = by(&lab, "container", &ports).await?;
    assert_eq!(told(&answer)?, told(&container)?, "{}\nand\n{}", answer.text, container.text);

    // A real UFW, and who decides.
    sh(&lab, "iptables -F INPUT").await?;
    lab.apply(Ufw::default_deny().allow("8084/tcp").rule("reject 8085/tcp")).await?;
    let answer = agree(&lab, &ports).await?;
    let expected = [(GATEWAY, Cause::Dropped), (8081, Cause::WrongBind), (8082, Cause::NotListening)];
    for (port, cause) in expected.into_iter().chain([(8083, Cause::Dropped), (8085, Cause::Rejected)]) {
        assert_eq!(answer.of(port), (Verdict::TcpFailed, Some(cause)), "{}", answer.text);
    }
    assert_eq!(answer.of(8084), (Verdict::Ok, None), "{}", answer.text);
    let explain = ["explain", "--via", "netns", "--port", "8080=gateway", "--format", "json"];
    let output = lab.host.command(PROBE).args(explain).output().await?;
    let report: Report = serde_json::from_slice(&output.stdout)?;
    let explanation = report.targets[0].explanation.as_ref().context("no explanation")?;
    let decided = explanation.decided.as_ref().with_context(|| format!("{:?}", explanation.notes))?;
    assert_eq!((decided.chain.as_str(), decided.rule), ("INPUT", None), "{decided:?}");
    assert_eq!(explanation.confirmed_by, [Method::Static, Method::Twin]);
    let silent = explanation.no_counters.as_deref().unwrap_or_default();
    assert!(silent.starts_with("--via netns"), "{silent:?}");

    // A bridge that has lost its address, and one that is down.
    let bridge = &lab.network.bridge;
    sh(&lab, &format!("ip address flush dev {bridge}")).await?;
    agree(&lab, "--port 8080=gateway").await?;
    sh(&lab, &format!("ip address add 172.18.0.1/16 dev {bridge}; ip link set {bridge} down")).await?;
    let answer = agree(&lab, "--port 8080=gateway").await?;
    answer.all_are(Verdict::TcpFailed, Some(Cause::LinkDown));
    Ok(())
}

/// A check that waits for a dropped port, once its own port is on the bridge.
async fn waiting(lab: &Lab) -> Result<Process> {
    let ports = async || sh(lab, &format!("ls /sys/class/net/{}/brif", lab.network.bridge)).await;
    let arguments = ["check", "--via", "netns", "--port", "8080", "--timeout", "20s", "--deadline", "25s"];
    let process = lab.host.command(PROBE).args(arguments).spawn().await?;
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    while ports().await?.is_empty() {
        ensure!(begun.elapsed() < END_PATIENCE, "it never dialled: {}", process.stderr());
        tick.tick().await;
    }
    Ok(process)
}

#[tokio::test]
async fn nothing_is_left_of_a_check_however_it_ends() -> Result<()> {
    let lab = Lab::start().await?;
    sh(&lab, "iptables -I INPUT -p tcp --dport 8080 -j DROP").await?;
    let before = links(&lab).await?;
    for signal in ["INT", "TERM"] {
        let mut process = waiting(&lab).await?;
        sh(&lab, &format!("kill -{signal} {}", process.pid())).await?;
        let status = tokio::time::timeout(END_PATIENCE, process.wait()).await??;
        assert_eq!(status.code(), Some(if signal == "INT" { 130 } else { 143 }), "{}", process.stderr());
        assert_eq!(links(&lab).await?, before, "at once, after SIG{signal}");
    }
    // The kernel cleans up after SIGKILL, and takes its time.
    let process = waiting(&lab).await?;
    sh(&lab, &format!("kill -KILL {}", process.pid())).await?;
    gone(&lab, &before, "while it dialled").await?;
    for milliseconds in (4..40).step_by(3) {
        let arguments = "check --via netns --port 8080 --timeout 20s --deadline 25s";
        let killed = format!("timeout -s KILL 0.{milliseconds:03} {PROBE} {arguments} || true");
        sh(&lab, &killed).await?;
        gone(&lab, &before, &format!("after {milliseconds} ms")).await?;
    }
    Ok(())
}

/// Waits until the links are those of before.
async fn gone(lab: &Lab, before: &str, when: &str) -> Result<()> {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    loop {
        let names = sh(lab, "ls /sys/class/net").await?;
        if before.starts_with(&names) {
            return Ok(());
        }
        ensure!(begun.elapsed() < END_PATIENCE, "left by a kill {when}: {names}");
        tick.tick().await;
    }
}

/// A container that runs until its host ends.
async fn container(lab: &Lab, name: &str, network: &str) -> Result<()> {
    let mounts = "-v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro";
    let run = format!("docker run -d --rm --name {name} {network} {mounts} empty /usr/bin/sleep 600");
    sh(lab, "docker image inspect empty > /dev/null 2>&1 || tar -c -T /dev/null | docker import - empty")
        .await?;
    sh(lab, &run).await?;
    Ok(())
}

#[tokio::test]
async fn an_address_that_somebody_has_is_not_taken() -> Result<()> {
    let host = host_with_probe().await?;
    let network = Network::openshell_docker().subnet("172.18.0.0/16", Ipv4Addr::new(172, 18, 0, 1));
    let network = host.engine()?.create_network(&network).await?;
    let gateway = Some(Gateway::on(network.gateway).start(&host).await?);
    let lab = Lab { host, network, gateway, proxy: None };
    let port = "--port 8080=gateway";
    let last = |number| Ipv4Addr::new(172, 18, 0, number);
    let netns = async || -> Result<Vec<Ipv4Addr>> {
        let answer = by(&lab, "netns", port).await?;
        answer.all_are(Verdict::Ok, None);
        Ok(vec![address(&answer.report)?])
    };
    // Two run at once, and the text's is not known.
    assert!([last(254), last(246)].contains(&netns().await?[0]));

    // The engine knows of one, and nobody but the link of the next.
    container(&lab, "named", "--network openshell-docker --ip 172.18.0.254").await?;
    let namespace = lab.host.network_namespace();
    let unknown = Vantage::on_bridge(
        namespace,
        &lab.network.bridge,
        "unknown0",
        last(253),
        lab.network.prefix,
        lab.network.gateway,
    )?;
    let alone = ["check", "--via", "netns", "--port", "8080=gateway", "--format", "json"];
    let report = async || -> Result<Report> {
        let output = lab.host.command(PROBE).args(alone).output().await?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
    };
    let found = report().await?;
    assert_eq!((address(&found)?, found.exit_code), (last(252), 0));
    drop(unknown);

    // Many at once have an address each.
    let reports = futures_util::future::try_join_all((0..6).map(|_| report())).await?;
    for report in &reports {
        assert_eq!(report.exit_code, 0, "{:?}", report.trouble);
    }

    // As the other ports are, so is this one.
    let bridge = &lab.network.bridge;
    let own = sh(&lab, &format!("ls /sys/class/net/{bridge}/brif | grep veth")).await?;
    let own = own.trim();
    let set = "type bridge_slave hairpin on isolated on learning off";
    sh(&lab, &format!("ip link set {own} {set}; ip link set {bridge} mtu 1400")).await?;
    sh(&lab, "iptables -I INPUT -p tcp --dport 8080 -j DROP").await?;
    let settings = format!(
        "cd /sys/class/net/{bridge}/brif; ls | grep -v {own} | while read p; do
             cat $p/hairpin_mode $p/isolated $p/learning /sys/class/net/$p/mtu; done | xargs"
    );
    let mut process = lab.host.command(PROBE).args(alone).args(["--timeout", "20s"]).spawn().await?;
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while sh(&lab, &settings).await?.trim() != "1 1 0 1400" {
        let settings = sh(&lab, &settings).await?;
        ensure!(begun.elapsed() < END_PATIENCE, "{settings:?}");
        tick.tick().await;
    }
    process.wait().await?;
    let report: Report = serde_json::from_str(&process.stdout())?;
    assert_eq!(report.targets[0].cause, Some(Cause::Dropped));

    // Networks that keep their containers apart.
    sh(&lab, "iptables -D INPUT -p tcp --dport 8080 -j DROP").await?;
    let networks = [
        "--internal --subnet 172.30.1.0/24 --gateway 172.30.1.1 internal",
        "--subnet 172.30.2.0/29 --gateway 172.30.2.1 -o com.docker.network.bridge.enable_icc=false apart",
        "--subnet 172.30.3.0/24 --ip-range 172.30.3.64/28 --gateway 172.30.3.1 ranged",
    ];
    let _listener = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000)))??;
    for (network, address_of) in networks.into_iter().zip(["172.30.1.254", "172.30.2.6", "172.30.3.78"]) {
        sh(&lab, &format!("docker network create {network}")).await?;
        let name = network.split(' ').next_back().context("a name")?;
        let answer = agree(&lab, &format!("--network {name} --port 9000")).await?;
        answer.all_are(Verdict::Ok, None);
        let arguments = ["check", "--via", "netns", "--network", name, "--port", "9000", "--format", "json"];
        let output = lab.host.command(PROBE).args(arguments).output().await?;
        let report: Report = serde_json::from_slice(&output.stdout)?;
        assert_eq!(address(&report)?.to_string(), address_of);
    }

    // A subnet that is full.
    sh(&lab, "docker network create --subnet 172.30.4.0/30 --gateway 172.30.4.1 full").await?;
    container(&lab, "fills", "--network full").await?;
    let answer = by(&lab, "netns", "--network full --port 9000").await?;
    answer.all_are(Verdict::ProbeUnavailable, Some(Cause::VantageUnavailable));
    assert!(answer.text.contains("no address on br-"), "{}", answer.text);
    answer.blames_no_firewall();

    // Nobody's business but root's.
    let output = lab.host.command(PROBE).args(alone).user(1000, 1000).output().await?;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("error: --via netns takes root") && said.contains("hint: "), "{said}");
    Ok(())
}
