//! Reads the bodies of pushes: each within a size limit and a timeout, and all unfinished ones
//! within a memory budget, because none of them has been authenticated yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;

use crate::web::rate_limit::Reputation;

/// For all unfinished bodies, in bytes: 500 of the usual limit. It is twice the largest
/// `server.body_limit`, so that a body alone is never evicted.
const BUDGET: usize = 32 * 1024 * 1024;
/// Added for each piece of a body: reading it is work, and a chunk can be one byte.
const PIECE: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a body over the limit that are still read, so that its sender sees the answer and not a
/// closed connection.
const OVERRUN: usize = 1024 * 1024;
/// For reading those if the length was declared.
const OVERRUN_TIMEOUT: Duration = Duration::from_millis(500);

/// The unfinished bodies. Over the budget, the oldest is evicted, those from addresses over the
/// rate limit first. Its memory is free at once, even if its connection is idle.
#[derive(Default)]
pub(in crate::web) struct Bodies {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they are evicted.
    unfinished: BTreeMap<(Reputation, u64), Unfinished>,
    next_place: u64,
    taken: usize,
}

/// What has been read of a body.
#[derive(Default)]
struct Unfinished {
    bytes: Vec<u8>,
    pieces: usize,
}

impl Unfinished {
    fn cost(&self) -> usize {
        self.bytes.capacity() + self.pieces * PIECE
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::web) enum BodyError {
    #[error("the body is longer than `server.body_limit`")]
    TooLong,
    #[error("the body did not arrive within 5 s")]
    TooSlow,
    #[error("too many bodies were being received, and this one had been evicted as the oldest")]
    Evicted,
    #[error("the connection closed within the body")]
    Broken,
    #[error("the body is empty; perhaps a proxy drops bodies")]
    Empty,
}

impl BodyError {
    /// The `reason` in the metric.
    pub(in crate::web) const fn reason(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::TooSlow => "too_slow",
            Self::Evicted => "gave_way",
            Self::Broken => "broken",
            Self::Empty => "empty",
        }
    }
}

impl Bodies {
    /// The whole body, from an address with this reputation. A body over the limit is an error, and
    /// never truncated.
    pub(in crate::web) async fn read(
        &self,
        body: Body,
        limit: usize,
        reputation: impl Fn() -> Reputation,
    ) -> Result<Vec<u8>, BodyError> {
        let is_declared_too_long =
            usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > limit);
        let receiving = self.receive(body, limit, reputation);
        if is_declared_too_long {
            let _ = tokio::time::timeout(OVERRUN_TIMEOUT, receiving).await;
            return Err(BodyError::TooLong);
        }
        tokio::time::timeout(TIMEOUT, receiving)
            .await
            .unwrap_or(Err(BodyError::TooSlow))
    }

    async fn receive(
        &self,
        mut body: Body,
        limit: usize,
        reputation: impl Fn() -> Reputation,
    ) -> Result<Vec<u8>, BodyError> {
        let mut entry: Option<Entry<'_>> = None;
        let mut length = 0_usize;
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|_| BodyError::Broken)?.into_data();
            let data: Bytes = data.unwrap_or_default();
            length = length.saturating_add(data.len());
            if length > limit {
                entry = None;
                if length > limit.saturating_add(OVERRUN) {
                    break;
                }
            } else if entry.is_none() && body.is_end_stream() {
                // Most bodies come in one piece, and need no entry.
                return Ok(data.to_vec());
            } else {
                let entry = entry.get_or_insert_with(|| self.enter(reputation()));
                entry.add(&data)?;
            }
        }
        if length > limit {
            return Err(BodyError::TooLong);
        }
        entry.map_or(Ok(Vec::new()), Entry::finish)
    }

    fn enter(&self, reputation: Reputation) -> Entry<'_> {
        let mut state = self.state();
        let place = (reputation, state.next_place);
        state.next_place += 1;
        state.unfinished.insert(place, Unfinished::default());
        drop(state);
        Entry {
            bodies: self,
            place,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, place: (Reputation, u64)) -> Option<Vec<u8>> {
        let part = self.unfinished.remove(&place)?;
        self.taken -= part.cost();
        Some(part.bytes)
    }
}

