//! Tells the program which commit and compiler it comes from. A builder without git says so by
//! `BUCKETWARDEN_COMMIT`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BUCKETWARDEN_COMMIT");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    let said = std::env::var("BUCKETWARDEN_COMMIT").ok();
    let commit = said.or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=BUCKETWARDEN_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!(
        "cargo::rustc-env=BUCKETWARDEN_RUSTC={}",
        output(&rustc, &["--version"]).as_deref().unwrap_or("rustc")
    );
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
