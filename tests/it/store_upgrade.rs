//! A database with the schema of migration 0004, and data in it, goes through all later migrations
//! and goes on as it was.

use qunfa::store::NamedAccount;
use serde_json::Value;

use crate::support::events::at;
use crate::support::sse::EventStream;
use crate::support::{Backend, Event, PLAIN, SAFE, Server, Setup, on_both_stores};

const SQLITE: &str = include_str!("../fixtures/upgrade/sqlite.sql");
const POSTGRES: &str = include_str!("../fixtures/upgrade/postgres.sql");

/// The range that `hour_totals` has as a row.
const FIRST_HOUR: &str = "?from=1970-01-01T00:00:00Z&to=1970-01-01T01:00:00Z";

/// Jobs, those with each outcome, and the sum of `total_count`.
async fn totals(server: &Server, query: &str) -> (i64, [i64; 4], i64) {
    let stats = server.ok(&format!("/api/v1/stats{query}")).await;
    let number = |value: &Value| value.as_i64().unwrap();
    let outcomes = ["sent", "failed", "rejected", "unknown"];
    let by_outcome = outcomes.map(|outcome| number(&stats["by_outcome"][outcome]));
    let total_count = number(&stats["total_count"]);
    (number(&stats["jobs"]), by_outcome, total_count)
}

/// The account and `msg_id` of each item.
fn keys(items: &[Value]) -> Vec<(&str, &str)> {
    items
        .iter()
        .map(|item| {
            let account = item["account"].as_str().unwrap();
            (account, item["msg_id"].as_str().unwrap_or_default())
        })
        .collect()
}

fn counts(job: &Value) -> (i64, i64, &str) {
    let number = |name: &str| job[name].as_i64().unwrap();
    let outcome = job["outcome"].as_str().unwrap();
    (number("deliveries"), number("revision"), outcome)
}

async fn next(stream: &mut EventStream) -> (String, String, String) {
    let block = stream.job().await;
    let job: Value = serde_json::from_str(&block.data).unwrap();
    let text = |name: &str| job[name].as_str().unwrap().to_owned();
    (text("account"), text("msg_id"), block.id)
}

/// A newer content of a job, and a new one.
fn result(name: &str, msg_id: i64, create_time: i64) -> String {
    let event = Event::new(msg_id, create_time).status("err(30003)");
    event.xml().replace("gh_0a1b2c3d4e5f", name)
}

on_both_stores! {
    async fn a_database_of_version_0_1_0_keeps_what_it_has_and_goes_on(backend: Backend) {
        let database = backend.database().await;
        database.migrate_to(4).await;
        database.execute(if backend == Backend::Sqlite { SQLITE } else { POSTGRES }).await;
        let store = database.store().await;
        let named = |account: &str, name: &str| NamedAccount {
            account: account.parse().unwrap(),
            name: name.to_owned(),
            other: None,
        };
        assert_eq!(store.account_names().await.unwrap(), [named("plain", "gh_plain"), named("safe", "gh_safe")]);
        assert_eq!(store.client_uses().await.unwrap(), [("grafana".to_owned(), at(60_000))].into());
        assert_eq!(store.sealed().await.unwrap(), []);
        let server = Setup::default().start_on(database);

        let jobs = server.items("/api/v1/jobs").await;
        assert_eq!(keys(&jobs), [("plain", "2"), ("safe", "2"), ("safe", "1"), ("plain", "1")]);
        let counted: Vec<_> = jobs.iter().map(counts).collect();
        assert_eq!(counted, [(2, 2, "sent"), (1, 1, "unknown"), (3, 1, "failed"), (2, 1, "sent")]);
        assert_eq!(jobs[3]["sent_count"], 75);
        assert_eq!(jobs[0]["updated_at"], "1970-01-01T01:06:41Z");
        let deliveries = server.items("/api/v1/deliveries").await;
        assert_eq!(keys(&deliveries), [
            ("plain", "2"), ("safe", ""), ("plain", ""), ("safe", "2"), ("plain", "2"), ("plain", "1"),
        ]);
        let contents = server.items("/api/v1/jobs/plain/2/deliveries").await;
        assert_eq!(contents.len(), 2);
        for (query, expected) in [
            ("", (4, [2, 1, 0, 1], 300)),
            (FIRST_HOUR, (3, [1, 1, 0, 1], 200)),
            ("?account=plain", (2, [2, 0, 0, 0], 200)),
            ("?account=safe", (2, [0, 1, 0, 1], 100)),
        ] {
            assert_eq!(totals(&server, query).await, expected, "{query}");
        }
        // What `copy` brought has the number 0.
        let (mut stream, _) = EventStream::follow(&server, "", Some("0-0")).await;
        let mut ids = Vec::new();
        for expected in [("safe", "2"), ("plain", "1"), ("safe", "1"), ("plain", "2")] {
            let (account, msg_id, id) = next(&mut stream).await;
            assert_eq!((&*account, &*msg_id), expected);
            ids.push(id);
        }

        // Each content once more, and the one that could not be understood.
        let body = |delivery: &Value| delivery["body"].as_str().unwrap().to_owned();
        for delivery in [&deliveries[0], &deliveries[4], &deliveries[5]] {
            server.accepts(&PLAIN, body(delivery)).await;
        }
        for delivery in [&deliveries[1], &deliveries[3]] {
            server.accepts(&SAFE, body(delivery)).await;
        }
        server.accepts(&PLAIN, result("gh_plain", 1, 5000)).await;
        server.accepts(&SAFE, result("gh_safe", 9, 50)).await;
        for expected in [("plain", "1"), ("safe", "9")] {
            let (account, msg_id, _) = next(&mut stream).await;
            assert_eq!((&*account, &*msg_id), expected);
        }
        let (mut resumed, _) = EventStream::follow(&server, "", Some(&ids[2])).await;
        for expected in [("plain", "2"), ("plain", "1"), ("safe", "9")] {
            let (account, msg_id, _) = next(&mut resumed).await;
            assert_eq!((&*account, &*msg_id), expected);
        }

        let jobs = server.items("/api/v1/jobs").await;
        assert_eq!(keys(&jobs), [("plain", "1"), ("plain", "2"), ("safe", "9"), ("safe", "2"), ("safe", "1")]);
        let counted: Vec<_> = jobs.iter().map(counts).collect();
        assert_eq!(counted, [
            (4, 2, "rejected"), (4, 2, "sent"), (1, 1, "rejected"), (2, 1, "unknown"), (3, 1, "failed"),
        ]);
        let unparsed = server.items("/api/v1/deliveries?state=unparsed").await;
        assert_eq!((unparsed.len(), &unparsed[0]["times"]), (1, &3.into()));
        for is_rolled_up in [false, true] {
            for (query, expected) in [
                ("", (5, [1, 1, 2, 1], 400)),
                (FIRST_HOUR, (3, [0, 1, 1, 1], 200)),
                ("?account=plain", (2, [1, 0, 1, 0], 200)),
                ("?account=safe", (3, [0, 1, 1, 1], 200)),
            ] {
                assert_eq!(totals(&server, query).await, expected, "{query}, {is_rolled_up}");
            }
            while store.roll_up(100).await.unwrap() {}
        }
        store.close().await;
    }
}
