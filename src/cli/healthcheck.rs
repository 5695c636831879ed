//! `qunfa healthcheck`.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::Client;

use super::{Outcome, print, reachable};
use crate::config::Settings;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks `/readyz` of the configured address. Ready and degraded servers answer 200: both accept
/// events.
pub(super) async fn run(settings: &Settings) -> Outcome {
    let url = format!(
        "http://{}/readyz",
        reachable(settings.check()?.server.listen)
    );
    let client = Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .context("cannot set up an HTTP client")?;
    let response = client
        .get(&url)
        .send()
        .await
        .with_context(|| format!("{url} does not answer"))?;
    let status = response.status();
    let body = response.text().await.context("the answer is incomplete")?;
    if !status.is_success() {
        return Err(anyhow!("{url} answers {status}: {body}").into());
    }
    Ok(print(format_args!("{body}\n"))?)
}
