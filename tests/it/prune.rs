//! Removing old raw deliveries, by command or configuration; jobs stay unchanged.

use std::time::Duration;

use qunfa::domain::{DeliveryState, Job, NewDelivery, Time};
use qunfa::store::{
    BatchId, BatchOutcome, DeliveryFilter, DeliveryKey, JobFilter, Page, Prune, Pruned, Recorded,
    Store,
};

use crate::support::clock::Clock;
use crate::support::events::{self, arrival, at, keeping, record_batch, understood};
use crate::support::workplace::{Ended, ended};
use crate::support::{Backend, Event, PLAIN, Server, Setup, eventually, on_both_stores};

const DAY: i64 = 24 * 3600 * 1000;
const ALL: u32 = 1000;

fn old(unparsed: bool) -> Prune {
    Prune {
        received_before: at(1000),
        unparsed,
        sealed: false,
    }
}

fn event(msg_id: i64, create_time: i64) -> String {
    Event::new(msg_id, create_time).xml()
}

/// An event that is not a job result, and that an account keeps.
fn other_event() -> String {
    event(9, 9).replace("MASSSENDJOBFINISH", "PUBLISHJOBFINISH")
}

/// Received before `now`: a job with one content, one with two, a kept event, an unparsed delivery.
/// At `now`: the second content, and a job.
async fn fill(store: &dyn Store, now: i64) {
    let arrivals = [
        (event(1, 10), now - 900),
        (event(1, 10), now - 800),
        (event(2, 10), now - 700),
        (other_event(), now - 600),
        ("not a message".to_owned(), now - 500),
        (event(2, 20), now),
        (event(3, 10), now),
    ];
    for (body, millisecond) in arrivals {
        events::record(store, arrival("plain", body, millisecond))
            .await
            .unwrap();
    }
}

async fn jobs(store: &dyn Store) -> Vec<Job> {
    let page = Page {
        after: None,
        limit: ALL,
    };
    store.jobs(&JobFilter::default(), &page).await.unwrap()
}

/// The bodies of all deliveries, newest first.
async fn bodies(store: &dyn Store) -> Vec<String> {
    let page = Page {
        after: None,
        limit: ALL,
    };
    let all = store
        .deliveries(&DeliveryFilter::default(), &page)
        .await
        .unwrap();
    all.into_iter()
        .map(|one| String::from_utf8(one.body).unwrap())
        .collect()
}

async fn prune_all(store: &dyn Store, what: &Prune, limit: u32) -> Pruned {
    let mut sum = Pruned::default();
    loop {
        let pruned = store.prune(what, limit).await.unwrap();
        if pruned == Pruned::default() {
            return sum;
        }
        assert!(pruned.shown <= limit.into() && pruned.others <= limit.into());
        sum.shown += pruned.shown;
        sum.others += pruned.others;
    }
}

