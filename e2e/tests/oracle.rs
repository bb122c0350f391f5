//! The probe says what a real sandbox experiences.

use anyhow::Result;
use e2e::lab::{Lab, PROBE, check_by, host_with_probe_and};
use e2e::programs;
use harness::service::Gateway;
use harness::{Network, Posture, Ufw};
use probe::{Cause, Verdict};
use rstest::rstest;

/// Where the oracle is inside a host.
const ORACLE: &str = "/usr/local/bin/oracle";

/// A sandbox's image out of the host's own userland: bash, timeout and the libraries that they need.
const IMPORT: &str = "
    ldd /usr/bin/bash /usr/bin/timeout | grep -o '/[^ ]* (0x' | cut -d ' ' -f 1 | sort -u > /tmp/files
    printf '/usr/bin/bash\n/usr/bin/timeout\n' >> /tmp/files
    tar -c --dereference --hard-dereference -P -T /tmp/files | docker import - sandbox:lab";

#[derive(Clone, Copy, Debug)]
enum Situation {
    Open,
    RuleOf3472,
    PolicyDrop,
    UfwDefaultDeny,
    UfwWithRemedy,
    Rejected,
    NotListening,
}

#[rstest]
#[case::open(Situation::Open, "connected", (Verdict::Ok, None))]
#[case::rule_of_3472(Situation::RuleOf3472, "no_answer", (Verdict::TcpFailed, Some(Cause::Dropped)))]
#[case::policy_drop(Situation::PolicyDrop, "no_answer", (Verdict::TcpFailed, Some(Cause::Dropped)))]
#[case::ufw_default_deny(Situation::UfwDefaultDeny, "no_answer", (Verdict::TcpFailed, Some(Cause::Dropped)))]
#[case::ufw_with_remedy(Situation::UfwWithRemedy, "connected", (Verdict::Ok, None))]
#[case::rejected(Situation::Rejected, "refused", (Verdict::TcpFailed, Some(Cause::Rejected)))]
#[case::not_listening(Situation::NotListening, "refused", (Verdict::TcpFailed, Some(Cause::NotListening)))]
#[tokio::test]
async fn a_real_sandbox_experiences_what_the_probe_says(
    #[case] situation: Situation,
    #[case] experience: &str,
    #[case] verdict: (Verdict, Option<Cause>),
) -> Result<()> {
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    let host = host_with_probe_and(&[(&oracle, ORACLE)]).await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let mut lab = Lab { host, network, gateway: None, proxy: None };
    if !matches!(situation, Situation::NotListening) {
        lab.gateway = Some(Gateway::on(lab.network.gateway).start(&lab.host).await?);
    }
    let check = || check_by(|| lab.host.command(PROBE), &["--port", "8080=gateway"]);
    match situation {
        Situation::Open | Situation::NotListening => {}
        Situation::RuleOf3472 => lab.apply(Posture::drop_port(8080)).await?,
        Situation::PolicyDrop => lab.apply(Posture::InputPolicyDrop).await?,
        Situation::UfwDefaultDeny | Situation::UfwWithRemedy => lab.apply(Ufw::brev()).await?,
        Situation::Rejected => {
            let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "REJECT"];
            lab.host.command("iptables").args(rule).run().await?;
        }
    }
    if matches!(situation, Situation::UfwWithRemedy) {
        let argv = check().await?.remedy(8080);
        lab.host.command(&argv[0]).args(&argv[1..]).run().await?;
    }
    let answer = check().await?;
    assert_eq!(answer.of(8080), verdict, "{}", answer.text);

    lab.host.command("sh").args(["-ec", IMPORT]).run().await?;
    let gateway = lab.network.gateway.to_string();
    let oracle =
        lab.host.command(ORACLE).args(["--image", "sandbox:lab", "--gateway", &gateway, "--port", "8080"]);
    assert_eq!(oracle.run().await?.trim(), experience, "{}", answer.text);
    Ok(())
}
