//! The core matrix: both ports, five postures, one port affected or both.

use anyhow::Result;
use e2e::firewall::Firewall;
use e2e::lab::{GATEWAY, Lab, PROXY};
use e2e::matrix::{Affected, row};
use rstest::rstest;

#[rstest]
#[tokio::test]
async fn the_verdict_of(
    #[values(GATEWAY, PROXY)] port: u16,
    #[values(
        Firewall::Open,
        Firewall::RuleOf3472,
        Firewall::PolicyDrop,
        Firewall::UfwDefaultDeny,
        Firewall::UfwWithRemedy
    )]
    firewall: Firewall,
    #[values(Affected::OnePort, Affected::BothPorts)] affected: Affected,
) -> Result<()> {
    let lab = Lab::given().await?;
    row(&lab, port, firewall, affected).await?;
    lab.host.shutdown().await?;
    Ok(())
}
