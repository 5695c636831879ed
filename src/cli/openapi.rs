//! `qunfa openapi`.

use std::io::{self, Write};

use anyhow::Context;

use super::Outcome;

/// Prints the document of the API.
pub(super) fn run() -> Outcome {
    io::stdout()
        .write_all(crate::web::openapi().as_bytes())
        .context("cannot write to standard output")?;
    Ok(())
}
