//! The twin's process inside its namespaces.

mod dial;
mod errqueue;
mod listen;
mod restore;
mod stage;
mod sysctl;
mod topology;
mod trace;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::enclosure::{Gate, private_files, prove};
use super::process::{Order, Reply, say};
use super::{Answer, Failure};

pub(super) use topology::OWN_PREFIX;

use restore::Restore;
use topology::Topology;
use watch::Watch;

/// Runs the order to its end.
pub(super) fn main(order: &Order, gate: Gate) -> ExitCode {
    let namespace = match enclose(order, gate) {
        Ok(namespace) => namespace,
        Err(failure) => return say(&Reply::Failure(failure)),
    };
    // Threads begin here.
    let watch = Watch::begin(Duration::from_millis(order.budget_ms));
    let reply = match answer(order, namespace, &watch) {
        Ok(answer) => Reply::Answer(Box::new(answer)),
        Err(failure) => Reply::Failure(failure),
    };
    watch.last_word(&reply)
}

fn enclose(order: &Order, gate: Gate) -> Result<u64, Failure> {
    gate.pass()?;
    // Becoming another user has undone what the first process asked for.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| Failure::kernel("follow the asker in death", errno))?;
    let namespace = prove(order.namespace)?;
    private_files()?;
    netns::sys::bring_loopback_up()
        .map_err(|error| Failure::kernel("set the loopback interface up", error))?;
    Ok(namespace)
}

fn answer(order: &Order, namespace: u64, watch: &Watch) -> Result<Answer, Failure> {
    let plan = &order.plan;
    let began = Instant::now();
    watch.step("make links");
    sysctl::prepare();
    // Once for what links inherit, and once for the links.
    sysctl::set(&plan.sysctls);
    let topology = Topology::make(plan)?;
    let unset = sysctl::set(&plan.sysctls);
    listen::everywhere(plan)?;
    let setup_us = micros(began);

    let began = Instant::now();
    watch.step("restore the captured rules");
    let restore = Restore::new(&plan.programs, &plan.rules);
    restore.all()?;
    let generation = generation()?;
    let restore_us = micros(began);

    let began = Instant::now();
    let mut stages = Vec::new();
    for (at, stage) in plan.stages.iter().enumerate() {
        watch.step("dial");
        let is_last = at + 1 == plan.stages.len();
        let (answer, sound) = stage::run(stage, is_last, plan, &topology, &restore)?;
        stages.push(answer);
        if !sound {
            break;
        }
    }
    Ok(Answer { stages, unset, generation, namespace, setup_us, restore_us, trials_us: micros(began) })
}

fn generation() -> Result<u32, Failure> {
    nftrace::generation().map_err(|error| Failure::kernel("read the ruleset's generation", error))
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
