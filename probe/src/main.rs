//! `openshell-probe`: can sandboxes reach the services of their own host, and if not, why.

use std::process::ExitCode;

fn main() -> ExitCode {
    probe::cli::main()
}
