//! The other images: an older and a newer engine. Building one takes a minute and the network, so these run in the long
//! profile.

use anyhow::Result;
use e2e::lab::{PROBE, check_by};
use e2e::programs;
use harness::image::{Cache, Definition};
use harness::service::{Gateway, OllamaProxy};
use harness::{Engine, Host, Network, Ufw};
use probe::{Cause, Verdict};
use rstest::rstest;

const BOTH: [&str; 4] = ["--port", "8080=gateway", "--port", "11435=ollama-proxy"];

#[rstest]
#[ignore = "long: builds an image"]
#[tokio::test]
async fn the_engine_of(
    #[values(("debian-12", "20.10"), ("debian-13", "26.1"), ("debian-sid", "28."))] image: (&str, &str),
) -> Result<()> {
    let (name, version) = image;
    let image = Cache::open()?.build(&Definition::named(name)?)?;
    let host =
        Host::builder().image(image).engine(Engine::Docker).bind(programs::probe()?, PROBE).start().await?;
    let found = host.engine()?.client().version().await?.version.unwrap_or_default();
    assert!(found.starts_with(version), "{found}");
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let _gateway = Gateway::on(network.gateway).start(&host).await?;
    let _proxy = OllamaProxy::new().start(&host).await?;
    let check = async || check_by(|| host.command(PROBE), &BOTH).await;

    let answer = check().await?;
    assert_eq!(answer.code, 0, "{}", answer.text);
    answer.blames_no_firewall();
    host.apply(&Ufw::brev().into(), &network).await?;
    let answer = check().await?;
    for port in [8080, 11435] {
        assert_eq!(answer.of(port), (Verdict::TcpFailed, Some(Cause::Dropped)), "{}", answer.text);
        let argv = answer.remedy(port);
        host.command(&argv[0]).args(&argv[1..]).run().await?;
    }
    assert_eq!(check().await?.code, 0);
    host.shutdown().await?;
    Ok(())
}
