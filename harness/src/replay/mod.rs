//! A snapshot made into a host again, and asked the same question.
//!
//! ```text
//!  Snapshot ─► Plan ─► dress: the engine's arguments ─► Host ─► furnish: networks, links, settings, services, rules ─┐
//!               │                                                                                                    ▼
//!               └─► what is not replayed, each with its reason        Outcome: there and here, per target ◄── explain
//! ```
//!
//! A snapshot may come from anybody. What reaches a tool is written anew from typed values: restore files on standard input, lines
//! for `ip -batch`, requests to the engine, numbers for settings. No text of the file is an argument, a path or a line of a
//! shell, and no tool of UFW's or firewalld's runs: their rules are what is replayed.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use harness::replay::Replay;
//!
//! let snapshot = snapshot::read_file("host.snapshot".as_ref())?;
//! let outcome = Replay::new("target/debug/openshell-probe").run(&snapshot).await?;
//! for target in &outcome.targets {
//!     println!("{}: {} there, {} here", target.port, target.there, target.here);
//! }
//! # Ok(())
//! # }
//! ```

mod compare;
mod feed;
mod file;
mod furnish;
mod plan;
mod run;

pub use compare::{Outcome, Said, Target};
pub use file::scenario_text;
pub use furnish::ReplayError;
pub(crate) use furnish::{Furnished, dress};
pub use plan::{NotReplayed, Plan};
pub use run::Replay;
