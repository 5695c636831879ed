//! Totals of jobs: overall, over time, by reason and by account.

use axum::Json;
use axum::extract::State as FromState;

use super::auth::Access;
use super::openapi::{Tagged, examples};
use super::paging::ListOut;
use super::parameters::{Query, Range, TimelineOptions};
use super::problem::Problem;
use super::{Answer, State, in_time};
use crate::domain::{Bucket, InvalidTimeline, Time, Timeline};
use crate::output::{AccountStatsOut, BucketOut, ReasonStatsOut, StatsOut};
use crate::store::JobFilter;

/// Totals
///
/// Of the jobs that finished in the range; without `from` or `to`, the range is open at that end.
#[utoipa::path(
    get,
    path = "/api/v1/stats",
    tag = "Stats",
    params(Range),
    responses((status = 200, description = "The totals.", body = StatsOut, example = examples::totals), Tagged),
)]
pub(in crate::web) async fn totals(
    FromState(state): FromState<State>,
    access: Access,
    Query(range): Query<Range>,
) -> Answer<StatsOut> {
    let filter = range.visible(&access);
    let totals = in_time(state.0.store.stats(&filter)).await?;
    Ok(Json(StatsOut::from(&totals)))
}

/// Totals over time
///
/// One item for each hour, day, week or month that the range touches, in ascending order, with
/// zeros where no job finished; no items if `from` is not before `to`. The first and the last
/// bucket are cut to the range. Where clocks change, a day has 23 or 25 hours, an hour that is
/// repeated gives two buckets, and a skipped hour gives none. More than 2000 buckets, or a range
/// outside of the years 1 to 9998, are answered 400.
#[utoipa::path(
    get,
    path = "/api/v1/stats/timeline",
    tag = "Stats",
    params(TimelineOptions),
    responses((status = 200, description = "The buckets.", body = ListOut<BucketOut>, example = examples::timeline), Tagged),
)]
pub(in crate::web) async fn timeline(
    FromState(state): FromState<State>,
    access: Access,
    Query(options): Query<TimelineOptions>,
) -> Answer<ListOut<BucketOut>> {
    let TimelineOptions {
        account,
        from,
        to,
        bucket,
        tz,
    } = options;
    let filter = Range { account, from, to }.visible(&access);
    let bucket = bucket.unwrap_or(Bucket::Day);
    let zone = tz.unwrap_or_else(|| state.0.timezone.clone());
    let timeline = Timeline::new(bucket, &zone, from, to, Time::now())?;
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
/// The most frequent code first, equally frequent codes in ascending order.
#[utoipa::path(
    get,
    path = "/api/v1/stats/reasons",
    tag = "Stats",
    operation_id = "reasons_given",
    params(Range),
    responses(
        (status = 200, description = "The codes.", body = ListOut<ReasonStatsOut>, example = examples::reasons_given),
        Tagged,
    ),
)]
pub(in crate::web) async fn reasons(
    FromState(state): FromState<State>,
    access: Access,
    Query(range): Query<Range>,
) -> Answer<ListOut<ReasonStatsOut>> {
    let filter = range.visible(&access);
    let reasons = in_time(state.0.store.reasons(&filter)).await?;
    let items = reasons.iter().map(ReasonStatsOut::from).collect();
    Ok(Json(ListOut { items }))
}

/// Totals of each account
///
/// Of the accounts that have jobs in the range, over these jobs only; in descending order of
/// `last_finished_at`, then in ascending order of `account`.
#[utoipa::path(
    get,
    path = "/api/v1/stats/accounts",
    tag = "Stats",
    params(Range),
    responses(
        (status = 200, description = "The accounts.", body = ListOut<AccountStatsOut>, example = examples::accounts),
        Tagged,
    ),
)]
pub(in crate::web) async fn accounts(
    FromState(state): FromState<State>,
    access: Access,
    Query(range): Query<Range>,
) -> Answer<ListOut<AccountStatsOut>> {
    let filter = range.visible(&access);
    let accounts = in_time(state.0.store.accounts(&filter)).await?;
    let items = accounts.iter().map(AccountStatsOut::from).collect();
    Ok(Json(ListOut { items }))
}

impl Range {
    /// The jobs in the range, as far as the key may see them.
    fn visible(self, access: &Access) -> JobFilter {
        JobFilter {
            account: self.account,
            accounts: access.accounts(),
            from: self.from,
            to: self.to,
            ..JobFilter::default()
        }
    }
}

impl From<InvalidTimeline> for Problem {
    fn from(invalid: InvalidTimeline) -> Self {
        Self::InvalidParameter(format!("`from` and `to`: {invalid}"))
    }
}
