//! Arguments, runtime, exit codes; nothing else.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    bucketwarden::cli::run(bucketwarden::cli::Arguments::parse())
}
