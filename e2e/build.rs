//! Every scenario file is a test, made when the tests are compiled: a new file compiles them anew.

#![allow(clippy::print_stdout, reason = "that is how a build script speaks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=scenarios");
}
