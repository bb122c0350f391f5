//! A host, a sandbox and a neighbour as network namespaces in one host, where rules are loaded and dialled through by the hundred.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::Host;
use netns::Namespace;
use nftrace::{Packets, Place, Tracer, Traces};
use ruleset::Family;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::generate::{Case, Tool};
use super::{BRIDGE, LINK, PORT, SANDBOX_V4, SANDBOX_V6, SERVED, VETH};

/// How long a new lane may take until a dial gets through; measured: 20 ms.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// Below it are the services' ports.
const FIRST_PORT: u16 = 20_000;

/// The addresses are resolved for good, since rules of IPv6 drop its neighbours' questions too. No ICMP answer is kept back,
/// and no SYN-ACK is repeated into the next dial.
const SCRIPT: &str = r#"
h=$1 s=$1s n=$1n
for it in "$h" "$s" "$n"; do ip netns add "$it"; done
ip -n "$h" link add br0 address 02:00:00:00:00:01 type bridge
ip -n "$h" link add van1 type veth peer name eth0 address 02:00:00:00:00:02 netns "$s"
ip -n "$h" link add lan0 address 02:00:00:00:00:03 type veth peer name eth0 address 02:00:00:00:00:04 netns "$n"
ip -n "$h" -batch - <<HOST
link set van1 master br0
link set lo up
link set van1 up
link set br0 up
link set lan0 up
address add 10.99.0.1/24 dev br0
address add fd99::1/64 dev br0 nodad
address add 10.98.0.1/24 dev lan0
address add fd98::1/64 dev lan0 nodad
neigh replace 10.99.0.2 lladdr 02:00:00:00:00:02 dev br0 nud permanent
neigh replace fd99::2 lladdr 02:00:00:00:00:02 dev br0 nud permanent
neigh replace 10.98.0.2 lladdr 02:00:00:00:00:04 dev lan0 nud permanent
neigh replace fd98::2 lladdr 02:00:00:00:00:04 dev lan0 nud permanent
HOST
ip -n "$s" -batch - <<SANDBOX
link set lo up
link set eth0 up
address add 10.99.0.2/24 dev eth0
address add fd99::2/64 dev eth0 nodad
neigh replace 10.99.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
neigh replace fd99::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
SANDBOX
ip -n "$n" -batch - <<NEIGHBOUR
link set lo up
link set eth0 up
address add 10.98.0.2/24 dev eth0
address add fd98::2/64 dev eth0 nodad
neigh replace 10.98.0.1 lladdr 02:00:00:00:00:03 dev eth0 nud permanent
neigh replace fd98::1 lladdr 02:00:00:00:00:03 dev eth0 nud permanent
route add 10.99.0.0/24 via 10.98.0.1
route add fd99::/64 via fd98::1
NEIGHBOUR
nsenter --net=/run/netns/"$h" ipset restore <<SETS
create hosts hash:net
add hosts 10.99.0.0/29
add hosts 10.99.0.2/32 nomatch
create near hash:ip
add near 10.99.0.2
create pairs hash:ip,port
add pairs 10.99.0.1,tcp:8080
create hosts6 hash:net family inet6
add hosts6 fd99::/120
create near6 hash:ip family inet6
add near6 fd99::2
create pairs6 hash:ip,port family inet6
add pairs6 fd99::1,tcp:8080
SETS
nsenter --net=/run/netns/"$h" sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 net.ipv4.tcp_synack_retries=0 \
  net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0
nsenter --net=/run/netns/"$n" sysctl -qw net.ipv4.tcp_synack_retries=0
"#;

/// Whether bridges ask iptables and ip6tables, where the kernel has that: in a namespace, for its own bridges.
const BRIDGE_NF: &str = r#"nsenter --net=/run/netns/"$1" sh -ec '
cd /proc/sys/net/bridge 2>/dev/null || exit 0
echo "$1" >bridge-nf-call-iptables
echo "$1" >bridge-nf-call-ip6tables
echo there' sh "$2""#;

