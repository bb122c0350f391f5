//! A snapshot of a real host: the same verdict and the same rule where the host is not, and nothing that is nobody's business.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use e2e::lab::{Lab, PROBE};
use harness::Ufw;
use probe::{Explanation, Offline, Report};
use snapshot::{LinkKind, Owner, Privilege, Role, Snapshot, What, Why};

const TARGETS: [&str; 4] = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];

/// What stands in every place that is never carried.
const CANARY: &str = "zanzibar";
/// An address of this host, and one of a neighbour, that are nobody's business.
const ADDRESSES: [&str; 2] = ["203.0.113.77", "198.51.100.200"];

async fn sh(lab: &Lab, line: &str) -> Result<String> {
    Ok(lab.host.command("sh").args(["-ec", line]).run().await?)
}

/// Puts the canary everywhere, each time as a tool would.
async fn plant(lab: &Lab) -> Result<()> {
    sh(
        lab,
        &format!(
            "hostname {CANARY}-host
             echo '{CANARY}:x:1500:1500:{CANARY}:/home/{CANARY}:/bin/sh' >>/etc/passwd
             mkdir -p /root/.docker /etc/docker
             echo '{{\"proxies\":{{\"default\":{{\"httpProxy\":\"http://{CANARY}.example:3128\"}}}}}}' >/root/.docker/config.json
             echo 'https_proxy=http://user:{CANARY}@proxy.example:3128' >>/etc/environment
             echo 'DEFAULT_{CANARY}=1 # {CANARY}' >>/etc/default/ufw
             iptables -A INPUT -p tcp --dport 1 -m comment --comment '{CANARY} words' -j ACCEPT
             iptables -N {CANARY}-host-in
             iptables -A INPUT -s 203.0.113.0/24 -j {CANARY}-host-in
             iptables -A {CANARY}-host-in -s {neighbour} -p tcp --dport 2 -j LOG --log-prefix '{CANARY} '
             iptables -A OUTPUT -d {neighbour} -p tcp --dport 3 -j ACCEPT
             nft 'add table inet {CANARY}; add chain inet {CANARY} c {{ type filter hook input priority 7; }}'
             nft 'add rule inet {CANARY} c tcp dport 4 accept comment \"{CANARY}\"'
             nft 'add rule inet {CANARY} c ip saddr {neighbour} counter log prefix \"{CANARY}\"'
             ufw allow from {neighbour} to any port 5 proto tcp comment '{CANARY} words'
             ip link add {CANARY} type bridge
             ip link set {CANARY} alias '{CANARY} alias' up
             ip address add {own}/24 dev {CANARY}
             ip route add 192.0.2.0/24 via 203.0.113.1 dev {CANARY}
             docker network create --label owner={CANARY} -o secret={CANARY} {CANARY}-net
             (exec -a {CANARY} sleep 600 --{CANARY} >/dev/null 2>&1 & ) 2>/dev/null || true",
            own = ADDRESSES[0],
            neighbour = ADDRESSES[1],
        ),
    )
    .await?;
    // Not every kernel has the match.
    sh(
        lab,
        &format!("iptables -A INPUT -p tcp --dport 6 -m string --string {CANARY} --algo bm -j DROP || true"),
    )
    .await?;
    // A container with an environment, a label, a name and a command of its own, from the image that a check has loaded.
    lab.check_with(&["--port", "8080"]).await?;
    sh(
        lab,
        &format!(
            "image=$(docker image ls --quiet | head -n 1)
             docker create --name {CANARY} --env SECRET={CANARY} --label {CANARY}=1 --network {CANARY}-net $image {CANARY}"
        ),
    )
    .await?;
    Ok(())
}

/// Takes a snapshot into a file of the host.
async fn take(lab: &Lab, file: &str) -> Result<Snapshot> {
    let output = lab
        .host
        .command(PROBE)
        .args(["snapshot", "-o", file])
        .args(TARGETS)
        .env("HTTPS_PROXY", format!("http://{CANARY}.example:3128"))
        .output()
        .await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(snapshot::read_file(&lab.host.path(file))?)
}

/// Rules, addresses and routes, without what counts.
async fn state(lab: &Lab) -> Result<String> {
    let line = "for family in ip ip6; do ${family}tables-nft-save; done | sed -e '/^#/d' -e 's/ \\[[0-9:]*\\]$//'; \
        nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'; ip -o address; ip route show table all | sed 's/ linkdown//'; \
        cat /proc/net/ip_tables_names 2>/dev/null || true";
    sh(lab, line).await
}

/// What the file has, decompressed, and what a person is shown of it.
async fn contents(lab: &Lab, file: &str) -> Result<[String; 2]> {
    let text = sh(lab, &format!("zcat <{file}")).await?;
    let shown = lab.host.command(PROBE).args(["snapshot", "--show", "--from", file]).run().await?;
    Ok([text, shown])
}

