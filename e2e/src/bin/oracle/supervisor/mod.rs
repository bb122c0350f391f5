//! In place of OpenShell's supervisor, inside the container: it calls what a supervisor calls, and tries again as one does.

mod call;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::orders::{Answer, Experience, Orders, Target};
use call::Met;

/// The word that this program is started with in the container.
pub(crate) const COMMAND: &str = "supervisor";

/// From the name to the end of the TLS handshake. Source: `connect_timeout` of OpenShell's gRPC client, which bounds all of
/// this.
const CONNECT: Duration = Duration::from_secs(10);

/// Until a connection that says nothing is given up. Source: the same client asks after 10 s whether the other side is
/// still there, and waits 20 s for an answer.
const EXCHANGE: Duration = Duration::from_secs(30);

/// The first attempt, whatever the scale: the kernel sends a SYN again after 1 s, and an attempt is to show a lost packet as what it is.
const SHORTEST: Duration = Duration::from_millis(1200);

/// Between attempts. Source: OpenShell's `grpc_retry`, which ends after five.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(4)];

/// The supervisor's times, scaled.
#[derive(Clone, Copy)]
struct Times {
    connect: Duration,
    exchange: Duration,
    scale: f64,
}

impl Times {
    /// Those of one attempt, counted from 1. Only the first has to show a lost packet as what it is.
    fn scaled(scale: f64, attempt: u32) -> Self {
        let shortest = if attempt == 1 { SHORTEST } else { Duration::ZERO };
        let limit = |time: Duration| time.mul_f64(scale).max(shortest);
        Self { connect: limit(CONNECT), exchange: limit(EXCHANGE), scale }
    }
}

/// Calls every target, all at the same time, and prints an answer for each.
pub(crate) async fn run(orders: Orders) -> Result<()> {
    let orders = Arc::new(orders);
    let mut calls = JoinSet::new();
    for target in orders.targets.clone() {
        let orders = Arc::clone(&orders);
        calls.spawn(async move { experience(&orders, &target).await });
    }
    while let Some(answer) = calls.join_next().await {
        answer?.print()?;
    }
    Ok(())
}

/// Tries until the right service answers, as often as may be. What the last attempt met is the experience.
async fn experience(orders: &Orders, target: &Target) -> Answer {
    let mut attempt = 1;
    loop {
        let times = Times::scaled(orders.scale, attempt);
        let (experience, detail) = match call::call(orders, target, times).await {
            Met::Right(detail) => return Answer::new(target, Experience::Reached, attempt, &detail),
            Met::Other(detail) => (Experience::OtherService, detail),
            Met::Nobody(detail) => (Experience::NotReached, detail),
        };
        let pause = PAUSES.get(attempt as usize - 1).filter(|_| attempt < orders.attempts);
        let Some(pause) = pause else { return Answer::new(target, experience, attempt, &detail) };
        #[expect(clippy::disallowed_methods, reason = "the pause itself is what is to be the same")]
        tokio::time::sleep(pause.mul_f64(times.scale)).await;
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scale_makes_the_first_attempt_too_short_for_a_second_syn() {
        assert_eq!(Times::scaled(1.0, 1).connect, Duration::from_secs(10));
        assert_eq!(Times::scaled(0.5, 5).connect, Duration::from_secs(5));
        assert_eq!(Times::scaled(0.01, 1).connect, SHORTEST);
        assert_eq!(Times::scaled(0.01, 2).connect, Duration::from_millis(100));
        assert_eq!(Times::scaled(0.1, 1).exchange, Duration::from_secs(3));
    }
}
