//! The replay memory of plain mode, where the signature does not cover the body: a signature that was seen once admits
//! no other body.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::AccountName;
use crate::wechat::Signature;

/// How many signatures are remembered per process; the oldest is forgotten first. About 15 MB when full.
const CAPACITY: usize = 100_000;

/// Remembers (account, signature) → body.
#[derive(Default)]
pub(super) struct ReplayMemory {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    bodies: HashMap<(AccountName, Signature), Body>,
    order: VecDeque<(AccountName, Signature)>,
}

/// What a signature came with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// A check of the URL: no push may use its signature.
    Check,
    /// A push; the start of its body's SHA-256.
    Push([u8; 16]),
}

impl ReplayMemory {
    /// Remembers a check of the URL. It is never refused.
    pub(super) fn note_check(&self, account: &AccountName, signature: Signature) {
        self.seen().first_body(account, signature, Body::Check);
    }

    /// Whether a push may come in: its signature is new, or came with the same body before, as WeChat's retries do.
    pub(super) fn admits(
        &self,
        account: &AccountName,
        signature: Signature,
        body_sha256: &[u8; 32],
    ) -> bool {
        let &start = body_sha256.first_chunk().expect("16 is less than 32");
        let body = Body::Push(start);
        self.seen().first_body(account, signature, body) == body
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing that holds the lock can panic half-way.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The body that the signature first came with: `body`, if it is new.
    fn first_body(&mut self, account: &AccountName, signature: Signature, body: Body) -> Body {
        let key = (account.clone(), signature);
        if let Some(first) = self.bodies.get(&key) {
            return *first;
        }
        if self.order.len() == CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.bodies.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.bodies.insert(key, body);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wechat::Token;

    fn signature(nonce: usize) -> Signature {
        let token = Token::new("AAAAA").expect("it is a token");
        token.sign(b"1", nonce.to_string().as_bytes())
    }

    #[test]
    fn a_signature_admits_the_body_that_it_first_came_with() {
        let memory = ReplayMemory::default();
        let (main, other) = ("main".parse().unwrap(), "other".parse().unwrap());
        assert!(memory.admits(&main, signature(1), &[1; 32]));
        assert!(memory.admits(&main, signature(1), &[1; 32]));
        assert!(!memory.admits(&main, signature(1), &[2; 32]));
        assert!(memory.admits(&main, signature(2), &[2; 32]));
        assert!(memory.admits(&other, signature(1), &[2; 32]));
    }

    #[test]
    fn the_signature_of_a_check_admits_no_push() {
        let memory = ReplayMemory::default();
        let main = "main".parse().unwrap();
        memory.note_check(&main, signature(1));
        memory.note_check(&main, signature(1));
        assert!(!memory.admits(&main, signature(1), &[1; 32]));
        assert!(memory.admits(&main, signature(2), &[1; 32]));
        memory.note_check(&main, signature(2));
        assert!(memory.admits(&main, signature(2), &[1; 32]));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let memory = ReplayMemory::default();
        let main = "main".parse().unwrap();
        for nonce in 0..=CAPACITY {
            assert!(memory.admits(&main, signature(nonce), &[1; 32]));
        }
        assert_eq!(memory.seen().bodies.len(), CAPACITY);
        assert!(!memory.admits(&main, signature(1), &[2; 32]));
        assert!(memory.admits(&main, signature(0), &[2; 32]));
    }
}
