//! What has come in since the start, by account, event and what became of it. The log tells the same counts at the stop as
//! Prometheus reads.

use std::collections::HashMap;
use std::sync::OnceLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_histogram_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_vec_with_registry,
};

use crate::domain::{
    AccountName, DeliveryState, MASS_SEND_FINISHED, NewDelivery, Outcome, Reading, Time,
};
use crate::store::{Recorded, StoreError};

use super::Kept;
use super::queue;

/// Events of WeChat's that are counted by name in every account; job results come first. Names come from outside, so that
/// any other is [`OTHER`], unless the account keeps it.
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
/// Of tickets and changes of authorisation, which a third-party platform gets.
const PLATFORM: &str = "platform";
const OTHER: &str = "other";
/// Of a user's message, and of what is kept although it could not be understood and does not call itself a job result.
const NONE: &str = "none";

/// The most deliveries of a batch that each bucket holds.
const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its bytes are new, and are in the database.
    Kept,
    /// Its bytes are new, for a job that was there already.
    Revision,
    /// The same bytes were there already.
    Duplicate,
    /// It could not be understood; it is kept raw, in the database or in the spool.
    Unparsed,
    /// Our configuration does not open it; it is kept sealed, in the database or in the spool.
    Sealed,
    /// It was understood, and is in the spool.
    Spooled,
    /// It was answered and forgotten.
    NotKept,
    /// Nothing could keep it: 503.
    Failed,
}

impl Fate {
    const ALL: [Self; 8] = [
        Self::Kept,
        Self::Revision,
        Self::Duplicate,
        Self::Unparsed,
        Self::Sealed,
        Self::Spooled,
        Self::NotKept,
        Self::Failed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Revision => "revision",
            Self::Duplicate => "duplicate",
            Self::Unparsed => "unparsed",
            Self::Sealed => "sealed",
            Self::Spooled => "spooled",
            Self::NotKept => "not_kept",
            Self::Failed => "failed",
        }
    }
}

/// Counts pushes. Each push counts once.
pub(super) struct Counters {
    pushes: IntCounterVec,
    last_event: IntGaugeVec,
    batches: Histogram,
    store_errors: IntCounterVec,
    accounts: HashMap<AccountName, AccountCounters>,
}

/// Handles that are found without their labels.
struct AccountCounters {
    /// By event: job results first, then the others that are counted by name, [`PLATFORM`], [`OTHER`] and [`NONE`].
    rows: Vec<Row>,
    /// Results of jobs that are new, by outcome.
    outcomes: [IntCounter; Outcome::ALL.len()],
    last_event: OnceLock<IntGauge>,
}

struct Row {
    event: String,
    /// By [`Fate`]. Those that an account never has are not there for Prometheus either.
    cells: [OnceLock<IntCounter>; Fate::ALL.len()],
}

/// What the counters show at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Job results with new bytes.
    pub results: u64,
    /// Copies of what was kept already.
    pub duplicates: u64,
    /// Bodies that could not be understood, kept.
    pub unparsed: u64,
    /// Envelopes that the configuration does not open, kept sealed.
    pub sealed: u64,
    /// Other events that an account keeps.
    pub other_kept: u64,
    /// What was understood and put into the spool, of whatever kind.
    pub spooled: u64,
    /// Other events, answered and forgotten.
    pub events: u64,
    /// Users' messages, answered and forgotten.
    pub messages: u64,
    /// Pushes answered 503, because nothing could keep them.
    pub failed: u64,
}

