//! Who is connected, and who of them waits: at the limit, the connection that has waited longest gives way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Who is connected, and who of them waits: for a request, or for the rest of one.
pub(super) struct Seats {
    state: Mutex<SeatsState>,
    /// Connections that are open, those that have to go among them.
    open: IntGauge,
    /// A seat was given back, or a connection waits that may be sent away.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct SeatsState {
    taken: usize,
    /// By place in the queue; the first has waited longest.
    waiting: BTreeMap<u64, Arc<Waiting>>,
    next_place: u64,
}

/// What a connection shares with the body that it receives and with whoever evicts it.
pub(super) struct Waiting {
    seats: Arc<Seats>,
    /// The place in the queue; none while an answer is being made.
    place: Mutex<Option<u64>>,
    pub(super) in_request: AtomicBool,
    pub(super) evicted: CancellationToken,
}

impl Seats {
    pub(super) fn new(open: IntGauge) -> Self {
        Self {
            state: Mutex::default(),
            open,
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, SeatsState> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn taken(&self) -> usize {
        self.state().taken
    }

    /// Sends away the connection that has waited longest; false when none waits.
    pub(super) fn evict(&self) -> bool {
        let mut state = self.state();
        let Some((_, longest)) = state.waiting.pop_first() else {
            return false;
        };
        // Its seat counts as free at once; `Seat::drop` knows by the token.
        state.taken -= 1;
        longest.evicted.cancel();
        true
    }
}

impl Waiting {
    fn place(&self) -> MutexGuard<'_, Option<u64>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the last place in the queue.
    fn queue(self: &Arc<Self>) {
        let mut place = self.place();
        let mut state = self.seats.state();
        if let Some(old) = place.take() {
            state.waiting.remove(&old);
        }
        if !self.evicted.is_cancelled() {
            let new = state.next_place;
            state.next_place += 1;
            state.waiting.insert(new, Arc::clone(self));
            *place = Some(new);
            self.seats.changed.notify_one();
        }
    }

    pub(super) fn leave_queue(&self) {
        if let Some(old) = self.place().take() {
            self.seats.state().waiting.remove(&old);
        }
    }
}

/// One connection's place among [`Seats`], given back when dropped.
pub(super) struct Seat {
    pub(super) waiting: Arc<Waiting>,
}

impl Seat {
    pub(super) fn take(seats: &Arc<Seats>) -> Self {
        seats.state().taken += 1;
        seats.open.inc();
        let waiting = Arc::new(Waiting {
            seats: Arc::clone(seats),
            place: Mutex::default(),
            in_request: AtomicBool::new(false),
            evicted: CancellationToken::new(),
        });
        waiting.queue();
        Self { waiting }
    }

    pub(super) fn request_begins(&self) {
        self.waiting.in_request.store(true, Relaxed);
        self.waiting.queue();
    }

    pub(super) fn request_ends(&self) {
        self.waiting.in_request.store(false, Relaxed);
        self.waiting.queue();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.waiting.leave_queue();
        let seats = &self.waiting.seats;
        seats.open.dec();
        let mut state = seats.state();
        if !self.waiting.evicted.is_cancelled() {
            state.taken -= 1;
        }
        drop(state);
        seats.changed.notify_one();
    }
}
