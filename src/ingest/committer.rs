//! A committer: takes whatever waits and files it together. While one batch is filed the next one gathers, so that batches grow
//! with the load, and a delivery that comes alone waits for nobody.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::error;

use super::backup::Backup;
use super::counters::Counters;
use super::queue::{Entry, Outcome, Queue};
use super::{IngestError, Kept, within};
use crate::domain::NewDelivery;
use crate::store::{Filed, Recorded, Store, StoreError, Ticket};

/// How long the spool may take.
pub(super) const SPOOL_PATIENCE: Duration = Duration::from_secs(1);

/// Takes from the queue until it is closed.
pub(super) struct Committer {
    pub(super) queue: Arc<Queue>,
    pub(super) store: Arc<dyn Store>,
    pub(super) filed: Arc<Notify>,
    pub(super) backup: Option<Arc<Backup>>,
    pub(super) counters: Arc<Counters>,
    /// How long a delivery may wait for the database, from its arrival on.
    pub(super) budget: Duration,
    /// That of the batch before.
    pub(super) ticket: Ticket,
}

impl Committer {
    pub(super) async fn run(mut self) {
        let _guard = EndsWithProcess;
        while let Some(batch) = self.queue.take().await {
            self.keep(batch).await;
        }
    }

    /// Keeps a batch and answers for each of it.
    async fn keep(&mut self, batch: Vec<Entry>) {
        self.counters.batch(batch.len());
        let mut deliveries = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        // The queue is in the order of arrival.
        let since = batch.first().map_or_else(Instant::now, |entry| entry.since);
        for entry in batch {
            deliveries.push(entry.delivery);
            answers.push(entry.answer);
        }
        let outcomes = match &self.backup {
            Some(backup) if backup.gate.is_shut() => {
                spooled(&deliveries, backup.put(&deliveries, None)).await
            }
            _ => self.file(&deliveries, since + self.budget).await,
        };
        for ((answer, outcome), delivery) in answers.into_iter().zip(outcomes).zip(&deliveries) {
            if answer.send(outcome).is_err() {
                // Whoever waited is gone, and cannot count it.
                self.counters.push(delivery).ends(outcome);
            }
        }
    }

    async fn file(&mut self, batch: &[NewDelivery], deadline: Instant) -> Vec<Outcome> {
        match self.file_together(batch, deadline).await {
            // One of them spoils it for all.
            Err(error) if error.lies_in_content() && batch.len() > 1 => {
                let mut outcomes = Vec::with_capacity(batch.len());
                for alone in batch.chunks(1) {
                    outcomes.extend(match self.file_together(alone, deadline).await {
                        Ok(outcome) => outcome,
                        Err(error) => self.settle(alone, error).await,
                    });
                }
                outcomes
            }
            Err(error) => self.settle(batch, error).await,
            Ok(outcomes) => outcomes,
        }
    }

    async fn file_together(
        &mut self,
        batch: &[NewDelivery],
        deadline: Instant,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.ticket.number += 1;
        // Where there is no spool, nothing is tried again.
        let ticket = self.backup.as_ref().map(|_| self.ticket);
        let patience = deadline.saturating_duration_since(Instant::now());
        let filing = self.store.record(batch, ticket);
        let filed = within(patience, filing)
            .await
            .inspect_err(|error| self.counters.store_failed(error))?;
        Ok(match filed {
            Filed::Now(recorded) => {
                self.filed.notify_one();
                let kept = |recorded| Ok(Kept::Filed(recorded));
                recorded.into_iter().map(kept).collect()
            }
            // The store has tried twice, and the first answer got lost.
            Filed::Before => each(batch, Ok(Kept::Filed(Recorded::New))),
        })
    }

    /// Finds another place for what the database did not take, or says that there is none.
    async fn settle(&mut self, batch: &[NewDelivery], error: StoreError) -> Vec<Outcome> {
        let Some(backup) = self.backup.clone() else {
            return not_kept(batch, &error);
        };
        if error.lies_in_content() {
            let refusal = error.source().map(ToString::to_string).unwrap_or_default();
            error!(
                refusal,
                "the database refuses a delivery; it is set aside in the spool"
            );
            return spooled(batch, backup.set_aside(batch, &refusal)).await;
        }
        backup.note_failure(&error);
        // Whether it is filed is not known: its ticket will tell, as long as no other batch of this writer comes after it.
        let ticket = std::mem::replace(&mut self.ticket, Ticket::new_writer());
        spooled(batch, backup.put(batch, Some(ticket))).await
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
    match within(SPOOL_PATIENCE, put).await {
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
