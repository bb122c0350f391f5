use harness::{Engine, Host, Network, Posture, Ufw};
use std::time::Instant;
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    for posture in [Posture::Open, Posture::drop_port(8080), Posture::InputPolicyDrop, Ufw::brev().into()] {
        let t = Instant::now();
        let host = Host::builder().engine(Engine::Docker).start().await?;
        println!("boot {:?}", t.elapsed());
        let n = host.engine()?.create_network(&Network::openshell_docker()).await?;
        println!("net {:?}", t.elapsed());
        let r = host.apply(&posture, &n).await;
        println!("{posture} {:?} {r:?}", t.elapsed());
        let t = Instant::now();
        host.shutdown().await?;
        println!("down {:?}", t.elapsed());
    }
    Ok(())
}
