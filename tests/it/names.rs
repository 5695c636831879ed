//! Two WeChat accounts that push to one account name: the first is remembered, and the other does
//! not replace its results.

use std::collections::BTreeMap;

use qunfa::domain::{MsgId, NewDelivery, SAMPLE_NAME};
use qunfa::store::{DeliveryFilter, DeliveryKey, Page, Prune, Pruned, Recorded, Store};

use crate::support::browser::Browser;
use crate::support::events::{self, arrival, arrival_as, at, keeping, not_understood, understood};
use crate::support::workplace::{Ended, ended};
use crate::support::{Backend, Event, PLAIN, Server, Setup, eventually, on_both_stores};

const OWN: &str = "gh_0a1b2c3d4e5f";
const OTHER: &str = "gh_ffffffffffff";

/// A result of a WeChat account for a job; `sent` identifies it.
fn result(name: &str, msg_id: i64, create_time: i64, sent: i64) -> String {
    Event::new(msg_id, create_time)
        .counts([100, 100, sent, 0])
        .xml()
        .replace(OWN, name)
}

fn received(name: &str, msg_id: i64, create_time: i64, sent: i64) -> NewDelivery {
    arrival("a", result(name, msg_id, create_time, sent), 1000 + sent)
}

/// The values of a job: its `SentCount`, `revision` and `deliveries`.
async fn shown(store: &dyn Store, msg_id: i64) -> (i64, i64, i64) {
    let msg_id = MsgId::new(msg_id).unwrap();
    let job = store.job(&"a".parse().unwrap(), msg_id).await;
    let job = job.unwrap().expect("the job is there");
    (
        job.result.counts.sent.unwrap(),
        job.revision,
        job.deliveries,
    )
}

async fn record(store: &dyn Store, delivery: NewDelivery) -> Recorded {
    events::record(store, delivery).await.unwrap()
}

/// The remembered name and the other one, by account.
async fn names(store: &dyn Store) -> BTreeMap<String, (String, Option<String>)> {
    let names = store.account_names().await.unwrap().into_iter();
    names
        .map(|named| {
            let other = named.other.map(|(other, _)| other);
            (named.account.to_string(), (named.name, other))
        })
        .collect()
}

fn named(name: &str, other: Option<&str>) -> BTreeMap<String, (String, Option<String>)> {
    let names = (name.to_owned(), other.map(str::to_owned));
    BTreeMap::from([("a".to_owned(), names)])
}

async fn reprocess_all(store: &dyn Store) {
    let page = Page {
        after: None,
        limit: 1000,
    };
    let all = store.deliveries(&DeliveryFilter::default(), &page).await;
    for delivery in all.unwrap() {
        let key = DeliveryKey::from(&delivery);
        events::reprocess(store, &key, &keeping(understood), at(9000), false).await;
    }
}

