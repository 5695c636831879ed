//! What jobs add up to: in all, over time, by reason and by account.

use axum::Json;
use axum::extract::State as FromState;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::document::asked::{InRange, TimelineRange};
use super::document::examples;
use super::out::{ReasonOut, TimeOut};
use super::{ACCOUNT, Answer, ListOut, State, TIME, Tagged, bound, in_time};
use crate::domain::{
    AccountStats, Bucket, InvalidTimeline, Outcome, ReasonStats, Stats, Time, Timeline, reason,
};
use crate::store::JobFilter;
use crate::web::access::Access;
use crate::web::parameters::Parameters;
use crate::web::problem::Problem;

const BUCKET: &str = "one of hour, day, week, month";
const TZ: &str = "the IANA name of a time zone, such as Asia/Shanghai";

/// Totals
///
/// Over jobs that finished in the range; without `from` or `to`, it has no bound there.
#[utoipa::path(
    get,
    path = "/api/v1/stats",
    tag = "Stats",
    params(InRange),
    responses((status = 200, description = "The totals.", body = StatsOut, example = examples::totals), Tagged),
)]
pub(in crate::web) async fn totals(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Answer<StatsOut> {
    let parameters = Parameters::read(&uri, &[&["account", "from", "to"]])?;
    let totals = in_time(state.0.store.stats(&filter(&parameters, &access)?)).await?;
    Ok(Json(StatsOut::from(&totals)))
}

/// Totals over time
///
/// One item for each hour, day, week or month that the range touches, ascending, with zeros where there was nothing; none
/// when `from` is not before `to`. The first and the last bucket are cut to the range. Where clocks are set, a day has 23 or
/// 25 hours, an hour that is repeated is two, and what clocks skip has no bucket. More than 2000 buckets, or a range outside
/// of the years 1 to 9998, are answered 400.
#[utoipa::path(
    get,
    path = "/api/v1/stats/timeline",
    tag = "Stats",
    params(TimelineRange),
    responses((status = 200, description = "The buckets.", body = ListOut<BucketOut>, example = examples::timeline), Tagged),
)]
pub(in crate::web) async fn timeline(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Answer<ListOut<BucketOut>> {
    let parameters = Parameters::read(&uri, &[&["account", "from", "to", "bucket", "tz"]])?;
    let filter = filter(&parameters, &access)?;
    let bucket = parameters.get("bucket", BUCKET)?.unwrap_or(Bucket::Day);
    let zone = parameters.get("tz", TZ)?;
    let zone = zone.unwrap_or_else(|| state.0.timezone.clone());
    let timeline = Timeline::new(bucket, &zone, filter.from, filter.to, Time::now())?;
    if timeline.starts.is_empty() {
        return Ok(Json(ListOut { items: Vec::new() }));
    }
    let totals = in_time(state.0.store.timeline(&filter, &timeline.edges())).await?;
    let items = timeline.starts.iter().zip(&totals);
    let items = items.map(|(start, stats)| BucketOut::new(zone.rfc3339(*start).to_string(), stats));
    Ok(Json(ListOut {
        items: items.collect(),
    }))
}

/// Why jobs were rejected
///
/// The most frequent code first, then ascending by `code`.
#[utoipa::path(
    get,
    path = "/api/v1/stats/reasons",
    tag = "Stats",
    operation_id = "reasons_given",
    params(InRange),
    responses(
        (status = 200, description = "The codes.", body = ListOut<ReasonStatsOut>, example = examples::reasons_given),
        Tagged,
    ),
)]
pub(in crate::web) async fn reasons(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Answer<ListOut<ReasonStatsOut>> {
    let parameters = Parameters::read(&uri, &[&["account", "from", "to"]])?;
    let reasons = in_time(state.0.store.reasons(&filter(&parameters, &access)?)).await?;
    let items = reasons.iter().map(ReasonStatsOut::from).collect();
    Ok(Json(ListOut { items }))
}

/// Totals of each account
///
/// Of those that have jobs in the range, and of these jobs alone; descending by `last_finished_at`, then ascending by
/// `account`.
#[utoipa::path(
    get,
    path = "/api/v1/stats/accounts",
    tag = "Stats",
    params(InRange),
    responses(
        (status = 200, description = "The accounts.", body = ListOut<AccountStatsOut>, example = examples::accounts),
        Tagged,
    ),
)]
pub(in crate::web) async fn accounts(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Answer<ListOut<AccountStatsOut>> {
    let parameters = Parameters::read(&uri, &[&["account", "from", "to"]])?;
    let accounts = in_time(state.0.store.accounts(&filter(&parameters, &access)?)).await?;
    let items = accounts.iter().map(AccountStatsOut::from).collect();
    Ok(Json(ListOut { items }))
}

fn filter(parameters: &Parameters, access: &Access) -> Result<JobFilter, Problem> {
    Ok(JobFilter {
        account: parameters.get("account", ACCOUNT)?,
        accounts: access.accounts(),
        from: parameters.get_with("from", TIME, bound)?,
        to: parameters.get_with("to", TIME, bound)?,
        ..JobFilter::default()
    })
}

impl From<InvalidTimeline> for Problem {
    fn from(invalid: InvalidTimeline) -> Self {
        Self::InvalidParameter(format!("`from` and `to`: {invalid}"))
    }
}

/// Totals over jobs. A count that a job did not carry adds nothing; a sum can pass 2^63.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
pub(in crate::web) struct StatsOut {
    /// How many jobs.
    #[schema(minimum = 0)]
    jobs: i64,
    /// How many with each outcome.
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

/// How many jobs have each outcome.
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

impl From<&[i64; 4]> for ByOutcomeOut {
    fn from(&[sent, failed, rejected, unknown]: &[i64; 4]) -> Self {
        const {
            assert!(
                matches!(
                    Outcome::ALL,
                    [
                        Outcome::Sent,
                        Outcome::Failed,
                        Outcome::Rejected,
                        Outcome::Unknown
                    ]
                ),
                "the order above is this one"
            );
        }
        Self {
            sent,
            failed,
            rejected,
            unknown,
        }
    }
}

impl From<&Stats> for StatsOut {
    fn from(stats: &Stats) -> Self {
        Self {
            jobs: stats.jobs,
            by_outcome: ByOutcomeOut::from(&stats.by_outcome),
            total_count: stats.total_count,
            filter_count: stats.filter_count,
            sent_count: stats.sent_count,
            error_count: stats.error_count,
        }
    }
}

/// Totals over jobs, as a part of a row.
#[derive(Serialize, ToSchema)]
#[schema(as = Sums)]
struct SumsOut {
    /// How many jobs.
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
    /// `sent_count` / `filter_count`; null when nothing was to be sent.
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
            by_outcome: ByOutcomeOut::from(&stats.by_outcome),
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
pub(in crate::web) struct BucketOut {
    /// When the bucket starts, as RFC 3339 with the zone's offset; also where `from` is later.
    #[schema(format = DateTime)]
    start: String,
    #[serde(flatten)]
    sums: SumsOut,
}

impl BucketOut {
    pub(super) fn new(start: String, stats: &Stats) -> Self {
        let sums = SumsOut::from(stats);
        Self { start, sums }
    }
}

/// How often jobs were rejected with a code.
#[derive(Serialize, ToSchema)]
#[schema(as = ReasonStats)]
pub(in crate::web) struct ReasonStatsOut {
    #[serde(flatten)]
    reason: ReasonOut,
    /// How many jobs.
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
pub(in crate::web) struct AccountStatsOut {
    /// The account; it has at least one job in the range.
    account: String,
    #[serde(flatten)]
    sums: SumsOut,
    /// When the last of its jobs finished.
    last_finished_at: TimeOut,
    /// When the latest delivery of that job came.
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
