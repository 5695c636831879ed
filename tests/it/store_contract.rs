//! What a store promises about recording deliveries and reading them again. Both stores keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use qunfa::domain::{DeliveryState, Job, MsgId, NewDelivery, Reading};
use qunfa::store::{DeliveryFilter, DeliveryKey, Page, Recorded, Reread, Store};

use crate::support::events::{self, arrival, arrival_as, at, not_understood, understood};
use crate::support::{Backend, Event, on_both_stores};

async fn job(store: &dyn Store, account: &str, msg_id: i64) -> Option<Job> {
    let msg_id = MsgId::new(msg_id).unwrap();
    store.job(&account.parse().unwrap(), msg_id).await.unwrap()
}

/// What moves as deliveries come: (`deliveries`, `revision`, first, last, updated in milliseconds, `SentCount`).
async fn tally(store: &dyn Store, account: &str, msg_id: i64) -> (i64, i64, [i64; 3], i64) {
    let job = job(store, account, msg_id).await.expect("the job is there");
    let times = [job.first_received_at, job.last_received_at, job.updated_at];
    (
        job.deliveries,
        job.revision,
        times.map(qunfa::domain::Time::milliseconds),
        job.result.counts.sent.unwrap(),
    )
}

async fn record(store: &dyn Store, delivery: NewDelivery) -> Recorded {
    events::record(store, delivery).await.unwrap()
}

/// An event whose `SentCount` names it.
fn named(name: i64, create_time: i64) -> String {
    Event::new(42, create_time)
        .counts([100, 100, name, 0])
        .xml()
}

/// Of every delivery, in the order of acceptance.
async fn keys(store: &dyn Store) -> Vec<DeliveryKey> {
    let page = Page {
        after: None,
        limit: 1000,
    };
    let all = store.deliveries(&DeliveryFilter::default(), &page).await;
    let mut keys: Vec<_> = all.unwrap().iter().map(DeliveryKey::from).collect();
    keys.sort_by_key(|key| key.id);
    keys
}

async fn reread(
    store: &dyn Store,
    key: &DeliveryKey,
    read: fn(&[u8]) -> Reading,
    now: i64,
) -> Reread {
    store
        .reread(key, read, at(now), false)
        .await
        .unwrap()
        .unwrap()
}

/// Reads every id as one hundred more than it is.
fn shifted(body: &[u8]) -> Reading {
    match understood(body) {
        Reading::Result {
            event,
            mut result,
            note,
        } => {
            result.msg_id = MsgId::new(result.msg_id.get() + 100).unwrap();
            Reading::Result {
                event,
                result,
                note,
            }
        }
        other => other,
    }
}

/// Understands all but the event that 2 names.
fn all_but_two(body: &[u8]) -> Reading {
    match understood(body) {
        Reading::Result { result, .. } if result.counts.sent == Some(2) => not_understood(body),
        other => other,
    }
}

