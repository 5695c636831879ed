//! Keeps gauges about the database, the spool and the queue up to date for whoever scrapes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{
    IntGauge, IntGaugeVec, Registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};
use tokio::sync::mpsc;

use crate::domain::AccountName;
use crate::ingest::Ingest;
use crate::store::{Store, within};
use crate::web::{Scrape, State};

const TIMEOUT: Duration = Duration::from_secs(2);
/// However many scrapes there are, the database is asked this often at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Refreshes the gauges when a scrape asks for it, so that nothing is read while nobody scrapes.
pub(in crate::app) struct MetricsTask {
    pub(in crate::app) state: State,
    pub(in crate::app) ingest: Arc<Ingest>,
    pub(in crate::app) store: Arc<dyn Store>,
    pub(in crate::app) accounts: Vec<AccountName>,
    pub(in crate::app) registry: Registry,
}

struct Gauges {
    queue_deliveries: IntGauge,
    queue_bytes: IntGauge,
    spool_deliveries: IntGauge,
    spool_refused: IntGauge,
    spool_age: IntGauge,
    database_up: IntGauge,
    status: IntGaugeVec,
    sealed: IntGaugeVec,
    sealed_dropped: IntGaugeVec,
    foreign: IntGaugeVec,
    connections: IntGaugeVec,
}

impl MetricsTask {
    pub(in crate::app) async fn run(self, mut scrapes: mpsc::Receiver<Scrape>) {
        let gauges = Gauges::new(&self.registry);
        let mut refreshed: Option<Instant> = None;
        while let Some(scrape) = scrapes.recv().await {
            // Before the database is asked, as that takes a connection.
            self.refresh_own(&gauges);
            if refreshed.is_none_or(|refreshed| refreshed.elapsed() >= INTERVAL) {
                self.refresh(&gauges).await;
                refreshed = Some(Instant::now());
            }
            // The scrape may have given up.
            let _ = scrape.send(());
        }
    }

    /// What this process knows by itself.
    fn refresh_own(&self, gauges: &Gauges) {
        let (deliveries, bytes) = self.ingest.waiting();
        gauges.queue_deliveries.set(whole(deliveries));
        gauges.queue_bytes.set(whole(bytes));
        let (open, idle) = self.store.connections();
        for (state, connections) in [("idle", idle), ("busy", open.saturating_sub(idle))] {
            let gauge = gauges.connections.with_label_values(&[state]);
            gauge.set(whole(connections));
        }
    }

    /// Where the database does not answer, its gauges stay as they are: `qunfa_status` tells of the
    /// failure.
    async fn refresh(&self, gauges: &Gauges) {
        let (health, last_jobs, names) = tokio::join!(
            self.state.health(),
            within(TIMEOUT, self.store.last_jobs()),
            within(TIMEOUT, self.store.account_names()),
        );
        // Of results before the start, of other replicas, and of batches that were in doubt.
        for job in last_jobs.unwrap_or_default() {
            self.ingest.note_result(&job.account, job.shown_received_at);
        }
        if let Some(spool) = &health.spool {
            gauges.spool_deliveries.set(spool.waiting);
            gauges.spool_refused.set(spool.refused);
            let age = spool.oldest_age_seconds.unwrap_or_default();
            gauges.spool_age.set(age);
        }
        let is_up = health.is_available() && !self.ingest.is_down();
        gauges.database_up.set(is_up.into());
        for (status, is_current) in health.statuses() {
            let gauge = gauges.status.with_label_values(&[status]);
            gauge.set(is_current.into());
        }
        for account in &self.accounts {
            let labels = [account.as_str()];
            let total = health.sealed.iter().find(|total| total.account == *account);
            let (deliveries, dropped) =
                total.map_or((0, 0), |total| (total.deliveries, total.dropped));
            gauges.sealed.with_label_values(&labels).set(deliveries);
            let gauge = gauges.sealed_dropped.with_label_values(&labels);
            gauge.set(dropped);
            if let Ok(names) = &names {
                let mut names = names.iter();
                let is_foreign =
                    names.any(|named| named.account == *account && named.other.is_some());
                let gauge = gauges.foreign.with_label_values(&labels);
                gauge.set(is_foreign.into());
            }
        }
    }
}

impl Gauges {
    fn new(registry: &Registry) -> Self {
        const NEW: &str = "the name is valid, and registered once";
        let gauge = |name: &str, help: &str| {
            register_int_gauge_with_registry!(name, help, registry).expect(NEW)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            register_int_gauge_vec_with_registry!(name, help, &[label], registry).expect(NEW)
        };
        Self {
            queue_deliveries: gauge("qunfa_queue_deliveries", "Deliveries in the queue."),
            queue_bytes: gauge("qunfa_queue_bytes", "Bytes of bodies in the queue."),
            spool_deliveries: gauge(
                "qunfa_spool_deliveries",
                "Deliveries in the spool that are to be moved to the database.",
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
                "1 while deliveries go to the database, 0 while it is down.",
            ),
            status: gauges(
                "qunfa_status",
                "1 for the current status of /readyz.",
                "status",
            ),
            sealed: gauges(
                "qunfa_sealed_deliveries",
                "Deliveries in the database that do not open with the configuration of their account.",
                "account",
            ),
            sealed_dropped: gauges(
                "qunfa_sealed_dropped_deliveries",
                "Sealed deliveries of an account that were deleted because there were too many.",
                "account",
            ),
            foreign: gauges(
                "qunfa_foreign_results",
                "1 if results of another WeChat account come to this one.",
                "account",
            ),
            connections: gauges(
                "qunfa_database_connections",
                "Open connections to the database for reading.",
                "state",
            ),
        }
    }
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
