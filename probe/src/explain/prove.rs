//! The twin's word: on what the evaluation says, and on what may open the path.

use std::net::IpAddr;
use std::path::Path;

use ruleset::{Flow, Outcome, Place};

use super::candidate::{Candidate, candidates};
use super::capture::Capture;
use super::judge::Case;
use super::rehearsal::{Rehearsal, Shown};
use super::world::world;
use super::{Method, TriedRemedy};
use crate::evidence::Evidence;
use crate::route::bridge_gateway;
use crate::sanitize::sanitize;
use crate::twin::Answer;

/// Replays the captured rules for all cases at once, and adds what that shows to each.
pub(super) async fn prove(
    cases: &mut [Case],
    capture: &Capture,
    evidence: &Evidence,
    program: Option<&Path>,
) {
    let walked = |case: &Case| case.walked.as_ref().map(|(flow, _)| flow.clone());
    let flows: Vec<Flow> = cases.iter().filter_map(walked).collect();
    let Some(first) = flows.first() else { return };
    let Some(mut rehearsal) = Rehearsal::new(&capture.rules, &world(first, None), &flows) else { return };
    let subnet = subnet(evidence);
    let mut proposed: Vec<(usize, Candidate)> = Vec::new();
    let walks = cases.iter().filter_map(|case| Some((case, case.walked.as_ref()?)));
    for (at, (case, (flow, walk))) in walks.enumerate() {
        let (Some(subnet), Some(place)) = (&subnet, walk.outcome.place()) else { continue };
        if case.explanation.decided.is_none() || matches!(walk.outcome, Outcome::Redirected { .. }) {
            continue;
        }
        for candidate in candidates(place, walk, &capture.rules, subnet, flow) {
            rehearsal.add(at, &candidate);
            proposed.push((at, candidate));
        }
    }
    let answer = match rehearsal.run(program).await {
        Ok(answer) => answer,
        Err(error) => {
            let note = format!("no twin: {}", sanitize(&error.to_string()));
            for case in cases.iter_mut().filter(|case| case.walked.is_some()) {
                case.explanation.notes.push(note.clone());
            }
            return;
        }
    };
    for (at, case) in cases.iter_mut().filter(|case| case.walked.is_some()).enumerate() {
        agree(case, &rehearsal, &answer, at);
        let own = proposed.iter().enumerate().filter(|(_, (flow, _))| *flow == at);
        let tried = own.filter_map(|(stage, (_, candidate))| {
            tried(candidate, &rehearsal.shown(&answer, 0, at)?, rehearsal.shown(&answer, stage + 1, at))
        });
        if case.explanation.decided.is_some() {
            case.explanation.remedies.extend(tried);
        }
    }
}

/// Whether the kernel decided in the twin as the evaluation says. If not, both are shown and no rule is named.
fn agree(case: &mut Case, rehearsal: &Rehearsal<'_>, answer: &Answer, at: usize) {
    let Some((_, walk)) = &case.walked else { return };
    let to = &mut case.explanation;
    let Some(shown) = rehearsal.shown(answer, 0, at) else { return };
    if let Some(why) = &shown.not_tried {
        to.notes.push(format!("not tried in the twin: {}", sanitize(why)));
        return;
    }
    let way: Vec<&Place> = walk.places().collect();
    if let Some(place) = rehearsal.left_out.iter().find(|place| way.contains(place)) {
        to.notes.push(format!(
            "the twin has not this rule, which is on the way: {}",
            sanitize(&place.to_string())
        ));
        return;
    }
    let same = match &walk.outcome {
        Outcome::Open => Some(shown.reached),
        Outcome::Dropped(place) | Outcome::Rejected { place, .. } => Some(
            !shown.reached
                && shown.decided.as_ref().is_some_and(|(_, captured)| is(captured.as_ref(), place)),
        ),
        // The other end is not in the twin; what is not determined has nothing to agree with.
        _ => None,
    };
    match same {
        Some(true) if !to.confirmed_by.is_empty() => {
            to.confirmed_by.push(Method::Twin);
            to.confirmed_by.sort_unstable();
        }
        Some(false) => {
            let decision = match (&shown.decided, shown.reached) {
                (_, true) => "it passes".to_owned(),
                (Some((decision, _)), _) => decision.step.to_string(),
                (None, _) => "no rule decided".to_owned(),
            };
            to.notes.push(format!(
                "the evaluation says '{}', the kernel's trace in the twin: {}",
                sanitize(&walk.outcome.to_string()),
                sanitize(&decision)
            ));
            to.decided = None;
            to.confirmed_by.clear();
        }
        _ => {}
    }
    // What was reached in the twin as it is, others reach as well.
    if to.decided.is_none() && shown.reached && !shown.also_here.is_empty() {
        to.notes.push(format!("also open: {}", shown.also_here.join("; ")));
    }
}

/// Whether it is the same rule, or the policy of the same chain.
fn is(captured: Option<&Place>, place: &Place) -> bool {
    captured.is_some_and(|it| {
        let own = (it.backend, it.family, &it.table, &it.chain, it.rule);
        own == (place.backend, place.family, &place.table, &place.chain, place.rule)
    })
}

fn tried(candidate: &Candidate, before: &Shown, after: Option<Shown>) -> Option<TriedRemedy> {
    let after = after.filter(|it| it.not_tried.is_none());
    let opens_too: Vec<String> =
        after.iter().flat_map(|it| &it.also).filter(|it| !before.also.contains(it)).cloned().collect();
    let opens = after.as_ref().is_some_and(|it| it.reached);
    // What does not open the path is no remedy; what could not be tried may be one.
    if after.is_some() && !opens {
        return None;
    }
    let spoofed = after.as_ref().and_then(|it| it.spoofed.as_ref()).filter(|_| before.spoofed.is_none());
    let told = spoofed.map(|link| {
        format!(
            "it takes what comes in by {} with a sandbox's address too: answers go to the bridge",
            sanitize(link)
        )
    });
    let note: Vec<String> = candidate.note.map(str::to_owned).into_iter().chain(told).collect();
    Some(TriedRemedy {
        commands: candidate.commands.clone(),
        undo: candidate.undo.clone(),
        proven: opens && opens_too.is_empty(),
        controls: after.map_or(0, |it| it.controls),
        opens_too,
        ufw: candidate.ufw.clone(),
        note: (!note.is_empty()).then(|| note.join("; ")),
    })
}

/// The sandboxes' subnet in its canonical form, read and written anew: what the engine says comes into a command.
fn subnet(evidence: &Evidence) -> Option<String> {
    let network = evidence.network.as_ref()?;
    let (address, prefix) = network.subnet_of(bridge_gateway(network).ok()?)?.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    address.is_ipv4().then(|| format!("{address}/{prefix}"))
}
