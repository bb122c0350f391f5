//! NemoClaw's probes of the past and of today, asked about live hosts: each of them is wrong somewhere.

use anyhow::Result;
use e2e::lab::{Lab, host_with_probe};
use e2e::programs;
use e2e::upstream::record::Recorder;
use e2e::upstream::{Probe, Score, Truth};
use harness::service::Gateway;
use harness::{Network, Posture, Ufw};
use rstest::rstest;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Situation {
    Open,
    UfwDefaultDeny,
    PolicyDrop,
    Rejected,
    LoopbackOnly,
    NotListening,
    /// The gateway waits behind a closed firewall, and a rule takes the connection to somebody else before that.
    Redirected,
    NetworkMissing,
    EngineDown,
    EngineWedged,
}

use Score::{FalseBlame, FalseHealthy, NoAnswer, Right};

const OPEN: Truth = Truth { reached: true, firewall_at_fault: false };
const FIREWALL: Truth = Truth { reached: false, firewall_at_fault: true };
const OTHER: Truth = Truth { reached: false, firewall_at_fault: false };

/// The scores are of the loopback check, the dial of the gateway address, v0, v1, v2 and v5.
#[rstest]
#[case::open(Situation::Open, OPEN, [Right, Right, FalseBlame, FalseBlame, Right, Right])]
#[case::ufw(Situation::UfwDefaultDeny, FIREWALL, [FalseHealthy, FalseHealthy, Right, Right, Right, Right])]
#[case::policy_drop(Situation::PolicyDrop, FIREWALL, [NoAnswer, NoAnswer, Right, Right, Right, Right])]
#[case::rejected(Situation::Rejected, FIREWALL, [FalseHealthy, FalseHealthy, Right, Right, Right, Right])]
#[case::loopback_only(Situation::LoopbackOnly, OTHER, [FalseHealthy, Right, FalseBlame, FalseBlame, FalseBlame, FalseBlame])]
#[case::not_listening(Situation::NotListening, OTHER, [Right, Right, FalseBlame, FalseBlame, FalseBlame, FalseBlame])]
#[case::redirected(Situation::Redirected, OTHER, [FalseHealthy, FalseHealthy, FalseBlame, FalseBlame, FalseHealthy, FalseHealthy])]
#[case::network_missing(Situation::NetworkMissing, OTHER, [FalseHealthy, NoAnswer, Right, Right, NoAnswer, NoAnswer])]
#[case::engine_down(Situation::EngineDown, OTHER, [FalseHealthy, NoAnswer, Right, Right, NoAnswer, NoAnswer])]
#[case::engine_wedged(Situation::EngineWedged, OTHER, [FalseHealthy, NoAnswer, NoAnswer, NoAnswer, NoAnswer, NoAnswer])]
#[tokio::test]
async fn what_they_say_of(
    #[case] situation: Situation,
    #[case] truth: Truth,
    #[case] scores: [Score; 6],
) -> Result<()> {
    let host = host_with_probe().await?;
    let observer = programs::own("observer", env!("CARGO_BIN_EXE_observer"));
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let mut lab = Lab { host, network, gateway: None, proxy: None };
    let gateway = match situation {
        Situation::LoopbackOnly => Some(Gateway::on_loopback()),
        Situation::NotListening => None,
        _ => Some(Gateway::on(lab.network.gateway)),
    };
    if let Some(gateway) = gateway {
        lab.gateway = Some(gateway.start(&lab.host).await?);
    }
    let recorder = Recorder::prepare(&lab.host, &observer).await?;
    bring_about(situation, &lab).await?;

    let seen = recorder.take(8080).await?;
    let answers = Probe::ALL.map(|probe| (probe, probe.ask(&seen)));
    let found = answers.map(|(_, answer)| Score::of(answer, truth));
    assert_eq!(found, scores, "{answers:#?}\n{seen:#?}");
    Ok(())
}

async fn bring_about(situation: Situation, lab: &Lab) -> Result<()> {
    let run = |line: String| lab.host.command("sh").args(["-ec".to_owned(), line]).run();
    match situation {
        Situation::Open | Situation::LoopbackOnly | Situation::NotListening => {}
        Situation::UfwDefaultDeny => lab.apply(Ufw::brev()).await?,
        Situation::PolicyDrop => lab.apply(Posture::InputPolicyDrop).await?,
        Situation::Rejected => {
            let bridge = &lab.network.bridge;
            run(format!("iptables -I INPUT -i {bridge} -p tcp --dport 8080 -j REJECT")).await?;
        }
        Situation::Redirected => {
            lab.apply(Ufw::brev()).await?;
            run("docker run -d --name other --network openshell-docker observer:lab /observer listen 30051"
                .into())
            .await?;
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            let other = run(format!("docker inspect --format '{format}' other")).await?;
            let (other, gateway) = (other.trim(), lab.network.gateway);
            run(format!(
                "iptables -t nat -I PREROUTING -d {gateway} -p tcp --dport 8080 -j DNAT --to {other}:30051
                 iptables -t nat -I POSTROUTING -d {other} -p tcp --dport 30051 -j MASQUERADE"
            ))
            .await?;
        }
        Situation::NetworkMissing => lab.host.engine()?.remove_network("openshell-docker").await?,
        Situation::EngineDown | Situation::EngineWedged => {
            let signal = if situation == Situation::EngineDown { "KILL" } else { "STOP" };
            run(format!("kill -{signal} {}", lab.host.engine()?.pid())).await?;
        }
    }
    Ok(())
}
