//! The fallback while the database is down: the spool, and a circuit breaker that remembers the
//! outage, so that not every push has to wait for a timeout.

use std::error::Error;

use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::domain::NewDelivery;
use crate::store::{BatchId, Spool, StoreError};

#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) spool: Spool,
    pub(super) breaker: Breaker,
    /// Something was put into the spool.
    pub(super) filled: Notify,
}

impl Fallback {
    pub(super) fn new(spool: Spool, is_down: bool) -> Self {
        Self {
            spool,
            breaker: Breaker {
                is_tripped: watch::Sender::new(is_down),
            },
            filled: Notify::new(),
        }
    }

    /// Trips the breaker, as the database failed.
    pub(super) fn trip(&self, error: &StoreError) {
        if !self.breaker.is_tripped.send_replace(true) {
            let cause = error.source().map(ToString::to_string);
            warn!(%error, cause, "the database does not work; deliveries go to the spool");
        }
    }

    /// Puts a batch into the spool. `id` is the one that it was sent under, if the database may
    /// have recorded it.
    pub(super) async fn put(
        &self,
        batch: &[NewDelivery],
        id: Option<BatchId>,
    ) -> Result<(), StoreError> {
        self.spool.put(batch, id).await?;
        self.filled.notify_one();
        Ok(())
    }
}

/// Tripped when the database fails, reset when it works again. While it is tripped, pushes go
/// straight to the spool.
#[derive(Debug)]
pub(super) struct Breaker {
    is_tripped: watch::Sender<bool>,
}

impl Breaker {
    pub(super) fn is_tripped(&self) -> bool {
        *self.is_tripped.borrow()
    }

    /// Returns whether it was tripped.
    pub(super) fn reset(&self) -> bool {
        self.is_tripped.send_replace(false)
    }

    pub(super) async fn tripped(&self) {
        // The sender lives at least as long as this call.
        let _ = self
            .is_tripped
            .subscribe()
            .wait_for(|is_tripped| *is_tripped)
            .await;
    }
}
