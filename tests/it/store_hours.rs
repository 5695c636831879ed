//! What a store promises about totals over all accounts: they are right, however much of them was added up before.

use std::sync::Arc;

use qunfa::domain::{AccountName, MsgId, Stats};
use qunfa::store::{DeliveryFilter, DeliveryKey, JobFilter, Page, Store};
use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::events::{self, arrival, arrival_as, at, not_understood, record};
use crate::support::{Backend, Event, eventually, on_both_stores};

const HOUR: i64 = 3600;

/// A result that says so, and how many were to get the message.
fn result(msg_id: i64, finished_at: i64, total: i64) -> String {
    Event::new(msg_id, finished_at)
        .counts([total, 0, 0, 0])
        .xml()
}

async fn file(store: &dyn Store, body: impl Into<Vec<u8>>) {
    record(store, arrival("a", body, 1000)).await.unwrap();
}

/// How many jobs there are in each hour from 1970 on, and how many were to get their messages. The totals of all time, those
/// of the accounts and those of an account say the same.
async fn hours<const N: usize>(store: &dyn Store) -> [(i64, i128); N] {
    let edges: Vec<_> = (0..=N)
        .map(|hour| at(i64::try_from(hour).unwrap() * HOUR * 1000))
        .collect();
    let every = JobFilter::default();
    let of_account = JobFilter {
        account: Some("a".parse().unwrap()),
        ..every.clone()
    };
    let timeline = store.timeline(&every, &edges).await.unwrap();
    assert_eq!(
        timeline,
        store.timeline(&of_account, &edges).await.unwrap(),
        "beside what the jobs add up to"
    );
    let mut sum = Stats::default();
    for part in &timeline {
        sum += *part;
    }
    assert_eq!(sum, store.stats(&every).await.unwrap());
    assert_eq!(sum, store.stats(&of_account).await.unwrap());
    let hours: Vec<_> = timeline
        .iter()
        .map(|hour| (hour.jobs, hour.total_count))
        .collect();
    hours.try_into().unwrap()
}

async fn roll_up_all(store: &dyn Store) {
    while store.roll_up(100).await.unwrap() {}
}

