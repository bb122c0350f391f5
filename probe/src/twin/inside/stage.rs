//! One stage: a change, its trials, and the change taken back.

use nftrace::Packets;

use super::super::{Failure, Outcome, Plan, RestoreError, Stage, StageAnswer, Trial, TrialAnswer};
use super::dial::{Dial, finish};
use super::generation;
use super::restore::Restore;
use super::topology::{Standpoint, Topology};
use super::trace::{Seen, Watching};

/// One trial: where it begins, how it went, and why.
struct Try<'topology> {
    from: Result<Standpoint<'topology>, String>,
    dial: Dial,
    data: u16,
    seen: Seen,
}

/// Runs a stage, and says whether the rules are the captured ones again. After the last one nobody asks for them.
pub(super) fn run(
    stage: &Stage,
    is_last: bool,
    plan: &Plan,
    topology: &Topology,
    restore: &Restore<'_>,
) -> Result<(StageAnswer, bool), Failure> {
    let changes = !stage.change.is_empty();
    let mut problem = None;
    if changes {
        problem = restore.change(&stage.change).err();
    }
    let ruleset = generation()?;
    let trials = match &problem {
        Some(problem) => not_tried(stage, problem),
        None => trials(stage, plan, topology)?,
    };
    let mut sound = true;
    if changes && !is_last {
        // A change that failed may have been made in part, and its undo may not fit then.
        let undo = stage.undo.as_ref().filter(|_| problem.is_none());
        if let Err(error) = restore.take_back(&stage.change, undo) {
            (problem, sound) = (Some(error), false);
        }
    }
    let answer = StageAnswer { name: stage.name.clone(), problem, generation: ruleset, trials };
    Ok((answer, sound))
}

fn not_tried(stage: &Stage, problem: &RestoreError) -> Vec<TrialAnswer> {
    let why = format!("the change was not made: {problem}");
    let answer = |trial: &Trial| TrialAnswer {
        trial: trial.clone(),
        source: None,
        outcome: Outcome::NotTried { why: why.clone() },
        arrived: false,
        decision: None,
        matched: Vec::new(),
        elapsed_us: 0,
    };
    stage.trials.iter().map(answer).collect()
}

fn trials(stage: &Stage, plan: &Plan, topology: &Topology) -> Result<Vec<TrialAnswer>, Failure> {
    let mut tries: Vec<_> = stage
        .trials
        .iter()
        .map(|trial| {
            let from = topology.standpoint(plan, trial);
            let dial = Dial::not_tried(trial.to, String::new());
            Try { from, dial, data: trial.data, seen: Seen::default() }
        })
        .collect();
    look(tries.iter_mut().collect(), Packets::First)?;
    // What the first packet does not explain, all packets and their answers do.
    let unexplained = tries.iter_mut().filter(|it| !it.is_explained()).collect();
    look(unexplained, Packets::All)?;
    Ok(stage.trials.iter().zip(tries).map(|(trial, it)| it.answer(trial.clone())).collect())
}

/// Dials all of them at once, with a trace.
fn look(tries: Vec<&mut Try<'_>>, packets: Packets) -> Result<(), Failure> {
    let (mut tries, impossible): (Vec<_>, Vec<_>) = tries.into_iter().partition(|it| it.from.is_ok());
    for it in impossible {
        let why = it.from.as_ref().err().cloned().unwrap_or_default();
        it.dial = Dial::not_tried(it.dial.to, why);
    }
    if tries.is_empty() {
        return Ok(());
    }
    let mut watching = {
        let devices = tries.iter().filter_map(|it| it.from.as_ref().ok()).map(|from| from.device);
        let ports = tries.iter().map(|it| it.dial.to.port());
        Watching::begin(devices, ports, packets)?
    };
    let mut dials: Vec<_> = tries
        .iter()
        .filter_map(|it| Some(Dial::begin(it.from.as_ref().ok()?, it.dial.to, it.data)))
        .collect();
    finish(&mut dials, |dials| {
        watching.read()?;
        Ok::<_, Failure>(dials.iter().all(|dial| !dial.is_connecting() || watching.has_dropped(dial)))
    })?;
    watching.read()?;
    for (it, dial) in tries.iter_mut().zip(dials) {
        it.seen = watching.explain(&dial)?;
        it.dial = dial;
    }
    Ok(())
}

impl Try<'_> {
    /// Whether the trace of the first packet is all there is to know.
    fn is_explained(&self) -> bool {
        let dropped = self.seen.decision.as_ref().is_some_and(|it| it.step.is_drop());
        match self.dial.outcome {
            Some(Outcome::NoAnswer | Outcome::Refused { .. }) => dropped,
            Some(Outcome::ConnectedButSilent { .. }) => false,
            _ => true,
        }
    }

    fn answer(self, trial: Trial) -> TrialAnswer {
        let Self { dial, seen: Seen { arrived, decision, matched }, .. } = self;
        TrialAnswer {
            trial,
            source: dial.source,
            outcome: dial.outcome.unwrap_or(Outcome::NoAnswer),
            arrived,
            decision,
            matched,
            elapsed_us: dial.elapsed_us,
        }
    }
}