on_both_stores! {
    async fn results_of_another_account_replace_nothing(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, received(OWN, 1, 50, 1)).await;
        assert_eq!(names(&*store).await, named(OWN, None));
        // Neither with a later nor with an earlier CreateTime, however often it is sent.
        assert_eq!(record(&*store, received(OTHER, 1, 90, 2)).await, Recorded::Revision);
        assert_eq!(names(&*store).await, named(OWN, Some(OTHER)));
        assert_eq!(record(&*store, received(OTHER, 1, 10, 3)).await, Recorded::Revision);
        assert_eq!(record(&*store, received(OTHER, 1, 90, 2)).await, Recorded::Duplicate);
        assert_eq!(shown(&*store, 1).await, (1, 3, 4));
        // Results of the account itself still do.
        record(&*store, received(OWN, 1, 60, 4)).await;
        assert_eq!(shown(&*store, 1).await, (4, 4, 5));

        // A result for an unused `MsgID` creates a job, which the account's own result replaces,
        // regardless of CreateTime.
        for (msg_id, create_time) in [(2, 10), (3, 90)] {
            assert_eq!(record(&*store, received(OTHER, msg_id, 50, 5)).await, Recorded::New);
            assert_eq!(shown(&*store, msg_id).await, (5, 1, 1));
            record(&*store, received(OWN, msg_id, create_time, 6)).await;
            assert_eq!(shown(&*store, msg_id).await, (6, 2, 2));
            record(&*store, received(OTHER, msg_id, 99, 7)).await;
            assert_eq!(shown(&*store, msg_id).await, (6, 3, 3));
        }

        // In one batch, in each order.
        for (msg_id, first, second) in [(4, OWN, OTHER), (5, OTHER, OWN)] {
            let batch = [received(first, msg_id, 50, 8), received(second, msg_id, 60, 9)];
            store.record(&batch, None).await.unwrap();
            let expected = if first == OWN { 8 } else { 9 };
            assert_eq!(shown(&*store, msg_id).await, (expected, 2, 2));
        }

        // A result without ToUserName counts as the account's own.
        record(&*store, received("", 1, 70, 10)).await;
        assert_eq!(shown(&*store, 1).await, (10, 5, 6));
        record(&*store, arrival("b", result(OTHER, 1, 90, 11), 1)).await;
        assert_eq!(names(&*store).await["b"], (OTHER.to_owned(), None));
    }

    async fn the_name_of_a_made_up_result_is_not_remembered(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, received(SAMPLE_NAME, 1, 50, 1)).await;
        assert_eq!(names(&*store).await, BTreeMap::new());
        record(&*store, received(OWN, 2, 50, 1)).await;
        record(&*store, received(SAMPLE_NAME, 3, 50, 1)).await;
        assert_eq!(names(&*store).await, named(OWN, None));
    }

    async fn reprocessing_keeps_to_the_same_rule(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, received(OWN, 1, 50, 1)).await;
        for (name, create_time, sent) in [(OTHER, 90, 2), (OWN, 60, 3), (OTHER, 95, 4)] {
            let body = result(name, 1, create_time, sent);
            record(&*store, arrival_as("a", body, 1000 + sent, not_understood)).await;
        }
        reprocess_all(&*store).await;
        assert_eq!(shown(&*store, 1).await, (3, 4, 4));
        reprocess_all(&*store).await;
        assert_eq!(shown(&*store, 1).await, (3, 4, 4));

        // The first name of an account may be in an unparsed delivery.
        let body = result(OWN, 1, 50, 1);
        record(&*store, arrival_as("b", body, 1, not_understood)).await;
        reprocess_all(&*store).await;
        assert_eq!(names(&*store).await["b"], (OWN.to_owned(), None));
    }

    async fn older_jobs_follow_original_id_when_they_are_reprocessed(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for (msg_id, name, create_time, sent) in [
            (1, OTHER, 50, 1),
            (1, OWN, 60, 2),
            (1, OWN, 55, 3),
            (2, OTHER, 50, 4),
            (2, OTHER, 60, 5),
            (3, OWN, 50, 6),
        ] {
            record(&*store, received(name, msg_id, create_time, sent)).await;
        }
        assert_eq!(names(&*store).await, named(OTHER, Some(OWN)));
        assert_eq!(shown(&*store, 1).await, (1, 3, 3));

        store.set_account_name(&"a".parse().unwrap(), OWN).await.unwrap();
        assert_eq!(names(&*store).await, named(OWN, None));
        for _ in 0..2 {
            reprocess_all(&*store).await;
            assert_eq!(shown(&*store, 1).await, (2, 3, 3));
            // There is no other result to show.
            assert_eq!(shown(&*store, 2).await, (5, 2, 2));
            assert_eq!(shown(&*store, 3).await, (6, 1, 1));
        }
        record(&*store, received(OTHER, 1, 99, 7)).await;
        assert_eq!(shown(&*store, 1).await, (2, 4, 4));
    }

    async fn a_job_follows_original_id_though_the_body_that_it_shows_was_pruned(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let prune = async || {
            let all = Prune { received_before: at(2000), unparsed: false, sealed: false };
            while store.prune(&all, 100).await.unwrap() != Pruned::default() {}
        };
        for msg_id in [1, 2] {
            record(&*store, received(OTHER, msg_id, 50, 1)).await;
        }
        record(&*store, received(OWN, 2, 40, 2)).await;
        prune().await;
        for (create_time, sent) in [(40, 1001), (30, 1002)] {
            record(&*store, received(OWN, 1, create_time, sent)).await;
        }
        for msg_id in [1, 2] {
            assert_eq!(shown(&*store, msg_id).await.0, 1);
        }

        store.set_account_name(&"a".parse().unwrap(), OWN).await.unwrap();
        for _ in 0..2 {
            reprocess_all(&*store).await;
            assert_eq!(shown(&*store, 1).await, (1001, 3, 3));
            // The body of the right result was pruned, too.
            assert_eq!(shown(&*store, 2).await, (1, 2, 2));
        }
        record(&*store, received(OTHER, 1, 99, 3)).await;
        assert_eq!(shown(&*store, 1).await, (1001, 4, 4));
    }

    async fn an_upgrade_remembers_the_name_of_the_first_job_received(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let old_sample = "gh_qunfa_sample";
        for (account, name, msg_id, received_at) in [
            ("a", "gh_later", 1, 3000),
            ("a", "gh_first", 2, 2000),
            ("a", old_sample, 3, 1000),
            ("a", "", 4, 500),
            ("b", old_sample, 1, 1000),
        ] {
            record(&*store, arrival(account, result(name, msg_id, 50, 1), received_at)).await;
        }
        store.close().await;
        // As the previous version has left it; its samples had this name.
        database.execute(
            "drop table account_names; delete from _sqlx_migrations where version = 9; \
             update jobs set to_user_name = 'gh_0a1b2c3d4e5f' where to_user_name = 'gh_qunfa_sample'",
        ).await;
        let store = database.store().await;
        assert_eq!(names(&*store).await, named("gh_first", Some("gh_later")));
        record(&*store, received("gh_later", 2, 90, 2)).await;
        assert_eq!(shown(&*store, 2).await, (1, 2, 2));
    }

    async fn another_account_is_told_of_everywhere(backend: Backend) {
        let mut server = Setup::default().with_metrics().start(backend).await;
        push_sample(&server, "9001");
        server.accepts(&PLAIN, result("gh_first", 1, 50, 1)).await;
        push_sample(&server, "9002");
        assert_eq!(server.job(&PLAIN, "9001").await["to_user_name"], SAMPLE_NAME);
        assert_eq!(server.job(&PLAIN, "9002").await["to_user_name"], "gh_first");
        let doctor = |server: &Server| qunfa(server, &["doctor", "--account", PLAIN.name]).output;
        assert!(doctor(&server).contains("ok    original_id: "), "{}", doctor(&server));
        assert_eq!(account(&server).await["other_to_user_name"], serde_json::Value::Null);

        assert_eq!(foreign_metric(&server).await, "0");
        let told = "results of another WeChat account come to this one";
        assert!(!server.log().contains(told), "{}", server.log());
        for sent in 2..5 {
            server.accepts(&PLAIN, result("gh_second", 1, 60, sent)).await;
        }
        let log = server.log();
        assert_eq!(log.matches(told).count(), 1, "{log}");
        assert!(log.contains("gh_first") && log.contains("gh_second") && log.contains("original_id"), "{log}");
        let job = server.job(&PLAIN, "1").await;
        assert_eq!((&job["sent_count"], &job["revision"]), (&1.into(), &4.into()));
        let found = doctor(&server);
        let mut lines = found.lines().filter(|line| line.starts_with("warn  original_id: "));
        let line = lines.next().unwrap_or_else(|| panic!("{found}"));
        assert!(line.contains("gh_first") && line.contains("gh_second") && line.contains("`plain`"), "{line}");
        let seen = account(&server).await;
        assert_eq!((&seen["to_user_name"], &seen["other_to_user_name"]), (&"gh_first".into(), &"gh_second".into()));

        eventually("the metric tells of it", async || foreign_metric(&server).await == "1").await;

        // With the second name, its results take over.
        let config = std::fs::read_to_string(&server.config).unwrap();
        let section = "[accounts.plain]\n";
        let with_id = config.replace(section, &format!("{section}original_id = \"gh_second\"\n"));
        std::fs::write(&server.config, with_id).unwrap();
        let dry_run = qunfa(&server, &["reprocess", "--all", "--dry-run"]).with_code(0).talk;
        assert!(dry_run.contains("the database does not know the `original_id` of `plain` yet"), "{dry_run}");
        server.kill();
        server.restart();
        eventually("the database follows", async || account(&server).await["other_to_user_name"].is_null()).await;
        assert!(doctor(&server).contains("ok    original_id: "));
        let dry_run = qunfa(&server, &["reprocess", "--all", "--dry-run"]).with_code(0).output;
        assert!(dry_run.contains("job 1 changed"), "{dry_run}");
        qunfa(&server, &["reprocess", "--all"]).with_code(0);
        let job = server.job(&PLAIN, "1").await;
        assert_eq!((&job["sent_count"], &job["to_user_name"], &job["revision"]), (&4.into(), &"gh_second".into(), &4.into()));
    }
}

