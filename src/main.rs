//! The `qunfa` program: runs the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    qunfa::cli::run(std::env::args_os())
}
