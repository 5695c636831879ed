//! What jobs add up to: in all, over time, by reason and by account.

use axum::Json;
use axum::extract::State as FromState;
use axum::http::Uri;

use super::auth::Access;
use super::openapi::parameters::{InRange, TimelineRange};
use super::openapi::{Tagged, examples};
use super::paging::ListOut;
use super::parameters::{ACCOUNT, Parameters, TIME, bound};
use super::problem::Problem;
use super::{Answer, State, in_time};
use crate::domain::{Bucket, InvalidTimeline, Time, Timeline};
use crate::output::{AccountStatsOut, BucketOut, ReasonStatsOut, StatsOut};
use crate::store::JobFilter;

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