fn is_silent(text: &str, macs: &[String]) {
    let small = text.to_lowercase();
    for secret in [CANARY, "3128", "proxy.example"].iter().chain(&ADDRESSES) {
        assert!(!small.contains(secret), "{secret} is in it:\n{text}");
    }
    for mac in macs {
        assert!(!small.contains(mac.as_str()), "{mac} is in it:\n{text}");
    }
}

/// The rule that `explain` named on the host, per target.
fn named(report: &Report) -> Vec<Option<(String, String, Option<usize>)>> {
    let explanations = report.targets.iter().map(|target| target.explanation.as_ref());
    let rule = |it: &Explanation| it.decided.as_ref().map(|it| (it.table.clone(), it.chain.clone(), it.rule));
    explanations.map(|it| it.and_then(rule)).collect()
}

/// The snapshot says what the host says: each verdict, each rule, and the rule again by the carried rules alone.
async fn agrees(lab: &Lab, file: &str, snapshot: &Snapshot) -> Result<()> {
    let live =
        lab.host.command(PROBE).arg("explain").args(TARGETS).args(["--format", "json"]).output().await?;
    let live: Report = serde_json::from_slice(&live.stdout)?;
    let offline =
        lab.host.command(PROBE).args(["explain", "--format", "json", "--from", file]).output().await?;
    assert_eq!(offline.status.code(), Some(i32::from(live.exit_code)));
    let offline: serde_json::Value = serde_json::from_slice(&offline.stdout)?;
    let here = Offline::judge(snapshot);
    assert_eq!(serde_json::to_value(&here)?, offline, "the program says what the library says");
    let rules = named(&live);
    ensure!(rules.len() == 2 && rules.iter().all(Option::is_some), "{live:#?}");
    for ((target, judged), rule) in live.targets.iter().zip(&here.targets).zip(rules) {
        let verdict = serde_json::to_value(target.verdict)?;
        assert_eq!(verdict, judged.verdict.as_str());
        let there = judged.there.as_ref().map(|it| (it.table.to_string(), it.chain.to_string(), it.rule));
        assert_eq!(there, rule, "named there, {judged:#?}");
        assert_eq!(judged.agrees, Some(true), "{judged:#?}");
        let live = target.explanation.as_ref().and_then(|it| it.decided.as_ref()).context("no rule")?;
        let decided = judged.here.as_ref().and_then(|it| it.decided.as_ref()).context("no rule here")?;
        assert_eq!(decided.setting.as_ref().map(|it| &it.text), live.setting.as_ref().map(|it| &it.text));
        assert_eq!(decided.effect, live.effect);
    }
    Ok(())
}

#[tokio::test]
async fn a_snapshot_decides_as_its_host_and_tells_nothing_else() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Ufw::default_deny()).await?;
    plant(&lab).await?;
    let macs: Vec<String> = sh(&lab, "cat /sys/class/net/*/address | sort -u | grep -v 00:00:00:00:00:00")
        .await?
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(!macs.is_empty());

    let snapshot = take(&lab, "/root/one").await?;
    for text in contents(&lab, "/root/one").await? {
        is_silent(&text, &macs);
    }
    agrees(&lab, "/root/one", &snapshot).await?;
    whole(&lab, &snapshot)?;

    // Another rule decides, then a table of nft's own, whose settings and handles differ.
    sh(&lab, "ufw deny 8080/tcp").await?;
    let state = state(&lab).await?;
    let denied = take(&lab, "/root/two").await?;
    assert_eq!(self::state(&lab).await?, state, "a snapshot changes nothing");
    agrees(&lab, "/root/two", &denied).await?;
    assert_eq!(denied.check.targets[0].decided.as_ref().map(|it| it.chain.as_str()), Some("ufw-user-input"));
    sh(&lab, "ufw --force disable; nft 'add table inet own; add chain inet own in { type filter hook input priority 0; }'; \
        nft 'add rule inet own in iifname br-* ip saddr 172.18.0.0/16 tcp dport { 8080, 11435 } drop'").await?;
    let native = take(&lab, "/root/three").await?;
    agrees(&lab, "/root/three", &native).await?;
    assert_eq!(native.check.targets[0].decided.as_ref().map(|it| it.backend.as_str()), Some("native"));

    files(&lab).await
}

