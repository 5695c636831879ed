//! Removes old raw deliveries and old ids of batches.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::{DELAY, TIMEOUT};
use crate::app::clock::{ClockCheck, ClockError};
use crate::domain::Time;
use crate::store::{Prune, Pruned, Store, StoreError, within};

const BATCH: u32 = 500;
const INTERVAL: Duration = Duration::from_hours(1);
/// How long the id of a batch is kept. A batch that is still in a spool after that, and was
/// recorded before, counts twice.
const BATCH_ID_AGE: Duration = Duration::from_hours(7 * 24);

/// Removes all raw deliveries that `what` describes. On an error, the batches before it are done.
pub async fn prune(store: &dyn Store, what: &Prune) -> Result<Pruned, StoreError> {
    let mut sum = Pruned::default();
    loop {
        let pruned = within(TIMEOUT, store.prune(what, BATCH)).await?;
        if pruned == Pruned::default() {
            return Ok(sum);
        }
        sum.shown += pruned.shown;
        sum.others += pruned.others;
        tokio::time::sleep(DELAY).await;
    }
}

/// Removes old ids of batches, now and every hour.
pub(in crate::app) async fn forget_batches(store: Arc<dyn Store>) {
    loop {
        if let Err(error) = forget_old_batches(&*store).await {
            // Other messages report a database that is down, and an id that stays does no harm.
            debug!(%error, "old ids of batches were not removed");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn forget_old_batches(store: &dyn Store) -> Result<(), StoreError> {
    while within(TIMEOUT, store.forget_batches(BATCH_ID_AGE, BATCH)).await? == u64::from(BATCH) {
        tokio::time::sleep(DELAY).await;
    }
    Ok(())
}

/// Removes raw deliveries older than `age`, now and every hour, unless this machine's clock seems
/// wrong.
pub(in crate::app) async fn retain(store: Arc<dyn Store>, age: Duration) {
    let mut clock = None;
    loop {
        if let Err(error) = remove_old(&*store, age, &mut clock).await {
            let source = error.cause();
            warn!(%error, source, "old raw deliveries could not be removed; trying again in an hour");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn remove_old(
    store: &dyn Store,
    age: Duration,
    clock: &mut Option<ClockCheck>,
) -> Result<(), ClockError> {
    let check = match clock.take() {
        Some(check) => check,
        None => ClockCheck::start(store).await?,
    };
    clock.insert(check).check(store).await?;
    let Some(received_before) = Time::now().checked_sub(age) else {
        return Ok(());
    };
    let what = Prune {
        received_before,
        unparsed: false,
        sealed: false,
    };
    let pruned = prune(store, &what).await?;
    if pruned != Pruned::default() {
        info!(
            deliveries = pruned.shown + pruned.others,
            %received_before,
            "old raw deliveries were removed"
        );
    }
    Ok(())
}
