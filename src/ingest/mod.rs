//! Durable acceptance: an authentic push is acknowledged only after what must be kept is on disk.
//!
//! [`Ingest::accept`] puts it into a queue; a committer records what waits there together, one transaction for all. While
//! PostgreSQL is away it puts it into the spool instead, from where a drainer moves it when the database is back.

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
use fallback::{Fallback, Gate};
use queue::Queue;

pub use counters::Counts;

/// Decides what is kept, and keeps it.
pub struct Ingest {
    queue: Arc<Queue>,
    fallback: Option<Arc<Fallback>>,
    recorded: Arc<Notify>,
    /// How long a push may take in all, the wait in the queue included.
    timeout: Duration,
    /// Per account, the events that are kept raw beside job results; compared without case.
    keep_events: Arc<KeepEvents>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where deliveries are kept while the database is away.
pub struct SpoolSettings {
    /// The spool.
    pub spool: Spool,
    /// Whether the database is away already.
    pub is_away: bool,
    /// Turns a body in the spool into what it says.
    pub read: Reader,
}

/// What became of an authentic push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk.
    Kept(Kept),
    /// A user's message, an event that nobody asked to keep or a push to a third-party platform: counted, and forgotten.
    NotKept,
}

/// Where a push is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the database.
    Filed(Recorded),
    /// In the spool, on its way to the database.
    Spooled,
}

/// Nothing could keep the push; it must not be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// More waits already than may.
    #[error("too many pushes wait to be kept")]
    Full,
    /// Neither the database nor, where there is one, the spool took it.
    #[error("nothing could keep the push")]
    NotKept,
}

impl Ingest {
    /// Accepts into `store`, which may take `budget` for a push; with a spool, that takes over then. `keep_events`
    /// names every account. What comes in is counted in `registry`. Runs until [`Ingest::stop`].
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
            let fallback = Arc::new(Fallback::new(settings.spool, Gate::new(settings.is_away)));
            let drainer = Drainer {
                store: Arc::clone(&store),
                fallback: Arc::clone(&fallback),
                recorded: Arc::clone(&recorded),
                counters: Arc::clone(&counters),
                read: settings.read,
                keep_events: Arc::clone(&keep_events),
                stop: stop.clone(),
            };
            tasks.spawn(drainer.run());
            fallback
        });
        // One alone: with more, batches are smaller, and fewer deliveries are recorded in all (docs/PERFORMANCE.md).
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

    /// Notified whenever something was recorded.
    pub fn recorded(&self) -> Arc<Notify> {
        Arc::clone(&self.recorded)
    }

    /// What has come in since the start.
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Notes when the last job result of an account with new content came in before the start.
    pub fn note_earlier(&self, account: &AccountName, received_at: Time) {
        self.counters.note_earlier(account, received_at);
    }

    /// How many deliveries wait to be kept, and how many bytes of bodies they have.
    pub fn waiting(&self) -> (usize, usize) {
        self.queue.depth()
    }

    /// Accepts a push: when this returns `Ok`, it may be acknowledged.
    ///
    /// # Errors
    /// [`IngestError`] when it could not be kept: then WeChat must try again.
    pub async fn accept(&self, delivery: NewDelivery) -> Result<Accepted, IngestError> {
        if !is_kept(&self.keep_events, &delivery) {
            self.counters.not_kept(&delivery);
            return Ok(Accepted::NotKept);
        }
        let push = self.counters.push(&delivery);
        let outcome = match self.queue.push(delivery) {
            Ok(mut answer) => match tokio::time::timeout(self.timeout, &mut answer).await {
                Ok(Ok(outcome)) => outcome,
                // The sender is dropped without an answer only while the program stops.
                Ok(Err(_)) => Err(IngestError::NotKept),
                Err(_) => {
                    // It may still be kept, and is then a copy when WeChat tries again. It is counted here: the committer
                    // counts those whose answer nobody takes.
                    tokio::spawn(answer);
                    Err(IngestError::NotKept)
                }
            },
            Err(error) => Err(error),
        };
        push.ends(outcome);
        Ok(Accepted::Kept(outcome?))
    }

    /// Whether the database is known to be away, so that deliveries go to the spool.
    pub fn is_away(&self) -> bool {
        self.fallback
            .as_ref()
            .is_some_and(|fallback| fallback.gate.is_shut())
    }

    /// How much is in the spool; none where there is no spool.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read, so that nothing can be put in either.
    pub async fn depth(&self) -> Result<Option<Depth>, StoreError> {
        match &self.fallback {
            Some(fallback) => fallback.spool.depth().await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes no more, keeps what waits, and closes the spool.
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

/// What the log says when random numbers come twice, as after a virtual machine was put back to an earlier state.
const TAKEN_ID: &str =
    "the database has a batch under an id that was just drawn; this batch gets another";

/// The outcome of a call, or [`StoreError::TimedOut`].
async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or(Err(StoreError::TimedOut))
}
