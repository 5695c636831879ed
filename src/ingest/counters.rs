//! How much has come in since the start, by what became of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::domain::Reading;
use crate::store::Recorded;

use super::Kept;
use super::queue::Outcome;

/// Counts pushes. Each push counts once.
#[derive(Debug, Default)]
pub struct Counters {
    results: AtomicU64,
    duplicates: AtomicU64,
    unparsed: AtomicU64,
    other_kept: AtomicU64,
    spooled: AtomicU64,
    events: AtomicU64,
    messages: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// What the counters show at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Job results with new bytes.
    pub results: u64,
    /// Copies of what was kept already.
    pub duplicates: u64,
    /// Bodies that could not be understood, kept.
    pub unparsed: u64,
    /// Other events that an account keeps.
    pub other_kept: u64,
    /// What was put into the spool, of whatever kind.
    pub spooled: u64,
    /// Other events, answered and forgotten.
    pub events: u64,
    /// Users' messages, answered and forgotten.
    pub messages: u64,
    /// Pushes answered 503, because nothing could keep them.
    pub failed: u64,
    /// Requests answered 403.
    pub refused: u64,
}

impl Counters {
    /// Counts a request that was not authentic.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        Counts {
            results: self.results.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            unparsed: self.unparsed.load(Relaxed),
            other_kept: self.other_kept.load(Relaxed),
            spooled: self.spooled.load(Relaxed),
            events: self.events.load(Relaxed),
            messages: self.messages.load(Relaxed),
            failed: self.failed.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    pub(super) fn note(&self, kind: Kind, outcome: Outcome) {
        let counter = match (outcome, kind) {
            (Err(_), _) => &self.failed,
            (Ok(Kept::Spooled), _) => &self.spooled,
            (Ok(Kept::Filed(Recorded::Duplicate)), _) => &self.duplicates,
            (Ok(Kept::Filed(Recorded::New)), Kind::Result) => &self.results,
            (Ok(Kept::Filed(Recorded::New)), Kind::Unparsed) => &self.unparsed,
            (Ok(Kept::Filed(Recorded::New)), Kind::Other) => &self.other_kept,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn not_kept(&self, reading: &Reading) {
        let counter = match reading.event() {
            Some(_) => &self.events,
            None => &self.messages,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// What kind of push is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Result,
    Unparsed,
    Other,
}

impl Kind {
    pub(super) fn of(reading: &Reading) -> Self {
        match reading {
            Reading::Result { .. } => Self::Result,
            Reading::Unparsed { .. } => Self::Unparsed,
            Reading::Other { .. } => Self::Other,
        }
    }
}
