//! A name that only a resolver of the host's own knows (NVIDIA/NemoClaw#3445): the sandbox asks another one, and that is no
//! firewall's doing.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::lab::{Answer, GATEWAY, Lab};
use harness::Ufw;
use harness::service::NameServer;
use probe::{Cause, Verdict};
use rstest::rstest;

const NAME: &str = "inference.local";

/// The resolver of the virtual machine in that issue, which knows the name.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 1);

/// The one that its sandboxes asked. Here it is an address of the host, which no packet leaves.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

async fn ask(lab: &Lab, resolver: Ipv4Addr) -> Result<Answer> {
    std::fs::write(lab.host.path("/etc/resolv.conf"), format!("nameserver {resolver}\n"))?;
    lab.check_with(&["--port", "8080=gateway", "--alias", NAME]).await
}

/// What the public resolver does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Public {
    /// It has never heard of the name.
    Denies,
    /// No answer comes.
    Silent,
    /// There is no way to it.
    Away,
}

#[rstest]
#[tokio::test]
async fn a_name_that_only_another_resolver_knows_is_a_matter_of_names(
    #[values(Public::Denies, Public::Silent, Public::Away)] public: Public,
) -> Result<()> {
    let lab = Lab::start().await?;
    lab.host.add_interface("own0", OWN, 24).await?;
    let _own = NameServer::at(OWN).record(NAME, lab.network.gateway).start(&lab.host).await?;
    let mut asked = None;
    if public != Public::Away {
        lab.host.add_interface("public0", PUBLIC, 32).await?;
        let server = NameServer::at(PUBLIC);
        let server = if public == Public::Silent { server.silent() } else { server };
        asked = Some(server.start(&lab.host).await?);
    }
    // That it resolves there shows what the other one lacks.
    let answer = ask(&lab, OWN).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::Ok, None), "{}", answer.text);
    for ufw in [false, true] {
        if ufw {
            lab.apply(Ufw::brev().rule("allow 53/udp")).await?;
        }
        let began = Instant::now();
        let answer = ask(&lab, PUBLIC).await?;
        answer.all_are(Verdict::ProbeUnavailable, Some(Cause::NameResolution));
        // Two seconds for the name, and what a check takes anyway.
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(answer.code, 3);
        answer.blames_no_firewall();
    }
    if let Some(asked) = asked {
        assert!(asked.log().contains(NAME), "the sandbox did not ask it: {}", asked.log());
    }
    Ok(())
}