impl Counters {
    /// Counts for these accounts, each with the events that it keeps.
    pub(super) fn new(
        keep_events: &HashMap<AccountName, Vec<String>>,
        registry: &Registry,
    ) -> Self {
        const NEW: &str = "the names are valid, and registered once";
        let pushes = register_int_counter_vec_with_registry!(
            "qunfa_pushes_total",
            "Authentic pushes, by what became of them.",
            &["account", "event", "result"],
            registry
        );
        let outcomes = register_int_counter_vec_with_registry!(
            "qunfa_job_results_total",
            "Results of jobs that are new, by outcome.",
            &["account", "outcome"],
            registry
        );
        let last_event = register_int_gauge_vec_with_registry!(
            "qunfa_last_event_timestamp_seconds",
            "When the last job result of an account with new content came in, in seconds since 1970.",
            &["account"],
            registry
        );
        let batches = register_histogram_with_registry!(
            "qunfa_batch_deliveries",
            "How many deliveries were kept together, for each batch.",
            BATCH_SIZES.to_vec(),
            registry
        );
        let store_errors = register_int_counter_vec_with_registry!(
            "qunfa_store_errors_total",
            "Batches that the database did not take, by why.",
            &["kind"],
            registry
        );
        let (pushes, outcomes) = (pushes.expect(NEW), outcomes.expect(NEW));
        let store_errors = store_errors.expect(NEW);
        // What is not there before it happens for the first time has not risen by then.
        for kind in StoreError::KINDS {
            store_errors.with_label_values(&[kind]);
        }
        let accounts = keep_events.iter().map(|(name, events)| {
            let counters = AccountCounters::new(name, events, &outcomes);
            counters.make_expected(name, &pushes);
            (name.clone(), counters)
        });
        Self {
            accounts: accounts.collect(),
            pushes,
            last_event: last_event.expect(NEW),
            batches: batches.expect(NEW),
            store_errors,
        }
    }

    /// Counts a push that is answered and forgotten.
    pub(super) fn not_kept(&self, delivery: &NewDelivery) {
        if let Some((name, account)) = self.accounts.get_key_value(&delivery.account) {
            let row = account.row(&delivery.reading);
            row.counter(name, Fate::NotKept, &self.pushes).inc();
        }
    }

    /// A push that is to be kept. Those to accounts that the counters were not made for are not counted.
    pub(super) fn push<'c>(&'c self, delivery: &NewDelivery) -> Push<'c> {
        let entry = self.accounts.get_key_value(&delivery.account);
        let reading = &delivery.reading;
        Push {
            counters: self,
            account: entry.map(|(name, account)| (name, account, account.row_if_kept(reading))),
            result: reading.result().map(|result| result.status.outcome),
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

    /// Notes when the last job result of an account with new content came in before the start; later ones stay.
    pub(super) fn note_earlier(&self, account: &AccountName, received_at: Time) {
        if let Some((name, counters)) = self.accounts.get_key_value(account) {
            counters.last_event.get_or_init(|| {
                let gauge = self.last_event.with_label_values(&[name.as_str()]);
                gauge.set(received_at.seconds());
                gauge
            });
        }
    }

    /// The counts now, over all accounts.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in self.accounts.values().flat_map(|account| &account.rows) {
            for fate in Fate::ALL {
                let count = match (fate, row.event.as_str()) {
                    (Fate::Kept, event) if event == EVENTS[0] => &mut counts.results,
                    (Fate::Revision, _) => &mut counts.results,
                    (Fate::Kept, _) => &mut counts.other_kept,
                    (Fate::Duplicate, _) => &mut counts.duplicates,
                    (Fate::Unparsed, _) => &mut counts.unparsed,
                    (Fate::Sealed, _) => &mut counts.sealed,
                    (Fate::Spooled, _) => &mut counts.spooled,
                    (Fate::NotKept, NONE) => &mut counts.messages,
                    (Fate::NotKept, _) => &mut counts.events,
                    (Fate::Failed, _) => &mut counts.failed,
                };
                *count += row.cells[fate as usize].get().map_or(0, IntCounter::get);
            }
        }
        counts
    }
}

impl AccountCounters {
    fn new(name: &AccountName, keep_events: &[String], outcomes: &IntCounterVec) -> Self {
        let mut events: Vec<String> = EVENTS.map(str::to_owned).to_vec();
        for kept in keep_events {
            let is = |event: &str| event.eq_ignore_ascii_case(kept);
            let is_taken = [PLATFORM, OTHER, NONE].into_iter().any(is);
            if !is_taken && !events.iter().any(|event| is(event)) {
                events.push(kept.clone());
            }
        }
        events.extend([PLATFORM, OTHER, NONE].map(str::to_owned));
        let row = |event| Row {
            event,
            cells: Default::default(),
        };
        Self {
            rows: events.into_iter().map(row).collect(),
            outcomes: Outcome::ALL
                .map(|outcome| outcomes.with_label_values(&[name.as_str(), outcome.as_str()])),
            last_event: OnceLock::new(),
        }
    }

