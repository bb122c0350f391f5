//! What the tests of the suite share.
//!
//! The suite runs the programs as a user would, inside hosts. [`programs`] finds them and refuses stale ones, [`lab`] has
//! a host with all parts, [`firewall`] has those of the matrices and [`matrix`] their rows, [`desk`] has a place for standing hosts, [`ordinary`] is a user who is not
//! root, [`fuzz`] compares predictions about random rules with the kernel, [`given`] is what a release validation puts in the
//! place of our own, [`remains`] sees what hosts leave behind, [`roundtrip`] takes
//! scenarios into snapshots and back.

pub mod agreement;
pub mod at_once;
pub mod browser;
pub mod desk;
pub mod firewall;
pub mod fuzz;
pub mod given;
pub mod golden;
pub mod lab;
pub mod matrix;
pub mod ordinary;
pub mod programs;
pub mod remains;
pub mod roundtrip;
pub mod seccomp;
pub mod upstream;
pub mod watch;
