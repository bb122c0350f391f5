//! The container that stands in for OpenShell's.

use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::RemoveContainerOptionsBuilder;
use testcontainers::core::{AccessMode, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{
    ContainerAsync, ContainerRequest, CopyTargetOptions, GenericImage, ImageExt, TestcontainersError,
};
use tokio::io::AsyncReadExt;

use crate::arguments::Arguments;
use crate::engine::{IMAGE, is_missing, within};
use crate::orders::{Answer, Orders};
use crate::supervisor;

/// Where this program is in the container.
const PROGRAM: &str = "/oracle";

/// What OpenShell's driver adds for its supervisor.
const CAPABILITIES: [&str; 4] = ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYSLOG"];

/// How long a start that a signal interrupts may still take.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A container to be, and to be no more.
pub(crate) struct Sandbox<'a> {
    docker: &'a Docker,
    arguments: &'a Arguments,
    /// Known before it exists: what starts and fails to tell is removed by it.
    name: String,
}

impl<'a> Sandbox<'a> {
    pub(crate) fn new(docker: &'a Docker, arguments: &'a Arguments) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("openshell-oracle-{}-{}", std::process::id(), now.as_micros());
        Self { docker, arguments, name }
    }

    /// Runs it until it has said everything, or until `interrupted` says with which code to end.
    pub(crate) async fn run(
        &self,
        orders: &Orders,
        interrupted: impl Future<Output = ExitCode>,
    ) -> Result<Result<Vec<Answer>, ExitCode>> {
        let mut interrupted = pin!(interrupted);
        let mut starting = pin!(self.start(orders));
        let container = tokio::select! {
            container = &mut starting => container?,
            code = &mut interrupted => {
                // A start that is let go of could still make a container, after it was removed.
                drop(tokio::time::timeout(START_DEADLINE, starting).await);
                return Ok(Err(code));
            }
        };
        let answers = tokio::select! {
            answers = answers(&container, orders) => answers,
            code = interrupted => return Ok(Err(code)),
        };
        container.rm().await.context("remove the sandbox")?;
        answers.map(Ok)
    }

    /// Removes it, if there is still something to remove.
    pub(crate) async fn remove(&self) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match within(self.docker.remove_container(&self.name, Some(options))).await {
            Err(error) if !is_missing(&error) => Err(error.context("remove the sandbox")),
            _ => Ok(()),
        }
    }

    async fn start(&self, orders: &Orders) -> Result<ContainerAsync<GenericImage>> {
        let program = std::env::current_exe().context("find this program")?;
        let source = program.to_string_lossy().into_owned();
        let mount = Mount::bind_mount(source, PROGRAM).with_access_mode(AccessMode::ReadOnly);
        let request = self.request(orders)?.with_mount(mount);
        match request.start().await {
            // An engine in another mount namespace does not see it.
            Err(error) if is_missing_source(&error) => {
                self.remove().await?;
                let content = std::fs::read(&program).context("read this program")?;
                let target = CopyTargetOptions::new(PROGRAM).with_mode(0o755);
                self.request(orders)?.with_copy_to(target, content).start().await
            }
            started => started,
        }
        .context("start the sandbox")
    }

    /// As OpenShell's Docker driver creates it, as far as the network and the supervisor are concerned.
    fn request(&self, orders: &Orders) -> Result<ContainerRequest<GenericImage>> {
        let orders = serde_json::to_string(orders)?;
        let dns = self.arguments.dns.map(|address| vec![address.to_string()]);
        let mut request = GenericImage::new(IMAGE.0, IMAGE.1)
            .with_container_name(&self.name)
            .with_network(&self.arguments.network)
            .with_cmd([PROGRAM.to_owned(), supervisor::COMMAND.to_owned(), orders])
            .with_user("0")
            .with_security_opt("apparmor=unconfined")
            .with_host_config_modifier(move |config| {
                config.dns.clone_from(&dns);
                config.publish_all_ports = Some(false);
            });
        for (name, address) in &self.arguments.hosts {
            request = request.with_host(name, address);
        }
        for capability in CAPABILITIES {
            request = request.with_cap_add(capability);
        }
        Ok(request)
    }
}

fn is_missing_source(error: &TestcontainersError) -> bool {
    error.to_string().contains("bind source path does not exist")
}

/// Everything that it says until it ends, in the order of the targets.
async fn answers(container: &ContainerAsync<GenericImage>, orders: &Orders) -> Result<Vec<Answer>> {
    let mut said = String::new();
    let read = container.stdout(true).read_to_string(&mut said).await;
    read.context("read what the sandbox says")?;
    let mut answers: Vec<Answer> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let place = |port| orders.targets.iter().position(|target| target.port == port);
    answers.sort_by_key(|answer| place(answer.port));
    if answers.len() != orders.targets.len() {
        let trouble = container.stderr_to_vec().await.unwrap_or_default();
        let code = container.exit_code().await.unwrap_or_default();
        let trouble = String::from_utf8_lossy(&trouble).into_owned();
        ensure!(false, "the sandbox ended with {code:?} and gave no answer: {said}{trouble}");
    }
    Ok(answers)
}
