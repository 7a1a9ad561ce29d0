//! This test binary once more, as a process that can be killed.

use std::process::{Child, Command, Stdio};

const ROLE: &str = "STORE_CONTRACT_CHILD";

/// A process that runs one test of this binary, which finds `given` by [`given`].
pub(crate) fn run(test: &str, given: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
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
