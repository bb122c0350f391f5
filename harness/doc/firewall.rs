//! What sandboxes reach on their host, before and after UFW denies incoming traffic.
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use harness::service::Gateway;
use harness::{Engine, Host, Network, Ufw};

#[tokio::test]
async fn ufw_keeps_sandboxes_from_their_host() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::builder().engine(Engine::Docker).start().await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    // A stand-in for the gateway, and a service of your own.
    let gateway = Gateway::on(network.gateway).start(&host).await?;
    let _own = host.network_namespace().run(|| TcpListener::bind("0.0.0.0:9000"))??;

    let sandbox = host.vantage(&network)?;
    let reaches = |port: u16| {
        let address = SocketAddr::from((network.gateway, port));
        let dial = move || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        sandbox.namespace().run(dial)
    };
    assert!(reaches(Gateway::PORT)? && reaches(9000)?);
    host.apply(&Ufw::brev().into(), &network).await?;
    assert!(!reaches(Gateway::PORT)? && !reaches(9000)?);
    gateway.stop().await?;
    Ok(host.shutdown().await?)
}
