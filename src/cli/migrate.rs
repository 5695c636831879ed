//! `qunfa migrate`.

use anyhow::Context;

use super::Outcome;
use crate::app::open_store;
use crate::config::Settings;
use crate::store::Migrations;

/// Applies the migrations that are missing, whatever `store.migrate` says.
pub(super) async fn run(settings: &Settings) -> Outcome {
    let config = settings.check()?;
    let url = &config.store.url;
    let store = open_store(url, Migrations::Apply)
        .await
        .with_context(|| format!("cannot bring {url} up to date"))?;
    store.close().await;
    eprintln!("{url} is up to date");
    Ok(())
}