on_both_stores! {
    async fn they_are_right_before_between_and_after_roll_ups(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        assert!(!store.roll_up(1).await.unwrap(), "there is nothing");
        for (msg_id, second) in (1..).zip([0, 1, HOUR - 1, HOUR, 3 * HOUR]) {
            file(&*store, result(msg_id, second, i64::MAX)).await;
        }
        let max = i128::from(i64::MAX);
        let expected = [(3, 3 * max), (1, max), (0, 0), (1, max)];
        assert_eq!(hours(&*store).await, expected);
        for _ in 0..5 {
            assert!(store.roll_up(1).await.unwrap(), "there was one");
            assert_eq!(hours(&*store).await, expected);
        }
        assert!(!store.roll_up(1).await.unwrap(), "that was all");
        file(&*store, result(6, HOUR, 7)).await;
        assert_eq!(hours(&*store).await, [(3, 3 * max), (2, max + 7), (0, 0), (1, max)]);
        roll_up_all(&*store).await;
        assert_eq!(hours(&*store).await, [(3, 3 * max), (2, max + 7), (0, 0), (1, max)]);
        if backend == Backend::Postgres {
            assert_eq!(database.rows("select from hour_totals").await.unwrap(), 3, "a row an hour");
        }
    }

    async fn a_job_that_moves_counts_once(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for msg_id in 1..=3 {
            file(&*store, result(msg_id, 0, 10)).await;
        }
        roll_up_all(&*store).await;
        // A copy, an older content and a newer one in a later hour.
        file(&*store, result(1, 0, 10)).await;
        file(&*store, result(2, 0, 10).replace("gh_", "xx_")).await;
        file(&*store, result(3, 2 * HOUR, 50)).await;
        assert_eq!(hours(&*store).await, [(2, 20), (0, 0), (1, 50)]);
        // What changes again before it was rolled up was in no hour yet.
        file(&*store, result(3, 2 * HOUR + 1, 60)).await;
        assert_eq!(hours(&*store).await, [(2, 20), (0, 0), (1, 60)]);
        roll_up_all(&*store).await;
        assert_eq!(hours(&*store).await, [(2, 20), (0, 0), (1, 60)]);
    }

    async fn a_job_that_goes_counts_no_longer(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let (account, msg_id) = ("a".parse::<AccountName>().unwrap(), MsgId::new(1).unwrap());
        for is_rolled_up in [false, true] {
            let body = result(1, 0, 10);
            file(&*store, &*body).await;
            if is_rolled_up {
                roll_up_all(&*store).await;
            }
            let sha256 = Sha256::digest(&body).into();
            assert!(store.withdraw(&account, msg_id, &sha256).await.unwrap());
            assert_eq!(hours(&*store).await, [(0, 0)]);
            roll_up_all(&*store).await;
            assert_eq!(hours(&*store).await, [(0, 0)]);
        }
    }

    async fn what_is_read_again_counts_as_it_reads_then(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let unread = arrival_as("a", result(1, HOUR, 10), 1000, not_understood);
        record(&*store, unread).await.unwrap();
        roll_up_all(&*store).await;
        let page = Page { after: None, limit: 1 };
        let kept = store.deliveries(&DeliveryFilter::default(), &page).await.unwrap();
        let key = DeliveryKey::from(&kept[0]);
        let judge = events::keeping(events::understood);
        events::reprocess(&*store, &key, &judge, at(2000), false).await.unwrap();
        assert_eq!(hours(&*store).await, [(0, 0), (1, 10)]);
        roll_up_all(&*store).await;
        assert_eq!(hours(&*store).await, [(0, 0), (1, 10)]);
    }

    async fn a_range_may_cut_through_hours(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for (msg_id, second) in (1..).zip([0, 3599, 3600, 5399, 5400, 7200, 10800, 10801]) {
            file(&*store, result(msg_id, second, 1)).await;
        }
        for _ in 0..2 {
            for (from, to, jobs) in [
                (Some(3600), None, 6), (None, Some(3600), 2), (None, None, 8), (Some(1), Some(2), 0), (Some(5399), Some(5401), 2),
                (Some(3599), Some(10801), 6), (Some(5400), Some(10800), 2), (Some(7200), Some(7200), 0), (Some(7200), Some(0), 0),
            ] {
                let filter = JobFilter {
                    from: from.map(|second| at(second * 1000)),
                    to: to.map(|second| at(second * 1000)),
                    ..JobFilter::default()
                };
                assert_eq!(store.stats(&filter).await.unwrap().jobs, jobs, "{from:?} {to:?}");
            }
            roll_up_all(&*store).await;
        }
    }

    async fn a_database_from_before_is_added_up(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for (msg_id, second) in (1..).zip([0, HOUR, HOUR + 1]) {
            file(&*store, result(msg_id, second, 10)).await;
        }
        store.close().await;
        database
            .execute(match backend {
                Backend::Postgres => "drop function correct_hour_totals, forget_hour_totals cascade",
                Backend::Sqlite => "drop trigger correct_hour_totals_of_changed_job; drop trigger correct_hour_totals_of_deleted_job",
            })
            .await;
        database.execute("drop table hour_totals").await;
        database.execute("drop table rolled_up").await;
        database.execute("delete from _sqlx_migrations where version = 3").await;
        let store = database.store().await;
        assert_eq!(hours(&*store).await, [(1, 10), (2, 20)]);
        file(&*store, result(1, HOUR, 40)).await;
        assert_eq!(hours(&*store).await, [(0, 0), (3, 60)]);
    }
}

#[tokio::test]
async fn jobs_that_are_truncated_count_no_longer() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    file(&*store, result(1, 0, 10)).await;
    roll_up_all(&*store).await;
    file(&*store, result(2, 0, 20)).await;
    database.execute("truncate jobs").await;
    assert_eq!(hours(&*store).await, [(0, 0)]);
    file(&*store, result(3, 0, 30)).await;
    roll_up_all(&*store).await;
    assert_eq!(hours(&*store).await, [(1, 30)]);
}

