//! Replay protection for plain mode, where the signature does not cover the body: a signature that
//! was accepted with one body is refused with any other.
//!
//! Timestamp and nonce are sorted before they are signed, so that swapping them, or moving digits
//! from one to the other, does not change the signature. The memory is keyed by the signature and
//! recognises such a query.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::AccountName;
use crate::web::bounded_map::BoundedMap;
use crate::wechat::Signature;

/// Signatures that are remembered, about 15 MB.
const CAPACITY: usize = 100_000;

/// Remembers (account, signature) → body.
pub(in crate::web) struct ReplayMemory {
    seen: Mutex<Seen>,
}

type Seen = BoundedMap<(AccountName, Signature), Use>;

impl Default for ReplayMemory {
    fn default() -> Self {
        Self {
            seen: Mutex::new(BoundedMap::new(CAPACITY)),
        }
    }
}

/// What a signature was used with.
#[derive(Default)]
struct Use {
    /// `None` once every push with it has failed: any body may then be used with it.
    body: Option<Body>,
    is_accepted: bool,
    /// Pushes that were admitted and not yet settled.
    pending: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// A URL check: no push may use its signature.
    Check,
    /// A push, with the start of the SHA-256 of its body.
    Push([u8; 16]),
}

impl ReplayMemory {
    /// Remembers a URL check, which is never refused.
    pub(in crate::web) fn note_check(&self, account: &AccountName, signature: Signature) {
        let mut seen = self.seen();
        let used = seen.get_or_insert((account.clone(), signature), Use::default());
        used.body.get_or_insert(Body::Check);
        used.is_accepted = true;
    }

    /// True if a push is accepted: its signature is new, or was used with the same body before, as
    /// in WeChat's retries. Other bodies are refused at least until [`ReplayMemory::settle`].
    pub(in crate::web) fn admits(
        &self,
        account: &AccountName,
        signature: Signature,
        body_sha256: &[u8; 32],
    ) -> bool {
        let &start = body_sha256.first_chunk().expect("16 is less than 32");
        let body = Body::Push(start);
        let mut seen = self.seen();
        let used = seen.get_or_insert((account.clone(), signature), Use::default());
        let admits = *used.body.get_or_insert(body) == body;
        used.pending += u32::from(admits);
        admits
    }

    /// Ends a push that was admitted. The body of one that was not accepted is forgotten: WeChat
    /// may push another one with the same query.
    pub(in crate::web) fn settle(
        &self,
        account: &AccountName,
        signature: Signature,
        is_accepted: bool,
    ) {
        let mut seen = self.seen();
        let Some(used) = seen.get_mut(&(account.clone(), signature)) else {
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
    fn a_push_with_the_signature_of_a_url_check_is_refused() {
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
        assert!(
            memory.seen().get(&(main, signature(9))).is_none(),
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
        assert!(!memory.admits(&main, signature(1), &[2; 32]));
        assert!(memory.admits(&main, signature(0), &[2; 32]));
    }
}
