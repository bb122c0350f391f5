//! A host as OpenShell's users have it: engine, network, gateway and proxy, and the probe as a program in it.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use harness::service::gateway::{GatewayProgram, GatewaySetup};
use harness::service::inference::InferenceSetup;
use harness::service::{Gateway, OllamaProxy, Service};
use harness::{Engine, Host, HostCommand, Network, NetworkInfo, Posture};
use probe::{Cause, Report, TargetReport, Verdict};

use crate::{given, programs};

/// The gateway's port and the proxy's.
pub const GATEWAY: u16 = 8080;
/// See [`GATEWAY`].
pub const PROXY: u16 = 11435;

/// Where the probe is inside a host.
pub const PROBE: &str = "/usr/local/bin/openshell-probe";

/// A running host with the network, and the services unless they are stopped.
pub struct Lab {
    /// The host.
    pub host: Host,
    /// `openshell-docker` on it.
    pub network: NetworkInfo,
    /// The gateway, on 127.0.0.1 and on the bridge.
    pub gateway: Option<Service>,
    /// The Ollama proxy, on the wildcard.
    pub proxy: Option<Service>,
}

/// What the probe said, in both forms.
pub struct Answer {
    /// The exit code of both.
    pub code: i32,
    /// The JSON form.
    pub report: Report,
    /// The form for people.
    pub text: String,
}

impl Lab {
    /// A host with network, gateway and proxy, and no firewall.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start() -> Result<Self> {
        let mut lab = Self::without_services().await?;
        lab.gateway = Some(Gateway::on(lab.network.gateway).start(&lab.host).await?);
        lab.proxy = Some(OllamaProxy::new().start(&lab.host).await?);
        Ok(lab)
    }

    /// The same with what a release validation gives: the userland, and the gateway as its own program, started as an
    /// onboarding starts it. It makes the network itself, and nothing is there before it.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn given() -> Result<Self> {
        let (host, program) = host_for_onboarding().await?;
        if program.is_stand_in() {
            let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
            let gateway = Some(Gateway::on(network.gateway).start(&host).await?);
            let proxy = Some(OllamaProxy::new().start(&host).await?);
            return Ok(Self { host, network, gateway, proxy });
        }
        gateway_setup(&host, &program).ensure_gateway().await?;
        let network = host.engine()?.inspect_network(probe::DEFAULT_NETWORK).await?;
        let proxy = Some(OllamaProxy::new().start(&host).await?);
        Ok(Self { host, network, gateway: None, proxy })
    }

    /// A host with the network only.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn without_services() -> Result<Self> {
        let host = host_with_probe().await?;
        let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
        Ok(Self { host, network, gateway: None, proxy: None })
    }

    /// Gives the host a posture, and proves it.
    ///
    /// # Errors
    /// When it is not in force.
    pub async fn apply(&self, posture: impl Into<Posture>) -> Result<()> {
        Ok(self.host.apply(&posture.into(), &self.network).await?)
    }

    /// Takes that posture away again, and proves it.
    ///
    /// # Errors
    /// When it is still in force.
    pub async fn lift(&self, posture: impl Into<Posture>) -> Result<()> {
        Ok(self.host.lift(&posture.into(), &self.network).await?)
    }

    /// Runs a command of words in the host, without a shell.
    ///
    /// # Errors
    /// When it fails.
    pub async fn run(&self, command: &str) -> Result<String> {
        let mut words = command.split_whitespace();
        let program = words.next().context("no command")?;
        Ok(self.host.command(program).args(words).run().await?)
    }

    /// `openshell-probe check` with both ports required.
    ///
    /// # Errors
    /// When the two forms disagree or the report cannot be read.
    pub async fn check(&self) -> Result<Answer> {
        self.check_with(&["--port", "8080=gateway", "--port", "11435=ollama-proxy"]).await
    }

    /// `openshell-probe check` with these arguments.
    ///
    /// # Errors
    /// When the two forms disagree or the report cannot be read.
    pub async fn check_with(&self, arguments: &[&str]) -> Result<Answer> {
        check_by(|| self.host.command(PROBE), arguments).await
    }
}

