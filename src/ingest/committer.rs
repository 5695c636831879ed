//! The committer: takes everything in the queue and records it as one batch. The next batch gathers
//! meanwhile, so batches grow with the load, and a single delivery does not wait for others.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::error;

use super::counters::Counters;
use super::fallback::Fallback;
use super::queue::{Entry, Queue};
use super::{Accepted, IngestError, TAKEN_ID};
use crate::domain::{NewDelivery, Reading};
use crate::store::{BatchId, BatchOutcome, Recorded, Recorder, StoreError, within};

pub(super) const SPOOL_TIMEOUT: Duration = Duration::from_secs(1);

type Outcome = Result<Accepted, IngestError>;

/// Runs until the queue is closed and empty.
pub(super) struct Committer {
    pub(super) queue: Arc<Queue>,
    pub(super) store: Arc<dyn Recorder>,
    pub(super) recorded: Arc<Notify>,
    pub(super) fallback: Option<Arc<Fallback>>,
    pub(super) counters: Arc<Counters>,
    /// How long a delivery may wait for the database, counted from its arrival.
    pub(super) budget: Duration,
}

impl Committer {
    pub(super) async fn run(self) {
        let _guard = EndsWithProcess;
        while let Some(batch) = self.queue.take().await {
            self.commit(batch).await;
        }
    }

    /// Records or spools a batch and answers for each delivery.
    async fn commit(&self, batch: Vec<Entry>) {
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
            Some(fallback) if fallback.breaker.is_tripped() => {
                spooled(&deliveries, fallback.put(&deliveries, None)).await
            }
            _ => self.record(&deliveries, since + self.budget).await,
        };
        for ((answer, outcome), delivery) in answers.into_iter().zip(outcomes).zip(&deliveries) {
            if answer.send(outcome).is_err() {
                // The handler is gone, and cannot count it.
                self.counters.push(delivery).ends(outcome);
            }
        }
    }

    async fn record(&self, batch: &[NewDelivery], deadline: Instant) -> Vec<Outcome> {
        let mut id = BatchId::random();
        match self.record_together(batch, &mut id, deadline).await {
            Ok(outcomes) => outcomes,
            // One delivery spoils the batch.
            Err(error) if error.lies_in_content() && batch.len() > 1 => {
                let mut outcomes = Vec::with_capacity(batch.len());
                for single in batch.chunks(1) {
                    outcomes.extend(Box::pin(self.record(single, deadline)).await);
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
        let (locked, free): (Vec<_>, Vec<_>) =
            (0..batch.len()).partition(|place| locked.contains(place));
        let deliveries = |places: &[usize]| -> Vec<_> {
            let deliveries = places.iter().map(|&place| batch[place].clone());
            deliveries.collect()
        };
        let error = StoreError::Locked(Vec::new());
        let spooled = self
            .fall_back(&deliveries(&locked), BatchId::random(), error)
            .await;
        let recorded = Box::pin(self.record(&deliveries(&free), deadline)).await;
        let mut outcomes: Vec<_> = locked.into_iter().zip(spooled).collect();
        outcomes.extend(free.into_iter().zip(recorded));
        outcomes.sort_unstable_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Records a batch under a new id, which is replaced if the database has it already.
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
        Ok(accepted(recorded))
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
                // The connection may have been idle for too long. The id makes a retry safe.
                Err(StoreError::Unavailable(_)) if sent.is_some() && !is_in_doubt => {
                    is_in_doubt = true;
                }
                // The first attempt recorded it, and its answer got lost.
                Ok(BatchOutcome::RecordedBefore) if is_in_doubt => {
                    return Ok(vec![Recorded::New; batch.len()]);
                }
                Ok(BatchOutcome::RecordedBefore | BatchOutcome::Cancelled) => {
                    error!("{TAKEN_ID}");
                    *id = BatchId::random();
                }
                Ok(BatchOutcome::Recorded(recorded)) => return Ok(recorded),
                // The first attempt may still record it as a whole.
                Err(StoreError::Locked(_)) if is_in_doubt => {
                    return Err(StoreError::Locked(Vec::new()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Spools what the database did not record, or sets it aside if its content is the cause.
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
            return failed(batch, &error);
        };
        if error.is_outage() {
            fallback.trip(&error);
        }
        spooled(batch, fallback.put(batch, Some(id))).await
    }

    /// Keeps a delivery that the database refuses for its content: in the spool or, without one, as
    /// unparsed, so that it is listed and can be reprocessed.
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
            Ok(BatchOutcome::Recorded(recorded)) => accepted(recorded),
            Ok(_) => failed(batch, error),
            Err(error) => failed(batch, &error),
        }
    }
}

/// Aborts the process when the committer panics: without it nothing would be recorded any more, and
/// nobody would notice. A new process can go on, and WeChat retries what was not acknowledged.
struct EndsWithProcess;

impl Drop for EndsWithProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

async fn spooled(
    batch: &[NewDelivery],
    put: impl Future<Output = Result<(), StoreError>>,
) -> Vec<Outcome> {
    match within(SPOOL_TIMEOUT, put).await {
        Ok(()) => vec![Ok(Accepted::Spooled); batch.len()],
        Err(error) => failed(batch, &error),
    }
}

fn accepted(recorded: Vec<Recorded>) -> Vec<Outcome> {
    let accepted = recorded.into_iter().map(Accepted::Recorded);
    accepted.map(Ok).collect()
}

fn failed(batch: &[NewDelivery], error: &StoreError) -> Vec<Outcome> {
    let cause = error.source().map(ToString::to_string);
    error!(pushes = batch.len(), %error, cause, "pushes could not be kept; WeChat will try again");
    vec![Err(IngestError::Unavailable); batch.len()]
}
