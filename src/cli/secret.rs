//! Secrets given on the command line or in a file.

use std::path::Path;

use anyhow::Context;
use secrecy::SecretString;

/// The secret itself, or the content of the file without white space at its end.
pub(super) fn secret(
    text: Option<&SecretString>,
    file: Option<&Path>,
) -> anyhow::Result<Option<SecretString>> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            Ok(Some(text.trim_end().into()))
        }
        (None, None) => Ok(None),
    }
}
