//! `bucketwarden check`: what the configuration comes to. Warnings go to standard error, so that the output is
//! the effective configuration and nothing else.

use std::path::PathBuf;

use super::{Failure, load};

pub(super) fn run(config: Option<PathBuf>) -> Result<(), Failure> {
    let loaded = load(config)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    print!("{}", loaded.config.to_masked_toml());
    Ok(())
}
