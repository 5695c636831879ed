//! Totals over sets of jobs.

use std::ops::AddAssign;

use super::{AccountName, Outcome, Time};

/// Totals over a set of jobs. A count that a job does not have adds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub jobs: i64,
    pub by_outcome: ByOutcome,
    /// Wide, because each count may be any i64.
    pub total_count: i128,
    pub filter_count: i128,
    pub sent_count: i128,
    pub error_count: i128,
}

/// How many jobs have each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByOutcome {
    pub sent: i64,
    pub failed: i64,
    pub rejected: i64,
    pub unknown: i64,
}

impl ByOutcome {
    pub const fn of(self, outcome: Outcome) -> i64 {
        match outcome {
            Outcome::Sent => self.sent,
            Outcome::Failed => self.failed,
            Outcome::Rejected => self.rejected,
            Outcome::Unknown => self.unknown,
        }
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.by_outcome.sent += other.by_outcome.sent;
        self.by_outcome.failed += other.by_outcome.failed;
        self.by_outcome.rejected += other.by_outcome.rejected;
        self.by_outcome.unknown += other.by_outcome.unknown;
        self.total_count += other.total_count;
        self.filter_count += other.filter_count;
        self.sent_count += other.sent_count;
        self.error_count += other.error_count;
    }
}

/// Totals over the jobs that were rejected with a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonStats {
    /// The number of `err(num)`.
    pub code: i32,
    pub jobs: i64,
    /// When the last of them finished.
    pub last_finished_at: Time,
}

/// Totals over the jobs of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStats {
    pub account: AccountName,
    /// Over at least one job.
    pub stats: Stats,
    /// When the last of them finished.
    pub last_finished_at: Time,
    /// When the latest delivery of the job that finished last was received.
    pub last_received_at: Time,
}

/// The job of an account that finished last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastJob {
    pub account: AccountName,
    pub finished_at: Time,
    /// When its latest delivery was received.
    pub received_at: Time,
    /// When the first copy of the content that it shows was received.
    pub shown_received_at: Time,
}
