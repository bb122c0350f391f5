//! Two at once, and what others do while one is asking.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::lab::{Lab, PROBE};
use harness::Process;

use super::{ALLOW, TARGET, denied, fix, nothing_is_journalled, rules, sh, undo_to};

/// Holds UFW's own lock until it is killed.
async fn hold_ufws_lock(lab: &Lab) -> Result<Process> {
    let line = "import fcntl, signal; lock = open('/run/ufw.lock', 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); \
        open('/run/held', 'w'); signal.pause()";
    let holder = lab.host.command("python3").args(["-c", line]).spawn().await?;
    sh(lab, &until("test -e /run/held")).await?;
    sh(lab, "rm /run/held").await?;
    Ok(holder)
}

/// A shell's wait for a condition.
fn until(condition: &str) -> String {
    format!("timeout 20 sh -c 'until {condition}; do sleep 0.02; done'")
}

/// A fix whose UFW waits for the lock.
async fn fix_that_waits(lab: &Lab) -> Result<Process> {
    let process = lab.host.command(PROBE).args(TARGET).arg("--yes").spawn().await?;
    sh(lab, &until("pgrep -f \"sbin/[u]fw allow\" >/dev/null")).await?;
    Ok(process)
}

#[tokio::test]
async fn while_one_is_at_work_nobody_else_is() -> Result<()> {
    let lab = denied().await?;
    let before = rules(&lab).await?;
    let mut holder = hold_ufws_lock(&lab).await?;
    let mut first = fix_that_waits(&lab).await?;
    for more in ["--yes", "--undo"] {
        let (code, said) = fix(&lab, &[more], None).await?;
        let wanted = format!("error: another fix is at work: process {}\n", first.pid());
        ensure!(code == Some(3) && said.contains(&wanted), "{more}: {said}");
    }
    sh(&lab, &format!("kill {}", holder.pid())).await?;
    holder.wait().await?;
    let ended = first.wait().await?;
    ensure!(ended.code() == Some(0), "{}", first.stderr());
    let rule = rules(&lab).await?;
    ensure!(rule.matches("### tuple ### allow tcp 8080").count() == 1, "{rule}");
    undo_to(&lab, &before, "one of two").await?;

    // Its UFW outlives a fix that is killed: what becomes of the plan is not known until that has ended.
    let mut holder = hold_ufws_lock(&lab).await?;
    let mut first = fix_that_waits(&lab).await?;
    sh(&lab, &format!("kill -9 {}", first.pid())).await?;
    first.wait().await?;
    let (code, said) = fix(&lab, &["--undo"], None).await?;
    ensure!(code == Some(3) && said.contains("or the ufw of one that was ended"), "{said}");
    sh(&lab, &format!("kill {}", holder.pid())).await?;
    holder.wait().await?;
    sh(&lab, &until("! pgrep -f \"sbin/[u]fw allow\" >/dev/null")).await?;
    let said = undo_to(&lab, &before, "killed while UFW waited").await?;
    ensure!(said.contains("removed"), "{said}");
    Ok(())
}

/// A fix at a terminal that has asked, and where its answer is typed.
async fn fix_that_asks(lab: &Lab) -> Result<(Process, std::io::PipeWriter)> {
    let (input, typed) = std::io::pipe()?;
    let line = format!("{PROBE} {}", TARGET.join(" "));
    let terminal = lab.host.command("script").args(["-qec", &line, "/dev/null"]);
    let process = terminal.stdin(input).deadline(Duration::from_secs(60)).spawn().await?;
    let asked = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !process.stdout().contains("apply? [y/N]") {
            look.tick().await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
    asked.with_context(|| process.stdout())?;
    Ok((process, typed))
}

#[tokio::test]
async fn at_a_terminal_it_asks_and_what_happens_until_the_answer_counts() -> Result<()> {
    let lab = denied().await?;
    let before = rules(&lab).await?;
    for (typed, code, said) in
        [("n\n", 1, "nothing was changed"), ("\n", 1, "nothing was changed"), ("\x03", 130, "interrupted")]
    {
        let (mut process, mut input) = fix_that_asks(&lab).await?;
        input.write_all(typed.as_bytes())?;
        let ended = process.wait().await?;
        ensure!(
            ended.code() == Some(code) && process.stdout().contains(said),
            "{typed:?}: {}",
            process.stdout()
        );
        ensure!(rules(&lab).await? == before, "{typed:?}");
        nothing_is_journalled(&lab).await?;
    }

    let (mut process, mut input) = fix_that_asks(&lab).await?;
    let (code, said) = fix(&lab, &["--yes"], None).await?;
    ensure!(code == Some(0), "{said}");
    input.write_all(b"y\n")?;
    let ended = process.wait().await?;
    let said = process.stdout();
    ensure!(ended.code() == Some(0) && said.contains("another fix has added the rule meanwhile"), "{said}");
    let rule = rules(&lab).await?;
    ensure!(rule.matches("### tuple ### allow tcp 8080").count() == 1, "{rule}");
    undo_to(&lab, &before, "the other one's").await?;

    let (mut process, mut input) = fix_that_asks(&lab).await?;
    sh(&lab, &format!("ufw {ALLOW}")).await?;
    let by_hand = rules(&lab).await?;
    input.write_all(b"y\n")?;
    let ended = process.wait().await?;
    let said = process.stdout();
    ensure!(ended.code() == Some(3) && said.contains("the rule exists already"), "{said}");
    undo_to(&lab, &by_hand, "somebody's own rule").await?;
    Ok(())
}
