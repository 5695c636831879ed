//! `qunfa key create`.

use std::io::{self, Write};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Outcome;
use crate::domain::ApiKeyHash;

/// Prints a key of 256 random bits, and the hash that stands for it in the configuration.
pub(super) fn create() -> Outcome {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("the system gave no random bytes")?;
    let key = format!("qunfa_{}", URL_SAFE_NO_PAD.encode(random));
    writeln!(io::stdout(), "{key}\n{}", ApiKeyHash::of(&key))
        .context("cannot write to standard output")?;
    eprintln!(
        "the first line is the key, shown this once: clients send it as `Authorization: Bearer KEY`"
    );
    eprintln!("the second line goes into `api.keys` of the configuration");
    Ok(())
}
