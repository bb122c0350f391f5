use probe::{Cause, Report, Verdict};

use super::picture::{State, stations};
use super::*;
use crate::results::tests::{SCRIPT_NAME, report, results};

#[test]
fn foreign_text_is_never_markup() {
    let results = results();
    assert!(results.scenarios[0].name.contains("<script>"), "{SCRIPT_NAME}");
    let page = results.page();
    assert_eq!(page.matches("<script").count(), 1, "only our own");
    assert!(page.contains("&lt;script&gt;alert(1)"), "it is shown");
    assert!(!page.contains("<img"), "the summary has one");
    // The style sheet and the script are what the policy allows, and nothing else: no attribute runs or styles anything.
    assert!(!page.contains(" style=") && !page.contains(" onerror=\""), "an attribute");
    for (tag, text) in [("style", STYLE), ("script", SCRIPT)] {
        assert!(page.contains(&format!("{tag}-src 'sha256-{}'", digest(text))), "{tag}");
        assert!(page.contains(&format!("<{tag}>{text}</{tag}>")), "{tag}");
    }
    // Nothing of it can end its element early.
    assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
}

#[test]
fn a_page_has_the_rule_the_evidence_the_remedy_and_the_times() {
    let page = results().page();
    for part in [
        "<title>1 of 1 scenarios wrong</title>",
        "<dt>rule</dt><dd>dropped by ip filter INPUT policy</dd>",
        "<dt>remedy</dt><dd><pre>ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp</pre></dd>",
        "<dt>set by</dt><dd>ufw default deny incoming, /etc/default/ufw</dd>",
        "172.18.0.1:8080 no answer after 1500 ms, 3 SYNs of 2 sockets unanswered",
        "line 7: { posture = &quot;ufw_brev&quot; }",
        "<li>the probe says tcp_failed (dropped) and not ok: ",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

/// What a reader without colours and without a script has.
#[test]
fn a_state_is_said_in_words() {
    let report: Report = report();
    let row = |verdict, cause| {
        let mut target = report.targets[0].clone();
        (target.verdict, target.cause) = (verdict, cause);
        let stations = stations(&report, &target);
        stations
            .iter()
            .map(|station| match station.state {
                State::Passed => 'p',
                State::Stopped => 'S',
                State::NotReached => '-',
                State::Unknown => '?',
            })
            .collect::<String>()
    };
    let failed = |cause| row(Verdict::TcpFailed, Some(cause));
    assert_eq!(row(Verdict::Ok, None), "ppppppp");
    assert_eq!(failed(Cause::NoRoute), "S------");
    assert_eq!(failed(Cause::LinkDown), "pS-----");
    assert_eq!(row(Verdict::WrongService, Some(Cause::Redirected)), "ppS----");
    assert_eq!(failed(Cause::Dropped), "pppS---");
    assert_eq!(failed(Cause::NotListening), "ppppS--");
    assert_eq!(failed(Cause::ReplyDropped), "pppppS-");
    assert_eq!(row(Verdict::WrongService, Some(Cause::OtherProtocol)), "ppppppS");
    assert_eq!(failed(Cause::Undetermined), "p??????");
    assert_eq!(row(Verdict::ProbeUnavailable, Some(Cause::DaemonUnreachable)), "-------");
    assert_eq!(row(Verdict::NetworkNotFound, None), "pS-----");
    assert_eq!(row(Verdict::Skipped, Some(Cause::NotRunning)), "-------");
}

#[test]
fn a_rule_before_routing_and_one_of_the_bridge_stop_the_packet_there() {
    let mut report = report();
    let mut stopped = |family: &str, table: &str, chain: &str| {
        let target = &mut report.targets[0];
        if let Some(decided) = target.explanation.as_mut().and_then(|it| it.decided.as_mut()) {
            (decided.family, decided.table, decided.chain) = (family.into(), table.into(), chain.into());
        }
        let target = report.targets[0].clone();
        stations(&report, &target).iter().find(|it| it.state == State::Stopped).map(|it| it.name)
    };
    assert_eq!(stopped("ip", "raw", "PREROUTING"), Some("PREROUTING"));
    assert_eq!(stopped("bridge", "guard", "in"), Some("bridge"));
    assert_eq!(stopped("inet", "firewalld", "filter_IN_public"), Some("INPUT"));
}
