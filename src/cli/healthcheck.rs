//! `qunfa healthcheck`.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::Client;

use super::{Outcome, reachable};
use crate::config::Settings;

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `/readyz` of the configured address. Ready and degraded servers answer 200: both accept events.
pub(super) async fn run(settings: &Settings) -> Outcome {
    let url = format!(
        "http://{}/readyz",
        reachable(settings.check()?.server.listen)
    );
    let client = Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .context("cannot set up an HTTP client")?;
    let response = client
        .get(&url)
        .send()
        .await
        .with_context(|| format!("{url} does not answer"))?;
    let status = response.status();
    let body = response.text().await.context("the answer broke off")?;
    if !status.is_success() {
        return Err(anyhow!("{url} answers {status}: {body}").into());
    }
    writeln!(io::stdout(), "{body}").context("cannot write to standard output")?;
    Ok(())
}
