//! This test binary once more, as a process that can be killed.

use std::process::{Child, Command, Stdio};

const ROLE: &str = "STORE_CONTRACT_CHILD";

/// A process that runs one test of this binary, which finds `given` by [`given`].
pub(crate) fn run(test: &str, given: &str) -> Child {
    spawn(&mut Command::new(std::env::current_exe().unwrap()), test, given)
}

/// The same, with one more variable in its environment.
pub(crate) fn run_with(test: &str, given: &str, variable: &str, value: &std::path::Path) -> Child {
    spawn(Command::new(std::env::current_exe().unwrap()).env(variable, value), test, given)
}

/// The same, and no file may grow larger than this, as if the disk were full.
pub(crate) fn run_limited(test: &str, given: &str, largest_file: u64) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec prlimit --fsize=\"$0\":unlimited \"$@\""]);
    command.arg(largest_file.to_string()).arg(std::env::current_exe().unwrap());
    spawn(&mut command, test, given)
}

fn spawn(command: &mut Command, test: &str, given: &str) -> Child {
    command
        .args(["--exact", test, "--nocapture", "--ignored"])
        .env(ROLE, given)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// What the parent gave; `None` if there is none, and the test was run by hand.
pub(crate) fn given() -> Option<String> {
    std::env::var(ROLE).ok()
}
