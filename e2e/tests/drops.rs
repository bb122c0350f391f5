//! What drops packets besides a firewall, where a scenario cannot bring it about: nobody is accused of it.

use std::io::pipe;

use anyhow::Result;
use e2e::desk::until;
use e2e::lab::{GATEWAY, Lab};
use probe::{Cause, Ground, Verdict};

const ADDRESS: &str = "172.18.0.1";
const PORT: [&str; 2] = ["--port", "8080=gateway"];

/// An XDP program counts nothing that could be read: that it is there raises a doubt.
#[tokio::test]
async fn an_xdp_program_raises_a_doubt() -> Result<()> {
    let lab = Lab::start().await?;
    let network = lab.host.engine()?.inspect_network("openshell-docker").await?;
    let (stdin, _open) = pipe()?;
    let script = include_str!("drops/xdp.py");
    let program =
        lab.host.command("python3").args(["-c", script, &network.bridge]).stdin(stdin).spawn().await?;
    until("the program is in place", || program.stdout().contains("ready"))?;
    let answer = lab.check_with(&PORT).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::Undetermined)), "{}", answer.text);
    let target = answer.target(GATEWAY);
    assert!(target.because.contains(&Ground::XdpProgram), "{:?}", target.because);
    assert!(
        target.summary.ends_with(&format!("an XDP program is on {}", network.bridge)),
        "{}",
        target.summary
    );
    answer.blames_no_firewall();
    Ok(())
}

/// What is counted nowhere looks like a firewall's drop. Who may read the rules knows that they let it pass.
#[tokio::test]
async fn what_every_rule_lets_pass_is_no_firewalls_doing() -> Result<()> {
    let lab = Lab::without_services().await?;
    let script = include_str!("drops/filter.py");
    let service = lab.host.command("python3").args(["-c", script, ADDRESS]).spawn().await?;
    until("the service listens", || service.stdout().contains("ready"))?;
    let answer = lab.check_with(&PORT).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::Undetermined)), "{}", answer.text);
    let because = &answer.target(GATEWAY).because;
    assert!(because.ends_with(&[Ground::SynsUnanswered, Ground::RulesLetPass]), "{because:?}");
    answer.blames_no_firewall();
    // With a rule that would drop them too, it is the firewall: whatever else there is, this has to be opened.
    let rule = ["-I", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP"];
    lab.host.command("iptables").args(rule).run().await?;
    let answer = lab.check_with(&PORT).await?;
    assert_eq!(answer.of(GATEWAY), (Verdict::TcpFailed, Some(Cause::Dropped)), "{}", answer.text);
    Ok(())
}
