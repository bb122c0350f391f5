//! What the tests of the suite share.
//!
//! The suite runs the programs as a user would, inside hosts. [`programs`] finds them and refuses stale ones, [`lab`] has
//! a host with all parts,
//! [`remains`] sees what hosts leave behind.

pub mod lab;
pub mod programs;
pub mod remains;
