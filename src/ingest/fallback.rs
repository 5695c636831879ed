//! The fallback while the database is away: the spool, and a gate that remembers that the database is away, so that not
//! every push has to find out for itself.

use std::error::Error;

use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::domain::NewDelivery;
use crate::store::{BatchId, Spool, StoreError};

/// The spool and the gate before the database.
#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) spool: Spool,
    pub(super) gate: Gate,
    /// Something was put into the spool.
    pub(super) filled: Notify,
}

impl Fallback {
    pub(super) fn new(spool: Spool, gate: Gate) -> Self {
        Self {
            spool,
            gate,
            filled: Notify::new(),
        }
    }

    /// Shuts the gate, as the database does not work.
    pub(super) fn shut(&self, error: &StoreError) {
        if self.gate.shut() {
            let cause = error.source().map(ToString::to_string);
            warn!(%error, cause, "the database does not work; deliveries go to the spool");
        }
    }

    /// Puts a batch into the spool. `id`: the one that it was sent under, if the database may have recorded it.
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

/// Shut when the database has failed; opened when it works again.
#[derive(Debug)]
pub(super) struct Gate {
    is_shut: watch::Sender<bool>,
}

impl Gate {
    pub(super) fn new(is_shut: bool) -> Self {
        Self {
            is_shut: watch::Sender::new(is_shut),
        }
    }

    pub(super) fn is_shut(&self) -> bool {
        *self.is_shut.borrow()
    }

    /// Whether it was open.
    pub(super) fn shut(&self) -> bool {
        !self.is_shut.send_replace(true)
    }

    /// Whether it was shut.
    pub(super) fn open(&self) -> bool {
        self.is_shut.send_replace(false)
    }

    /// Waits until it is shut.
    pub(super) async fn until_shut(&self) {
        // The sender lives at least as long as this call.
        let _ = self.is_shut.subscribe().wait_for(|is_shut| *is_shut).await;
    }
}