/// A body among [`Bodies`], removed when dropped.
struct Entry<'a> {
    bodies: &'a Bodies,
    place: (Reputation, u64),
}

impl Entry<'_> {
    /// Fails if the body was evicted.
    fn add(&self, data: &[u8]) -> Result<(), BodyError> {
        let mut state = self.bodies.state();
        let part = state.unfinished.get_mut(&self.place);
        let part = part.ok_or(BodyError::Evicted)?;
        let before = part.cost();
        part.bytes.extend_from_slice(data);
        part.pieces += 1;
        let more = part.cost() - before;
        state.taken += more;
        while state.taken > BUDGET
            && let Some((_, oldest)) = state.unfinished.pop_first()
        {
            state.taken -= oldest.cost();
        }
        Ok(())
    }

    /// The whole body. Fails if it was evicted.
    fn finish(self) -> Result<Vec<u8>, BodyError> {
        let body = self.bodies.state().remove(self.place);
        body.ok_or(BodyError::Evicted)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.bodies.state().remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRD: usize = BUDGET / 3 - PIECE;

    #[test]
    fn a_body_is_read_whole() {
        let bodies = Bodies::default();
        let [one, other] = [(); 2].map(|()| bodies.enter(Reputation::Good));
        for piece in ["a", "", "bc"] {
            one.add(piece.as_bytes()).expect("there is room");
            other.add(b"x").expect("there is room");
        }
        assert_eq!(one.finish().expect("there is room"), b"abc");
        assert_eq!(other.finish().expect("there is room"), b"xxx");
    }

    #[test]
    fn the_oldest_body_is_evicted() {
        let bodies = Bodies::default();
        let [first, second, third, fourth] = [(); 4].map(|()| bodies.enter(Reputation::Good));
        for body in [&third, &second, &first] {
            body.add(&vec![0; THIRD]).expect("there is room");
        }
        fourth.add(b"x").expect("there is room for it");
        third.add(b"").expect("it is still there");
        fourth.add(&[0; 100]).expect("it is still there");
        first.add(b"x").expect_err("it was evicted");
        first.finish().expect_err("it was evicted");
        assert_eq!(second.finish().expect("it is still there").len(), THIRD);
    }

    #[test]
    fn a_body_in_tiny_pieces_is_evicted_long_before_it_is_as_large() {
        let bodies = Bodies::default();
        let tiny = bodies.enter(Reputation::Good);
        let honest = bodies.enter(Reputation::Good);
        honest.add(&[0; 1000]).expect("there is room");
        let pieces = (0..=BUDGET).take_while(|_| tiny.add(b"x").is_ok()).count();
        assert!((1..=BUDGET / PIECE).contains(&pieces), "{pieces}");
        honest.add(&[0; 1000]).expect("it is still there");
        assert_eq!(honest.finish().expect("it is still there").len(), 2000);
    }

    #[test]
    fn bodies_from_addresses_over_the_limit_are_evicted_first() {
        let bodies = Bodies::default();
        let [good, over, newer] = [Reputation::Good, Reputation::OverLimit, Reputation::Good]
            .map(|reputation| bodies.enter(reputation));
        for body in [&good, &over, &newer] {
            body.add(&vec![0; THIRD]).expect("there is room");
        }
        newer.add(b"x").expect("there is room for it");
        over.finish().expect_err("it was evicted");
        good.finish().expect("it is still there");
    }

    #[test]
    fn the_memory_of_a_body_is_free_when_it_is_gone() {
        let bodies = Bodies::default();
        for is_finished in [true, false, true] {
            let body = bodies.enter(Reputation::Good);
            for _ in 0..2 {
                body.add(&vec![0; THIRD]).expect("there is room");
            }
            if is_finished {
                body.finish().expect("it is still there");
            }
        }
        let state = bodies.state();
        assert_eq!((state.taken, state.unfinished.len()), (0, 0));
    }
}