on_both_stores! {
    async fn what_is_old_goes_and_the_jobs_stay(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        fill(store, 1000).await;
        let before = jobs(store).await;

        assert_eq!(prune_all(store, &old(false), 1).await, Pruned { shown: 1, others: 2 });
        assert_eq!(jobs(store).await, before);
        assert_eq!(bodies(store).await, [event(3, 10), event(2, 20), "not a message".to_owned()]);
        let account = "plain".parse().unwrap();
        for job in &before {
            let left = store.job_deliveries(&account, job.result.msg_id).await.unwrap();
            assert_eq!(left.len(), usize::from(job.result.msg_id.get() != 1));
        }

        assert_eq!(prune_all(store, &old(true), 1).await, Pruned { shown: 0, others: 1 });
        assert_eq!(bodies(store).await, [event(3, 10), event(2, 20)]);
        assert_eq!(jobs(store).await, before);
        store.close().await;
    }

    async fn a_late_copy_of_what_was_pruned_is_a_copy(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        fill(store, 1000).await;
        prune_all(store, &old(false), ALL).await;
        let recorded = events::record(store, arrival("plain", event(1, 10), 2000)).await;
        assert_eq!(recorded.unwrap(), Recorded::Duplicate);
        let job = jobs(store).await.into_iter().find(|job| job.result.msg_id.get() == 1).unwrap();
        assert_eq!((job.deliveries, job.revision, job.last_received_at), (3, 1, at(2000)));
        assert_eq!(bodies(store).await.len(), 3, "its body does not come back");

        // An older content of the job than the one it shows, and a newer one.
        for (create_time, revision) in [(5, 2), (15, 3)] {
            let delivery = arrival("plain", event(1, create_time), 3000);
            assert_eq!(events::record(store, delivery).await.unwrap(), Recorded::Revision);
            let job = jobs(store).await.into_iter().find(|job| job.result.msg_id.get() == 1).unwrap();
            assert_eq!((job.deliveries, job.revision), (revision + 2, revision));
        }
        store.close().await;
    }

    async fn what_is_left_can_be_read_again_and_nothing_changes(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        fill(store, 1000).await;
        prune_all(store, &old(false), ALL).await;
        let before = jobs(store).await;
        let page = Page { after: None, limit: ALL };
        for delivery in store.deliveries(&DeliveryFilter::default(), &page).await.unwrap() {
            let key = DeliveryKey::from(&delivery);
            let done = events::reprocess(store, &key, &keeping(understood), at(5000), false).await.unwrap();
            assert!(!done.changed(), "{done:?}");
        }
        assert_eq!(jobs(store).await, before);
        store.close().await;
    }

    async fn what_would_go_is_listed_page_by_page(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        fill(store, 1000).await;
        for unparsed in [false, true] {
            let mut expected: Vec<_> = store
                .deliveries(&DeliveryFilter { to: Some(at(1000)), ..DeliveryFilter::default() }, &Page { after: None, limit: ALL })
                .await
                .unwrap()
                .into_iter()
                .filter(|one| unparsed || one.state == DeliveryState::Stored)
                .map(|one| (DeliveryKey::from(&one), i64::try_from(one.body.len()).unwrap()))
                .collect();
            expected.reverse();
            let mut found = Vec::new();
            let mut page = Page { after: None, limit: 2 };
            loop {
                let part = store.prunable(&old(unparsed), &page).await.unwrap();
                let Some(last) = part.last() else { break };
                page.after = Some(last.key.clone());
                found.extend(part.into_iter().map(|one| (one.key, one.bytes)));
            }
            assert_eq!(found, expected);
            assert_eq!(found.len(), 3 + usize::from(unparsed));
        }
        store.close().await;
    }

    async fn two_may_prune_while_others_file(backend: Backend) {
        const JOBS: i64 = 60;
        let database = backend.database().await;
        let store = &*database.store().await;
        let batch: Vec<NewDelivery> = (1..=JOBS).map(|id| arrival("plain", event(id, 10), id)).collect();
        store.record(&batch, None).await.unwrap();
        // From the last to the first and back, in an order different from that of pruning.
        let copies: Vec<NewDelivery> = (1..=JOBS).rev().map(|id| arrival("plain", event(id, 10), 5000)).collect();
        let file = async || {
            for _ in 0..5 {
                record_batch(store, &copies, None).await.unwrap();
            }
        };
        let prune = async || prune_all(store, &old(false), 7).await.shown;
        let ((), mut pruned, more) = tokio::join!(file(), prune(), prune());
        // Rows that were locked are left for the next round.
        pruned += more + prune().await;
        assert_eq!(pruned, u64::try_from(JOBS).unwrap());
        assert!(bodies(store).await.is_empty());
        let jobs = jobs(store).await;
        assert_eq!(jobs.len(), batch.len());
        assert!(jobs.iter().all(|job| (job.deliveries, job.revision) == (6, 1)), "{jobs:?}");
        store.close().await;
    }

    async fn old_batch_ids_are_forgotten_little_by_little(backend: Backend) {
        let database = backend.database().await;
        let store = &*database.store().await;
        let ids = [0; 3].map(|_| BatchId::random());
        let record = async |id| {
            let batch = [arrival("plain", event(1, 10), 100)];
            store.record(&batch, Some(id)).await.unwrap()
        };
        for id in ids {
            assert!(matches!(record(id).await, BatchOutcome::Recorded(_)));
        }
        let day = Duration::from_hours(24);
        assert_eq!(store.forget_batches(day, 100).await.unwrap(), 0);
        assert_eq!(record(ids[0]).await, BatchOutcome::RecordedBefore);
        if backend == Backend::Sqlite {
            database.execute("update batches set filed_at = filed_at - 90000000").await;
        } else {
            database.execute("update batches set filed_at = filed_at - interval '25 hours'").await;
        }
        let new = BatchId::random();
        assert_eq!(record(new).await, BatchOutcome::Recorded(vec![Recorded::Duplicate]));
        for gone in [2, 1, 0] {
            assert_eq!(store.forget_batches(day, 2).await.unwrap(), gone);
        }
        assert_eq!(record(new).await, BatchOutcome::RecordedBefore);
        assert_eq!(record(ids[0]).await, BatchOutcome::Recorded(vec![Recorded::Duplicate]));
        store.close().await;
    }

    async fn the_command_tells_first_and_removes_with_yes(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        fill(&*store, Time::now().milliseconds() - 2 * DAY).await;
        store.close().await;
        let server = Setup::default().start_on(database);
        server.accepts(&PLAIN, event(4, 10)).await;
        let jobs = server.items("/api/v1/jobs").await;
        assert_eq!(server.items("/api/v1/deliveries").await.len(), 7);

        let bytes = event(1, 10).len() + event(2, 10).len() + event(2, 20).len() + event(3, 10).len() + other_event().len();
        for _ in 0..2 {
            let told = prune(&server, &["--older-than", "2d"]).with_code(0);
            assert_eq!(told.output, format!("deliveries 5\nbytes {bytes}\n"));
            assert!(told.talk.contains("nothing was removed"), "{told:?}");
        }
        let told = prune(&server, &["--older-than", "47h", "--unparsed"]).with_code(0);
        assert!(told.output.starts_with("deliveries 6\n"), "{told:?}");
        assert_eq!(prune(&server, &["--older-than", "1w", "--yes"]).with_code(0).output, "deliveries 0\n");
        assert_eq!(server.items("/api/v1/deliveries").await.len(), 7);

        assert_eq!(prune(&server, &["--older-than", "2d", "--yes"]).with_code(0).output, "deliveries 5\n");
        let left = server.items("/api/v1/deliveries").await;
        assert_eq!(left.len(), 2, "{left:?}");
        assert_eq!((&left[0]["msg_id"], &left[1]["state"]), (&"4".into(), &"unparsed".into()));
        assert_eq!(server.items("/api/v1/jobs").await, jobs);
        assert_eq!(prune(&server, &["--older-than", "2d", "--unparsed", "--yes"]).with_code(0).output, "deliveries 1\n");
    }

    async fn the_server_removes_what_it_is_told_to_keep_no_longer(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        fill(&*store, Time::now().milliseconds() - 2 * DAY).await;
        store.close().await;
        let server = Setup::default().toml("[store]\nkeep_raw_days = 1").start_on(database);
        server.accepts(&PLAIN, event(4, 10)).await;
        eventually("what is old has gone", async || {
            server.items("/api/v1/deliveries").await.len() == 2
        })
        .await;
        assert_eq!(server.items("/api/v1/deliveries?state=unparsed").await.len(), 1);
        assert_eq!(server.items("/api/v1/jobs").await.len(), 4);
        eventually("the log tells", async || {
            server.log().contains("old raw deliveries were removed deliveries=5")
        })
        .await;
    }

    async fn a_clock_that_is_years_fast_removes_nothing(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        fill(&*store, Time::now().milliseconds() - 2 * DAY).await;
        store.close().await;
        let setup = Setup::default().toml("[store]\nkeep_raw_days = 30");
        let (setup, clock) = Clock::before(setup, &database.directory());
        clock.jump(10 * 365 * 24 * 3600);
        let server = setup.start_on(database);
        eventually("the log tells", async || {
            let log = server.log();
            log.contains("old raw deliveries could not be removed; trying again in an hour")
                && log.contains("this machine's clock is ")
        })
        .await;
        let fast = |arguments: &[&str]| {
            let mut command = server.command();
            command.envs(clock.variables()).args(["prune", "--older-than", "30d"]).args(arguments);
            ended(command)
        };
        for arguments in [&[] as &[&str], &["--yes"], &["--unparsed", "--yes"]] {
            let refused = fast(arguments).with_code(1);
            assert!(refused.talk.contains("--trust-clock") && refused.output.is_empty(), "{refused:?}");
        }
        assert_eq!(server.items("/api/v1/deliveries").await.len(), 6);
        assert_eq!(fast(&["--yes", "--trust-clock"]).with_code(0).output, "deliveries 5\n");
    }

    async fn an_idle_server_still_removes_what_is_old(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        fill(&*store, Time::now().milliseconds() - 300 * DAY).await;
        store.close().await;
        let server = Setup::default().toml("[store]\nkeep_raw_days = 30").start_on(database);
        eventually("what is old has gone", async || {
            server.items("/api/v1/deliveries").await.len() == 1
        })
        .await;
        assert_eq!(prune(&server, &["--older-than", "30d", "--unparsed", "--yes"]).with_code(0).output, "deliveries 1\n");
        // The same with only the jobs left.
        assert_eq!(prune(&server, &["--older-than", "30d", "--yes"]).with_code(0).output, "deliveries 0\n");
    }
}

fn prune(server: &Server, arguments: &[&str]) -> Ended {
    let mut command = server.command();
    command.arg("prune").args(arguments);
    ended(command)
}
