//! Durable acceptance: an authentic push is acknowledged only after what must be kept is on disk.

mod counters;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{AccountName, NewDelivery, Reading};
use crate::store::{Recorded, Store, StoreError};

pub use counters::{Counters, Counts};

/// How long the store may take. WeChat waits 5 s, so an answer is certain well before that.
const BUDGET: Duration = Duration::from_millis(1500);

/// Decides what is kept, and keeps it.
pub struct Ingest {
    store: Arc<dyn Store>,
    /// Per account, the events that are kept raw beside job results; compared without case.
    keep_events: HashMap<AccountName, Vec<String>>,
    counters: Counters,
}

/// What became of an authentic push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk.
    Kept(Recorded),
    /// A user's message or an event that nobody asked to keep: counted, and forgotten.
    NotKept,
}

/// Nothing could keep the push; it must not be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not answer in time. It may still have kept the push, which a retry then finds.
    #[error("the database did not answer within {} ms", BUDGET.as_millis())]
    TimedOut,
}

impl Ingest {
    /// Accepts into `store`. Accounts that `keep_events` does not name keep job results only.
    pub fn new(store: Arc<dyn Store>, keep_events: HashMap<AccountName, Vec<String>>) -> Self {
        Self {
            store,
            keep_events,
            counters: Counters::default(),
        }
    }

    /// What has come in since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Accepts a push: when this returns `Ok`, it may be acknowledged.
    ///
    /// # Errors
    /// [`IngestError`] when it could not be kept: then WeChat must try again.
    pub async fn accept(&self, delivery: &NewDelivery) -> Result<Accepted, IngestError> {
        if !self.is_kept(delivery) {
            self.counters.not_kept(&delivery.reading);
            return Ok(Accepted::NotKept);
        }
        let recorded = tokio::time::timeout(BUDGET, self.store.record(delivery))
            .await
            .map_err(|_| IngestError::TimedOut)
            .and_then(|recorded| Ok(recorded?));
        match recorded {
            Ok(recorded) => {
                self.counters.kept(&delivery.reading, recorded);
                Ok(Accepted::Kept(recorded))
            }
            Err(error) => {
                self.counters.failed();
                Err(error)
            }
        }
    }

    fn is_kept(&self, delivery: &NewDelivery) -> bool {
        match &delivery.reading {
            Reading::Result { .. } | Reading::Unparsed { .. } => true,
            Reading::Other { event: None, .. } => false,
            Reading::Other {
                event: Some(event), ..
            } => self
                .keep_events
                .get(&delivery.account)
                .is_some_and(|names| names.iter().any(|name| name.eq_ignore_ascii_case(event))),
        }
    }
}
