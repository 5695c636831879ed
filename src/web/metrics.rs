//! What Prometheus is told of: requests as they are answered, and how things stand at the moment when it asks.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::State as FromState;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TEXT_FORMAT,
    TextEncoder, register_histogram_vec_with_registry, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};
use tracing::error;

use super::State;
use super::health::{self, STATUSES, UNAVAILABLE};
use crate::domain::AccountName;

/// The longest times of the buckets, in seconds. WeChat waits for 5 s.
const ACKNOWLEDGEMENT: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
const REQUEST: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// How long the database may take to tell of earlier results.
const PATIENCE: Duration = Duration::from_secs(2);

/// The metrics of one server.
pub(super) struct Metrics {
    registry: Registry,
    refused: IntCounterVec,
    skews: IntGaugeVec,
    /// Those of the accounts that have had a push.
    skew: HashMap<AccountName, OnceLock<IntGauge>>,
    acknowledgement: Histogram,
    requests: HistogramVec,
    queue_deliveries: IntGauge,
    queue_bytes: IntGauge,
    spool_deliveries: IntGauge,
    spool_refused: IntGauge,
    spool_age: IntGauge,
    database_up: IntGauge,
    status: IntGaugeVec,
    sealed: IntGaugeVec,
    sealed_dropped: IntGaugeVec,
    connections: IntGaugeVec,
    knows_earlier_results: AtomicBool,
}

