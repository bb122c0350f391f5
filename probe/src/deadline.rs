//! A point in time that bounds everything a check does.

use std::time::{Duration, Instant};

/// When a check must have its answer.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// `budget` from now.
    #[must_use]
    pub fn after(budget: Duration) -> Self {
        // A budget beyond what the clock can count is "no bound", and a year is one.
        let year = Duration::from_secs(365 * 24 * 3600);
        Self { at: Instant::now() + budget.min(year) }
    }

    /// What is left, zero when it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// What is left, but no more than `most`.
    #[must_use]
    pub fn at_most(self, most: Duration) -> Duration {
        self.left().min(most)
    }
}