    /// Makes what every account may have, so that it is there with 0.
    fn make_expected(&self, name: &AccountName, pushes: &IntCounterVec) {
        for fate in Fate::ALL {
            let row = match fate {
                Fate::NotKept => continue,
                Fate::Unparsed | Fate::Sealed => self.rows.last(),
                _ => self.rows.first(),
            };
            if let Some(row) = row {
                row.counter(name, fate, pushes);
            }
        }
        if let Some(results) = self.rows.first() {
            results.counter(name, Fate::Unparsed, pushes);
        }
    }

    /// The row of a push by its event.
    fn row(&self, reading: &Reading) -> &Row {
        let [named @ .., platform, other, none] = &self.rows[..] else {
            unreachable!("these rows are always there");
        };
        match (reading, reading.event()) {
            (Reading::Platform, _) => platform,
            (_, Some(event)) => named
                .iter()
                .find(|row| row.event.eq_ignore_ascii_case(event))
                .unwrap_or(other),
            (_, None) => none,
        }
    }

    /// The row of a push that is kept. What cannot be understood is counted in rows that are there from the start, so that
    /// the first one is seen as an increase.
    fn row_if_kept(&self, reading: &Reading) -> &Row {
        let row = self.row(reading);
        match (reading, self.rows.last()) {
            (Reading::Unparsed { .. }, Some(none)) if row.event != MASS_SEND_FINISHED => none,
            _ => row,
        }
    }
}

impl Row {
    fn counter(&self, account: &AccountName, fate: Fate, pushes: &IntCounterVec) -> &IntCounter {
        self.cells[fate as usize].get_or_init(|| {
            pushes.with_label_values(&[account.as_str(), &self.event, fate.as_str()])
        })
    }
}

/// A push of which it is not known yet what becomes of it.
pub(super) struct Push<'c> {
    counters: &'c Counters,
    account: Option<(&'c AccountName, &'c AccountCounters, &'c Row)>,
    /// The outcome of a job result that was understood.
    result: Option<Outcome>,
    received_at: Time,
    state: DeliveryState,
}

