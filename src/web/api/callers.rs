//! What one caller of the API may use at the same time, so that it does not take from the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::auth::Caller;

/// Above this many callers, idle ones are forgotten.
const CALLERS: usize = 1_000;
const STREAMS: usize = 100;
const STREAMS_CATCHING_UP: usize = 4;
/// Its slow readers must not stop the answers to others. A larger answer counts as this much.
pub(super) const MEMORY_KIB: u32 = super::answering::MEMORY_KIB / 4;

/// The callers that are using something.
pub(in crate::web) struct Callers {
    answers: usize,
    shares: Mutex<HashMap<Caller, Arc<Share>>>,
}

/// What one caller may use. A caller is not forgotten while anybody holds its share.
pub(super) struct Share {
    /// Answers that are being made.
    pub(super) answers: Semaphore,
    /// Memory of answers that are being sent.
    pub(super) memory: Arc<Semaphore>,
    /// Open streams.
    pub(super) streams: Arc<Semaphore>,
    /// Streams that are reading the changes they missed.
    pub(super) catching_up: Arc<Semaphore>,
}

impl Callers {
    /// A caller may use a third of the store's `readers`, so that it takes several callers to keep
    /// others waiting.
    pub(in crate::web) fn new(readers: usize) -> Self {
        Self {
            answers: (readers / 3).max(1),
            shares: Mutex::default(),
        }
    }

    pub(super) fn share(&self, caller: Caller) -> Arc<Share> {
        // Nothing that holds the lock can panic half-way.
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= CALLERS {
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = shares.entry(caller).or_insert_with(|| {
            Arc::new(Share {
                answers: Semaphore::new(self.answers),
                memory: Arc::new(super::answering::memory(MEMORY_KIB)),
                streams: Arc::new(Semaphore::new(STREAMS)),
                catching_up: Arc::new(Semaphore::new(STREAMS_CATCHING_UP)),
            })
        });
        Arc::clone(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_callers_are_forgotten() {
        let callers = Callers::new(6);
        let share = |number: u32| {
            let address = std::net::Ipv4Addr::from(number);
            callers.share(Caller::Network(address.into()))
        };
        let kept = share(0);
        for number in 1..2 * u32::try_from(CALLERS).unwrap() {
            share(number);
        }
        assert!(callers.shares.lock().unwrap().len() <= CALLERS);
        assert!(Arc::ptr_eq(&share(0), &kept));
    }
}
