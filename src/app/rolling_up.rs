//! Taking newer jobs into what is kept of every hour, little by little.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::store::{Store, StoreError};

/// A batch takes SQLite's lock for a few milliseconds.
const BATCH: u32 = 2000;
/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many newer jobs a question about totals has to add up depends on it.
const ROUND: Duration = Duration::from_secs(5);
/// Between two batches, for those who file.
const PAUSE: Duration = Duration::from_millis(20);

/// Rolls up again and again until `shutdown`. Any number of servers may do so.
pub(super) async fn roll_up(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let rounds = async {
        loop {
            if let Err(error) = round(&*store).await {
                // Others tell of a database that is away, and totals are right all the same.
                debug!(%error, "newer jobs were not rolled up");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

async fn round(store: &dyn Store) -> Result<(), StoreError> {
    loop {
        let batch = tokio::time::timeout(PATIENCE, store.roll_up(BATCH)).await;
        if !batch.unwrap_or(Err(StoreError::TimedOut))? {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
