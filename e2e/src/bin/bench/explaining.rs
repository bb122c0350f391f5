//! What it takes to name the rule that decides.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use e2e::lab::{Lab, PROBE};
use harness::Ufw;
use probe::{ExplainTimes, Report};

use crate::{Figure, progress};

/// The rules of issue 5's bad input.
const MANY: u32 = 10_000;

/// Reading, evaluating and replaying the rules of a UFW machine, and all of it with ten thousand rules. Each is what the
/// program measures itself, of runs of `explain` on a dropped port.
pub(crate) async fn explaining(rounds: u32) -> Result<Vec<Figure>> {
    progress("explain: a UFW machine");
    let lab = Lab::start().await?;
    lab.apply(Ufw::brev()).await?;
    let ufw = measure(&lab, rounds, "policy").await?;
    drop(lab);
    progress("explain: ten thousand rules");
    let lab = Lab::start().await?;
    let mut rules = "*filter\n".to_owned();
    for number in 0..MANY {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(rules, "-A INPUT -s 10.{a}.{b}.{c}/32 -p tcp -m tcp --dport 8080 -j ACCEPT")?;
    }
    rules.push_str("-A INPUT -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n");
    std::fs::write(lab.host.path("/tmp/rules"), rules)?;
    lab.host.command("sh").args(["-c", "iptables-restore --noflush < /tmp/rules"]).run().await?;
    let many = measure(&lab, rounds, &format!("rule {}", MANY + 1)).await?;
    let ms = |micros: u64| micros as f64 / 1000.0;
    let twin = |times: &ExplainTimes| {
        format!("{:.0} ms, which has three dials that nobody answers", ms(times.twin_us))
    };
    let whole = 2 * many.capture_us + many.evaluation_us + many.twin_us;
    let parts = format!(
        "2 x {:.0} ms reading, {:.0} ms evaluation, {:.0} ms twin; the check's dials are not in it",
        ms(many.capture_us),
        ms(many.evaluation_us),
        ms(many.twin_us)
    );
    let slowest = "the longer of two readings: both backends of iptables, nft, ipset".to_owned();
    let from = |what: &str| format!("{what}, median of {rounds} runs");
    Ok(vec![
        Figure::new("reading the rules of a UFW machine", ms(ufw.capture_us), "ms", 100.0, slowest),
        Figure::new("evaluating them", ms(ufw.evaluation_us), "ms", 10.0, from("one target")),
        Figure::new("a twin of them, with a remedy tried", ms(ufw.twin_us) / 1000.0, "s", 0.7, twin(&ufw)),
        Figure::new("explain with 10,000 rules", ms(whole) / 1000.0, "s", 1.0, parts),
    ])
}

/// The median of each time. The rule that is named has to be the right one.
async fn measure(lab: &Lab, rounds: u32, expected: &str) -> Result<ExplainTimes> {
    let (mut captures, mut evaluations, mut twins) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let explain = ["explain", "--via", "netns", "--port", "8080=gateway", "--format", "json"];
        let output = lab.host.command(PROBE).args(explain).output().await?;
        let report: Report = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
        let explanation = report.targets[0].explanation.as_ref().context("no explanation")?;
        let decided = explanation.decided.as_ref().with_context(|| format!("{:?}", explanation.notes))?;
        let named = decided.rule.map_or("policy".to_owned(), |rule| format!("rule {rule}"));
        ensure!(decided.chain == "INPUT" && named == expected, "{decided:?}");
        let times = report.explain_times.context("no times")?;
        captures.push(times.capture_us);
        evaluations.push(times.evaluation_us);
        twins.push(times.twin_us);
    }
    let [capture_us, evaluation_us, twin_us] = [captures, evaluations, twins].map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    Ok(ExplainTimes { capture_us, evaluation_us, twin_us })
}
