//! The contract of both stores for recording deliveries and reading them.

use std::collections::BTreeMap;
use std::sync::Arc;

use qunfa::domain::{Delivery, DeliveryState, Job, MsgId, NewDelivery, Reading};
use qunfa::store::{
    DeliveryFilter, DeliveryKey, Page, Prune, Recorded, Reprocessed, Store, Verdict,
};

use crate::support::events::{
    self, arrival, arrival_as, at, keeping, not_understood, stored, understood,
};
use crate::support::{Backend, Event, on_both_stores};

async fn job(store: &dyn Store, account: &str, msg_id: i64) -> Option<Job> {
    let msg_id = MsgId::new(msg_id).unwrap();
    store.job(&account.parse().unwrap(), msg_id).await.unwrap()
}

/// What moves as deliveries come: (`deliveries`, `revision`, first, last, updated in milliseconds,
/// `SentCount`).
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

async fn reprocess(
    store: &dyn Store,
    key: &DeliveryKey,
    read: fn(&[u8]) -> Reading,
    now: i64,
) -> Reprocessed {
    let done = events::reprocess(store, key, &keeping(read), at(now), false).await;
    done.unwrap()
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
            // A tie with an earlier arrival, on a clock that is behind: `updated_at` does not go
            // back.
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

        // A copy comes to a parser that understands it: it counts, and those of before do once they
        // are read again.
        assert_eq!(record(&*store, arrival("a", named(1, 50), 3000)).await, Recorded::Revision);
        assert_eq!(tally(&*store, "a", 42).await, (2, 2, [2500, 3000, 3000], 1));
        let old_ones = keys(&*store).await.remove(0);
        assert!(reprocess(&*store, &old_ones, understood, 9000).await.job_changed);
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
        let dry = events::reprocess(&*store, &key, &keeping(understood), at(9000), true).await.unwrap();
        assert!(dry.changed() && dry.job_changed);
        assert_eq!((dry.before.state, dry.after.as_ref().unwrap().state), (DeliveryState::Unparsed, DeliveryState::Stored));
        assert_eq!(job(&*store, "a", 42).await, None);

        assert_eq!(reprocess(&*store, &key, understood, 9000).await, dry);
        assert_eq!(tally(&*store, "a", 42).await, (2, 1, [1000, 2000, 9000], 1));
        assert!(!reprocess(&*store, &key, understood, 9500).await.changed());
        assert_eq!(tally(&*store, "a", 42).await, (2, 1, [1000, 2000, 9000], 1));
    }

    async fn what_was_understood_and_no_longer_is_stays(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, arrival("a", named(1, 50), 1000)).await;
        record(&*store, arrival("a", named(2, 60), 2000)).await;
        let before = job(&*store, "a", 42).await;
        // The first is still understood, the second shows and no longer is: nothing changes, time
        // after time.
        for key in keys(&*store).await {
            for read in [not_understood, all_but_two] {
                let done = reprocess(&*store, &key, read, 9000).await;
                assert!(!done.changed(), "{done:?}");
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
        assert!(reprocess(&*store, &keys[1], shifted, 9000).await.job_changed);
        assert_eq!(tally(&*store, "a", 142).await, (1, 1, [2000, 2000, 9000], 2));
        let (deliveries, revision, times, _) = tally(&*store, "a", 42).await;
        assert_eq!((deliveries, revision, times), (1, 1, [1000, 1000, 9000]));

        reprocess(&*store, &keys[0], shifted, 9100).await;
        assert_eq!(job(&*store, "a", 42).await, None);
        assert_eq!(tally(&*store, "a", 142).await, (2, 2, [1000, 2000, 9100], 2));

        // Back again: from the larger id to the smaller one.
        reprocess(&*store, &keys[0], understood, 9200).await;
        let (deliveries, revision, times, _) = tally(&*store, "a", 142).await;
        assert_eq!((deliveries, revision, times), (1, 1, [2000, 2000, 9200]));
        assert_eq!(tally(&*store, "a", 42).await, (1, 1, [1000, 1000, 9200], 1));
    }

    async fn what_is_forgotten_is_gone_unless_it_counts_in_a_job(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, arrival("a", named(1, 50), 1000)).await;
        record(&*store, arrival("a", named(2, 60), 2000)).await;
        record(&*store, arrival_as("a", named(3, 70), 3000, not_understood)).await;
        let before = job(&*store, "a", 42).await;
        let keys = keys(&*store).await;
        for key in &keys[..2] {
            let done = events::reprocess(&*store, key, &|_| Verdict::Forget, at(9000), false).await;
            assert!(!done.unwrap().changed());
        }
        let dry = events::reprocess(&*store, &keys[2], &|_| Verdict::Forget, at(9000), true).await.unwrap();
        assert_eq!((dry.after.as_ref(), dry.job_changed), (None, false));
        let done = events::reprocess(&*store, &keys[2], &|_| Verdict::Forget, at(9000), false).await;
        assert_eq!(done, Some(dry));
        assert_eq!(self::keys(&*store).await, keys[..2]);
        assert_eq!(job(&*store, "a", 42).await, before);
    }

    async fn what_is_opened_is_recorded_under_its_own_bytes(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let opened = |delivery: &Delivery| {
            let Some(body) = delivery.body.strip_prefix(b"sealed ") else {
                return keeping(understood)(delivery);
            };
            // One seal after another: the same content is sealed anew each time.
            let body = body[2..].to_vec();
            Verdict::Keep { reading: understood(&body), body: Some(body) }
        };
        let seal = |number: u8, body: &str| format!("sealed {number} {body}");
        for (number, millisecond) in [(1, 2000), (2, 1000), (2, 3000)] {
            let body = seal(number, &named(1, 50));
            record(&*store, arrival_as("a", body, millisecond, not_understood)).await;
        }
        let sealed = keys(&*store).await;
        let first = events::reprocess(&*store, &sealed[0], &opened, at(9000), false).await.unwrap();
        let after = first.after.unwrap();
        assert_eq!((after.body, after.state), (named(1, 50).into_bytes(), DeliveryState::Stored));
        assert_eq!(after.body_sha256, arrival("a", named(1, 50), 0).body_sha256);
        assert_eq!(tally(&*store, "a", 42).await, (1, 1, [2000, 2000, 9000], 1));
        // The copies are put together, and a retry that comes later is one of them.
        events::reprocess(&*store, &sealed[1], &opened, at(9100), false).await.unwrap();
        assert_eq!(tally(&*store, "a", 42).await, (3, 1, [1000, 3000, 9100], 1));
        assert_eq!(record(&*store, arrival("a", named(1, 50), 4000)).await, Recorded::Duplicate);
        assert_eq!(tally(&*store, "a", 42).await, (4, 1, [1000, 4000, 9100], 1));
        assert_eq!(keys(&*store).await.len(), 1);

        // Another content is a revision, and shows if it is newer.
        for (name, create_time, millisecond, shown) in [(2, 60, 5000, 2), (3, 40, 6000, 2)] {
            let body = seal(1, &named(name, create_time));
            record(&*store, arrival_as("a", body, millisecond, not_understood)).await;
            let key = keys(&*store).await.pop().unwrap();
            events::reprocess(&*store, &key, &opened, at(9200), false).await.unwrap();
            let (deliveries, revision, _, sent) = tally(&*store, "a", 42).await;
            assert_eq!((deliveries, revision, sent), (3 + name, name, shown));
        }
    }

    async fn an_opened_copy_of_a_pruned_content_is_a_copy(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, arrival("a", named(1, 50), 2000)).await;
        record(&*store, arrival_as("a", named(1, 50), 1000, not_understood)).await;
        let prune = Prune { received_before: at(9000), unparsed: false, sealed: false };
        store.prune(&prune, 10).await.unwrap();
        let [key] = &keys(&*store).await[..] else { panic!("one is left") };
        let done = reprocess(&*store, key, understood, 9000).await;
        assert!(done.job_changed);
        assert_eq!(tally(&*store, "a", 42).await, (2, 1, [1000, 2000, 9000], 1));
        assert_eq!(record(&*store, arrival("a", named(1, 50), 3000)).await, Recorded::Duplicate);
        assert_eq!(tally(&*store, "a", 42).await, (3, 1, [1000, 3000, 9000], 1));
        assert_eq!(keys(&*store).await, []);
    }

    async fn a_batch_is_one_transaction(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for number in 1..=20 {
            let event = Event::new(number, 50).xml();
            record(&*store, arrival_as("a", event, number, not_understood)).await;
        }
        let page = Page { after: None, limit: 1000 };
        let mut batch = store.stored(&DeliveryFilter::default(), &page).await.unwrap();
        let judge = keeping(understood);
        while !batch.is_empty() {
            let dry = store.reprocess(&batch, &judge, at(9000), true).await.unwrap();
            assert!(!dry.is_empty() && dry.len() <= batch.len());
            let done = store.reprocess(&batch, &judge, at(9000), false).await.unwrap();
            assert!(done.iter().all(|done| done.as_ref().is_some_and(Reprocessed::changed)));
            // Nobody does it again.
            let again = store.reprocess(&batch[..done.len()], &judge, at(9000), false).await.unwrap();
            assert!(again.iter().all(Option::is_none), "{again:?}");
            batch.drain(..done.len());
        }
        for number in 1..=20 {
            assert_eq!(tally(&*store, "a", number).await.0, 1);
        }
    }

    async fn reading_again_while_records_come_loses_nothing(backend: Backend) {
        let database = backend.database().await;
        let (store, other) = (database.store().await, database.store().await);
        for round in 1..=20 {
            let event = |rest: &str| Event::new(round, 50).rest(rest).xml();
            record(&*store, arrival_as("a", event(""), round, not_understood)).await;
            let key = keys(&*store).await.pop().unwrap();
            let coming = arrival("a", event("<x/>"), round);
            let batch = [stored(&*store, &key).await.unwrap()];
            let judge = keeping(understood);
            let (done, recorded) = tokio::join!(
                store.reprocess(&batch, &judge, at(9000), false),
                events::record(&*other, coming),
            );
            assert!(done.unwrap()[0].as_ref().unwrap().changed());
            assert_ne!(recorded.unwrap(), Recorded::Duplicate);
            let (deliveries, revision, ..) = tally(&*store, "a", round).await;
            assert_eq!((deliveries, revision), (2, 2), "round {round}");
        }
    }

    async fn reading_again_while_a_retry_comes_counts_both(backend: Backend) {
        let database = backend.database().await;
        let (store, other) = (database.store().await, database.store().await);
        let page = Page { after: None, limit: 1000 };
        for round in 1..=20 {
            // A replica that still runs the version before does not understand the retry either.
            let read = if round % 2 == 0 { understood } else { not_understood };
            let first = arrival_as("a", Event::new(round, 50).xml(), round, not_understood);
            let retry = arrival_as("a", first.body.clone(), round, read);
            let sha256 = first.body_sha256;
            record(&*store, first).await;
            let key = keys(&*store).await.pop().unwrap();
            let batch = [stored(&*store, &key).await.unwrap()];
            let judge = keeping(understood);
            let (done, recorded) = tokio::join!(
                store.reprocess(&batch, &judge, at(9000), false),
                events::record(&*other, retry),
            );
            assert!(done.unwrap()[0].as_ref().unwrap().changed());
            recorded.unwrap();
            let all = store.deliveries(&DeliveryFilter::default(), &page).await.unwrap();
            let copies = all.iter().filter(|delivery| delivery.body_sha256 == sha256);
            assert_eq!(copies.map(|delivery| delivery.times).sum::<i64>(), 2, "round {round}");
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
