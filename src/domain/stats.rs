//! What a set of jobs adds up to.

use std::ops::AddAssign;

use super::{AccountName, Time};

/// Totals over a set of jobs. A count that a job did not carry adds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many jobs.
    pub jobs: i64,
    /// How many with each outcome, in the order of [`Outcome::ALL`](super::Outcome::ALL).
    pub by_outcome: [i64; 4],
    /// Sum of `TotalCount`; wide, because each part may be any i64.
    pub total_count: i128,
    /// Sum of `FilterCount`.
    pub filter_count: i128,
    /// Sum of `SentCount`.
    pub sent_count: i128,
    /// Sum of `ErrorCount`.
    pub error_count: i128,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.jobs += other.jobs;
        for (sum, count) in self.by_outcome.iter_mut().zip(other.by_outcome) {
            *sum += count;
        }
        self.total_count += other.total_count;
        self.filter_count += other.filter_count;
        self.sent_count += other.sent_count;
        self.error_count += other.error_count;
    }
}

/// How often jobs were rejected with a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonStats {
    /// The number of `err(num)`.
    pub code: i32,
    /// How many jobs.
    pub jobs: i64,
    /// When the last of them finished.
    pub last_finished_at: Time,
}

/// What the jobs of an account add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStats {
    /// The account.
    pub account: AccountName,
    /// Their totals; there is at least one job.
    pub stats: Stats,
    /// When the last of them finished.
    pub last_finished_at: Time,
    /// When the latest delivery of that last one came.
    pub last_received_at: Time,
}

/// The job of an account that finished last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastJob {
    /// The account.
    pub account: AccountName,
    /// When it finished.
    pub finished_at: Time,
    /// When the latest delivery of it came.
    pub received_at: Time,
    /// When the content that it shows came first.
    pub shown_received_at: Time,
}
