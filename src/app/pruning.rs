//! Removing old raw deliveries little by little, so that nobody who files one waits for long.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::clock::{ClockCheck, ClockError};
use crate::domain::Time;
use crate::store::{Prune, Pruned, Store, StoreError};

const BATCH: u32 = 500;
/// Between two batches, for those who file. Whoever waits for SQLite's lock looks for it every 100 ms.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the server looks for what has become too old.
const ROUND: Duration = Duration::from_hours(1);
/// For how long the id of a batch is kept. A batch that is still in a spool, and comes again after that, counts twice.
const BATCH_ID_AGE: Duration = Duration::from_hours(7 * 24);

/// Removes raw deliveries until none is left that should go.
///
/// # Errors
/// [`StoreError`] when a batch fails; those before it are done.
pub async fn prune(store: &dyn Store, what: &Prune) -> Result<Pruned, StoreError> {
    let mut sum = Pruned::default();
    loop {
        let pruned = within(store.prune(what, BATCH)).await?;
        if pruned == Pruned::default() {
            break;
        }
        sum.shown += pruned.shown;
        sum.others += pruned.others;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(sum)
}

pub(super) async fn within<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, call)
        .await
        .unwrap_or(Err(StoreError::TimedOut))
}

/// Forgets old ids of batches, now and once an hour, until `shutdown`. Any number of servers may do so.
pub(super) async fn forget_batches(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let rounds = async {
        loop {
            if let Err(error) = forget_old_batches(&*store).await {
                // Other messages tell of a database that is away, and an id that stays does no harm.
                debug!(%error, "old ids of batches were not removed");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

async fn forget_old_batches(store: &dyn Store) -> Result<(), StoreError> {
    while within(store.forget_batches(BATCH_ID_AGE, BATCH)).await? == u64::from(BATCH) {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Removes raw deliveries that are older than that, now and once an hour, until `shutdown`. Any number of servers may do so.
/// While this machine's clock seems wrong, nothing is removed.
pub(super) async fn retain(store: Arc<dyn Store>, age: Duration, shutdown: CancellationToken) {
    let rounds = async {
        let mut clock = None;
        loop {
            if let Err(error) = round(&*store, age, &mut clock).await {
                let source = error.cause();
                warn!(%error, source, "old raw deliveries could not be removed; trying again in an hour");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

async fn round(
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