on_both_stores! {
    async fn the_latest_use_of_a_clients_key_stays(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        assert_eq!(store.client_uses().await.unwrap(), BTreeMap::new());
        for (client, used_at) in [("a", 2000), ("b", 5), ("a", 1000), ("a", 3000), ("b", 5)] {
            store.note_client_use(&client.parse().unwrap(), at(used_at)).await.unwrap();
        }
        let expected = [("a".to_owned(), at(3000)), ("b".to_owned(), at(5))];
        assert_eq!(store.client_uses().await.unwrap(), BTreeMap::from(expected));
    }

    async fn a_copy_moves_the_counts_and_the_last_time_and_nothing_else(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        assert_eq!(record(&*store, arrival("a", named(1, 50), 1000)).await, Recorded::New);
        let first = job(&*store, "a", 42).await.unwrap();
        assert_eq!(tally(&*store, "a", 42).await, (1, 1, [1000, 1000, 1000], 1));
        assert_eq!(first.result, *understood(named(1, 50).as_bytes()).result().unwrap());

        assert_eq!(record(&*store, arrival("a", named(1, 50), 3000)).await, Recorded::Duplicate);
        assert_eq!(tally(&*store, "a", 42).await, (2, 1, [1000, 3000, 1000], 1));
        // The clock of another replica is behind: the last time does not go back.
        assert_eq!(record(&*store, arrival("a", named(1, 50), 2000)).await, Recorded::Duplicate);
        let last = job(&*store, "a", 42).await.unwrap();
        assert_eq!(last, Job { deliveries: 3, last_received_at: at(3000), ..first });
    }

    async fn the_latest_create_time_shows_and_on_a_tie_the_one_first_received_last(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for (name, create_time, received, expected) in [
            (1, 50, 1000, (1, 1, [1000, 1000, 1000], 1)),
            (2, 60, 2000, (2, 2, [1000, 2000, 2000], 2)),
            // Older content that comes late is a revision, but does not show.
            (3, 40, 3000, (3, 3, [1000, 3000, 3000], 2)),
            (4, 60, 4000, (4, 4, [1000, 4000, 4000], 4)),
            // A late retry of what tied before, of what was older, and of what shows.
            (2, 60, 5000, (5, 4, [1000, 5000, 4000], 4)),
            (1, 50, 6000, (6, 4, [1000, 6000, 4000], 4)),
            (4, 60, 7000, (7, 4, [1000, 7000, 4000], 4)),
            // In the same millisecond: the order of acceptance decides.
            (5, 60, 4000, (8, 5, [1000, 7000, 4000], 5)),
            // A tie with an earlier arrival, on a clock that is behind: `updated_at` does not go back.
            (6, 60, 500, (9, 6, [500, 7000, 4000], 5)),
        ] {
            record(&*store, arrival("a", named(name, create_time), received)).await;
            assert_eq!(tally(&*store, "a", 42).await, expected, "after {name} at {received}");
        }
        let deliveries = store.job_deliveries(&"a".parse().unwrap(), MsgId::new(42).unwrap()).await.unwrap();
        let order: Vec<_> = deliveries.iter().map(|delivery| (delivery.received_at.milliseconds(), delivery.times)).collect();
        assert_eq!(order, [(500, 1), (1000, 2), (2000, 2), (3000, 1), (4000, 2), (4000, 1)]);
        assert!(deliveries.is_sorted_by_key(|delivery| (delivery.received_at, delivery.id)));
        assert_eq!(deliveries[0].body, named(6, 60).as_bytes());
    }

    async fn accounts_share_neither_bytes_nor_ids(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        assert_eq!(record(&*store, arrival("a", named(1, 50), 1000)).await, Recorded::New);
        assert_eq!(record(&*store, arrival("b", named(1, 50), 2000)).await, Recorded::New);
        assert_eq!(record(&*store, arrival("b", named(2, 50), 3000)).await, Recorded::Revision);
        assert_eq!(tally(&*store, "a", 42).await, (1, 1, [1000, 1000, 1000], 1));
        assert_eq!(tally(&*store, "b", 42).await, (2, 2, [2000, 3000, 3000], 2));
        assert_eq!(job(&*store, "c", 42).await, None);
        assert_eq!(job(&*store, "a", 43).await, None);
    }

    async fn what_is_not_understood_is_kept_and_counts_once_it_is(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let old = |millisecond| arrival_as("a", named(1, 50), millisecond, not_understood);
        assert_eq!(record(&*store, old(1000)).await, Recorded::New);
        assert_eq!(record(&*store, old(2000)).await, Recorded::Duplicate);
        assert_eq!(job(&*store, "a", 42).await, None);
        record(&*store, arrival("a", named(2, 40), 2500)).await;
        assert_eq!(tally(&*store, "a", 42).await, (1, 1, [2500, 2500, 2500], 2));

        // A copy comes to a parser that understands it: it counts, and those of before do once they are read again.
        assert_eq!(record(&*store, arrival("a", named(1, 50), 3000)).await, Recorded::Revision);
        assert_eq!(tally(&*store, "a", 42).await, (2, 2, [2500, 3000, 3000], 1));
        let old_ones = keys(&*store).await.remove(0);
        assert!(reread(&*store, &old_ones, understood, 9000).await.job_changed);
        assert_eq!(tally(&*store, "a", 42).await, (4, 2, [1000, 3000, 9000], 1));
        let deliveries = store.job_deliveries(&"a".parse().unwrap(), MsgId::new(42).unwrap()).await.unwrap();
        assert_eq!(deliveries[0].state, DeliveryState::Stored);
        assert_eq!((deliveries[0].error.as_deref(), deliveries[0].times), (None, 3));
    }

    async fn other_events_with_the_id_of_a_job_leave_it_alone(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, arrival("a", named(1, 50), 1000)).await;
        let before = job(&*store, "a", 42).await;
        let template = named(1, 50).replace("MASSSENDJOBFINISH", "TEMPLATESENDJOBFINISH");
        let unreadable = named(1, 50).replace("<CreateTime>50", "<CreateTime>x");
        for (body, state) in [(template, DeliveryState::Stored), (unreadable, DeliveryState::Unparsed)] {
            for _ in 0..2 {
                record(&*store, arrival("a", body.clone(), 2000)).await;
            }
            let page = Page { after: None, limit: 1 };
            let filter = DeliveryFilter { state: Some(state), ..DeliveryFilter::default() };
            let newest = store.deliveries(&filter, &page).await.unwrap().remove(0);
            assert_eq!((newest.msg_id, newest.times, &newest.body[..]), (MsgId::new(42), 2, body.as_bytes()));
        }
        assert_eq!(job(&*store, "a", 42).await, before);
        assert_eq!(store.job_deliveries(&"a".parse().unwrap(), MsgId::new(42).unwrap()).await.unwrap().len(), 1);
    }

    async fn values_at_the_ends_of_their_ranges_come_back_as_they_were(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let long = "长文本 🎉 ".repeat(3000);
        let rest = "<CopyrightCheckResult><CheckState>-9223372036854775808</CheckState></CopyrightCheckResult>\
             <ArticleUrlResult><Count>9223372036854775807</Count><ResultList><item><ArticleIdx>9223372036854775807</ArticleIdx>\
             <ArticleUrl>https://example.com/é&#38;\"'</ArticleUrl></item></ResultList></ArticleUrlResult>";
        let events = [
            Event::new(1, 0).counts([0; 4]),
            Event::new(i64::MAX, 253_402_300_799).counts([i64::MAX; 4]).rest(rest),
            Event::new(2, 50).status(&long),
            Event::new(3, 50).status("err(2147483647)"),
        ];
        for event in &events {
            let account = "z".repeat(64);
            for received in [-1, 0, 253_402_300_799_999] {
                record(&*store, arrival(&account, event.xml(), received)).await;
            }
            let job = job(&*store, &account, event.msg_id).await.unwrap();
            assert_eq!(job.result, *understood(event.xml().as_bytes()).result().unwrap());
            assert_eq!((job.first_received_at, job.last_received_at), (at(-1), at(253_402_300_799_999)));
        }
    }

    async fn records_at_the_same_moment_neither_get_lost_nor_count_twice(backend: Backend) {
        let database = backend.database().await;
        let stores = [database.store().await, database.store().await];
        let at_once = |deliveries: Vec<NewDelivery>| {
            let tasks: Vec<_> = deliveries.into_iter().enumerate().map(|(index, delivery)| {
                let store = Arc::clone(&stores[index % 2]);
                tokio::spawn(async move { record(&*store, delivery).await })
            }).collect();
            async move {
                let mut new = 0;
                for task in tasks {
                    new += usize::from(task.await.unwrap() != Recorded::Duplicate);
                }
                new
            }
        };
        assert_eq!(at_once((0..50).map(|n| arrival("a", named(1, 50), n)).collect()).await, 1);
        let (deliveries, revision, [_, last, _], _) = tally(&*stores[0], "a", 42).await;
        assert_eq!((deliveries, revision, last), (50, 1, 49));

        let different = (0..50).map(|n| arrival("b", named(n % 25, 50 + n % 25), n)).collect();
        assert_eq!(at_once(different).await, 25);
        let (deliveries, revision, [_, last, _], shown) = tally(&*stores[0], "b", 42).await;
        assert_eq!((deliveries, revision, last, shown), (50, 25, 49, 24));
    }

    async fn reading_again_files_anew_and_a_dry_run_only_tells(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for millisecond in [1000, 2000] {
            record(&*store, arrival_as("a", named(1, 50), millisecond, not_understood)).await;
        }
        let key = keys(&*store).await.remove(0);
        let dry = store.reread(&key, understood, at(9000), true).await.unwrap().unwrap();
        assert!(dry.changed() && dry.job_changed);
        assert_eq!((dry.before.state, dry.after.state), (DeliveryState::Unparsed, DeliveryState::Stored));
        assert_eq!(job(&*store, "a", 42).await, None);

        assert_eq!(reread(&*store, &key, understood, 9000).await, dry);
        assert_eq!(tally(&*store, "a", 42).await, (2, 1, [1000, 2000, 9000], 1));
        assert!(!reread(&*store, &key, understood, 9500).await.changed());
        assert_eq!(tally(&*store, "a", 42).await, (2, 1, [1000, 2000, 9000], 1));
        assert_eq!(store.reread(&DeliveryKey { id: key.id + 1, ..key }, understood, at(9000), false).await.unwrap(), None);
    }

    async fn what_was_understood_and_no_longer_is_stays(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, arrival("a", named(1, 50), 1000)).await;
        record(&*store, arrival("a", named(2, 60), 2000)).await;
        let before = job(&*store, "a", 42).await;
        // The first is still understood, the second shows and no longer is: nothing changes, time after time.
        for key in keys(&*store).await {
            for read in [not_understood, all_but_two] {
                let reread = reread(&*store, &key, read, 9000).await;
                assert!(!reread.changed(), "{reread:?}");
            }
        }
        assert_eq!(job(&*store, "a", 42).await, before);
    }

    async fn a_delivery_that_is_read_as_another_jobs_moves_there(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, arrival("a", named(1, 50), 1000)).await;
        record(&*store, arrival("a", named(2, 60), 2000)).await;
        let keys = keys(&*store).await;
        assert!(reread(&*store, &keys[1], shifted, 9000).await.job_changed);
        assert_eq!(tally(&*store, "a", 142).await, (1, 1, [2000, 2000, 9000], 2));
        let (deliveries, revision, times, _) = tally(&*store, "a", 42).await;
        assert_eq!((deliveries, revision, times), (1, 1, [1000, 1000, 9000]));

        reread(&*store, &keys[0], shifted, 9100).await;
        assert_eq!(job(&*store, "a", 42).await, None);
        assert_eq!(tally(&*store, "a", 142).await, (2, 2, [1000, 2000, 9100], 2));

        // Back again: from the larger id to the smaller one.
        reread(&*store, &keys[0], understood, 9200).await;
        let (deliveries, revision, times, _) = tally(&*store, "a", 142).await;
        assert_eq!((deliveries, revision, times), (1, 1, [2000, 2000, 9200]));
        assert_eq!(tally(&*store, "a", 42).await, (1, 1, [1000, 1000, 9200], 1));
    }

    async fn reading_again_while_records_come_loses_nothing(backend: Backend) {
        let database = backend.database().await;
        let (store, other) = (database.store().await, database.store().await);
        for round in 1..=20 {
            let event = |rest: &str| Event::new(round, 50).rest(rest).xml();
            record(&*store, arrival_as("a", event(""), round, not_understood)).await;
            let key = keys(&*store).await.pop().unwrap();
            let coming = arrival("a", event("<x/>"), round);
            let (reread, recorded) = tokio::join!(
                store.reread(&key, understood, at(9000), false),
                events::record(&*other, coming),
            );
            assert!(reread.unwrap().unwrap().changed());
            assert_ne!(recorded.unwrap(), Recorded::Duplicate);
            let (deliveries, revision, ..) = tally(&*store, "a", round).await;
            assert_eq!((deliveries, revision), (2, 2), "round {round}");
        }
    }

    async fn a_closed_store_and_an_open_one_say_so(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
        assert!(events::record(&*store, arrival("a", named(1, 50), 1000)).await.is_err());
    }
}