/// What a replay needs is there.
fn whole(lab: &Lab, snapshot: &Snapshot) -> Result<()> {
    let gateway = IpAddr::V4(lab.network.gateway);
    let network = snapshot.networks.first().context("no network")?;
    assert_eq!((network.role, network.name.as_str()), (Role::Sandboxes, "openshell-docker"));
    assert_eq!(network.pools[0].gateway, Some(gateway));
    let bridge = network.bridge.as_ref().context("no bridge")?;
    assert!(
        snapshot.links.iter().any(|link| link.name == *bridge && link.kind == LinkKind::Bridge && link.up)
    );
    assert!(
        snapshot.addresses.iter().any(|own| own.interface == *bridge && own.address.address() == gateway)
    );
    // The neighbour's network is one of this host's still: mapped alike in addresses, routes and rules.
    let own =
        snapshot.addresses.iter().find(|own| own.address.length() == 24).context("no second address")?;
    let first = |address: IpAddr| address.to_string().rsplit_once('.').map(|(network, _)| network.to_owned());
    let through = snapshot.routes.iter().find_map(|route| route.gateway).context("no gateway")?;
    assert_eq!(first(through), first(own.address.address()));
    let rules = snapshot::rules_text(snapshot.rules.as_ref().context("no rules")?);
    let network = first(own.address.address()).context("an IPv4 address")?;
    assert!(rules.contains(&format!("-s {network}.0/24 -j renamed-")), "{network} is not in\n{rules}");
    let ufw = snapshot.ufw.as_ref().context("no UFW")?;
    assert!(ufw.enabled && ufw.input.as_ref().is_some_and(|policy| policy.as_str() == "drop"), "{ufw:?}");
    assert!(
        ufw.rules.as_ref().is_some_and(|rules| rules.iter().any(|rule| rule.to_port.as_str() == "5")),
        "{ufw:?}"
    );
    let listeners = snapshot.listeners.as_ref().context("no listeners")?;
    assert!(
        listeners.iter().any(|own| own.port == 8080 && own.address == gateway && own.owner == Owner::Root)
    );
    assert_eq!(snapshot.system.privilege, Privilege::Root);
    assert!(snapshot.engine.as_ref().is_some_and(|engine| engine.version.is_some()));
    assert!(
        snapshot.system.tools.iter().any(|tool| tool.name.as_str() == "iptables" && tool.version.is_some())
    );
    assert!(snapshot.left_out.iter().any(|it| it.what == What::Names && it.why == Why::NotAllowed));
    Ok(())
}

/// How files are written and refused.
async fn files(lab: &Lab) -> Result<()> {
    let run = |line: String| async move {
        let output = lab.host.command("sh").args(["-c", &line]).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok::<_, anyhow::Error>((output.status.code(), said))
    };
    let before = sh(lab, "sha256sum /root/one; stat -c %a /root/one").await?;
    ensure!(before.trim_end().ends_with("600"), "{before}");
    let (code, said) = run(format!("{PROBE} snapshot -o /root/one")).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("/root/one exists") && said.contains("--force"), "{said}");
    assert_eq!(sh(lab, "sha256sum /root/one; stat -c %a /root/one").await?, before);
    let (code, said) = run(format!("script -qec '{PROBE} snapshot -o -' /dev/null </dev/null")).await?;
    ensure!(code == Some(2), "a terminal takes no snapshot: {code:?} {said}");
    let (code, said) = run(format!(
        "{PROBE} snapshot -o - --host unix:///nonexistent --port 8080=gateway | cat >/root/piped"
    ))
    .await?;
    assert_eq!(code, Some(0), "{said}");
    let piped = snapshot::read_file(&lab.host.path("/root/piped"))?;
    // What there is without an engine.
    assert_eq!((piped.check.targets.len(), piped.engine.is_none(), piped.rules.is_some()), (1, true, true));
    // As whoever may ask the engine: no rules, and it is said.
    let group = sh(lab, "stat -c %g /run/docker.sock").await?.trim().parse()?;
    let asked = lab.host.command(PROBE).user(1000, group).env("HOME", "/tmp");
    let output = asked.args(["snapshot", "-o", "/tmp/user"]).args(TARGETS).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let user = snapshot::read_file(&lab.host.path("/tmp/user"))?;
    assert_eq!(user.system.privilege, Privilege::User);
    assert!(
        user.rules.is_none()
            && user.left_out.iter().any(|it| (it.what, it.why) == (What::Rules, Why::NeedsRoot))
    );
    assert_eq!(user.check.targets[0].verdict.as_str(), "tcp_failed");
    let (code, said) =
        run(format!("{PROBE} snapshot -o /root/one --force --host unix:///nonexistent")).await?;
    assert_eq!(code, Some(0), "{said}");
    ensure!(sh(lab, "sha256sum /root/one; stat -c %a /root/one").await? != before, "it was not replaced");
    sh(lab, "ln -s /root/one /root/link; printf x >>/root/two").await?;
    let (code, said) = run(format!("{PROBE} snapshot -o /root/link")).await?;
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = run(format!("{PROBE} explain --from /root/two")).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("/root/two is refused: something follows the compressed data"), "{said}");
    Ok(())
}
