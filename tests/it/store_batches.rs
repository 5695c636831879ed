//! A batch has the same result as its deliveries one by one, and counts once, however often it is
//! retried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use qunfa::domain::{MsgId, NewDelivery};
use qunfa::store::{
    BatchId, BatchOutcome, DeliveryFilter, JobFilter, Page, PostgresStore, Queries, Recorded, Store,
};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::events::{arrival, record, record_batch};
use crate::support::{Backend, Event, eventually, on_both_stores};

/// One of a few, so that copies, revisions and ties are common.
fn delivery() -> impl Strategy<Value = (usize, String)> {
    let result = (1..=3_i64, 1..=2_i64, 0..2_i64).prop_map(|(msg_id, create_time, name)| {
        Event::new(msg_id, create_time)
            .counts([9, 9, name, 0])
            .xml()
    });
    let other = (0..2).prop_map(|name| {
        format!(
            "<xml><ToUserName>gh_a</ToUserName><FromUserName>o</FromUserName><CreateTime>{name}</CreateTime>\
             <MsgType>event</MsgType><Event>VIEW</Event></xml>"
        )
    });
    let unparsed = (0..2).prop_map(|name| format!("<xml>{name}"));
    (
        0..2_usize,
        prop_oneof![6 => result, 1 => other, 1 => unparsed],
    )
}

/// Batches of deliveries, with the time since the one before: mostly forward, as clocks go.
fn batches() -> impl Strategy<Value = Vec<Vec<((usize, String), i64)>>> {
    let step = prop_oneof![6 => 0..3_i64, 1 => -20..0_i64];
    vec(vec((delivery(), step), 1..12), 1..5)
}

/// All that a store has of an account, but for ids.
async fn everything(store: &dyn Store, account: &str) -> String {
    let jobs = JobFilter {
        account: Some(account.parse().unwrap()),
        ..JobFilter::default()
    };
    let page = Page {
        after: None,
        limit: 500,
    };
    let jobs = store.jobs(&jobs, &page).await.unwrap();
    let filter = DeliveryFilter {
        account: Some(account.parse().unwrap()),
        ..DeliveryFilter::default()
    };
    let page = Page {
        after: None,
        limit: 500,
    };
    let mut deliveries = store.deliveries(&filter, &page).await.unwrap();
    for delivery in &mut deliveries {
        delivery.id = 0;
    }
    deliveries.sort_by_key(|delivery| delivery.body_sha256);
    format!("{jobs:#?}\n{deliveries:#?}")
}

async fn come_out_alike(
    [together, alone]: [&dyn Store; 2],
    accounts: [String; 2],
    batches: Vec<Vec<((usize, String), i64)>>,
) {
    let mut now = 1000;
    for batch in batches {
        let batch: Vec<NewDelivery> = batch
            .into_iter()
            .map(|((account, body), step)| {
                now += step;
                arrival(&accounts[account], body, now)
            })
            .collect();
        let id = BatchId::random();
        let outcome = together.record(&batch, Some(id)).await.unwrap();
        let mut expected = Vec::new();
        for delivery in batch.clone() {
            expected.push(record(alone, delivery).await.unwrap());
        }
        assert_eq!(outcome, BatchOutcome::Recorded(expected));
        let again = together.record(&batch, Some(id)).await.unwrap();
        assert_eq!(again, BatchOutcome::RecordedBefore);
        for account in &accounts {
            assert_eq!(
                everything(together, account).await,
                everything(alone, account).await
            );
        }
    }
}

