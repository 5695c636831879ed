//! How many streams a caller may have open, so that one caller does not take what all share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::Caller;

/// Streams of one caller that are open at the same time.
const OPEN: usize = 100;
/// Streams of one caller that read what they missed at the same time.
const CATCHING_UP: usize = 4;
/// From this many callers on, those without a stream are forgotten.
const CALLERS: usize = 1000;

/// The streams that are open.
#[derive(Default)]
pub(in crate::web) struct Streams {
    callers: Mutex<HashMap<Caller, Arc<Share>>>,
}

struct Share {
    open: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// A stream that is open; closed when dropped.
pub(in crate::web) struct OpenStream {
    _permit: OwnedSemaphorePermit,
    /// The caller is not forgotten before.
    share: Arc<Share>,
}

impl OpenStream {
    /// Limits how many streams of the caller catch up at a time.
    pub(in crate::web) fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.share.turns)
    }
}

impl Streams {
    /// A stream of that caller; none if it has too many.
    pub(in crate::web) fn open(&self, caller: Caller) -> Option<OpenStream> {
        // Nothing that holds the lock can panic half-way.
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS {
            callers.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = callers.entry(caller).or_insert_with(|| {
            Arc::new(Share {
                open: Arc::new(Semaphore::new(OPEN)),
                turns: Arc::new(Semaphore::new(CATCHING_UP)),
            })
        });
        let share = Arc::clone(share);
        Some(OpenStream {
            _permit: Arc::clone(&share.open).try_acquire_owned().ok()?,
            share,
        })
    }
}
