//! The bodies of pushes, read whole: each within its limit and deadline, and all that are still coming in within one
//! bound of memory, as none has shown yet to be from WeChat.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;

use crate::web::rate_limit::Reputation;

/// What all bodies that are coming in may take, in bytes: 500 of the usual limit. It is twice the largest
/// `server.body_limit`, so that no body has to give way to itself.
const BUDGET: usize = 32 * 1024 * 1024;
/// What each piece of a body counts beside its bytes: reading it is work, and a body can come in chunks of one byte.
const PIECE: usize = 256;
/// How long a body may take to come in.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// How much of a body that is too long is still read, so that its sender sees the answer and not a broken connection.
const OVERRUN: usize = 1024 * 1024;
/// How long that may take where the length was declared.
const OVERRUN_PATIENCE: Duration = Duration::from_millis(500);

/// The bodies that are coming in. When they take too much, the one that has been coming in longest gives way, those from
/// addresses over the limit of refusals first: it is thrown away at once, whenever its connection has its turn.
#[derive(Default)]
pub(in crate::web) struct Bodies {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By place in the queue; the first is the next to give way.
    coming_in: BTreeMap<(Reputation, u64), Part>,
    next_place: u64,
    taken: usize,
}

/// What has come of a body.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    pieces: usize,
}

impl Part {
    fn cost(&self) -> usize {
        self.bytes.capacity() + self.pieces * PIECE
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::web) enum BodyError {
    #[error("the body is longer than `server.body_limit`")]
    TooLong,
    #[error("the body did not come within 5 s")]
    TooSlow,
    #[error("too many bodies came at once, and this one had been coming in longest")]
    GaveWay,
    #[error("the body broke off")]
    Broken,
    #[error("the body is empty; perhaps a proxy loses bodies")]
    Empty,
}

impl BodyError {
    /// The word that it is counted under.
    pub(in crate::web) const fn reason(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::TooSlow => "too_slow",
            Self::GaveWay => "gave_way",
            Self::Broken => "broken",
            Self::Empty => "empty",
        }
    }
}

impl Bodies {
    /// The whole body, from an address that stands so. One that is too long is thrown away as it comes; it is never cut
    /// silently.
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
            let _ = tokio::time::timeout(OVERRUN_PATIENCE, receiving).await;
            return Err(BodyError::TooLong);
        }
        tokio::time::timeout(BODY_DEADLINE, receiving)
            .await
            .unwrap_or(Err(BodyError::TooSlow))
    }

    async fn receive(
        &self,
        mut body: Body,
        limit: usize,
        reputation: impl Fn() -> Reputation,
    ) -> Result<Vec<u8>, BodyError> {
        let mut coming_in: Option<ComingIn<'_>> = None;
        let mut length = 0_usize;
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|_| BodyError::Broken)?.into_data();
            let data: Bytes = data.unwrap_or_default();
            length = length.saturating_add(data.len());
            if length > limit {
                coming_in = None;
                if length > limit.saturating_add(OVERRUN) {
                    break;
                }
            } else if coming_in.is_none() && body.is_end_stream() {
                // It came in one piece, as most do, and never waits.
                return Ok(data.to_vec());
            } else {
                let coming_in = coming_in.get_or_insert_with(|| self.enter(reputation()));
                coming_in.add(&data)?;
            }
        }
        if length > limit {
            return Err(BodyError::TooLong);
        }
        coming_in.map_or(Ok(Vec::new()), ComingIn::finish)
    }

    /// Lets a body come in from an address that stands so.
    fn enter(&self, reputation: Reputation) -> ComingIn<'_> {
        let mut state = self.state();
        let place = (reputation, state.next_place);
        state.next_place += 1;
        state.coming_in.insert(place, Part::default());
        drop(state);
        ComingIn {
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
        let part = self.coming_in.remove(&place)?;
        self.taken -= part.cost();
        Some(part.bytes)
    }
}

/// A body among [`Bodies`], thrown away when dropped.
struct ComingIn<'a> {
    bodies: &'a Bodies,
    place: (Reputation, u64),
}

impl ComingIn<'_> {
    /// Adds what has come, unless the body had to give way.
    fn add(&self, data: &[u8]) -> Result<(), BodyError> {
        let mut state = self.bodies.state();
        let part = state.coming_in.get_mut(&self.place);
        let part = part.ok_or(BodyError::GaveWay)?;
        let before = part.cost();
        part.bytes.extend_from_slice(data);
        part.pieces += 1;
        let more = part.cost() - before;
        state.taken += more;
        while state.taken > BUDGET
            && let Some((_, longest)) = state.coming_in.pop_first()
        {
            state.taken -= longest.cost();
        }
        Ok(())
    }

    /// The whole body, unless it had to give way.
    fn finish(self) -> Result<Vec<u8>, BodyError> {
        let body = self.bodies.state().remove(self.place);
        body.ok_or(BodyError::GaveWay)
    }
}

impl Drop for ComingIn<'_> {
    fn drop(&mut self) {
        self.bodies.state().remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRD: usize = BUDGET / 3 - PIECE;

    #[test]
    fn a_body_comes_out_as_it_came_in() {
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
    fn the_body_that_has_been_coming_in_longest_gives_way() {
        let bodies = Bodies::default();
        let [first, second, third, fourth] = [(); 4].map(|()| bodies.enter(Reputation::Good));
        for body in [&third, &second, &first] {
            body.add(&vec![0; THIRD]).expect("there is room");
        }
        fourth.add(b"x").expect("there is room for it");
        third.add(b"").expect("it is still there");
        fourth.add(&[0; 100]).expect("it is still there");
        first.add(b"x").expect_err("it has given way");
        first.finish().expect_err("it has given way");
        assert_eq!(second.finish().expect("it is still there").len(), THIRD);
    }

    #[test]
    fn a_body_in_tiny_pieces_gives_way_long_before_it_is_as_large() {
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
    fn bodies_from_addresses_over_the_limit_give_way_first() {
        let bodies = Bodies::default();
        let [good, over, newer] = [Reputation::Good, Reputation::OverLimit, Reputation::Good]
            .map(|reputation| bodies.enter(reputation));
        for body in [&good, &over, &newer] {
            body.add(&vec![0; THIRD]).expect("there is room");
        }
        newer.add(b"x").expect("there is room for it");
        over.finish().expect_err("it has given way");
        good.finish().expect("it is still there");
    }

    #[test]
    fn what_a_body_took_is_free_when_it_is_gone() {
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
        assert_eq!((state.taken, state.coming_in.len()), (0, 0));
    }
}
