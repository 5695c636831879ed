//! Warnings that outsiders can cause: at most one a minute per account, so that they cannot flood the log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::AccountName;

const PAUSE: Duration = Duration::from_mins(1);

/// When each account was last warned of; `None` stands for all unknown accounts together.
#[derive(Default)]
pub(super) struct Warnings {
    last: Mutex<HashMap<Option<AccountName>, Instant>>,
}

impl Warnings {
    /// Whether a warning about the account is due; if so, the next is due in a minute.
    pub(super) fn is_due(&self, account: Option<&AccountName>) -> bool {
        self.is_due_at(account, Instant::now())
    }

    fn is_due_at(&self, account: Option<&AccountName>, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last
            .get(&account.cloned())
            .is_none_or(|last| now.duration_since(*last) >= PAUSE);
        if due {
            last.insert(account.cloned(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_minute_per_account() {
        let warnings = Warnings::default();
        let main: AccountName = "main".parse().unwrap();
        let start = Instant::now();
        assert!(warnings.is_due_at(Some(&main), start));
        assert!(!warnings.is_due_at(Some(&main), start + Duration::from_secs(59)));
        assert!(warnings.is_due_at(None, start));
        assert!(warnings.is_due_at(Some(&main), start + PAUSE));
    }
}
