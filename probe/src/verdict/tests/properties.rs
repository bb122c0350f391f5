//! The promises that hold for every evidence there can be.

use proptest::prelude::*;

use super::any::{any_evidence, any_identity, any_port};
use super::*;

/// The other properties would hold for evidence that never gets so far, too.
#[test]
fn the_cases_reach_every_kind_of_answer() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, TestRunner};
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let mut seen: Vec<Judgement> = Vec::new();
    for _ in 0..8192 {
        let evidence = any_evidence().new_tree(&mut runner).unwrap().current();
        let mut port = any_port().new_tree(&mut runner).unwrap().current();
        port.identity = any_identity().new_tree(&mut runner).unwrap().current();
        seen.push(decide(&evidence, &port));
    }
    for cause in [
        Cause::Dropped,
        Cause::Rejected,
        Cause::LinkDown,
        Cause::TrafficControl,
        Cause::WrongBind,
        Cause::UnknownFromHere,
        Cause::OtherOwner,
        Cause::OtherCertificate,
    ] {
        let count = seen.iter().filter(|judgement| judgement.cause == Some(cause)).count();
        assert!(count >= 5, "{cause:?} came up {count} times only");
    }
    assert!(seen.iter().any(|judgement| judgement.verdict == Verdict::Ok));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn a_firewall_is_blamed_only_on_proof(evidence in any_evidence(), port in any_port()) {
        let decided = decide(&evidence, &port);
        if !decided.cause.is_some_and(Cause::is_firewall) {
            return Ok(());
        }
        let both = |listener: &Listener| {
            let there = |table: &Option<Vec<Listener>>| {
                table.iter().flatten().any(|other| other.inode == listener.inode && other.covers(GATEWAY, BRIDGE))
            };
            there(&port.listeners_before) && there(&port.listeners_after)
        };
        prop_assert!(port.listeners_before.iter().flatten().any(both), "no proven listener");
        let at_engine = matches!(evidence.standpoint, Some(Standpoint::EngineHost { .. }));
        prop_assert!(at_engine, "not in the engine's namespace");
        prop_assert!(evidence.next_hop.as_ref().is_some_and(|hop| hop.complete), "the next hop did not answer");
        prop_assert_eq!(evidence.resolution.and_then(|resolution| resolution.dialled()), Some(GATEWAY));
        prop_assert_eq!(evidence.route, Some(Route::BridgeGateway { address: GATEWAY }));
        prop_assert!(evidence.trouble.is_none());
        // What drops packets refuses nothing.
        let drops = evidence.drops.as_ref().filter(|_| decided.cause != Some(Cause::Rejected));
        let unanswered = port.sandbox.as_ref().map_or(0, |dial| u64::from(dial.unanswered.max(1)));
        prop_assert!(drops.is_none_or(|drops| drops.exclude(unanswered)), "something else may have dropped them");
        prop_assert!(port.sandbox.as_ref().is_some_and(|dial| {
            // A refusal found its way.
            dial.outcome != Outcome::TimedOut || dial.refusal().is_some() || port.return_path.as_ref().is_none_or(|path| path.index == Some(BRIDGE))
        }), "no way back");
        prop_assert_eq!(decided.verdict, Verdict::TcpFailed);
    }

    #[test]
    fn ok_means_connected_and_nothing_else_does(evidence in any_evidence(), port in any_port()) {
        let decided = decide(&evidence, &port);
        let connected = port.sandbox.as_ref().is_some_and(|dial| dial.outcome == Outcome::Connected);
        if decided.verdict == Verdict::Ok {
            prop_assert!(connected);
            prop_assert_eq!(decided.cause, None);
        } else {
            prop_assert!(decided.cause.is_some());
        }
        // Nothing is said of a service that a handshake with somebody's kernel would not say too.
        let answered = port.sandbox.iter().flat_map(|dial| &dial.greetings).any(|greeted| {
            greeted.kind.is_some() || port.target.protocol == Protocol::Tcp && greeted.acknowledged
        });
        if connected && !answered {
            prop_assert_ne!(decided.verdict, Verdict::Ok);
        }
    }

    #[test]
    fn away_from_the_engines_host_the_cause_of_a_failure_is_unknown(evidence in any_evidence(), port in any_port()) {
        let elsewhere = matches!(evidence.standpoint, Some(Standpoint::Elsewhere { .. }));
        let decided = decide(&evidence, &port);
        if elsewhere && decided.verdict == Verdict::TcpFailed {
            // That a service is silent is seen from the sandbox.
            let seen = [Some(Cause::UnknownFromHere), Some(Cause::Unresponsive)];
            prop_assert!(seen.contains(&decided.cause), "{:?}", decided.cause);
        }
    }

    /// What is seen from the host explains a failure, and never makes it a success.
    #[test]
    fn no_evidence_but_the_sandboxs_own_turns_a_failure_into_ok(
        evidence in any_evidence(),
        port in any_port(),
        other in any_port(),
        known in any_identity(),
    ) {
        if decide(&evidence, &port).verdict != Verdict::TcpFailed {
            return Ok(());
        }
        let contrary =
            PortEvidence { target: port.target.clone(), sandbox: port.sandbox.clone(), identity: known, ..other };
        prop_assert_ne!(decide(&evidence, &contrary).verdict, Verdict::Ok);
    }

    /// Who a service is changes an `ok` to `wrong_service`, on proof, and nothing else.
    #[test]
    fn identity_changes_nothing_but_ok(evidence in any_evidence(), port in any_port(), known in any_identity()) {
        let without = PortEvidence { identity: IdentityEvidence::default(), ..port.clone() };
        let with = PortEvidence { identity: known.clone(), ..port };
        let (before, after) = (decide(&evidence, &without), decide(&evidence, &with));
        if before == after {
            return Ok(());
        }
        prop_assert_eq!(before, Judgement::ok());
        prop_assert_eq!(after.verdict, Verdict::WrongService);
        match after.cause {
            Some(Cause::OtherCertificate) => {
                prop_assert_eq!(known.certificate.map(|it| it.signed), Some(Signed::AnotherAuthority));
            }
            Some(Cause::OtherOwner) => {
                let (owner, held_by) = (known.owner.unwrap().uid, known.held_by.unwrap());
                prop_assert_ne!(owner, held_by);
                prop_assert_ne!(Some(held_by), known.hidden_uid);
                let both = with.listeners_before.iter().chain(&with.listeners_after).flatten();
                let mut covering = both.filter(|listener| listener.covers(GATEWAY, BRIDGE));
                prop_assert!(covering.all(|listener| listener.uid != owner && Some(listener.uid) != known.hidden_uid));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn trouble_with_the_tools_never_becomes_a_failure(evidence in any_evidence(), port in any_port()) {
        let broken = Trouble::Protocol(ProtocolError::Incomplete { output: String::new() });
        let evidence = Evidence { trouble: Some(broken), ..evidence };
        let verdict = decide(&evidence, &port).verdict;
        prop_assert!(matches!(verdict, Verdict::ProbeUnavailable | Verdict::Skipped), "{verdict:?}");
    }

    #[test]
    fn only_what_may_be_missing_is_skipped(evidence in any_evidence(), port in any_port()) {
        if decide(&evidence, &port).verdict == Verdict::Skipped {
            prop_assert!(!port.target.required);
            prop_assert!(port.listeners_before.iter().flatten().next().is_none());
        }
    }
}
