//! Metrics of the pushes that came in since the start. When the server stops, the log shows the
//! same counts.

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{
    Histogram, IntCounterVec, IntGaugeVec, Registry, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry,
};

use super::{Accepted, IngestError};
use crate::domain::{
    AccountName, DeliveryState, MASS_SEND_FINISHED, NewDelivery, Outcome, Reading, Time,
};
use crate::store::{Recorded, StoreError};

/// Events that are counted by name in every account. Names come from outside, so any other event
/// counts as [`OTHER`], unless the account keeps it.
const EVENTS: [&str; 9] = [
    MASS_SEND_FINISHED,
    "PUBLISHJOBFINISH",
    "TEMPLATESENDJOBFINISH",
    "subscribe",
    "unsubscribe",
    "SCAN",
    "LOCATION",
    "CLICK",
    "VIEW",
];
/// Tickets and changes of authorisation, which a third-party platform gets.
const PLATFORM: &str = "platform";
const OTHER: &str = "other";
/// Users' messages, and unparsed pushes that are kept and do not call themselves job results.
const NONE: &str = "none";

/// Combinations of event and result that exist with 0 from the start, so that the first push shows
/// as an increase.
const EXPECTED: [(&str, &str); 8] = [
    (MASS_SEND_FINISHED, "kept"),
    (MASS_SEND_FINISHED, "revision"),
    (MASS_SEND_FINISHED, "duplicate"),
    (MASS_SEND_FINISHED, "unparsed"),
    (MASS_SEND_FINISHED, "spooled"),
    (MASS_SEND_FINISHED, "failed"),
    (NONE, "unparsed"),
    (NONE, "sealed"),
];

const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Counts each push once.
pub(super) struct Counters {
    pushes: IntCounterVec,
    job_results: IntCounterVec,
    last_event: IntGaugeVec,
    batches: Histogram,
    store_errors: IntCounterVec,
    /// For each account, the events that are counted by name beside [`EVENTS`].
    kept_events: HashMap<AccountName, Vec<String>>,
}

/// Totals over all accounts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Job results with new bytes.
    pub results: u64,
    pub duplicates: u64,
    pub unparsed: u64,
    pub sealed: u64,
    /// Other events that an account keeps.
    pub other_kept: u64,
    /// Parsed pushes of any kind that went to the spool.
    pub spooled: u64,
    /// Other events, acknowledged and dropped.
    pub events: u64,
    /// Users' messages, acknowledged and dropped.
    pub messages: u64,
    /// Pushes answered 503.
    pub failed: u64,
}

impl Counters {
    /// `keep_events` has every account, with the events that it keeps.
    pub(super) fn new(
        keep_events: &HashMap<AccountName, Vec<String>>,
        registry: &Registry,
    ) -> Self {
        const NEW: &str = "the names are valid, and registered once";
        let pushes = register_int_counter_vec_with_registry!(
            "qunfa_pushes_total",
            "Authentic pushes, by event and result.",
            &["account", "event", "result"],
            registry
        );
        let job_results = register_int_counter_vec_with_registry!(
            "qunfa_job_results_total",
            "Results of new jobs, by outcome.",
            &["account", "outcome"],
            registry
        );
        let last_event = register_int_gauge_vec_with_registry!(
            "qunfa_last_event_timestamp_seconds",
            "When the last job result with new content was received, in seconds since 1970.",
            &["account"],
            registry
        );
        let batches = register_histogram_with_registry!(
            "qunfa_batch_deliveries",
            "Deliveries in a batch.",
            BATCH_SIZES.to_vec(),
            registry
        );
        let store_errors = register_int_counter_vec_with_registry!(
            "qunfa_store_errors_total",
            "Batches that the database did not record, by cause.",
            &["kind"],
            registry
        );
        let counters = Self {
            pushes: pushes.expect(NEW),
            job_results: job_results.expect(NEW),
            last_event: last_event.expect(NEW),
            batches: batches.expect(NEW),
            store_errors: store_errors.expect(NEW),
            kept_events: keep_events
                .iter()
                .map(|(account, events)| (account.clone(), without_reserved(events)))
                .collect(),
        };
        counters.make_expected();
        counters
    }

    fn make_expected(&self) {
        for kind in StoreError::KINDS {
            self.store_errors.with_label_values(&[kind]);
        }
        for account in self.kept_events.keys().map(AccountName::as_str) {
            for (event, result) in EXPECTED {
                self.pushes.with_label_values(&[account, event, result]);
            }
            for outcome in Outcome::ALL {
                let labels = [account, outcome.as_str()];
                self.job_results.with_label_values(&labels);
            }
        }
    }

