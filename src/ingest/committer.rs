//! The committer: takes whatever waits and records it together. While one batch is recorded the next one gathers, so that
//! batches grow with the load, and a delivery that comes alone waits for nobody.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::error;

use super::counters::Counters;
use super::fallback::Fallback;
use super::queue::{Entry, Outcome, Queue};
use super::{IngestError, Kept, TAKEN_ID, within};
use crate::domain::{NewDelivery, Reading};
use crate::store::{BatchId, BatchOutcome, Recorded, Recorder, StoreError};

/// How long the spool may take.
pub(super) const SPOOL_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes from the queue until it is closed.
pub(super) struct Committer {
    pub(super) queue: Arc<Queue>,
    pub(super) store: Arc<dyn Recorder>,
    pub(super) recorded: Arc<Notify>,
    pub(super) fallback: Option<Arc<Fallback>>,
    pub(super) counters: Arc<Counters>,
    /// How long a delivery may wait for the database, from its arrival on.
    pub(super) budget: Duration,
}

impl Committer {
    pub(super) async fn run(self) {
        let _guard = EndsWithProcess;
        while let Some(batch) = self.queue.take().await {
            self.keep(batch).await;
        }
    }

    /// Keeps a batch and answers for each of it.
    async fn keep(&self, batch: Vec<Entry>) {
        self.counters.batch(batch.len());
        let mut deliveries = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        // The queue is in the order of arrival.
        let since = batch.first().map_or_else(Instant::now, |entry| entry.since);
        for entry in batch {
            deliveries.push(entry.delivery);
            answers.push(entry.answer);
        }
        let outcomes = match &self.fallback {
            Some(fallback) if fallback.gate.is_shut() => {
                spooled(&deliveries, fallback.put(&deliveries, None)).await
            }
            _ => self.record(&deliveries, since + self.budget).await,
        };
        for ((answer, outcome), delivery) in answers.into_iter().zip(outcomes).zip(&deliveries) {
            if answer.send(outcome).is_err() {
                // Whoever waited is gone, and cannot count it.
                self.counters.push(delivery).ends(outcome);
            }
        }
    }

    async fn record(&self, batch: &[NewDelivery], deadline: Instant) -> Vec<Outcome> {
        let mut id = BatchId::random();
        match self.record_together(batch, &mut id, deadline).await {
            Ok(outcomes) => outcomes,
            // One of them spoils it for all.
            Err(error) if error.lies_in_content() && batch.len() > 1 => {
                let mut outcomes = Vec::with_capacity(batch.len());
                for alone in batch.chunks(1) {
                    outcomes.extend(Box::pin(self.record(alone, deadline)).await);
                }
                outcomes
            }
            Err(StoreError::Locked(places)) if (1..batch.len()).contains(&places.len()) => {
                self.record_unlocked(batch, &places, deadline).await
            }
            Err(error) => self.fall_back(batch, id, error).await,
        }
    }

    /// Puts the deliveries whose jobs are locked into the spool, and records the rest.
    async fn record_unlocked(
        &self,
        batch: &[NewDelivery],
        locked: &[usize],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let (mut waiting, mut free) = (Vec::new(), Vec::new());
        for (place, delivery) in batch.iter().enumerate() {
            if locked.contains(&place) {
                waiting.push(delivery.clone());
            } else {
                free.push(delivery.clone());
            }
        }
        let locked_out = StoreError::Locked(Vec::new());
        let waiting = self
            .fall_back(&waiting, BatchId::random(), locked_out)
            .await;
        let free = Box::pin(self.record(&free, deadline)).await;
        let (mut waiting, mut free) = (waiting.into_iter(), free.into_iter());
        let outcome = |place| {
            let outcomes = if locked.contains(&place) {
                &mut waiting
            } else {
                &mut free
            };
            outcomes.next().unwrap_or(Err(IngestError::NotKept))
        };
        (0..batch.len()).map(outcome).collect()
    }

    /// Records a batch under an id that was just drawn. It may be another one in the end.
    async fn record_together(
        &self,
        batch: &[NewDelivery],
        id: &mut BatchId,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, StoreError> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let recorded = within(timeout, self.send(batch, id))
            .await
            .inspect_err(|error| self.counters.store_failed(error))?;
        self.recorded.notify_one();
        let kept = |recorded| Ok(Kept::Filed(recorded));
        Ok(recorded.into_iter().map(kept).collect())
    }

