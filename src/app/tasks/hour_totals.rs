//! Rolls newer jobs up into `hour_totals`.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::TIMEOUT;
use crate::store::{Store, StoreError, within};

/// A batch holds SQLite's lock for a few milliseconds.
const BATCH: u32 = 2000;
/// The shorter it is, the fewer jobs a read of totals has to add up by itself.
const INTERVAL: Duration = Duration::from_secs(5);
const DELAY: Duration = Duration::from_millis(20);

pub(in crate::app) async fn update_hour_totals(store: Arc<dyn Store>) {
    loop {
        if let Err(error) = update(&*store).await {
            // Other messages report a database that is down, and totals are right all the same.
            debug!(%error, "newer jobs were not rolled up");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn update(store: &dyn Store) -> Result<(), StoreError> {
    while within(TIMEOUT, store.roll_up(BATCH)).await? {
        tokio::time::sleep(DELAY).await;
    }
    Ok(())
}
