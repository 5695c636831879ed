//! What jobs add up to: in all, over time, by reason and by account.

use axum::Json;
use axum::extract::State as FromState;
use axum::http::Uri;
use serde::Serialize;

use super::out::{ReasonOut, TimeOut};
use super::{ACCOUNT, Answer, ListOut, State, TIME, bound, in_time};
use crate::domain::{
    AccountStats, Bucket, InvalidTimeline, Outcome, ReasonStats, Stats, Time, Timeline, reason,
};
use crate::store::JobFilter;
use crate::web::access::Access;
use crate::web::parameters::Parameters;
use crate::web::problem::Problem;

const BUCKET: &str = "one of hour, day, week, month";
const TZ: &str = "the IANA name of a time zone, such as Asia/Shanghai";

/// `GET /api/v1/stats`.
pub(in crate::web) async fn totals(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Answer<StatsOut> {
    let parameters = Parameters::read(&uri, &[&["account", "from", "to"]])?;
    let totals = in_time(state.0.store.stats(&filter(&parameters, &access)?)).await?;
    Ok(Json(StatsOut::from(&totals)))
}

/// `GET /api/v1/stats/timeline`.
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
    let items = items.map(|(start, stats)| BucketOut {
        start: zone.rfc3339(*start).to_string(),
        sums: SumsOut::from(stats),
    });
    Ok(Json(ListOut {
        items: items.collect(),
    }))
}

/// `GET /api/v1/stats/reasons`.
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

/// `GET /api/v1/stats/accounts`.
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

/// Totals.
#[derive(Serialize)]
pub(in crate::web) struct StatsOut {
    jobs: i64,
    by_outcome: ByOutcomeOut,
    total_count: i128,
    filter_count: i128,
    sent_count: i128,
    error_count: i128,
}

/// Jobs with each outcome.
#[derive(Serialize)]
struct ByOutcomeOut {
    sent: i64,
    failed: i64,
    rejected: i64,
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

/// Totals as a part of a flat row.
#[derive(Serialize)]
struct SumsOut {
    jobs: i64,
    #[serde(flatten)]
    by_outcome: ByOutcomeOut,
    total_count: i128,
    filter_count: i128,
    sent_count: i128,
    error_count: i128,
    /// Null when nothing was to be sent.
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
#[derive(Serialize)]
pub(in crate::web) struct BucketOut {
    start: String,
    #[serde(flatten)]
    sums: SumsOut,
}

/// How often jobs were rejected with a code.
#[derive(Serialize)]
pub(in crate::web) struct ReasonStatsOut {
    #[serde(flatten)]
    reason: ReasonOut,
    jobs: i64,
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
#[derive(Serialize)]
pub(in crate::web) struct AccountStatsOut {
    account: String,
    #[serde(flatten)]
    sums: SumsOut,
    last_finished_at: TimeOut,
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
