//! Metrics of requests, and the answer to a scrape.

use std::time::Duration;

use axum::extract::State as FromState;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGaugeVec, Registry, TEXT_FORMAT, TextEncoder,
    register_histogram_vec_with_registry, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry,
};
use tokio::sync::oneshot;
use tracing::error;

use super::State;
use crate::domain::AccountName;

/// Upper bounds of the buckets, in seconds. WeChat waits for 5 s.
const ACKNOWLEDGEMENT: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
const REQUEST: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// How long a scrape waits for fresh gauges before it answers with older ones.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Sent by a scrape, and answered once the gauges are fresh.
pub type Scrape = oneshot::Sender<()>;

pub(super) struct Metrics {
    registry: Registry,
    refused: IntCounterVec,
    skews: IntGaugeVec,
    acknowledgement: Histogram,
    requests: HistogramVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        const NEW: &str = "the name is valid, and registered once";
        let refused = register_int_counter_vec_with_registry!(
            "qunfa_refused_total",
            "Refused requests for callback URLs, by reason.",
            &["account", "reason"],
            registry
        );
        let skews = register_int_gauge_vec_with_registry!(
            "qunfa_clock_skew_seconds",
            "How far the timestamp of an account's last push was from this clock.",
            &["account"],
            registry
        );
        let acknowledgement = register_histogram_with_registry!(
            "qunfa_acknowledgement_duration_seconds",
            "Time from the head of an authentic push to its answer.",
            ACKNOWLEDGEMENT.to_vec(),
            registry
        );
        let requests = register_histogram_vec_with_registry!(
            "qunfa_http_request_duration_seconds",
            "From the head of a request to its answer, without callback URLs.",
            &["route", "status"],
            REQUEST.to_vec(),
            registry
        );
        Self {
            registry: registry.clone(),
            refused: refused.expect(NEW),
            skews: skews.expect(NEW),
            acknowledgement: acknowledgement.expect(NEW),
            requests: requests.expect(NEW),
        }
    }

    /// Counts a refused request for a callback URL; `None` for an account that is not configured.
    pub(super) fn refused(&self, account: Option<&AccountName>, reason: &str) {
        let account = account.map_or("", AccountName::as_str);
        self.refused.with_label_values(&[account, reason]).inc();
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter goes up by ones and stays far below 2^53"
    )]
    pub(super) fn refused_count(&self) -> u64 {
        let families = self.refused.collect();
        let metrics = families.iter().flat_map(MetricFamily::get_metric);
        metrics
            .map(|metric| metric.get_counter().get_value() as u64)
            .sum()
    }

    /// `account` is one that is configured.
    pub(super) fn skew(&self, account: &AccountName, seconds: u64) {
        let skew = self.skews.with_label_values(&[account.as_str()]);
        skew.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    pub(super) fn acknowledged(&self, took: Duration) {
        self.acknowledgement.observe(took.as_secs_f64());
    }

    /// `route` is the template.
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

pub(super) async fn metrics(FromState(state): FromState<State>) -> Response {
    let (scrape, refreshed) = oneshot::channel();
    let refresh = async {
        if state.0.scrapes.send(scrape).await.is_ok() {
            let _ = refreshed.await;
        }
    };
    let _ = tokio::time::timeout(TIMEOUT, refresh).await;
    match TextEncoder::new().encode_to_string(&state.0.metrics.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "the metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