    /// Takes what will be needed to count a push once its outcome is known.
    pub(super) fn push<'c>(&'c self, delivery: &NewDelivery) -> Push<'c> {
        let entry = self.kept_events.get_key_value(&delivery.account);
        let reading = &delivery.reading;
        Push {
            counters: self,
            labels: entry.map(|(account, kept)| (account.as_str(), event_label(kept, reading))),
            outcome: reading.result().map(|result| result.status.outcome),
            received_at: delivery.received_at,
            state: reading.state(),
        }
    }

    pub(super) fn batch(&self, deliveries: usize) {
        let deliveries = u16::try_from(deliveries).unwrap_or(u16::MAX);
        self.batches.observe(f64::from(deliveries));
    }

    pub(super) fn store_failed(&self, error: &StoreError) {
        self.store_errors.with_label_values(&[error.kind()]).inc();
    }

    /// Notes which results from the spool had new content; that was not known when they were
    /// received.
    pub(super) fn drained(&self, deliveries: &[NewDelivery], recorded: &[Recorded]) {
        for (delivery, recorded) in deliveries.iter().zip(recorded) {
            if *recorded != Recorded::Duplicate && delivery.reading.result().is_some() {
                self.note_result(&delivery.account, delivery.received_at);
            }
        }
    }

    /// Notes when an account received a job result with new content, unless it has received a later
    /// one.
    pub(super) fn note_result(&self, account: &AccountName, received_at: Time) {
        if self.kept_events.contains_key(account) {
            let last_event = self.last_event.with_label_values(&[account.as_str()]);
            last_event.set(last_event.get().max(received_at.seconds()));
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for metric in self
            .pushes
            .collect()
            .iter()
            .flat_map(MetricFamily::get_metric)
        {
            let count = match (label(metric, "result"), label(metric, "event")) {
                ("kept", MASS_SEND_FINISHED) | ("revision", _) => &mut counts.results,
                ("kept", _) => &mut counts.other_kept,
                ("duplicate", _) => &mut counts.duplicates,
                ("unparsed", _) => &mut counts.unparsed,
                ("sealed", _) => &mut counts.sealed,
                ("spooled", _) => &mut counts.spooled,
                ("not_kept", NONE) => &mut counts.messages,
                ("not_kept", _) => &mut counts.events,
                _ => &mut counts.failed,
            };
            *count += value(metric);
        }
        counts
    }
}

/// A push whose outcome is not known yet. One to an account that is not configured is not counted.
pub(super) struct Push<'c> {
    counters: &'c Counters,
    /// Account and event.
    labels: Option<(&'c str, &'c str)>,
    /// Of a parsed job result.
    outcome: Option<Outcome>,
    received_at: Time,
    state: DeliveryState,
}

impl Push<'_> {
    pub(super) fn ends(&self, accepted: Result<Accepted, IngestError>) {
        let Some((account, mut event)) = self.labels else {
            return;
        };
        let result = match accepted {
            Err(_) => "failed",
            Ok(Accepted::Ignored) => "not_kept",
            Ok(Accepted::Recorded(Recorded::Duplicate)) => "duplicate",
            Ok(_) if self.state != DeliveryState::Stored => self.state.as_str(),
            Ok(Accepted::Recorded(Recorded::New)) => "kept",
            Ok(Accepted::Recorded(Recorded::Revision)) => "revision",
            Ok(Accepted::Spooled) => "spooled",
        };
        // Only these labels exist from the start, and the first unparsed push must show as an
        // increase.
        if self.state == DeliveryState::Unparsed
            && accepted != Ok(Accepted::Ignored)
            && event != MASS_SEND_FINISHED
        {
            event = NONE;
        }
        let counters = self.counters;
        let labels = [account, event, result];
        counters.pushes.with_label_values(&labels).inc();
        let Some(outcome) = self.outcome else {
            return;
        };
        if matches!(result, "kept" | "spooled") {
            let labels = [account, outcome.as_str()];
            counters.job_results.with_label_values(&labels).inc();
        }
        // A copy may be a captured push that somebody replays. In the spool it is not known yet.
        if matches!(result, "kept" | "revision") {
            let last_event = counters.last_event.with_label_values(&[account]);
            last_event.set(self.received_at.seconds());
        }
    }
}

fn without_reserved(events: &[String]) -> Vec<String> {
    let is_reserved = |event: &String| {
        let mut reserved = [PLATFORM, OTHER, NONE].into_iter();
        reserved.any(|name| name.eq_ignore_ascii_case(event))
    };
    let events = events.iter().filter(|event| !is_reserved(event));
    events.cloned().collect()
}

fn event_label<'c>(kept: &'c [String], reading: &Reading) -> &'c str {
    match (reading, reading.event()) {
        (Reading::Platform, _) => PLATFORM,
        (_, None) => NONE,
        (_, Some(event)) => EVENTS
            .into_iter()
            .chain(kept.iter().map(String::as_str))
            .find(|name| name.eq_ignore_ascii_case(event))
            .unwrap_or(OTHER),
    }
}

fn label<'m>(metric: &'m Metric, name: &str) -> &'m str {
    let mut labels = metric.get_label().iter();
    labels
        .find(|label| label.name() == name)
        .map_or("", |label| label.value())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter goes up by ones and stays far below 2^53"
)]
fn value(metric: &Metric) -> u64 {
    metric.get_counter().get_value() as u64
}

#[cfg(test)]
mod tests;
