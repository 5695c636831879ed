//! Open connections, and which of them is closed at the limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why a connection may be closed, in the order in which connections are closed.
#[derive(Clone, Copy)]
enum Line {
    /// It waits for a request, or for the rest of one.
    Idle,
    /// Its client does not read the response.
    Stalled,
    /// A response is being sent.
    Responding,
}

impl Line {
    const ALL: [Self; 3] = [Self::Idle, Self::Stalled, Self::Responding];

    /// How long a connection is left alone. A new push waits as long if no connection is idle;
    /// WeChat gives up after 5 s, but retries.
    const fn grace(self) -> Duration {
        match self {
            Self::Idle => Duration::ZERO,
            Self::Stalled => Duration::from_millis(500),
            Self::Responding => Duration::from_secs(10),
        }
    }
}

/// Open connections. At the limit, the one idle longest is closed; if none is idle, one whose
/// client does not read its response; only then one whose response takes very long.
pub(super) struct Seats {
    state: Mutex<SeatsState>,
    /// Includes the connections that are being closed.
    open: IntGauge,
    /// A connection was closed, or may be.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct SeatsState {
    taken: usize,
    /// By place; the first has waited longest.
    lines: [BTreeMap<u64, (Instant, Arc<Occupant>)>; 3],
    next_place: u64,
}

/// What a connection shares with its stream, its bodies, and [`Seats::evict`].
pub(super) struct Occupant {
    seats: Arc<Seats>,
    /// Its place in each line. Used only under the lock of [`Seats`].
    places: Mutex<[Option<u64>; 3]>,
    /// A request has begun, and there is no response yet.
    pub(super) in_request: AtomicBool,
    /// hyper has all of a response, but has not written all of it.
    is_response_complete: AtomicBool,
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
        // No code that holds the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn taken(&self) -> usize {
        self.state().taken
    }

    /// Closes one connection; false if none may be closed.
    pub(super) fn evict(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let found = Line::ALL.into_iter().find_map(|line| {
            let (_, (since, occupant)) = state.lines[line as usize].first_key_value()?;
            (now.duration_since(*since) >= line.grace()).then(|| Arc::clone(occupant))
        });
        let Some(occupant) = found else {
            return false;
        };
        for line in Line::ALL {
            state.leave(&occupant, line);
        }
        // Its seat is free at once; `Seat::drop` sees the token.
        state.taken -= 1;
        occupant.evicted.cancel();
        true
    }
}

impl SeatsState {
    fn enter(&mut self, occupant: &Arc<Occupant>, line: Line) {
        self.leave(occupant, line);
        if !occupant.evicted.is_cancelled() {
            let place = self.next_place;
            self.next_place += 1;
            occupant.places()[line as usize] = Some(place);
            let entry = (Instant::now(), Arc::clone(occupant));
            self.lines[line as usize].insert(place, entry);
        }
    }

    fn leave(&mut self, occupant: &Occupant, line: Line) {
        if let Some(place) = occupant.places()[line as usize].take() {
            self.lines[line as usize].remove(&place);
        }
    }
}

impl Occupant {
    fn places(&self) -> MutexGuard<'_, [Option<u64>; 3]> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, line: Line, leaving: &[Line]) {
        let mut state = self.seats.state();
        for left in leaving {
            state.leave(self, *left);
        }
        state.enter(self, line);
        drop(state);
        self.seats.changed.notify_one();
    }

    pub(super) fn request_is_complete(&self) {
        self.seats.state().leave(self, Line::Idle);
    }

    pub(super) fn response_is_complete(&self) {
        self.is_response_complete.store(true, Relaxed);
    }

    /// hyper has written everything that it has.
    pub(super) fn flushed(self: &Arc<Self>) {
        if self.is_response_complete.swap(false, Relaxed) {
            self.enter(Line::Idle, &[Line::Responding, Line::Stalled]);
        }
    }

    /// The client does not read.
    pub(super) fn stalls(self: &Arc<Self>) {
        self.enter(Line::Stalled, &[]);
    }

    /// The client reads again.
    pub(super) fn resumes(&self) {
        self.seats.state().leave(self, Line::Stalled);
    }
}

/// One connection's place in [`Seats`], given back on drop.
pub(super) struct Seat {
    pub(super) occupant: Arc<Occupant>,
}

impl Seat {
    pub(super) fn take(seats: &Arc<Seats>) -> Self {
        seats.state().taken += 1;
        seats.open.inc();
        let occupant = Arc::new(Occupant {
            seats: Arc::clone(seats),
            places: Mutex::default(),
            in_request: AtomicBool::new(false),
            is_response_complete: AtomicBool::new(false),
            evicted: CancellationToken::new(),
        });
        occupant.enter(Line::Idle, &[]);
        Self { occupant }
    }

    pub(super) fn request_begins(&self) {
        self.occupant.in_request.store(true, Relaxed);
        self.occupant.enter(Line::Idle, &[]);
    }

    /// Even if the rest of the request has not arrived.
    pub(super) fn response_begins(&self) {
        self.occupant.in_request.store(false, Relaxed);
        self.occupant.enter(Line::Responding, &[Line::Idle]);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = &self.occupant.seats;
        seats.open.dec();
        let mut state = seats.state();
        for line in Line::ALL {
            state.leave(&self.occupant, line);
        }
        if !self.occupant.evicted.is_cancelled() {
            state.taken -= 1;
        }
        drop(state);
        seats.changed.notify_one();
    }
}