/// How rules of iptables are loaded and read again. Those of a case before that was nft's are flushed; a tracer's tables are
/// its own, and stay. A list of recent addresses outlives its rules where the new ones have it too, as those of a second try
/// have: it begins empty.
const IPTABLES: &str = r#"nsenter --net=/run/netns/"$1" sh -ec '
test "$3" = keep || nft flush ruleset
"$1"-restore <"$2"
for list in /proc/net/xt_recent/*; do
  test ! -e "$list" || echo / >"$list"
done
"$1"-save' sh "$2" "$3" "$4""#;

/// The same of nft, whose text flushes by itself.
const NFT: &str = r#"nsenter --net=/run/netns/"$1" sh -ec 'nft -f "$1" && nft -j list ruleset' sh "$2""#;

/// A host's namespace, a sandbox's at its bridge and a neighbour's behind another link, and services that say where they are.
pub(super) struct Lane {
    name: String,
    host: Namespace,
    sandbox: Namespace,
    /// What `ipset save` printed of the lane's sets, which no case changes.
    pub(super) ipsets: String,
    received: Tracer,
    sent: Tracer,
    passed: Tracer,
    loaded: Option<Tool>,
    /// The next dial's source port. Rules can keep the end of a connection from conntrack, and a port that comes again would be
    /// of the old connection then.
    port: u16,
    /// Whether bridges ask iptables now.
    pub(super) bridge_nf: bool,
}

/// What became of a dial for the one who dialled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Experience {
    /// This one answered.
    Answered(SocketAddr),
    /// It was connected, and no answer came back.
    Connected,
    /// It was refused or told that there is no way, by this error number.
    Told(i32),
    /// Nothing came.
    Silence,
}

/// A dial, and what the kernel said about the packets.
pub(super) struct Dialled {
    pub(super) experience: Experience,
    pub(super) source: SocketAddr,
    pub(super) received: Traces,
    pub(super) sent: Traces,
    /// What the neighbour sent.
    pub(super) passed: Traces,
}

impl Lane {
    /// Makes a lane in that host.
    pub(super) async fn new(host: &Host, name: &str) -> Result<Self> {
        host.command("sh").args(["-ec", SCRIPT, "sh", name]).run().await?;
        let path = format!("--net=/run/netns/{name}");
        let ipsets = host.command("nsenter").args([&path, "ipset", "save"]).run().await?;
        let open = |name: String| Namespace::open(&host.path(Path::new("/run/netns").join(name)));
        let (inner, sandbox) = (open(name.to_owned())?, open(format!("{name}s"))?);
        let neighbour = open(format!("{name}n"))?;
        for it in [&inner, &neighbour] {
            ensure!(it.inode() != Namespace::current()?.inode(), "the lane is the machine's own namespace");
            it.run(serve)??;
        }
        let device = Place::Device(VETH.to_owned());
        let received = inner.run(|| Tracer::at(&device, &[], Packets::All))??;
        let sent = inner.run(|| Tracer::at(&Place::Sent, &[], Packets::All))??;
        let passed = inner.run(|| Tracer::at(&Place::Device(LINK.to_owned()), &[], Packets::All))??;
        let mut lane = Self {
            name: name.to_owned(),
            host: inner,
            sandbox,
            ipsets,
            received,
            sent,
            passed,
            loaded: None,
            port: FIRST_PORT,
            bridge_nf: false,
        };
        lane.set_bridge_nf(host, false).await?;
        let deadline = Instant::now() + READY_DEADLINE;
        for family in [Family::Ip, Family::Ip6] {
            while !matches!(
                lane.dial(family, Duration::from_millis(100))?.experience,
                Experience::Answered(_)
            ) {
                ensure!(Instant::now() < deadline, "{BRIDGE} of {name} does not forward {family:?}");
            }
        }
        Ok(lane)
    }

    /// Puts rules in the place of those before, and reads them as a capture would.
    pub(super) async fn load(&mut self, host: &Host, case: &Case) -> Result<String> {
        if self.bridge_nf != case.bridge_nf {
            self.set_bridge_nf(host, case.bridge_nf).await?;
        }
        let file = format!("/run/{}.rules", self.name);
        std::fs::write(host.path(&file), &case.text).context("write the rules")?;
        let keep = if self.loaded.replace(case.tool) == Some(Tool::Nft) { "flush" } else { "keep" };
        let arguments = match (case.tool, case.family) {
            (Tool::Nft, _) => vec![NFT, "sh", &self.name, &file],
            (Tool::Iptables, Family::Ip) => vec![IPTABLES, "sh", &self.name, "iptables-nft", &file, keep],
            (Tool::Iptables, Family::Ip6) => vec![IPTABLES, "sh", &self.name, "ip6tables-nft", &file, keep],
        };
        Ok(host.command("sh").arg("-ec").args(arguments).run().await?)
    }

    async fn set_bridge_nf(&mut self, host: &Host, wanted: bool) -> Result<()> {
        let value = if wanted { "1" } else { "0" };
        let said = host.command("sh").args(["-ec", BRIDGE_NF, "sh", &self.name, value]).run().await?;
        self.bridge_nf = wanted && said.trim() == "there";
        Ok(())
    }

    /// The numbers of a chain's rules, in their order.
    pub(super) fn handles(&self, family: nftrace::Family, table: &str, chain: &str) -> Result<Vec<u64>> {
        Ok(self.host.run(|| nftrace::handles(family, table, chain))??)
    }

    /// Dials, sends a byte and waits for an answer, each for so long.
    pub(super) fn dial(&mut self, family: Family, patience: Duration) -> Result<Dialled> {
        let address = if family == Family::Ip { "10.99.0.1" } else { "fd99::1" };
        let address = SocketAddr::new(address.parse()?, PORT.parse()?);
        // What was left of the dial before.
        self.received.drain()?;
        self.sent.drain()?;
        self.passed.drain()?;
        let own = if address.is_ipv4() { SANDBOX_V4 } else { SANDBOX_V6 };
        let source = SocketAddr::new(own.parse()?, self.port);
        self.port = self.port.checked_add(1).unwrap_or(FIRST_PORT);
        let experience = self.sandbox.block_on(async || experience(source, address, patience).await)??;
        let (received, sent, passed) = (self.received.drain()?, self.sent.drain()?, self.passed.drain()?);
        Ok(Dialled { experience, source, received, sent, passed })
    }
}

/// Tells everybody who sends a byte the address that it was sent to, until the process ends.
fn serve() -> Result<()> {
    for port in SERVED {
        let listener = TcpListener::bind(("::", port.parse()?))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.read_exact(&mut [0])?;
    let here = stream.local_addr()?;
    writeln!(stream, "{}", SocketAddr::new(here.ip().to_canonical(), here.port()))
}

/// It ends by a reset, so that nothing of it is repeated into the next dial.
async fn experience(source: SocketAddr, address: SocketAddr, patience: Duration) -> Result<Experience> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(source)?;
    socket.set_zero_linger()?;
    let mut stream = match timeout(patience, socket.connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let number = error.raw_os_error().with_context(|| format!("connect: {error}"))?;
            return Ok(Experience::Told(number));
        }
        Err(_) => return Ok(Experience::Silence),
    };
    let talk = async {
        stream.write_all(&[7]).await?;
        let mut answer = String::new();
        BufReader::new(&mut stream).read_line(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(patience, talk).await.ok().and_then(Result::ok);
    let from = answer.and_then(|answer| answer.trim().parse().ok());
    Ok(from.map_or(Experience::Connected, Experience::Answered))
}