fn batches_come_out_as_their_deliveries_would_one_by_one(backend: Backend) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_databases, [together, alone]) = runtime.block_on(async {
        let databases = [backend.database().await, backend.database().await];
        let stores = [databases[0].store().await, databases[1].store().await];
        (databases, stores)
    });
    let config = Config {
        cases: 60,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    // Each case has accounts of its own, and needs no databases of its own.
    let case = AtomicU32::new(0);
    TestRunner::new(config)
        .run(&batches(), |batches| {
            let case = case.fetch_add(1, Relaxed);
            let accounts = [format!("{case}-"), format!("{case}")];
            runtime.block_on(come_out_alike([&*together, &*alone], accounts, batches));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(async {
        together.close().await;
        alone.close().await;
    });
}

#[test]
fn batches_come_out_as_their_deliveries_would_one_by_one_on_sqlite() {
    batches_come_out_as_their_deliveries_would_one_by_one(Backend::Sqlite);
}

#[test]
fn batches_come_out_as_their_deliveries_would_one_by_one_on_postgres() {
    batches_come_out_as_their_deliveries_would_one_by_one(Backend::Postgres);
}

fn batch(ids: impl IntoIterator<Item = i64>, create_time: i64) -> Vec<NewDelivery> {
    let event = |msg_id| arrival("a", Event::new(msg_id, create_time).xml(), 1000);
    ids.into_iter().map(event).collect()
}

async fn deliveries(store: &dyn Store, msg_id: i64) -> Option<i64> {
    let msg_id = MsgId::new(msg_id).unwrap();
    let job = store.job(&"a".parse().unwrap(), msg_id).await.unwrap();
    job.map(|job| job.deliveries)
}

on_both_stores! {
    async fn an_id_admits_one_batch(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let record = async |id, ids: std::ops::RangeInclusive<i64>| {
            store.record(&batch(ids, 10), Some(id)).await.unwrap()
        };
        let (first, second) = (BatchId::random(), BatchId::random());
        let new = BatchOutcome::Recorded(vec![Recorded::New; 2]);
        assert_eq!(record(first, 1..=2).await, new);
        assert_eq!(record(first, 1..=3).await, BatchOutcome::RecordedBefore);
        assert_eq!(deliveries(&*store, 1).await, Some(1));
        assert_eq!(deliveries(&*store, 3).await, None);
        let mixed = vec![Recorded::Duplicate, Recorded::Duplicate, Recorded::New];
        assert_eq!(record(second, 1..=3).await, BatchOutcome::Recorded(mixed));
        assert!(!store.cancel(first).await.unwrap());
        assert_eq!(record(first, 4..=4).await, BatchOutcome::RecordedBefore);
    }

    async fn a_cancelled_id_admits_none(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let id = BatchId::random();
        for _ in 0..2 {
            assert!(store.cancel(id).await.unwrap());
        }
        // In one statement, and in several.
        let mut mixed = batch(1..=2, 10);
        mixed.push(arrival("a", "<xml>", 1000));
        for batch in [batch(1..=2, 10), mixed] {
            let outcome = store.record(&batch, Some(id)).await.unwrap();
            assert_eq!(outcome, BatchOutcome::Cancelled);
        }
        assert_eq!(deliveries(&*store, 1).await, None);
    }

    async fn a_batch_of_every_kind_counts_once_however_often_it_comes(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let mut all = batch(1..=3, 10);
        all.extend(batch(2..=4, 20));
        all.push(arrival("a", "<xml>", 1000));
        let id = BatchId::random();
        let attempts = (0..6).map(|_| {
            let (store, all) = (Arc::clone(&store), all.clone());
            async move { record_batch(&*store, &all, Some(id)).await.unwrap() }
        });
        let attempts: tokio::task::JoinSet<_> = attempts.collect();
        let outcomes = attempts.join_all().await;
        let recorded = outcomes.iter().filter(|one| matches!(one, BatchOutcome::Recorded(_)));
        assert_eq!(recorded.count(), 1, "{outcomes:?}");
        for (msg_id, expected) in [(1, 1), (2, 2), (3, 2), (4, 1)] {
            assert_eq!(deliveries(&*store, msg_id).await, Some(expected));
        }
    }
}

/// The first try of a batch is under way for as long as somebody holds a job that it is about.
async fn a_second_try_waits_for_the_first(all: Vec<NewDelivery>) {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    record(&*store, all[0].clone()).await.unwrap();
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    holder
        .execute("begin; select from jobs for update")
        .await
        .unwrap();
    let id = Some(BatchId::random());
    let attempt = || {
        let (store, all) = (Arc::clone(&store), all.clone());
        tokio::spawn(async move { record_batch(&*store, &all, id).await.unwrap() })
    };
    let first = attempt();
    let mut watch = PgConnection::connect(&database.url).await.unwrap();
    let mut waiting = async |expected: i64| {
        eventually("they wait", async || {
            let waits = "select count(*) from pg_stat_activity \
                 where datname = current_database() and wait_event_type = 'Lock'";
            let waits: i64 = sqlx::query_scalar(waits)
                .fetch_one(&mut watch)
                .await
                .unwrap();
            waits == expected
        })
        .await;
    };
    waiting(1).await;
    let second = attempt();
    waiting(2).await;
    holder.execute("commit").await.unwrap();
    // The first one, unless both had waited for so long that they were tried again.
    let outcomes = [first.await.unwrap(), second.await.unwrap()];
    let recorded = outcomes
        .iter()
        .filter(|one| matches!(one, BatchOutcome::Recorded(_)));
    assert_eq!(recorded.count(), 1, "{outcomes:?}");
    assert!(
        outcomes.contains(&BatchOutcome::RecordedBefore),
        "{outcomes:?}"
    );
    assert_eq!(deliveries(&*store, 1).await, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_try_while_the_first_is_under_way_waits_and_counts_nothing() {
    a_second_try_waits_for_the_first(batch(1..=2, 10)).await;
    // The same in several statements.
    let mut all = batch(1..=2, 10);
    all.push(arrival("a", "<xml>", 1000));
    a_second_try_waits_for_the_first(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_was_given_up_half_way_does_not_stand_in_the_way_of_the_next() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    record(&*store, batch(1..=1, 10).remove(0)).await.unwrap();
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    holder
        .execute("begin; select from jobs for update")
        .await
        .unwrap();
    let id = Some(BatchId::random());
    let first = tokio::spawn({
        let (store, all) = (Arc::clone(&store), batch(1..=2, 10));
        async move { store.record(&all, id).await }
    });
    let mut watch = PgConnection::connect(&database.url).await.unwrap();
    eventually("it waits", async || {
        let waits = "select exists (select from pg_stat_activity \
             where datname = current_database() and wait_event_type = 'Lock')";
        sqlx::query_scalar(waits)
            .fetch_one(&mut watch)
            .await
            .unwrap()
    })
    .await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    holder.execute("commit").await.unwrap();
    // Whichever of the two it is that PostgreSQL does, it does one.
    record_batch(&*store, &batch(1..=2, 10), id).await.unwrap();
    assert_eq!(deliveries(&*store, 1).await, Some(2));
    assert_eq!(deliveries(&*store, 2).await, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_whose_batches_cross_neither_lock_each_other_out_nor_miscount() {
    const ROUNDS: i64 = 10;
    let database = Backend::Postgres.database().await;
    // Shorter than a batch waits for a lock, so that a deadlock is told from a long wait.
    let deadlocks = "do $$ begin \
         execute format('alter database %I set deadlock_timeout = 100', current_database()); end $$";
    database.execute(deadlocks).await;
    let open = async || {
        let store = PostgresStore::open(&database.url, qunfa::store::Migrations::Apply).await;
        Arc::new(store.unwrap())
    };
    let stores = [open().await, open().await];
    let mut replicas = tokio::task::JoinSet::new();
    for (index, store) in stores.iter().enumerate() {
        let store = Arc::clone(store);
        replicas.spawn(async move {
            for round in 0..ROUNDS {
                // The same jobs in opposite orders; copies, revisions, and what is no job result.
                let mut all = batch(1..=50, 10);
                all.extend(batch(
                    1..=50,
                    11 + (round + i64::try_from(index).unwrap()) % 3,
                ));
                all.extend((0..20).map(|name| arrival("a", format!("<xml>{name}"), 1000)));
                if index == 1 {
                    all.reverse();
                }
                record_batch(&*store, &all, Some(BatchId::random()))
                    .await
                    .unwrap();
            }
        });
    }
    replicas.join_all().await;
    for msg_id in 1..=50 {
        assert_eq!(deliveries(&*stores[0], msg_id).await, Some(4 * ROUNDS));
    }
    let page = Page {
        after: None,
        limit: 500,
    };
    let filter = DeliveryFilter::default();
    let all = stores[0].deliveries(&filter, &page).await.unwrap();
    assert_eq!(all.len(), 50 * 4 + 20);
    let others = all.iter().filter(|delivery| delivery.msg_id.is_none());
    assert!(others.into_iter().all(|other| other.times == 2 * ROUNDS));
}

/// PostgreSQL keeps the plan of a statement. One that was made for a nearly empty table must do for
/// a full one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recording_finds_jobs_by_their_keys_however_small_the_table_was_at_first() {
    const SCANS: &str = "select idx_scan from pg_stat_user_indexes where indexrelname = $1";
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    let job = |msg_id, create_time| arrival("a", Event::new(msg_id, create_time).xml(), 1000);
    for msg_id in 1..=20 {
        record(&*store, job(msg_id, 10)).await.unwrap();
    }
    for first in (100..4_000).step_by(100) {
        let batch: Vec<_> = (first..first + 100).map(|id| job(id, 10)).collect();
        record_batch(&*store, &batch, None).await.unwrap();
    }
    for msg_id in 1..=50 {
        record(&*store, job(10_000 + msg_id, 10)).await.unwrap();
        record(&*store, job(100 + msg_id, 20)).await.unwrap();
    }
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let mut next = 20_000;
    // Counted from time to time.
    loop {
        next += 1;
        record(&*store, job(next, 10)).await.unwrap();
        let mut scans = async |index: &str| -> i64 {
            let row = sqlx::query_scalar(SCANS).bind(index);
            row.fetch_one(&mut connection).await.unwrap()
        };
        if scans("jobs_pkey").await >= 4_000 {
            let by_account = scans("jobs_by_account").await;
            assert!(
                by_account < 100,
                "{by_account} scans of the index by account"
            );
            return;
        }
    }
}