    async fn send(
        &self,
        batch: &[NewDelivery],
        id: &mut BatchId,
    ) -> Result<Vec<Recorded>, StoreError> {
        let mut is_in_doubt = false;
        loop {
            // Without a spool nothing is retried later, and no id is needed.
            let sent = self.fallback.as_ref().map(|_| *id);
            match self.store.record(batch, sent).await {
                // The connection may have been idle for too long. The id makes it safe to try another one.
                Err(StoreError::Unavailable(_)) if sent.is_some() && !is_in_doubt => {
                    is_in_doubt = true;
                }
                // By the first attempt, whose answer got lost.
                Ok(BatchOutcome::RecordedBefore) if is_in_doubt => {
                    return Ok(vec![Recorded::New; batch.len()]);
                }
                Ok(BatchOutcome::RecordedBefore | BatchOutcome::Cancelled) => {
                    error!("{TAKEN_ID}");
                    *id = BatchId::random();
                }
                Ok(BatchOutcome::Recorded(recorded)) => return Ok(recorded),
                // It stays whole, as the first attempt may still record it.
                Err(StoreError::Locked(_)) if is_in_doubt => {
                    return Err(StoreError::Locked(Vec::new()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds another place for what the database did not take, or says that there is none.
    async fn fall_back(
        &self,
        batch: &[NewDelivery],
        id: BatchId,
        error: StoreError,
    ) -> Vec<Outcome> {
        if let [delivery] = batch
            && error.lies_in_content()
        {
            return self.set_aside(delivery, &error).await;
        }
        let Some(fallback) = &self.fallback else {
            return not_kept(batch, &error);
        };
        if error.is_outage() {
            fallback.shut(&error);
        }
        // Its id will tell whether it was recorded.
        spooled(batch, fallback.put(batch, Some(id))).await
    }

    /// Keeps what the database refuses for its content: in the spool or, where there is none, as an unparsed delivery, which
    /// is listed and can be reprocessed.
    async fn set_aside(&self, delivery: &NewDelivery, error: &StoreError) -> Vec<Outcome> {
        let refusal = error.source().map(ToString::to_string).unwrap_or_default();
        let batch = std::slice::from_ref(delivery);
        if let Some(fallback) = &self.fallback {
            error!(
                refusal,
                "the database refuses a delivery; it is set aside in the spool"
            );
            return spooled(batch, fallback.spool.put_refused(delivery, &refusal)).await;
        }
        error!(
            refusal,
            "the database refuses a delivery; it is kept as `unparsed`"
        );
        let mut aside = delivery.clone();
        aside.reading = Reading::Unparsed {
            error: format!("the database refuses it: {refusal}"),
            event: delivery.reading.event().map(str::to_owned),
            msg_id: delivery.reading.msg_id(),
        };
        match within(self.budget, self.store.record(&[aside], None)).await {
            Ok(BatchOutcome::Recorded(recorded)) => {
                recorded.into_iter().map(Kept::Filed).map(Ok).collect()
            }
            Ok(_) => not_kept(batch, error),
            Err(error) => not_kept(batch, &error),
        }
    }
}

/// Without a committer nothing would be kept any more, and nobody would see it. A panic in it ends the process, as a new one
/// can go on: what was not acknowledged comes again.
struct EndsWithProcess;

impl Drop for EndsWithProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Waits until the spool has taken a batch.
async fn spooled(
    batch: &[NewDelivery],
    put: impl Future<Output = Result<(), StoreError>>,
) -> Vec<Outcome> {
    match within(SPOOL_TIMEOUT, put).await {
        Ok(()) => each(batch, Ok(Kept::Spooled)),
        Err(error) => not_kept(batch, &error),
    }
}

fn not_kept(batch: &[NewDelivery], error: &StoreError) -> Vec<Outcome> {
    let cause = error.source().map(ToString::to_string);
    error!(pushes = batch.len(), %error, cause, "pushes could not be kept; WeChat will try again");
    each(batch, Err(IngestError::NotKept))
}

fn each(batch: &[NewDelivery], outcome: Outcome) -> Vec<Outcome> {
    vec![outcome; batch.len()]
}
