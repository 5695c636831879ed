//! Durable acceptance: an authentic push is acknowledged only once it is on disk, if it is to be
//! kept at all.
//!
//! [`Ingest::accept`] puts a delivery into a queue, from which the committer records batches, each
//! in one transaction. While PostgreSQL is down the committer writes to the spool instead, and the
//! drainer moves the spool to the database when it is back.

mod committer;
mod counters;
mod drainer;
mod fallback;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{AccountName, NewDelivery, Time};
use crate::store::{Depth, Reader, Recorded, Recorder, Spool, StoreError};

use committer::Committer;
use counters::Counters;
use drainer::Drainer;
use fallback::Fallback;
use queue::Queue;

pub use counters::Counts;

/// Decides which pushes are kept, and records them.
pub struct Ingest {
    queue: Arc<Queue>,
    fallback: Option<Arc<Fallback>>,
    recorded: Arc<Notify>,
    /// The timeout for a push, including its wait in the queue.
    timeout: Duration,
    keep_events: Arc<KeepEvents>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where deliveries go while the database is down.
pub struct SpoolSettings {
    pub spool: Spool,
    /// The database is down already.
    pub is_down: bool,
    /// Parses the bodies in the spool.
    pub read: Reader,
}

/// The outcome of an authentic push, which may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in the database.
    Recorded(Recorded),
    /// It is in the spool, and will be moved to the database.
    Spooled,
    /// It is not kept: a user's message, an event that the account does not keep, or a push for a
    /// third-party platform.
    Ignored,
}

/// The push is not on disk and must not be acknowledged, so that WeChat retries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    #[error("the queue is full")]
    Full,
    /// Neither the database nor the spool could record it in time.
    #[error("neither the database nor the spool recorded the push in time")]
    Unavailable,
}

impl Ingest {
    /// Starts to record into `store`, until [`Ingest::stop`]. A push that the store has not
    /// recorded within `budget` goes to the spool, if there is one. `keep_events` has every
    /// account.
    pub fn start(
        store: Arc<dyn Recorder>,
        budget: Duration,
        spool: Option<SpoolSettings>,
        keep_events: HashMap<AccountName, Vec<String>>,
        registry: &Registry,
    ) -> Self {
        let counters = Arc::new(Counters::new(&keep_events, registry));
        let keep_events = Arc::new(keep_events);
        let queue = Arc::new(Queue::default());
        let recorded = Arc::new(Notify::new());
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let fallback = spool.map(|settings| {
            let fallback = Arc::new(Fallback::new(settings.spool, settings.is_down));
            let drainer = Drainer {
                store: Arc::clone(&store),
                fallback: Arc::clone(&fallback),
                recorded: Arc::clone(&recorded),
                counters: Arc::clone(&counters),
                read: settings.read,
                keep_events: Arc::clone(&keep_events),
                stop: stop.clone(),
                timeouts: 0,
            };
            tasks.spawn(drainer.run());
            fallback
        });
        // Only one: with more, batches are smaller and throughput is lower (docs/PERFORMANCE.md).
        let committer = Committer {
            queue: Arc::clone(&queue),
            store,
            recorded: Arc::clone(&recorded),
            fallback: fallback.clone(),
            counters: Arc::clone(&counters),
            budget,
        };
        tasks.spawn(committer.run());
        tasks.close();
        Self {
            queue,
            fallback,
            recorded,
            timeout: budget + committer::SPOOL_TIMEOUT,
            keep_events,
            counters,
            tasks,
            stop,
        }
    }

    /// Notified after each batch that was recorded.
    pub fn recorded(&self) -> Arc<Notify> {
        Arc::clone(&self.recorded)
    }

    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Notes when an account received a job result with new content, unless it has received a later
    /// one.
    pub fn note_result(&self, account: &AccountName, received_at: Time) {
        self.counters.note_result(account, received_at);
    }

    /// The length of the queue, in deliveries and in bytes of bodies.
    pub fn waiting(&self) -> (usize, usize) {
        self.queue.depth()
    }

    /// Accepts a push. It may be acknowledged only if this returns `Ok`.
    pub async fn accept(&self, delivery: NewDelivery) -> Result<Accepted, IngestError> {
        let push = self.counters.push(&delivery);
        let outcome = if is_kept(&self.keep_events, &delivery) {
            self.commit(delivery).await
        } else {
            Ok(Accepted::Ignored)
        };
        push.ends(outcome);
        outcome
    }

    async fn commit(&self, delivery: NewDelivery) -> Result<Accepted, IngestError> {
        let mut answer = self.queue.push(delivery)?;
        match tokio::time::timeout(self.timeout, &mut answer).await {
            Ok(Ok(outcome)) => outcome,
            // The sender is dropped without an answer only while the program stops.
            Ok(Err(_)) => Err(IngestError::Unavailable),
            Err(_) => {
                // It may still be recorded; WeChat's retry is a copy then. The caller counts it as
                // failed, so the receiver is kept alive: the committer counts those whose receiver
                // is gone.
                tokio::spawn(answer);
                Err(IngestError::Unavailable)
            }
        }
    }

    /// True while the database is known to be down, so that deliveries go to the spool.
    pub fn is_down(&self) -> bool {
        self.fallback
            .as_ref()
            .is_some_and(|fallback| fallback.breaker.is_tripped())
    }

    /// The contents of the spool; `None` without a spool. On an error it cannot be written to
    /// either.
    pub async fn depth(&self) -> Result<Option<Depth>, StoreError> {
        match &self.fallback {
            Some(fallback) => fallback.spool.depth().await.map(Some),
            None => Ok(None),
        }
    }

    /// Refuses new deliveries, records or spools those in the queue, and closes the spool.
    pub async fn stop(&self) {
        self.queue.close();
        self.stop.cancel();
        self.tasks.wait().await;
        if let Some(fallback) = &self.fallback {
            fallback.spool.close().await;
        }
    }
}

/// For each account, the events that are kept raw beside job results; compared without case.
type KeepEvents = HashMap<AccountName, Vec<String>>;

fn is_kept(keep_events: &KeepEvents, delivery: &NewDelivery) -> bool {
    let keep_events = keep_events.get(&delivery.account);
    delivery
        .reading
        .is_kept(keep_events.map_or(&[], Vec::as_slice))
}

/// Random ids repeat after a virtual machine was restored from a snapshot.
const TAKEN_ID: &str =
    "the database has a batch under an id that was just drawn; this batch gets another";
