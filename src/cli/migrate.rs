//! `qunfa migrate`.

use anyhow::Context;

use super::Outcome;
use crate::app::open_store;
use crate::config::Settings;
use crate::store::Migrations;

/// Applies missing migrations, even if `store.migrate` is false.
pub(super) async fn run(settings: &Settings) -> Outcome {
    let config = settings.check()?;
    let url = &config.store.url;
    let store = open_store(url, Migrations::Apply)
        .await
        .with_context(|| format!("cannot migrate {url}"))?;
    store.close().await;
    eprintln!("{url} is up to date");
    Ok(())
}
