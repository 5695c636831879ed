//! Open connections, and which of them gives way at the limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A reason why a connection may have to give way. The first that somebody has decides.
#[derive(Clone, Copy)]
enum Line {
    /// It waits for a request, or for the rest of one.
    Waiting,
    /// The client takes nothing of an answer that is going out.
    Stalled,
    /// An answer is going out.
    Answering,
}

impl Line {
    const ALL: [Self; 3] = [Self::Waiting, Self::Stalled, Self::Answering];

    /// How long a connection is left alone for that reason. A push waits as long for a place when no connection only
    /// waits for a request; WeChat gives up after 5 s, but comes again.
    const fn grace(self) -> Duration {
        match self {
            Self::Waiting => Duration::ZERO,
            Self::Stalled => Duration::from_millis(500),
            Self::Answering => Duration::from_secs(10),
        }
    }
}

/// Open connections. At the limit, the one that has waited longest gives way; when none waits, one whose client does not
/// read its answer; and only then one whose answer takes very long.
pub(super) struct Seats {
    state: Mutex<SeatsState>,
    /// Open connections, including those that have to go.
    open: IntGauge,
    /// A connection has gone, or one waits that may be sent away.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct SeatsState {
    taken: usize,
    /// By place; the first has been there longest.
    lines: [BTreeMap<u64, (Instant, Arc<Occupant>)>; 3],
    next_place: u64,
}

/// What a connection shares with its stream, the bodies on it, and whoever sends it away.
pub(super) struct Occupant {
    seats: Arc<Seats>,
    /// The place in each line that it is in. Only touched under the lock of [`Seats`].
    places: Mutex<[Option<u64>; 3]>,
    /// A request has begun and its answer is not made yet.
    pub(super) in_request: AtomicBool,
    /// All of an answer has been handed to hyper, and not all of it has been written.
    is_answer_complete: AtomicBool,
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

    /// Sends one connection away; false when none may be.
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
        // Its seat counts as free at once; `Seat::drop` knows by the token.
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

    /// All of a request is here: an answer is being made.
    pub(super) fn request_is_whole(&self) {
        self.seats.state().leave(self, Line::Waiting);
    }

    /// All of an answer has been handed to hyper.
    pub(super) fn answer_is_complete(&self) {
        self.is_answer_complete.store(true, Relaxed);
    }

    /// hyper has written all that it has.
    pub(super) fn flushed(self: &Arc<Self>) {
        if self.is_answer_complete.swap(false, Relaxed) {
            self.enter(Line::Waiting, &[Line::Answering, Line::Stalled]);
        }
    }

    /// The client takes nothing of what is there for it.
    pub(super) fn stalls(self: &Arc<Self>) {
        self.enter(Line::Stalled, &[]);
    }

    /// The client reads again.
    pub(super) fn reads_on(&self) {
        self.seats.state().leave(self, Line::Stalled);
    }
}

/// One connection's place among [`Seats`], given back when dropped.
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
            is_answer_complete: AtomicBool::new(false),
            evicted: CancellationToken::new(),
        });
        occupant.enter(Line::Waiting, &[]);
        Self { occupant }
    }

    pub(super) fn request_begins(&self) {
        self.occupant.in_request.store(true, Relaxed);
        self.occupant.enter(Line::Waiting, &[]);
    }

    /// The answer begins to go out, even if the rest of the request has not come.
    pub(super) fn answer_begins(&self) {
        self.occupant.in_request.store(false, Relaxed);
        self.occupant.enter(Line::Answering, &[Line::Waiting]);
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