fn qunfa(server: &Server, arguments: &[&str]) -> Ended {
    let mut command = server.command();
    command
        .env("QUNFA_SERVER__LISTEN", server.address.to_string())
        .args(arguments);
    ended(command)
}

async fn foreign_metric(server: &Server) -> String {
    let metrics = server.metrics().await;
    let mut lines = metrics.lines();
    let sample = format!("qunfa_foreign_results{{account=\"{}\"}} ", PLAIN.name);
    let value = lines.find_map(|line| line.strip_prefix(&sample));
    value.expect("the metric is there").to_owned()
}

fn push_sample(server: &Server, msg_id: &str) {
    let push = [
        "simulate",
        "push",
        "--account",
        PLAIN.name,
        "--msg-id",
        msg_id,
    ];
    qunfa(server, &push).with_code(0);
}

async fn account(server: &Server) -> serde_json::Value {
    let accounts = server.items("/api/v1/accounts").await.into_iter();
    let mut accounts = accounts.filter(|account| account["account"] == PLAIN.name);
    accounts.next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_tells_of_another_account() {
    let server = Server::start(Backend::Sqlite).await;
    server.accepts(&PLAIN, result("gh_first", 1, 50, 1)).await;
    server.accepts(&PLAIN, result("gh_second", 1, 60, 2)).await;
    let browser = Browser::start().await;
    browser.open(&server.url("/#/overview")).await;
    browser
        .shows("plain also receives results of another WeChat account, gh_second. They do not replace those of gh_first.")
        .await;
    browser.click("#language").await;
    browser
        .shows("plain 还收到了另一个公众号（gh_second）的群发结果，它们不会覆盖 gh_first 的结果")
        .await;
}
