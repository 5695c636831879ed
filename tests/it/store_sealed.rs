//! What a store promises about sealed deliveries: they are counted, bounded by account, and pruned only where asked for.

use qunfa::domain::{DeliveryState, MsgId, NewDelivery, Reading};
use qunfa::store::{
    DeliveryFilter, MAX_SEALED, MAX_SEALED_BYTES, Page, Prune, Recorded, SealedTotal, Store,
};

use crate::support::events::{self, arrival_as, at};
use crate::support::{Backend, on_both_stores};

fn reading(_: &[u8]) -> Reading {
    Reading::Sealed {
        error: "the key does not open it".to_owned(),
    }
}

fn sealed(account: &str, body: impl Into<Vec<u8>>, millisecond: i64) -> NewDelivery {
    arrival_as(account, body, millisecond, reading)
}

fn total(account: &str, deliveries: i64, dropped: i64) -> SealedTotal {
    SealedTotal {
        account: account.parse().unwrap(),
        deliveries,
        dropped,
    }
}

/// The latest of an account that are sealed.
async fn latest(store: &dyn Store, account: &str, limit: u32) -> Vec<String> {
    let filter = DeliveryFilter {
        account: Some(account.parse().unwrap()),
        state: Some(DeliveryState::Sealed),
        ..DeliveryFilter::default()
    };
    let page = Page { after: None, limit };
    let found = store.deliveries(&filter, &page).await.unwrap();
    found
        .into_iter()
        .map(|one| String::from_utf8(one.body).unwrap())
        .collect()
}

/// What the version before this one kept: an event, what it did not understand, and the older content of a job.
const OLD_ON_SQLITE: &str = "insert into other_deliveries \
         (id, account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times) \
     values \
         (1, 'a', cast('11111111111111111111111111111111' as blob), cast('event' as blob), 'stored', 'VIEW', null, null, null, 10, 20, 2), \
         (2, 'a', cast('22222222222222222222222222222222' as blob), cast('odd' as blob), 'unparsed', null, null, 'empty', null, 30, 30, 1), \
         (3, 'b', cast('33333333333333333333333333333333' as blob), cast('old' as blob), 'stored', 'MASSSENDJOBFINISH', 7, null, 40, 50, 50, 1); \
     update delivery_ids set last = 3";
const OLD_ON_POSTGRES: &str = "insert into other_deliveries \
         (account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times) \
     values \
         ('a', '11111111111111111111111111111111', 'event', 'stored', 'VIEW', null, null, null, to_timestamp(0.010), to_timestamp(0.020), 2), \
         ('a', '22222222222222222222222222222222', 'odd', 'unparsed', null, null, 'empty', null, to_timestamp(0.030), to_timestamp(0.030), 1), \
         ('b', '33333333333333333333333333333333', 'old', 'stored', 'MASSSENDJOBFINISH', 7, null, to_timestamp(0.040), to_timestamp(0.050), to_timestamp(0.050), 1)";

