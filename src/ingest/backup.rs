//! What stands in for a database that is away: the spool, and a gate that remembers that it is away, so that not every
//! delivery has to find out by itself.

use std::error::Error;

use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::domain::NewDelivery;
use crate::store::{Spool, StoreError, Ticket};

/// The spool and the gate before the database.
#[derive(Debug)]
pub(super) struct Backup {
    pub(super) spool: Spool,
    pub(super) gate: Gate,
    /// Something was put into the spool.
    pub(super) filled: Notify,
}

impl Backup {
    pub(super) fn new(spool: Spool, gate: Gate) -> Self {
        Self {
            spool,
            gate,
            filled: Notify::new(),
        }
    }

    /// Shuts the gate, unless the database works and only others were in the way.
    pub(super) fn note_failure(&self, error: &StoreError) {
        if error.is_outage() && self.gate.shut() {
            let cause = error.source().map(ToString::to_string);
            warn!(%error, cause, "the database does not work; deliveries go to the spool");
        }
    }

    pub(super) async fn put(
        &self,
        batch: &[NewDelivery],
        ticket: Option<Ticket>,
    ) -> Result<(), StoreError> {
        self.spool.put(batch, ticket).await?;
        self.filled.notify_one();
        Ok(())
    }

    /// Keeps in the spool what the database refuses for its content.
    pub(super) async fn set_aside(
        &self,
        batch: &[NewDelivery],
        refusal: &str,
    ) -> Result<(), StoreError> {
        for delivery in batch {
            self.spool.put_refused(delivery, refusal).await?;
        }
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
