//! The contract for the order of changes: none is missed, whatever the order of commits.

use qunfa::domain::Accounts;
use qunfa::store::{ChangeKey, Store};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::events::{arrival, at, record};
use crate::support::{Backend, Event, on_both_stores};

async fn file(store: &dyn Store, msg_id: i64, create_time: i64) {
    let event = Event::new(msg_id, create_time);
    record(store, arrival("a", event.xml(), 1000))
        .await
        .unwrap();
}

async fn latest(store: &dyn Store) -> ChangeKey {
    store.latest_change().await.unwrap().settled
}

/// The jobs that changed since, in pages of two, and where that ends.
async fn changes(store: &dyn Store, mut after: ChangeKey) -> (Vec<i64>, ChangeKey) {
    let mut jobs = Vec::new();
    loop {
        let page = store.changes(&Accounts::All, after, 2).await.unwrap();
        let Some(last) = page.last() else {
            return (jobs, after);
        };
        after = last.key;
        jobs.extend(page.iter().map(|change| change.job.result.msg_id.get()));
    }
}

on_both_stores! {
    async fn changes_come_in_order_and_the_last_of_each_job_alone(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let start = latest(&*store).await;
        assert_eq!(changes(&*store, start).await.0, [0_i64; 0]);
        for msg_id in 1..=5 {
            file(&*store, msg_id, 10).await;
        }
        let (jobs, middle) = changes(&*store, start).await;
        assert_eq!(jobs, [1, 2, 3, 4, 5]);
        // A later content, an earlier one, and mere copies.
        for (msg_id, create_time) in [(2, 20), (1, 5), (3, 10), (2, 20), (2, 10)] {
            file(&*store, msg_id, create_time).await;
        }
        assert_eq!(changes(&*store, middle).await.0, [2, 1]);
        assert_eq!(changes(&*store, start).await.0, [3, 4, 5, 2, 1]);
        let latest = latest(&*store).await;
        assert_eq!(changes(&*store, latest).await.0, [0_i64; 0]);
        file(&*store, 6, 10).await;
        assert_eq!(changes(&*store, latest).await.0, [6]);
    }

    async fn a_delivery_that_was_in_the_spool_is_an_update_of_when_it_is_filed(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let mut late = arrival("a", Event::new(1, 10).xml(), 1000);
        late.recorded_at = at(5000);
        record(&*store, late.clone()).await.unwrap();
        let mut later = arrival("a", Event::new(1, 20).xml(), 2000);
        later.recorded_at = at(6000);
        record(&*store, later).await.unwrap();
        late.recorded_at = at(7000);
        record(&*store, late).await.unwrap();
        let changed = store.changes(&Accounts::All, ChangeKey::FIRST, 9).await.unwrap();
        let [change] = &changed[..] else { panic!("{changed:?}") };
        assert_eq!(change.job.updated_at, at(6000));
        assert_eq!(change.job.first_received_at, at(1000));
    }
}

on_both_stores! {
    async fn changes_of_some_accounts_are_those_of_all_without_the_others(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let accounts: Vec<String> = (0..60).map(|number| format!("a{number}")).collect();
        for (msg_id, account) in (1..).zip(&accounts) {
            for change in 0..3 {
                let event = Event::new(msg_id, 10 + change);
                record(&*store, arrival(account, event.xml(), 1000)).await.unwrap();
            }
        }
        let all = store.changes(&Accounts::All, ChangeKey::FIRST, 500).await.unwrap();
        assert_eq!(all.len(), 60);
        let until = latest(&*store).await;
        for count in [0, 1, 2, 50, 51] {
            let seen = Accounts::only(accounts.iter().rev().take(count).map(|name| name.parse().unwrap()));
            let keys: Vec<_> = all
                .iter()
                .filter(|change| seen.include(&change.job.account))
                .map(|change| change.key)
                .collect();
            assert_eq!(keys.len(), count);
            for after in [ChangeKey::FIRST, all[20].key, all[59].key] {
                let found = store.changes(&seen, after, 40).await.unwrap();
                let found: Vec<_> = found.iter().map(|change| change.key).collect();
                let expected: Vec<_> = keys.iter().copied().filter(|key| *key > after).take(40).collect();
                assert_eq!(found, expected, "{count} {after:?}");
            }
            for (until, but) in [(until, 0), (until, 3), (all[30].key, 1), (until, 60)] {
                let expected = keys.iter().rev().filter(|key| **key <= until).nth(but as usize);
                let found = store.newest_change(&seen, until, but).await.unwrap();
                assert_eq!(found.as_ref(), expected, "{count} {but}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_is_committed_late_is_not_overlooked() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    let start = latest(&*store).await;
    // Another replica has begun to write and is slow.
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other
        .execute("begin; update change_numbers set base = base")
        .await
        .unwrap();
    file(&*store, 1, 10).await;
    assert_eq!(changes(&*store, start).await, (vec![], start));
    let latest = latest(&*store).await;
    other
        .execute("update jobs set change = next_change(); commit")
        .await
        .unwrap();
    assert_eq!(changes(&*store, start).await.0, [1]);
    assert_eq!(changes(&*store, latest).await.0, [1]);
}

#[tokio::test]
async fn transactions_of_other_databases_hold_nothing_back() {
    let [one, other] = [(); 2].map(|()| Backend::Postgres.database());
    let (one, other) = (one.await, other.await);
    let (store, _other_store) = (one.store().await, other.store().await);
    let start = latest(&*store).await;
    let mut writer = PgConnection::connect(&other.url).await.unwrap();
    writer
        .execute("begin; update change_numbers set base = base")
        .await
        .unwrap();
    file(&*store, 1, 10).await;
    assert_eq!(changes(&*store, start).await.0, [1]);
}

#[tokio::test]
async fn after_a_move_to_another_server_changes_go_on_from_the_highest_number() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    file(&*store, 1, 10).await;
    // As they come from a server that has seen more transactions.
    database
        .execute("update jobs set change = change + 1000000000")
        .await;
    let reopened = database.store().await;
    let key = ChangeKey {
        change: 1_000_000_000,
        shown_id: 0,
    };
    let (_, latest) = changes(&*reopened, key).await;
    assert!(latest.change > 1_000_000_000);
    file(&*reopened, 2, 10).await;
    assert_eq!(changes(&*reopened, latest).await.0, [2]);
    // While the program runs, it is asked after an outage.
    database
        .execute("update jobs set change = change + 2000000000")
        .await;
    store.ping().await.unwrap();
    let key = ChangeKey {
        change: 2_000_000_000,
        shown_id: 0,
    };
    let (_, latest) = changes(&*store, key).await;
    file(&*store, 3, 10).await;
    assert_eq!(changes(&*store, latest).await.0, [3]);
}
