//! The replay memory of plain mode, where the signature does not cover the body: a signature that was accepted with one body
//! admits no other.
//!
//! Timestamp and nonce are sorted before they are signed, so that swapping them, or moving digits from one to the other,
//! leaves the signature as it is. The memory goes by the signature and knows such a query again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::AccountName;
use crate::wechat::Signature;

/// How many signatures are remembered per process; the oldest is forgotten first. About 15 MB when full.
const CAPACITY: usize = 100_000;

/// Remembers (account, signature) → body.
#[derive(Default)]
pub(in crate::web) struct ReplayMemory {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    uses: HashMap<(AccountName, Signature), Use>,
    order: VecDeque<(AccountName, Signature)>,
}

/// What a signature came with.
#[derive(Default)]
struct Use {
    /// None once every push with it has failed: then any body may come with it.
    body: Option<Body>,
    is_accepted: bool,
    /// Pushes that were admitted and whose answer is not known yet.
    pending: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// A check of the URL: no push may use its signature.
    Check,
    /// A push; the start of its body's SHA-256.
    Push([u8; 16]),
}

impl ReplayMemory {
    /// Remembers a check of the URL. It is never refused.
    pub(in crate::web) fn note_check(&self, account: &AccountName, signature: Signature) {
        let mut seen = self.seen();
        let used = seen.of(account, signature);
        used.body.get_or_insert(Body::Check);
        used.is_accepted = true;
    }

    /// Whether a push may come in: its signature is new, or came with the same body before, as WeChat's retries do. Until
    /// [`ReplayMemory::settle`], no other body comes in beside it.
    pub(in crate::web) fn admits(
        &self,
        account: &AccountName,
        signature: Signature,
        body_sha256: &[u8; 32],
    ) -> bool {
        let &start = body_sha256.first_chunk().expect("16 is less than 32");
        let body = Body::Push(start);
        let mut seen = self.seen();
        let used = seen.of(account, signature);
        let admits = *used.body.get_or_insert(body) == body;
        used.pending += u32::from(admits);
        admits
    }

    /// Notes the answer to a push that was admitted. The body of one that was not accepted is forgotten: WeChat may push
    /// another with the same query.
    pub(in crate::web) fn settle(
        &self,
        account: &AccountName,
        signature: Signature,
        is_accepted: bool,
    ) {
        let mut seen = self.seen();
        let Some(used) = seen.uses.get_mut(&(account.clone(), signature)) else {
            return;
        };
        used.pending = used.pending.saturating_sub(1);
        used.is_accepted |= is_accepted;
        if !used.is_accepted && used.pending == 0 {
            used.body = None;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing that holds the lock can panic half-way.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// How the signature has been used; not yet, if it is new.
    fn of(&mut self, account: &AccountName, signature: Signature) -> &mut Use {
        let key = (account.clone(), signature);
        if !self.uses.contains_key(&key) {
            if self.order.len() == CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.uses.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.uses.entry(key).or_default()
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
    fn only_a_body_that_was_accepted_is_held_against_another() {
        let memory = ReplayMemory::default();
        let main = "main".parse().unwrap();
        assert!(memory.admits(&main, signature(1), &[1; 32]));
        assert!(
            !memory.admits(&main, signature(1), &[2; 32]),
            "while the first is under way"
        );
        memory.settle(&main, signature(1), false);
        assert!(memory.admits(&main, signature(1), &[2; 32]));
        memory.settle(&main, signature(1), true);
        assert!(!memory.admits(&main, signature(1), &[1; 32]));

        // A retry that fails takes nothing back.
        assert!(memory.admits(&main, signature(1), &[2; 32]));
        memory.settle(&main, signature(1), false);
        assert!(!memory.admits(&main, signature(1), &[1; 32]));

        // Of two at once, one fails.
        for is_accepted in [[true, false], [false, true]] {
            let memory = ReplayMemory::default();
            for _ in 0..2 {
                assert!(memory.admits(&main, signature(1), &[1; 32]));
            }
            for is_accepted in is_accepted {
                memory.settle(&main, signature(1), is_accepted);
            }
            assert!(!memory.admits(&main, signature(1), &[2; 32]));
        }
        memory.settle(&main, signature(9), true);
        assert_eq!(
            memory.seen().uses.len(),
            1,
            "a forgotten one is not remembered again"
        );
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let memory = ReplayMemory::default();
        let main = "main".parse().unwrap();
        for nonce in 0..=CAPACITY {
            assert!(memory.admits(&main, signature(nonce), &[1; 32]));
        }
        assert_eq!(memory.seen().uses.len(), CAPACITY);
        assert!(!memory.admits(&main, signature(1), &[2; 32]));
        assert!(memory.admits(&main, signature(0), &[2; 32]));
    }
}
