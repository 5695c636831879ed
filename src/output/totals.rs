//! The shapes of totals.

use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::{ReasonOut, TimeOut};
use crate::domain::{AccountStats, ByOutcome, ReasonStats, Stats, reason};

/// Totals of jobs. A count that a job does not have adds nothing; a sum can exceed 2^63.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
pub struct StatsOut {
    /// The number of jobs.
    #[schema(minimum = 0)]
    jobs: i64,
    /// The number of jobs with each outcome.
    by_outcome: ByOutcomeOut,
    /// Sum of `total_count`.
    #[schema(minimum = 0)]
    total_count: i128,
    /// Sum of `filter_count`.
    #[schema(minimum = 0)]
    filter_count: i128,
    /// Sum of `sent_count`.
    #[schema(minimum = 0)]
    sent_count: i128,
    /// Sum of `error_count`.
    #[schema(minimum = 0)]
    error_count: i128,
}

/// The number of jobs with each outcome.
#[derive(Serialize, ToSchema)]
#[schema(as = ByOutcome)]
struct ByOutcomeOut {
    #[schema(minimum = 0)]
    sent: i64,
    #[schema(minimum = 0)]
    failed: i64,
    #[schema(minimum = 0)]
    rejected: i64,
    #[schema(minimum = 0)]
    unknown: i64,
}

impl From<ByOutcome> for ByOutcomeOut {
    fn from(jobs: ByOutcome) -> Self {
        Self {
            sent: jobs.sent,
            failed: jobs.failed,
            rejected: jobs.rejected,
            unknown: jobs.unknown,
        }
    }
}

impl From<&Stats> for StatsOut {
    fn from(stats: &Stats) -> Self {
        Self {
            jobs: stats.jobs,
            by_outcome: ByOutcomeOut::from(stats.by_outcome),
            total_count: stats.total_count,
            filter_count: stats.filter_count,
            sent_count: stats.sent_count,
            error_count: stats.error_count,
        }
    }
}

/// Totals of jobs, as part of an item.
#[derive(Serialize, ToSchema)]
#[schema(as = Sums)]
struct SumsOut {
    /// The number of jobs.
    #[schema(minimum = 0)]
    jobs: i64,
    #[serde(flatten)]
    by_outcome: ByOutcomeOut,
    /// Sum of `total_count`.
    #[schema(minimum = 0)]
    total_count: i128,
    /// Sum of `filter_count`.
    #[schema(minimum = 0)]
    filter_count: i128,
    /// Sum of `sent_count`.
    #[schema(minimum = 0)]
    sent_count: i128,
    /// Sum of `error_count`.
    #[schema(minimum = 0)]
    error_count: i128,
    /// `sent_count` / `filter_count`; null if `filter_count` is 0.
    #[schema(minimum = 0)]
    delivery_rate: Option<f64>,
}

impl From<&Stats> for SumsOut {
    fn from(stats: &Stats) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate needs no more digits than a float has"
        )]
        let rate = || stats.sent_count as f64 / stats.filter_count as f64;
        Self {
            jobs: stats.jobs,
            by_outcome: ByOutcomeOut::from(stats.by_outcome),
            total_count: stats.total_count,
            filter_count: stats.filter_count,
            sent_count: stats.sent_count,
            error_count: stats.error_count,
            delivery_rate: (stats.filter_count != 0).then(rate),
        }
    }
}

/// Totals of one hour, day, week or month.
#[derive(Serialize, ToSchema)]
#[schema(as = Bucket)]
pub struct BucketOut {
    /// When the bucket starts, in RFC 3339 with the offset of the time zone, even if `from` is
    /// later.
    #[schema(format = DateTime)]
    start: String,
    #[serde(flatten)]
    sums: SumsOut,
}

impl BucketOut {
    pub fn new(start: String, stats: &Stats) -> Self {
        let sums = SumsOut::from(stats);
        Self { start, sums }
    }
}

/// The jobs that were rejected with a code.
#[derive(Serialize, ToSchema)]
#[schema(as = ReasonStats)]
pub struct ReasonStatsOut {
    #[serde(flatten)]
    reason: ReasonOut,
    /// The number of jobs.
    #[schema(minimum = 1)]
    jobs: i64,
    /// When the last of them finished.
    last_finished_at: TimeOut,
}

impl From<&ReasonStats> for ReasonStatsOut {
    fn from(stats: &ReasonStats) -> Self {
        Self {
            reason: ReasonOut::from(reason(stats.code)),
            jobs: stats.jobs,
            last_finished_at: TimeOut(stats.last_finished_at),
        }
    }
}

/// Totals of an account.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountStats)]
pub struct AccountStatsOut {
    /// The account; it has at least one job in the range.
    account: String,
    #[serde(flatten)]
    sums: SumsOut,
    /// When the last of its jobs finished.
    last_finished_at: TimeOut,
    /// When the latest delivery of that job was received.
    last_received_at: TimeOut,
}

impl From<&AccountStats> for AccountStatsOut {
    fn from(account: &AccountStats) -> Self {
        Self {
            account: account.account.to_string(),
            sums: SumsOut::from(&account.stats),
            last_finished_at: TimeOut(account.last_finished_at),
            last_received_at: TimeOut(account.last_received_at),
        }
    }
}
