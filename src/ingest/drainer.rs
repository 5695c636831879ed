//! The drainer: moves batches from the spool to the database, oldest first, and resets the breaker
//! when the database works again.
//!
//! A batch that fails while the database works does not hold up others: it is deferred, and split
//! until the delivery that causes the failure is isolated.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::counters::Counters;
use super::fallback::Fallback;
use super::{KeepEvents, TAKEN_ID, is_kept};
use crate::domain::{NewDelivery, Reading, Time};
use crate::store::{BatchOutcome, Reader, Recorder, StoreError, Unit, within};

/// The timeout for a batch; it doubles after each of the first batches in a row that time out. Not
/// longer, because a silently lost connection holds up the whole spool for that long.
const TIMEOUT: Duration = Duration::from_secs(5);
const DOUBLINGS: u32 = 2;
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay after a failure; it doubles up to [`MAX_BACKOFF`].
const BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// How often the spool is polled while it is empty: another process may have left something there.
const INTERVAL: Duration = Duration::from_secs(10);

/// Runs until `stop`.
pub(super) struct Drainer {
    pub(super) store: Arc<dyn Recorder>,
    pub(super) recorded: Arc<Notify>,
    pub(super) fallback: Arc<Fallback>,
    pub(super) counters: Arc<Counters>,
    pub(super) read: Reader,
    pub(super) keep_events: Arc<KeepEvents>,
    pub(super) stop: CancellationToken,
    /// Batches in a row that timed out.
    pub(super) timeouts: u32,
}

/// The result of one step while the database works.
enum Step {
    /// A batch of that many deliveries was recorded or set aside; there may be more.
    Moved(usize),
    /// A batch failed for the first time or was split; others come first.
    Deferred,
    /// A batch failed again, as every other batch in the spool has.
    Stuck,
    /// The spool is empty, or does not work.
    Idle,
}

