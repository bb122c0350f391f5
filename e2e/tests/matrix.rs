//! The core matrix: five firewalls, each against one of the two ports, against the other, and against both. A firewall has one
//! host, on which the rows come one after another.

use anyhow::Result;
use e2e::firewall::Firewall;
use e2e::lab::Lab;
use e2e::matrix::rows;
use rstest::rstest;

#[rstest]
#[tokio::test]
async fn the_verdict_of(
    #[values(
        Firewall::Open,
        Firewall::RuleOf3472,
        Firewall::PolicyDrop,
        Firewall::UfwDefaultDeny,
        Firewall::UfwWithRemedy
    )]
    firewall: Firewall,
) -> Result<()> {
    let lab = Lab::given().await?;
    rows(&lab, firewall).await?;
    lab.host.shutdown().await?;
    Ok(())
}
