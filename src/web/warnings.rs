//! What outsiders can cause is told at most once a minute, so that they cannot flood the log: warnings by subject and
//! account, and what is told of a client of the API.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::AccountName;

const PAUSE: Duration = Duration::from_mins(1);

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A request was refused.
    Refused,
    /// A push does not open with our configuration.
    Sealed,
    /// An address is over the limit of refusals.
    Flood,
    /// A body could not be taken in.
    Body,
    /// The queue is full.
    Full,
    /// WeChat's clock and ours differ.
    Skew,
    /// A path near the callback's that is none.
    Path,
    /// The database cannot keep an event; anyone may ask.
    Ready,
}

/// When each was last warned of; `None` stands for all unknown accounts together.
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
    /// Whether a warning is due; if so, the next is due in a minute.
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
    /// Whether it is due; if so, the next is due in a minute.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_due(Instant::now())
    }
}

impl Last {
    fn is_due(&mut self, now: Instant) -> bool {
        let pause = |last| now.saturating_duration_since(last);
        let is_due = self.0.is_none_or(|last| pause(last) >= PAUSE);
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
        assert!(is_due(Some(&main), start + PAUSE));
    }
}