impl Drainer {
    pub(super) async fn run(mut self) {
        let mut backoff = BACKOFF;
        let mut moved = 0;
        loop {
            let delay = match self.step().await {
                Ok(Step::Moved(deliveries)) => {
                    moved += deliveries;
                    backoff = BACKOFF;
                    Duration::ZERO
                }
                Ok(Step::Deferred) => Duration::ZERO,
                Ok(Step::Idle) => {
                    if moved > 0 {
                        info!(deliveries = moved, "moved from the spool to the database");
                    }
                    moved = 0;
                    backoff = BACKOFF;
                    INTERVAL
                }
                Ok(Step::Stuck) => next_delay(&mut backoff),
                Err(error) => {
                    self.fallback.trip(&error);
                    next_delay(&mut backoff)
                }
            };
            let is_failing = self.fallback.breaker.is_tripped();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
                () = self.fallback.breaker.tripped(), if !is_failing => {}
                () = self.fallback.filled.notified(), if !is_failing => {}
            }
        }
    }

    /// # Errors
    /// When the database does not work. The spool's own failures are logged.
    async fn step(&mut self) -> Result<Step, StoreError> {
        // The spool may be large, so it is not read while the database is down.
        if self.fallback.breaker.is_tripped() {
            within(PING_TIMEOUT, self.store.ping()).await?;
        }
        let step = match self.fallback.spool.next().await {
            Ok(Some(unit)) => self.move_unit(&unit).await?,
            Ok(None) => Ok(Step::Idle),
            Err(error) => Err(error),
        };
        let step = step.unwrap_or_else(|error| {
            let cause = error.source().map(ToString::to_string);
            error!(%error, cause, "the spool does not work");
            Step::Idle
        });
        if self.fallback.breaker.reset() {
            info!("the database works again");
        }
        Ok(step)
    }

    /// Records a batch and removes it from the spool. The inner result is the spool's.
    async fn move_unit(&mut self, unit: &Unit) -> Result<Result<Step, StoreError>, StoreError> {
        let spool = &self.fallback.spool;
        let count = unit.deliveries.len();
        let deliveries = self.read(unit);
        let timeout = TIMEOUT * 2_u32.pow(self.timeouts.min(DOUBLINGS));
        let outcome = within(timeout, self.store.record(&deliveries, Some(unit.id)))
            .await
            .inspect_err(|error| self.counters.store_failed(error));
        self.timeouts = match &outcome {
            Ok(_) => 0,
            Err(StoreError::TimedOut) => self.timeouts + 1,
            Err(_) => self.timeouts,
        };
        let error = match outcome {
            Ok(BatchOutcome::RecordedBefore | BatchOutcome::Cancelled) if unit.is_unsent => {
                error!("{TAKEN_ID}");
                return Ok(spool.split(unit, &[]).await.map(|()| Step::Deferred));
            }
            Ok(outcome @ (BatchOutcome::Recorded(_) | BatchOutcome::RecordedBefore)) => {
                if let BatchOutcome::Recorded(recorded) = outcome {
                    self.counters.drained(&deliveries, &recorded);
                }
                self.recorded.notify_one();
                return Ok(spool.remove(unit).await.map(|()| Step::Moved(count)));
            }
            // The process was killed before the batch was split, or the spool was restored from a
            // backup.
            Ok(BatchOutcome::Cancelled) => {
                return Ok(spool
                    .split(unit, &half(count))
                    .await
                    .map(|()| Step::Deferred));
            }
            Err(error) => error,
        };
        if error.lies_in_content() && count == 1 {
            let refusal = error.source().map(ToString::to_string).unwrap_or_default();
            error!(
                refusal,
                "the database refuses a delivery; it is set aside in the spool"
            );
            return Ok(spool.refuse(unit, &refusal).await.map(|()| Step::Moved(1)));
        }
        // The database may be down, or only refuse this batch.
        if within(PING_TIMEOUT, self.store.ping()).await.is_err() {
            return Err(error);
        }
        if matches!(error, StoreError::Unavailable(_)) {
            // It may be both: the breaker stays tripped until one batch is recorded.
            return match spool.put_off(unit).await {
                Ok(()) => Err(error),
                Err(error) => Ok(Err(error)),
            };
        }
        let step = if unit.failures == 0 {
            Step::Deferred
        } else {
            Step::Stuck
        };
        let split_off = match error {
            StoreError::Locked(places) if !places.is_empty() && deliveries.len() == count => places,
            _ => half(count),
        };
        if count == 1 || split_off.len() == count {
            return Ok(spool.put_off(unit).await.map(|()| step));
        }
        // An attempt that timed out may still be under way: what is split off would be counted
        // twice.
        match within(PING_TIMEOUT, self.store.cancel(unit.id)).await {
            Ok(true) => Ok(spool.split(unit, &split_off).await.map(|()| step)),
            Ok(false) => Ok(spool.remove(unit).await.map(|()| Step::Moved(count))),
            Err(_) => Ok(spool.put_off(unit).await.map(|()| step)),
        }
    }

    fn read(&self, unit: &Unit) -> Vec<NewDelivery> {
        let now = Time::now();
        let deliveries = unit.deliveries.iter().map(|spooled| NewDelivery {
            account: spooled.account.clone(),
            body: spooled.body.clone(),
            body_sha256: spooled.body_sha256,
            received_at: spooled.received_at,
            recorded_at: spooled.received_at.max(now),
            reading: match &spooled.sealed {
                Some(error) => Reading::Sealed {
                    error: error.clone(),
                },
                None => (self.read)(&spooled.body),
            },
        });
        // Another version may have spooled a push that this one does not keep.
        deliveries
            .filter(|delivery| is_kept(&self.keep_events, delivery))
            .collect()
    }
}

fn half(count: usize) -> Vec<usize> {
    (0..count / 2).collect()
}

fn next_delay(backoff: &mut Duration) -> Duration {
    let delay = *backoff;
    *backoff = (delay * 2).min(MAX_BACKOFF);
    delay
}
