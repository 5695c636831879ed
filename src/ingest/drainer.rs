//! The drainer: moves what is in the spool to the database, oldest first, and opens the gate when the database works again.
//!
//! A batch that fails though the database works holds up no other: it is put off, and split until what is in the way is
//! alone.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::counters::Counters;
use super::fallback::Fallback;
use super::{KeepEvents, TAKEN_ID, is_kept, within};
use crate::domain::{NewDelivery, Reading, Time};
use crate::store::{BatchOutcome, Reader, Recorder, StoreError, Unit};

/// How long the database may take for a batch; twice as long after each of its first failures. Not longer: a connection
/// that is lost without a word holds up the whole spool for that long.
const TIMEOUT: Duration = Duration::from_secs(5);
const DOUBLINGS: u32 = 2;
/// How long it may take to say whether it works.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay after a failure; it doubles up to the longest.
const BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// How often the spool is looked at though nothing is known to be in it: another process may have left something there.
const INTERVAL: Duration = Duration::from_secs(10);

/// Works until it is told to stop.
pub(super) struct Drainer {
    pub(super) store: Arc<dyn Recorder>,
    pub(super) recorded: Arc<Notify>,
    pub(super) fallback: Arc<Fallback>,
    pub(super) counters: Arc<Counters>,
    pub(super) read: Reader,
    pub(super) keep_events: Arc<KeepEvents>,
    pub(super) stop: CancellationToken,
}

/// What one step came to, while the database works.
enum Step {
    /// A batch of so many deliveries was moved, set aside or split; there may be more.
    Moved(usize),
    /// A batch failed for the first time; others go before it.
    PutOff,
    /// A batch failed again, and no other is left that has not.
    Stuck,
    /// The spool is empty, or does not work.
    Nothing,
}

impl Drainer {
    pub(super) async fn run(self) {
        let mut backoff = BACKOFF;
        let mut moved = 0;
        loop {
            let delay = match self.step().await {
                Ok(Step::Moved(deliveries)) => {
                    moved += deliveries;
                    backoff = BACKOFF;
                    Duration::ZERO
                }
                Ok(Step::PutOff) => Duration::ZERO,
                Ok(Step::Nothing) => {
                    if moved > 0 {
                        info!(deliveries = moved, "moved from the spool to the database");
                    }
                    moved = 0;
                    backoff = BACKOFF;
                    INTERVAL
                }
                Ok(Step::Stuck) => next_delay(&mut backoff),
                Err(error) => {
                    self.fallback.shut(&error);
                    next_delay(&mut backoff)
                }
            };
            let is_failing = self.fallback.gate.is_shut();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
                () = self.fallback.gate.until_shut(), if !is_failing => {}
                () = self.fallback.filled.notified(), if !is_failing => {}
            }
        }
    }

    /// # Errors
    /// When the database does not work. The spool's own failures are logged.
    async fn step(&self) -> Result<Step, StoreError> {
        // The database is asked first: while it is away, the spool, which may have become large, is left alone.
        if self.fallback.gate.is_shut() {
            within(PING_TIMEOUT, self.store.ping()).await?;
        }
        let step = match self.fallback.spool.next().await {
            Ok(Some(unit)) => self.move_unit(&unit).await?,
            Ok(None) => Ok(Step::Nothing),
            Err(error) => Err(error),
        };
        let step = step.unwrap_or_else(|error| {
            let cause = error.source().map(ToString::to_string);
            error!(%error, cause, "the spool does not work");
            Step::Nothing
        });
        if self.fallback.gate.open() {
            info!("the database works again");
        }
        Ok(step)
    }

    /// Records a batch and takes it out of the spool; the inner result is the spool's.
    async fn move_unit(&self, unit: &Unit) -> Result<Result<Step, StoreError>, StoreError> {
        let spool = &self.fallback.spool;
        let count = unit.deliveries.len();
        let deliveries = self.read(unit);
        let timeout = TIMEOUT * 2_u32.pow(unit.failures.min(DOUBLINGS));
        let outcome = within(timeout, self.store.record(&deliveries, Some(unit.id)))
            .await
            .inspect_err(|error| self.counters.store_failed(error));
        let error = match outcome {
            Ok(BatchOutcome::RecordedBefore | BatchOutcome::Cancelled) if unit.is_unsent => {
                error!("{TAKEN_ID}");
                return Ok(spool.split(unit, &[]).await.map(|()| Step::PutOff));
            }
            Ok(BatchOutcome::Recorded(_) | BatchOutcome::RecordedBefore) => {
                self.recorded.notify_one();
                return Ok(spool.remove(unit).await.map(|()| Step::Moved(count)));
            }
            // The spool was put back, or the process was killed, before the batch was split.
            Ok(BatchOutcome::Cancelled) => {
                return Ok(spool.split(unit, &half(count)).await.map(|()| Step::PutOff));
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
        // Is it the database, or only this batch?
        if within(PING_TIMEOUT, self.store.ping()).await.is_err() {
            return Err(error);
        }
        if matches!(error, StoreError::Unavailable(_)) {
            // Perhaps both: the gate stays shut until one batch gets through.
            return match spool.put_off(unit).await {
                Ok(()) => Err(error),
                Err(error) => Ok(Err(error)),
            };
        }
        let step = if unit.failures == 0 {
            Step::PutOff
        } else {
            Step::Stuck
        };
        let apart = match error {
            StoreError::Locked(places) if !places.is_empty() && deliveries.len() == count => places,
            _ => half(count),
        };
        if count == 1 || apart.len() == count {
            return Ok(spool.put_off(unit).await.map(|()| step));
        }
        // An attempt that was given up may still be under way: its parts would count twice.
        match within(PING_TIMEOUT, self.store.cancel(unit.id)).await {
            Ok(true) => Ok(spool.split(unit, &apart).await.map(|()| step)),
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
            filed_at: spooled.received_at.max(now),
            reading: match &spooled.sealed {
                Some(error) => Reading::Sealed {
                    error: error.clone(),
                },
                None => (self.read)(&spooled.body),
            },
        });
        // Another version may have put in what this one reads as something that is not kept.
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
    *backoff = (delay * 2).min(LONGEST_BACKOFF);
    delay
}