#[tokio::test]
async fn a_job_that_is_committed_late_is_not_overlooked() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    // Another replica has begun to write and is slow.
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other
        .execute("begin; update change_numbers set base = base")
        .await
        .unwrap();
    file(&*store, result(1, 0, 10)).await;
    file(&*store, result(2, 0, 20)).await;
    roll_up_all(&*store).await;
    other
        .execute(
            "create temp table late as select * from jobs where msg_id = 1; \
             update late set msg_id = 3, total_count = 5, change = next_change(); \
             insert into jobs select * from late; commit",
        )
        .await
        .unwrap();
    assert_eq!(hours(&*store).await, [(3, 35)]);
    roll_up_all(&*store).await;
    assert_eq!(hours(&*store).await, [(3, 35)]);
}

#[tokio::test]
async fn a_job_that_changes_during_a_roll_up_counts_once() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    for msg_id in 1..=4 {
        file(&*store, result(msg_id, 0, 1)).await;
    }
    let changing = async |store: Arc<dyn Store>, first: i64| {
        for turn in 1..60 {
            for msg_id in [first, first + 1] {
                file(&*store, result(msg_id, turn * 1700, turn)).await;
            }
        }
    };
    let changes = tokio::spawn(changing(store.clone(), 1));
    let other_changes = tokio::spawn(changing(database.store().await, 3));
    let mut rounds = 0;
    while !changes.is_finished() || !other_changes.is_finished() {
        store.roll_up(3).await.unwrap();
        let edges = [0, 10 * HOUR, 20 * HOUR, 30 * HOUR].map(|second| at(second * 1000));
        let timeline = store.timeline(&JobFilter::default(), &edges).await;
        let jobs: i64 = timeline.unwrap().iter().map(|part| part.jobs).sum();
        assert_eq!(jobs, 4, "each job once, at any time");
        rounds += 1;
    }
    changes.await.unwrap();
    other_changes.await.unwrap();
    roll_up_all(&*store).await;
    let last: [_; 30] = hours(&*store).await;
    assert_eq!(last[27], (4, 4 * 59), "after {rounds} rounds");
}

#[tokio::test]
async fn after_a_move_to_another_server_new_jobs_are_newer_than_what_was_rolled_up() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    file(&*store, result(1, 0, 10)).await;
    roll_up_all(&*store).await;
    // As they come from a server that has seen more transactions; the last job is gone.
    database
        .execute("update rolled_up set change = change + 1000000000")
        .await;
    let reopened = database.store().await;
    file(&*reopened, result(2, 0, 20)).await;
    assert_eq!(hours(&*reopened).await, [(2, 30)]);
    roll_up_all(&*reopened).await;
    assert_eq!(hours(&*reopened).await, [(2, 30)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_right_whatever_isolation_is_the_roles_default() {
    const ISOLATIONS: [&str; 2] = [
        "do $$ begin execute format('alter role %I in database %I set default_transaction_isolation = %L', \
             current_user, current_database(), 'repeatable read'); end $$",
        "do $$ begin execute format('alter role %I in database %I set default_transaction_isolation = %L', \
             current_user, current_database(), 'serializable'); end $$",
    ];
    for isolation in ISOLATIONS {
        let database = Backend::Postgres.database().await;
        database.execute(isolation).await;
        let store = database.store().await;
        file(&*store, result(1, 0, 1)).await;
        while store.roll_up(100).await.unwrap() {}
        // A change with a lower number than that of the next job is committed while the jobs are rolled up.
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        other
            .execute("begin isolation level read committed; update jobs set change = next_change()")
            .await
            .unwrap();
        file(&*store, result(2, 0, 1)).await;
        other
            .execute("lock table change_numbers in access exclusive mode")
            .await
            .unwrap();
        let rolling_up = Arc::clone(&store);
        let rolling_up = tokio::spawn(async move { rolling_up.roll_up(100).await });
        let mut observer = PgConnection::connect(&database.url).await.unwrap();
        eventually("the roll-up waits", async || {
            let waits = sqlx::query_scalar(
                "select exists (select from pg_locks where not granted and relation = 'change_numbers'::regclass)",
            );
            waits.fetch_one(&mut observer).await.unwrap()
        })
        .await;
        other.execute("commit").await.unwrap();
        rolling_up.await.unwrap().unwrap();
        while store.roll_up(100).await.unwrap() {}
        assert_eq!(hours(&*store).await, [(2, 2)], "{isolation}");
    }
}