impl Metrics {
    /// Those of a server of these accounts.
    pub(super) fn new<'a>(
        accounts: impl Iterator<Item = &'a AccountName>,
        registry: &Registry,
    ) -> Self {
        const NEW: &str = "the name is valid, and registered once";
        let gauge = |name: &str, help: &str| {
            register_int_gauge_with_registry!(name, help, registry).expect(NEW)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            register_int_gauge_vec_with_registry!(name, help, &[label], registry).expect(NEW)
        };
        let refused = register_int_counter_vec_with_registry!(
            "qunfa_refused_total",
            "Requests for callback URLs that were not taken, by why.",
            &["account", "reason"],
            registry
        );
        let acknowledgement = register_histogram_with_registry!(
            "qunfa_acknowledgement_duration_seconds",
            "From the head of an authentic push to its answer.",
            ACKNOWLEDGEMENT.to_vec(),
            registry
        );
        let requests = register_histogram_vec_with_registry!(
            "qunfa_http_request_duration_seconds",
            "From the head of a request to its answer, callback URLs excepted.",
            &["route", "status"],
            REQUEST.to_vec(),
            registry
        );
        let skews = gauges(
            "qunfa_clock_skew_seconds",
            "How far the timestamp of an account's last push was from this clock.",
            "account",
        );
        Self {
            registry: registry.clone(),
            refused: refused.expect(NEW),
            skews,
            skew: accounts
                .map(|name| (name.clone(), OnceLock::new()))
                .collect(),
            acknowledgement: acknowledgement.expect(NEW),
            requests: requests.expect(NEW),
            queue_deliveries: gauge("qunfa_queue_deliveries", "Deliveries that wait to be kept."),
            queue_bytes: gauge("qunfa_queue_bytes", "Bytes of bodies that wait to be kept."),
            spool_deliveries: gauge(
                "qunfa_spool_deliveries",
                "Deliveries in the spool that wait for the database.",
            ),
            spool_refused: gauge(
                "qunfa_spool_refused_deliveries",
                "Deliveries in the spool that the database refuses for their content.",
            ),
            spool_age: gauge(
                "qunfa_spool_oldest_age_seconds",
                "How long the oldest delivery in the spool has waited for the database.",
            ),
            database_up: gauge(
                "qunfa_database_up",
                "1 while deliveries go to the database, 0 while it is away.",
            ),
            sealed: gauges(
                "qunfa_sealed_deliveries",
                "Deliveries in the database that the configuration of their account does not open.",
                "account",
            ),
            sealed_dropped: gauges(
                "qunfa_sealed_dropped_deliveries",
                "Sealed deliveries of an account that were deleted because there were too many.",
                "account",
            ),
            status: gauges("qunfa_status", "1 for what /readyz says.", "status"),
            connections: gauges(
                "qunfa_database_connections",
                "Open connections to the database that read.",
                "state",
            ),
            knows_earlier_results: AtomicBool::new(false),
        }
    }

    /// Counts a request for a callback URL that was not taken; no account: none that is configured.
    pub(super) fn refused(&self, account: Option<&AccountName>, reason: &str) {
        let account = account.map_or("", AccountName::as_str);
        self.refused.with_label_values(&[account, reason]).inc();
    }

    /// How many were not taken.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count rises by ones, and stays far below 2^53"
    )]
    pub(super) fn refused_count(&self) -> u64 {
        let families = self.refused.collect();
        let metrics = families.iter().flat_map(MetricFamily::get_metric);
        metrics
            .map(|metric| metric.get_counter().get_value() as u64)
            .sum()
    }

    /// Notes how far the timestamp of an account's push was from this clock.
    pub(super) fn skew(&self, account: &AccountName, seconds: u64) {
        if let Some(skew) = self.skew.get(account) {
            let skew = skew.get_or_init(|| self.skews.with_label_values(&[account.as_str()]));
            skew.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    /// Notes how long an authentic push took.
    pub(super) fn acknowledged(&self, took: Duration) {
        self.acknowledgement.observe(took.as_secs_f64());
    }

    /// Counts a request that was answered; its route is the template.
    pub(super) fn answered(&self, route: &str, status: StatusCode, took: Duration) {
        let class = match status.as_u16() / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let labels = [route, class];
        let times = self.requests.with_label_values(&labels);
        times.observe(took.as_secs_f64());
    }
}

/// Everything, as Prometheus reads it.
pub(super) async fn metrics(FromState(state): FromState<State>) -> Response {
    let ((_, health), ()) = tokio::join!(health::health(&state), learn_earlier_results(&state));
    let metrics = &state.0.metrics;
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);

    let (deliveries, bytes) = state.0.ingest.waiting();
    metrics.queue_deliveries.set(whole(deliveries));
    metrics.queue_bytes.set(whole(bytes));
    if let Some(spool) = &health.spool {
        metrics.spool_deliveries.set(spool.waiting);
        metrics.spool_refused.set(spool.refused);
        metrics
            .spool_age
            .set(spool.oldest_age_seconds.unwrap_or_default());
    }
    let is_up = health.status != UNAVAILABLE && !state.0.ingest.is_away();
    metrics.database_up.set(is_up.into());
    for status in STATUSES {
        let gauge = metrics.status.with_label_values(&[status]);
        gauge.set((health.status == status).into());
    }
    for account in metrics.skew.keys() {
        let total = health.sealed.iter().find(|total| total.account == *account);
        let labels = [account.as_str()];
        let (deliveries, dropped) = total.map_or((0, 0), |total| (total.deliveries, total.dropped));
        metrics.sealed.with_label_values(&labels).set(deliveries);
        metrics
            .sealed_dropped
            .with_label_values(&labels)
            .set(dropped);
    }
    let (open, idle) = state.0.store.connections();
    let connections = |state| metrics.connections.with_label_values(&[state]);
    connections("idle").set(whole(idle));
    connections("busy").set(whole(open.saturating_sub(idle)));

    match TextEncoder::new().encode_to_string(&metrics.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "the metrics make no text");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Asks the database when the last results came in before the start, until it has told once: no account is silent
/// because the server was restarted.
async fn learn_earlier_results(state: &State) {
    if state.0.metrics.knows_earlier_results.load(Relaxed) {
        return;
    }
    let asking = state.0.store.last_jobs();
    // The database's failures are told elsewhere, and the next time may be better.
    let Ok(Ok(last_jobs)) = tokio::time::timeout(PATIENCE, asking).await else {
        return;
    };
    for job in &last_jobs {
        let received_at = job.shown_received_at;
        state.0.ingest.note_earlier(&job.account, received_at);
    }
    state.0.metrics.knows_earlier_results.store(true, Relaxed);
}