/// A host with an engine and the probe, and no network.
///
/// # Errors
/// When the probe is stale or the host does not boot.
pub async fn host_with_probe() -> Result<Host> {
    host_with_probe_and(&[]).await
}

/// The same with other programs of the machine, each with the place where the host sees it.
///
/// # Errors
/// When the probe is stale or the host does not boot.
pub async fn host_with_probe_and(programs: &[(&Path, &str)]) -> Result<Host> {
    let mut builder = Host::builder().engine(Engine::Docker).bind(programs::probe()?, PROBE);
    for (source, target) in programs {
        builder = builder.bind(source, target);
    }
    Ok(builder.start().await?)
}

/// A host with an engine and the probe, and with the programs that an onboarding starts: the gateway that the environment
/// names (the stand-in unless it does) and the proxy.
///
/// # Errors
/// When the probe is stale or the host does not boot.
pub async fn host_for_onboarding() -> Result<(Host, GatewayProgram)> {
    let program = GatewayProgram::from_environment()?;
    let builder = Host::builder().engine(Engine::Docker).bind(programs::probe()?, PROBE);
    let builder = given::with_image(builder)?;
    let host = builder.gateway_program(&program)?.ollama_proxy_program()?.start().await?;
    Ok((host, program))
}

/// An onboarding's gateway in that host.
#[must_use]
pub fn gateway_setup<'host>(host: &'host Host, program: &GatewayProgram) -> GatewaySetup<'host> {
    GatewaySetup::new(host, program.clone(), PROBE)
}

/// Removes the records of a gateway that goes on running, as if somebody else had started it.
///
/// # Errors
/// When there are none.
pub async fn forget_records(host: &Host) -> Result<()> {
    let folder = "/root/.local/state/nemoclaw/openshell-docker-gateway";
    let files = ["openshell-gateway.pid", "runtime.json"].map(|file| format!("{folder}/{file}"));
    host.command("rm").args(files).run().await?;
    Ok(())
}

/// An onboarding's inference in that host.
#[must_use]
pub fn inference_setup(host: &Host) -> InferenceSetup<'_> {
    InferenceSetup::new(host, PROBE)
}

/// Where [`engine_over_tcp`] puts an engine.
pub const ENGINE_OVER_TCP: &str = "tcp://127.0.0.1:2375";

/// Makes the engine of one host that of another over TCP, at [`ENGINE_OVER_TCP`], until what is returned is dropped.
///
/// # Errors
/// When the address cannot be listened on.
pub fn engine_over_tcp(there: &Host, here: &Host) -> Result<AbortOnDrop> {
    let socket = there.engine()?.socket().to_owned();
    let listener = here.network_namespace().run(|| {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 2375))?;
        listener.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(listener)
    })??;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(AbortOnDrop(tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let Ok(mut to) = tokio::net::UnixStream::connect(&socket).await else { break };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    })))
}

/// A task that ends when this is dropped.
pub struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// No word of `text` makes a reader think of a firewall.
///
/// # Panics
/// When one does.
pub fn blames_no_firewall(text: &str) {
    let said = text.to_lowercase();
    for word in ["firewall", "ufw", "iptables", "nft", "drops what", "blocked"] {
        assert!(!said.contains(word), "{word:?} in: {said}");
    }
}

