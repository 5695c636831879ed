//! What a store promises about totals: in all, over time, by reason and by account. Both stores keep it.

use qunfa::domain::{AccountStats, ByOutcome, ReasonStats, Stats};
use qunfa::store::{JobFilter, Store};

use crate::support::events::{self, arrival, at};
use crate::support::{Backend, Event, on_both_stores};

async fn record(store: &dyn Store, account: &str, event: &Event, millisecond: i64) {
    let delivery = arrival(account, event.xml(), millisecond);
    events::record(store, delivery).await.unwrap();
}

fn any() -> JobFilter {
    JobFilter::default()
}

fn of(account: &str) -> JobFilter {
    JobFilter {
        account: Some(account.parse().unwrap()),
        ..any()
    }
}

/// How many jobs there are between each edge and the next, in seconds.
async fn jobs_between(store: &dyn Store, filter: &JobFilter, edges: &[i64]) -> Vec<i64> {
    let edges: Vec<_> = edges.iter().map(|second| at(second * 1000)).collect();
    let timeline = store.timeline(filter, &edges).await.unwrap();
    timeline.iter().map(|stats| stats.jobs).collect()
}

fn by_outcome(sent: i64, failed: i64, rejected: i64, unknown: i64) -> ByOutcome {
    ByOutcome {
        sent,
        failed,
        rejected,
        unknown,
    }
}

on_both_stores! {
    async fn totals_add_up_without_overflow(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        assert_eq!(store.stats(&JobFilter::default()).await.unwrap(), Stats::default());
        for (msg_id, status) in (1..).zip(["send success", "send success", "send fail", "err(1)", "", "?"]) {
            let event = Event::new(msg_id, 10).status(status).counts([i64::MAX, i64::MAX - 1, msg_id, 0]);
            record(&*store, "a", &event, 1000).await;
        }
        // Counts that are missing add nothing.
        let bare = Event::new(7, 10).xml().replace("Count>", "Other>");
        events::record(&*store, arrival("a", bare, 1000)).await.unwrap();
        let max = i128::from(i64::MAX);
        assert_eq!(
            store.stats(&JobFilter::default()).await.unwrap(),
            Stats {
                jobs: 7,
                by_outcome: by_outcome(3, 1, 1, 2),
                total_count: 6 * max,
                filter_count: 6 * (max - 1),
                sent_count: 21,
                error_count: 0,
            }
        );
    }

    async fn a_timeline_holds_each_job_between_its_edges(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for (msg_id, second) in (1..).zip([0, 9, 10, 10, 19, 30, 31, 253_402_300_799]) {
            record(&*store, if msg_id % 2 == 0 { "a" } else { "b" }, &Event::new(msg_id, second), 1000).await;
        }
        for (filter, edges, expected) in [
            (any(), &[10, 20, 30, 40][..], &[3, 0, 2][..]),
            (any(), &[0, 9, 10, 11], &[1, 1, 2]),
            (any(), &[20, 30], &[0]),
            (any(), &[10, 10, 20], &[0, 3]),
            (any(), &[-210_866_803_201, 0, 253_402_300_799], &[0, 7]),
            (of("a"), &[10, 20, 30, 40], &[1, 0, 1]),
            (of("c"), &[10, 20], &[0]),
            (JobFilter { from: Some(at(11_000)), to: Some(at(31_000)), ..any() }, &[10, 20, 30, 40], &[1, 0, 1]),
        ] {
            assert_eq!(jobs_between(&*store, &filter, edges).await, expected, "{filter:?} {edges:?}");
        }
    }

    async fn a_timeline_adds_up_without_overflow(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for (msg_id, status) in (1..).zip(["send success", "send fail", "err(1)", "?"]) {
            let event = Event::new(msg_id, 10).status(status).counts([i64::MAX, i64::MAX - 1, msg_id, 0]);
            record(&*store, "a", &event, 1000).await;
        }
        let edges = [0, 10_000, 10_001, 20_000].map(at);
        let max = i128::from(i64::MAX);
        let all = Stats {
            jobs: 4,
            by_outcome: by_outcome(1, 1, 1, 1),
            total_count: 4 * max,
            filter_count: 4 * (max - 1),
            sent_count: 10,
            error_count: 0,
        };
        assert_eq!(
            store.timeline(&any(), &edges).await.unwrap(),
            [Stats::default(), all, Stats::default()]
        );
        assert_eq!(store.accounts(&any()).await.unwrap()[0].stats, all);
    }

    async fn reasons_come_by_how_often_they_were_given(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        assert_eq!(store.reasons(&any()).await.unwrap(), []);
        for (msg_id, status) in (1..).zip([
            "err(20001)", "err(7)", "err(10001)", "err(20001)", "err(0)", "send success", "send fail", "?", "err(10001)",
        ]) {
            record(&*store, if msg_id < 5 { "a" } else { "b" }, &Event::new(msg_id, msg_id), 1000).await;
            record(&*store, if msg_id < 5 { "a" } else { "b" }, &Event::new(msg_id, msg_id + 100).status(status), 1000).await;
        }
        let reason = |code, jobs, second: i64| ReasonStats { code, jobs, last_finished_at: at(second * 1000) };
        for (filter, expected) in [
            (any(), &[reason(10001, 2, 109), reason(20001, 2, 104), reason(0, 1, 105), reason(7, 1, 102)][..]),
            (of("a"), &[reason(20001, 2, 104), reason(7, 1, 102), reason(10001, 1, 103)]),
            (JobFilter { from: Some(at(103_000)), to: Some(at(104_000)), ..any() }, &[reason(10001, 1, 103)]),
            (of("c"), &[]),
        ] {
            assert_eq!(store.reasons(&filter).await.unwrap(), expected, "{filter:?}");
        }
    }

    async fn accounts_come_by_their_last_job(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        assert_eq!(store.accounts(&any()).await.unwrap(), []);
        for (account, msg_id, second, received) in [
            ("b", 1, 10, 5000), ("a1", 1, 20, 1000), ("a_b", 1, 20, 1000), ("a-b", 1, 20, 1000), ("b", 2, 5, 6000),
            // A retry moves the receipt alone.
            ("b", 1, 10, 7000),
        ] {
            record(&*store, account, &Event::new(msg_id, second), received).await;
        }
        let account = |name: &str, jobs: i64, finished, received| AccountStats {
            account: name.parse().unwrap(),
            stats: Stats {
                jobs,
                by_outcome: by_outcome(jobs, 0, 0, 0),
                total_count: (jobs * 100).into(),
                filter_count: (jobs * 80).into(),
                sent_count: (jobs * 75).into(),
                error_count: (jobs * 5).into(),
            },
            last_finished_at: at(finished),
            last_received_at: at(received),
        };
        for (filter, expected) in [
            (any(), &[
                account("a-b", 1, 20_000, 1000), account("a1", 1, 20_000, 1000), account("a_b", 1, 20_000, 1000),
                account("b", 2, 10_000, 7000),
            ][..]),
            (of("b"), &[account("b", 2, 10_000, 7000)]),
            (JobFilter { to: Some(at(10_000)), ..any() }, &[account("b", 1, 5_000, 6000)]),
            (of("c"), &[]),
        ] {
            assert_eq!(store.accounts(&filter).await.unwrap(), expected, "{filter:?}");
        }
    }
}
