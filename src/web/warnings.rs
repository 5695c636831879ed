//! Limits log messages that outsiders can cause to one a minute: warnings by subject and account,
//! and messages about a client of the API.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::AccountName;

const INTERVAL: Duration = Duration::from_mins(1);

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A request was refused.
    Refused,
    /// A push does not open with the configuration of its account.
    Sealed,
    /// An address has exceeded the limit of refused requests.
    Flood,
    /// A body could not be read.
    Body,
    /// The queue is full.
    Full,
    /// WeChat's clock and this one differ.
    Skew,
    /// A path looks like a callback URL, but is not one.
    Path,
    /// The database is not ready; anyone can request `/readyz`.
    Ready,
}

/// When each was last logged. `None` stands for all unknown accounts together.
#[derive(Default)]
pub(super) struct Warnings {
    last: Mutex<HashMap<(Subject, Option<AccountName>), Last>>,
}

/// Something that is due at most once a minute.
#[derive(Default)]
pub(super) struct OncePerMinute {
    last: Mutex<Last>,
}

/// When it was last due.
#[derive(Default)]
struct Last(Option<Instant>);

impl Warnings {
    /// True if a warning is due; the next one is then due in a minute.
    pub(super) fn is_due(&self, subject: Subject, account: Option<&AccountName>) -> bool {
        self.is_due_at(subject, account, Instant::now())
    }

    fn is_due_at(&self, subject: Subject, account: Option<&AccountName>, now: Instant) -> bool {
        let key = (subject, account.cloned());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.entry(key).or_default().is_due(now)
    }
}

impl OncePerMinute {
    /// True if it is due; it is then due again in a minute.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_due(Instant::now())
    }
}

impl Last {
    fn is_due(&mut self, now: Instant) -> bool {
        let age = |last| now.saturating_duration_since(last);
        let is_due = self.0.is_none_or(|last| age(last) >= INTERVAL);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_minute_per_subject_and_account() {
        let warnings = Warnings::default();
        let main: AccountName = "main".parse().unwrap();
        let start = Instant::now();
        let is_due = |account, time| warnings.is_due_at(Subject::Refused, account, time);
        assert!(is_due(Some(&main), start));
        assert!(!is_due(Some(&main), start + Duration::from_secs(59)));
        assert!(is_due(None, start));
        assert!(warnings.is_due_at(Subject::Skew, Some(&main), start));
        assert!(is_due(Some(&main), start + INTERVAL));
    }
}