impl Push<'_> {
    /// Counts it by what the queue says of it.
    pub(super) fn ends(&self, outcome: queue::Outcome) {
        let fate = match outcome {
            Err(_) => Fate::Failed,
            Ok(Kept::Filed(Recorded::Duplicate)) => Fate::Duplicate,
            Ok(_) if self.state == DeliveryState::Unparsed => Fate::Unparsed,
            Ok(_) if self.state == DeliveryState::Sealed => Fate::Sealed,
            Ok(Kept::Filed(Recorded::New)) => Fate::Kept,
            Ok(Kept::Filed(Recorded::Revision)) => Fate::Revision,
            Ok(Kept::Spooled) => Fate::Spooled,
        };
        self.count(fate);
        let (Some(outcome), Some((name, account, _))) = (self.result, self.account) else {
            return;
        };
        // A copy may be a captured push that somebody plays again.
        if matches!(fate, Fate::Failed | Fate::Duplicate) {
            return;
        }
        if matches!(fate, Fate::Kept | Fate::Spooled) {
            account.outcomes[outcome as usize].inc();
        }
        let last_event = || self.counters.last_event.with_label_values(&[name.as_str()]);
        let last_event = account.last_event.get_or_init(last_event);
        last_event.set(self.received_at.seconds());
    }

    fn count(&self, fate: Fate) {
        if let Some((name, _, row)) = self.account {
            row.counter(name, fate, &self.counters.pushes).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::IngestError;

    fn delivery(account: &str, reading: Reading) -> NewDelivery {
        NewDelivery {
            account: account.parse().unwrap(),
            body: Vec::new(),
            body_sha256: [0; 32],
            received_at: Time::from_create_time(7).unwrap(),
            filed_at: Time::from_create_time(7).unwrap(),
            reading,
        }
    }

    fn other(event: Option<&str>) -> Reading {
        Reading::Other {
            event: event.map(str::to_owned),
            msg_id: None,
        }
    }

    fn unparsed(event: Option<&str>) -> Reading {
        Reading::Unparsed {
            event: event.map(str::to_owned),
            msg_id: None,
            error: String::new(),
        }
    }

    fn sealed() -> Reading {
        Reading::Sealed {
            error: String::new(),
        }
    }

    /// Counters of one account, and what Prometheus sees of pushes to it that were counted.
    fn counters(keep_events: &[&str]) -> (Counters, impl Fn() -> Vec<(String, String, u64)>) {
        let registry = Registry::new();
        let kept = keep_events.iter().map(|&event| event.to_owned()).collect();
        let accounts = HashMap::from([("main".parse().unwrap(), kept)]);
        let counters = Counters::new(&accounts, &registry);
        let seen = move || {
            let families = registry.gather();
            let pushes = families
                .iter()
                .find(|family| family.name() == "qunfa_pushes_total");
            let metrics = pushes.unwrap().get_metric().iter();
            let metrics = metrics.filter(|metric| metric.get_counter().get_value() > 0.0);
            metrics
                .map(|metric| {
                    let label = |index: usize| metric.get_label()[index].value().to_owned();
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "it is a small count"
                    )]
                    let count = metric.get_counter().get_value() as u64;
                    (label(1), label(2), count)
                })
                .collect()
        };
        (counters, seen)
    }

    #[test]
    fn an_event_is_counted_by_a_name_that_is_known_and_nothing_else_from_outside() {
        for (keep_events, reading, event) in [
            (&[][..], other(Some("subscribe")), "subscribe"),
            (&[], other(Some("VIEW")), "VIEW"),
            (&[], other(Some("view")), "VIEW"),
            (&[], other(Some("\"hostile\n")), "other"),
            (&["None", "view"], other(Some("none")), "other"),
            (&["card_pass"], other(Some("CARD_PASS")), "card_pass"),
            (&[], other(None), "none"),
            (&[], unparsed(Some("scan")), "SCAN"),
            (&[], unparsed(Some("hostile")), "other"),
            (&["platform"], other(Some("platform")), "other"),
            (&[], Reading::Platform, "platform"),
        ] {
            let (counters, seen) = counters(keep_events);
            counters.not_kept(&delivery("main", reading.clone()));
            counters.not_kept(&delivery("foreign", reading));
            assert_eq!(seen(), [(event.to_owned(), "not_kept".to_owned(), 1)]);
        }
    }

    #[test]
    fn every_push_counts_once_by_what_became_of_it() {
        let new = Ok(Kept::Filed(Recorded::New));
        for (reading, outcome, event, result) in [
            (other(Some("VIEW")), new, "VIEW", "kept"),
            (
                other(Some("VIEW")),
                Ok(Kept::Filed(Recorded::Duplicate)),
                "VIEW",
                "duplicate",
            ),
            (other(Some("VIEW")), Ok(Kept::Spooled), "VIEW", "spooled"),
            (
                other(Some("VIEW")),
                Err(IngestError::Full),
                "VIEW",
                "failed",
            ),
            (unparsed(None), new, "none", "unparsed"),
            (unparsed(Some("VIEW")), new, "none", "unparsed"),
            (
                unparsed(Some("MassSendJobFinish")),
                Ok(Kept::Spooled),
                "MASSSENDJOBFINISH",
                "unparsed",
            ),
            (
                unparsed(None),
                Ok(Kept::Filed(Recorded::Duplicate)),
                "none",
                "duplicate",
            ),
            (sealed(), new, "none", "sealed"),
            (sealed(), Ok(Kept::Spooled), "none", "sealed"),
            (
                sealed(),
                Ok(Kept::Filed(Recorded::Duplicate)),
                "none",
                "duplicate",
            ),
        ] {
            let (counters, seen) = counters(&[]);
            counters.push(&delivery("main", reading)).ends(outcome);
            assert_eq!(seen(), [(event.to_owned(), result.to_owned(), 1)]);
        }
    }
}
