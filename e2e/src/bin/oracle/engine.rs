//! What is asked of the engine before anything is started, by the client that testcontainers has.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::{CreateImageOptionsBuilder, ListNetworksOptions};
use testcontainers::bollard::{Docker, body_full};
use testcontainers::core::client::docker_client_instance;

/// How long the engine may take for one answer; a healthy one takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// The sandbox's image. The name is that of a registry on the machine itself, where nobody listens: testcontainers asks for
/// an image that is missing, and nothing is to be asked of another machine.
pub(crate) const IMAGE: (&str, &str) = ("localhost/openshell-oracle", "empty");

/// The end of an archive without files: two empty blocks.
const EMPTY_ARCHIVE: [u8; 1024] = [0; 1024];

/// The engine that `DOCKER_HOST` names, or the one of the usual socket.
pub(crate) async fn connect() -> Result<Docker> {
    docker_client_instance().await.context("find the engine")
}

/// Whether there is a network of exactly this name: what testcontainers itself asks before it creates one.
pub(crate) async fn has_network(docker: &Docker, name: &str) -> Result<bool> {
    let networks = within(docker.list_networks(None::<ListNetworksOptions>)).await;
    let networks = networks.context("ask the engine for its networks")?;
    Ok(networks.iter().any(|network| network.name.as_deref() == Some(name)))
}

/// Makes sure that the image is there. It is empty: the only file of the sandbox is this program, and that is mounted, as
/// OpenShell mounts its supervisor. So the image is the same for every build, and costs 20 ms once.
pub(crate) async fn ensure_image(docker: &Docker) -> Result<()> {
    let (name, tag) = IMAGE;
    match within(docker.inspect_image(&format!("{name}:{tag}"))).await {
        Ok(_) => return Ok(()),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.context("ask the engine for the image")),
    }
    let options = CreateImageOptionsBuilder::new().from_src("-").repo(name).tag(tag).build();
    let archive = body_full(EMPTY_ARCHIVE.to_vec().into());
    let mut steps = docker.create_image(Some(options), Some(archive), None);
    within(async {
        while let Some(step) = futures_util::StreamExt::next(&mut steps).await {
            step?;
        }
        Ok(())
    })
    .await
    .context("import the image")
}

/// An engine's answer, in time.
pub(crate) async fn within<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T> {
    let answer = tokio::time::timeout(DEADLINE, answer).await;
    Ok(answer.map_err(|_| anyhow!("the engine did not answer within {DEADLINE:?}"))??)
}

/// Whether the engine said that there is no such thing.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::DockerResponseServerError { status_code: 404, .. }))
}