on_both_stores! {
    async fn a_database_of_the_version_before_keeps_what_it_has(backend: Backend) {
        let database = backend.database().await;
        database.migrate_to(4).await;
        database
            .execute(match backend {
                Backend::Sqlite => OLD_ON_SQLITE,
                Backend::Postgres => OLD_ON_POSTGRES,
            })
            .await;
        let store = &*database.store().await;
        let page = Page { after: None, limit: 10 };
        let kept = store.deliveries(&DeliveryFilter::default(), &page).await.unwrap();
        let kept: Vec<_> = kept
            .iter()
            .map(|one| (one.account.as_str(), &one.body[..], one.state, one.received_at, one.last_received_at, one.times))
            .collect();
        assert_eq!(kept, [
            ("b", &b"old"[..], DeliveryState::Stored, at(50), at(50), 1),
            ("a", b"odd", DeliveryState::Unparsed, at(30), at(30), 1),
            ("a", b"event", DeliveryState::Stored, at(10), at(20), 2),
        ]);
        let contents = store.job_deliveries(&"b".parse().unwrap(), MsgId::new(7).unwrap()).await.unwrap();
        assert_eq!(contents.len(), 1);

        events::record(store, sealed("a", "x", 60)).await.unwrap();
        assert_eq!(store.sealed().await.unwrap(), [total("a", 1, 0)]);
        let all = store.deliveries(&DeliveryFilter::default(), &page).await.unwrap();
        assert_eq!(all.len(), 4);
        assert!(all[0].id > all[1].id, "{all:?}");
        store.close().await;
    }

    async fn the_same_envelope_again_is_a_copy(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        let recorded = events::record(store, sealed("a", "x", 1)).await;
        assert_eq!(recorded.unwrap(), Recorded::New);
        let recorded = events::record(store, sealed("a", "x", 2)).await;
        assert_eq!(recorded.unwrap(), Recorded::Duplicate);
        assert_eq!(store.sealed().await.unwrap(), [total("a", 1, 0)]);
        let page = Page { after: None, limit: 5 };
        let all = store.deliveries(&DeliveryFilter::default(), &page).await.unwrap();
        assert_eq!((all.len(), all[0].times, all[0].state), (1, 2, DeliveryState::Sealed));
        assert_eq!((all[0].received_at, all[0].last_received_at), (at(1), at(2)));
        assert_eq!((&all[0].event, all[0].msg_id), (&None, None));
        assert_eq!(all[0].error.as_deref(), Some("the key does not open it"));
        store.close().await;
    }

    async fn beyond_so_many_the_oldest_of_the_account_go(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        events::record(store, sealed("b", "older", 0)).await.unwrap();
        // Those received last are filed first: it is by receipt that they are old.
        let numbers: Vec<_> = (0..MAX_SEALED + 700).rev().collect();
        for numbers in numbers.chunks(1000) {
            let batch: Vec<_> = numbers.iter().map(|n| sealed("a", n.to_string(), *n)).collect();
            store.record(&batch, None).await.unwrap();
        }
        assert_eq!(store.sealed().await.unwrap(), [total("a", MAX_SEALED, 700), total("b", 1, 0)]);
        let kept = latest(store, "a", 20_000).await;
        let expected: Vec<_> = (700..MAX_SEALED + 700).rev().map(|n| n.to_string()).collect();
        assert_eq!(kept, expected);
        // A copy is no further one.
        events::record(store, sealed("a", "10000", 20_000)).await.unwrap();
        events::record(store, sealed("b", "newer", 1)).await.unwrap();
        assert_eq!(store.sealed().await.unwrap(), [total("a", MAX_SEALED, 700), total("b", 2, 0)]);
        events::record(store, sealed("a", "newer", 20_001)).await.unwrap();
        assert_eq!(store.sealed().await.unwrap()[0], total("a", MAX_SEALED, 701));
        assert_eq!(latest(store, "a", 1).await, ["newer"]);
        store.close().await;
    }

    async fn beyond_so_many_bytes_the_oldest_of_the_account_go(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        let size = usize::try_from(MAX_SEALED_BYTES / 8).unwrap();
        let large = |n: u8| vec![b'a' + n; size];
        for n in 0..8 {
            events::record(store, sealed("a", large(n), i64::from(n))).await.unwrap();
        }
        assert_eq!(store.sealed().await.unwrap(), [total("a", 8, 0)]);
        events::record(store, sealed("a", "x", 9)).await.unwrap();
        assert_eq!(store.sealed().await.unwrap(), [total("a", 8, 1)]);
        events::record(store, sealed("a", large(9), 10)).await.unwrap();
        assert_eq!(store.sealed().await.unwrap(), [total("a", 8, 2)]);
        let kept = latest(store, "a", 20).await;
        let first_letters: String = kept.iter().map(|body| &body[..1]).collect();
        assert_eq!(first_letters, "jxhgfedc");
        store.close().await;
    }

    async fn only_a_prune_that_asks_for_them_removes_them(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        for (account, body, millisecond) in [("a", "1", 1), ("a", "2", 2000), ("b", "3", 3)] {
            events::record(store, sealed(account, body, millisecond)).await.unwrap();
        }
        let old = |sealed| Prune { received_before: at(1000), unparsed: true, sealed };
        assert_eq!(store.prune(&old(false), 10).await.unwrap().others, 0);
        let page = Page { after: None, limit: 10 };
        assert_eq!(store.prunable(&old(false), &page).await.unwrap().len(), 0);
        assert_eq!(store.prunable(&old(true), &page).await.unwrap().len(), 2);
        assert_eq!(store.prune(&old(true), 10).await.unwrap().others, 2);
        assert_eq!(store.sealed().await.unwrap(), [total("a", 1, 0)]);
        assert_eq!(latest(store, "a", 5).await, ["2"]);
        store.close().await;
    }

    async fn totals_follow_whatever_changes_the_table(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        for n in 0..4 {
            events::record(store, sealed("a", n.to_string(), n)).await.unwrap();
        }
        database.execute("update other_deliveries set account = 'b' where received_at = (select max(received_at) from other_deliveries)").await;
        assert_eq!(store.sealed().await.unwrap(), [total("a", 3, 0), total("b", 1, 0)]);
        database.execute("update other_deliveries set state = 'unparsed' where account = 'b'").await;
        assert_eq!(store.sealed().await.unwrap(), [total("a", 3, 0)]);
        database.execute("update other_deliveries set state = 'sealed' where account = 'b'").await;
        assert_eq!(store.sealed().await.unwrap(), [total("a", 3, 0), total("b", 1, 0)]);
        database.execute("delete from other_deliveries where received_at = (select min(received_at) from other_deliveries)").await;
        assert_eq!(store.sealed().await.unwrap(), [total("a", 2, 0), total("b", 1, 0)]);
        database
            .execute(match backend {
                Backend::Sqlite => "delete from other_deliveries",
                Backend::Postgres => "truncate other_deliveries",
            })
            .await;
        assert_eq!(store.sealed().await.unwrap(), []);
        store.close().await;
    }
}
