//! The memory for bodies that are coming in: bounded over all of them, as none has shown yet to be from WeChat.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What all bodies that are coming in may take, in bytes: 500 of the usual limit. It is twice the largest
/// `server.body_limit`, so that no body has to give way to itself.
const BUDGET: usize = 32 * 1024 * 1024;

/// The bodies that are coming in. When they take too much, the one that has been coming in longest gives way: it is
/// thrown away at once, whenever its connection has its turn.
#[derive(Default)]
pub(super) struct Bodies {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By place in the queue; the first has been coming in longest.
    coming_in: BTreeMap<u64, Vec<u8>>,
    next_place: u64,
    taken: usize,
}

/// The body had to give way.
#[derive(Debug, thiserror::Error)]
#[error("too many bodies came at once, and this one had been coming in longest")]
pub(super) struct GaveWay;

impl Bodies {
    /// Lets a body come in.
    pub(super) fn enter(&self) -> ComingIn<'_> {
        let mut state = self.state();
        let place = state.next_place;
        state.next_place += 1;
        state.coming_in.insert(place, Vec::new());
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
    fn remove(&mut self, place: u64) -> Option<Vec<u8>> {
        let body = self.coming_in.remove(&place)?;
        self.taken -= body.capacity();
        Some(body)
    }
}

/// A body among [`Bodies`], thrown away when dropped.
pub(super) struct ComingIn<'a> {
    bodies: &'a Bodies,
    place: u64,
}

impl ComingIn<'_> {
    /// Adds what has come.
    ///
    /// # Errors
    /// [`GaveWay`] when the body is gone.
    pub(super) fn add(&self, data: &[u8]) -> Result<(), GaveWay> {
        let mut state = self.bodies.state();
        let body = state.coming_in.get_mut(&self.place).ok_or(GaveWay)?;
        let before = body.capacity();
        body.extend_from_slice(data);
        let more = body.capacity() - before;
        state.taken += more;
        while state.taken > BUDGET
            && let Some((_, longest)) = state.coming_in.pop_first()
        {
            state.taken -= longest.capacity();
        }
        Ok(())
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`GaveWay`] when it is gone.
    pub(super) fn finish(self) -> Result<Vec<u8>, GaveWay> {
        self.bodies.state().remove(self.place).ok_or(GaveWay)
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

    const THIRD: usize = BUDGET / 3;

    #[test]
    fn a_body_comes_out_as_it_came_in() {
        let bodies = Bodies::default();
        let (one, other) = (bodies.enter(), bodies.enter());
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
        let [first, second, third, fourth] = [(); 4].map(|()| bodies.enter());
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
    fn what_a_body_took_is_free_when_it_is_gone() {
        let bodies = Bodies::default();
        for is_finished in [true, false, true] {
            let body = bodies.enter();
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
