//! Scenarios: known ways to fail, or to look as if failing, as data.
//!
//! ```text
//!  e2e/scenarios/**/*.toml ─▶ Scenario ─▶ Runner ── a host, the events, the probe as a program, the oracle ──▶ Outcome
//!                                │                                                                              │
//!                                └────────────────────────────▶ compare ◀───────────────────────────────────────┘
//!                                                                  │
//!                                                                  └─▶ rows: expected, found, mismatches in words
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use harness::scenario::{Runner, ScenarioFile, compare};
//!
//! let file = ScenarioFile::read("e2e/scenarios/firewall/ufw-brev.toml".as_ref())?;
//! let outcome = Runner::new("target/debug/openshell-probe").run(&file).await?;
//! for row in compare(&file.scenario, &outcome) {
//!     assert!(row.mismatches.is_empty(), "{:#?}", row.mismatches);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What a file may say is in `docs/scenarios.md`, and as a JSON schema in [`SCHEMA`].

mod capability;
mod check;
mod compare;
mod corpus;
mod engine_events;
mod events;
mod file;
pub mod format;
mod name_events;
mod network_events;
mod observer;
mod oracle;
mod place;
mod record;
mod run;
mod services;
mod stand;
mod table;

pub use compare::{Row, compare};
pub(crate) use corpus::edits;
pub use corpus::{Corpus, CorpusError};
pub(crate) use file::word;
pub use file::{FileError, ScenarioFile};
pub use format::{Experience, SCHEMA, Scenario};
pub use observer::{Look, Moment, Observer};
pub use oracle::OracleError;
pub use record::{Check, Keep, Recorded, Step};
pub use run::{Answer, Beside, Outcome, RunError, Runner, User};
pub use stand::{Stand, StandOptions, on_stand};
pub use table::{Tally, Widths};