/// `check` in both forms, by a command for the probe that may run as somebody or with some environment. The form for people
/// is made of the report by `openshell-probe show`.
///
/// # Errors
/// When the report cannot be read.
pub async fn check_by<'host>(command: impl Fn() -> HostCommand<'host>, arguments: &[&str]) -> Result<Answer> {
    let json = by(&command, arguments, "json").await?;
    let mut show = Command::new(programs::probe()?);
    let mut show = show
        .args(["show", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // A report is shorter than what a pipe holds, or it is read meanwhile: nothing is printed before its end.
    show.stdin.take().context("no pipe")?.write_all(&json.stdout)?;
    let shown = show.wait_with_output()?;
    ensure!(shown.status.success(), "{}\nof\n{}", said(&shown), said(&json));
    answer(&json, String::from_utf8(shown.stdout)?)
}

/// The same by two checks at once, one for each form, which also shows that they do not disturb each other.
///
/// # Errors
/// When the two forms disagree or the report cannot be read.
pub async fn checks_by<'host>(
    command: impl Fn() -> HostCommand<'host>,
    arguments: &[&str],
) -> Result<Answer> {
    let (json, text) = tokio::try_join!(by(&command, arguments, "json"), by(&command, arguments, "text"))?;
    ensure!(text.status.code() == json.status.code(), "{}\nand\n{}", said(&json), said(&text));
    answer(&json, String::from_utf8(text.stdout)?)
}

async fn by<'host>(
    command: &impl Fn() -> HostCommand<'host>,
    arguments: &[&str],
    format: &str,
) -> Result<Output> {
    let command = command().arg("check").args(arguments.iter().copied()).args(["--format", format]);
    Ok(command.output().await?)
}

fn said(output: &Output) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", part(&output.stdout), part(&output.stderr))
}

fn answer(json: &Output, text: String) -> Result<Answer> {
    let code = json.status.code().with_context(|| format!("the probe was killed: {}", said(json)))?;
    let report: Report = serde_json::from_slice(&json.stdout).with_context(|| said(json))?;
    ensure!(
        i32::from(report.exit_code) == code,
        "exit code {code}, and the report says {}",
        report.exit_code
    );
    Ok(Answer { code, report, text })
}

impl Answer {
    /// The answer about a port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn target(&self, port: u16) -> &TargetReport {
        let found = self.report.targets.iter().find(|target| target.port == port);
        found.unwrap_or_else(|| panic!("no answer about {port}:\n{}", self.text))
    }

    /// The verdict and the cause of a port.
    #[must_use]
    pub fn of(&self, port: u16) -> (Verdict, Option<Cause>) {
        let target = self.target(port);
        (target.verdict, target.cause)
    }

    /// Every target has this verdict and this cause.
    ///
    /// # Panics
    /// When one has another.
    pub fn all_are(&self, verdict: Verdict, cause: Option<Cause>) {
        assert!(!self.report.targets.is_empty(), "{}", self.text);
        for target in &self.report.targets {
            assert_eq!((target.verdict, target.cause), (verdict, cause), "{}\n{}", target.port, self.text);
        }
    }

    /// The command that opens a port, which the text has to print as the report has it.
    ///
    /// # Panics
    /// When there is none, or the text does not print it on a line of its own.
    #[must_use]
    pub fn remedy(&self, port: u16) -> Vec<String> {
        let remedy = self.target(port).remedy.as_ref();
        let remedy = remedy.unwrap_or_else(|| panic!("no remedy for {port}:\n{}", self.text));
        let line = format!("hint: {}", remedy.argv.join(" "));
        assert!(self.text.lines().any(|it| it == line), "{line:?} is not in:\n{}", self.text);
        remedy.argv.clone()
    }

    /// No word of it makes a reader think of a firewall, and no command touches one.
    ///
    /// # Panics
    /// When one does.
    pub fn blames_no_firewall(&self) {
        for target in &self.report.targets {
            assert!(target.remedy.is_none(), "{target:#?}");
            let said = format!("{} {}", target.summary, target.hints.join(" ")).to_lowercase();
            for word in ["firewall", "ufw", "iptables", "nft", "drops what", "blocked"] {
                assert!(!said.contains(word), "{word:?} in: {said}");
            }
        }
        let text = self.text.to_lowercase();
        assert!(!text.contains("ufw") && !text.contains("iptables"), "{}", self.text);
    }
}
