//! Totals and timelines over real HTTP: shapes, time zones, ranges.

use serde_json::{Value, json};

use crate::support::{Backend, Event, PLAIN, SAFE, Server, Setup, on_both_stores};

/// 2026-01-01T00:00:00+08:00, in seconds.
const NEW_YEAR: i64 = 1_767_196_800;
const DAY: i64 = 86_400;

async fn starts(server: &Server, query: &str) -> Vec<String> {
    let items = server
        .items(&format!("/api/v1/stats/timeline?{query}"))
        .await;
    let starts = items.iter().map(|item| item["start"].as_str().unwrap());
    starts.map(str::to_owned).collect()
}

on_both_stores! {
    async fn a_timeline_is_filled_with_zeros_and_cut_to_its_range(backend: Backend) {
        let server = Server::start(backend).await;
        for (msg_id, second, status) in [
            // The last second of a year, and the first of the next, in Shanghai.
            (1, NEW_YEAR - 1, "send success"),
            (2, NEW_YEAR, "send success"),
            (3, NEW_YEAR + 1, "send fail"),
            (4, NEW_YEAR + 2 * DAY, "err(10001)"),
            (5, NEW_YEAR + 3 * DAY - 1, "?"),
        ] {
            let counts = if msg_id == 4 { [7, 0, 0, 0] } else { [i64::MAX, 80, 75, 5] };
            server.accepts(&PLAIN, Event::new(msg_id, second).status(status).counts(counts).xml()).await;
        }
        server.accepts(&SAFE, Event::new(1, NEW_YEAR).xml()).await;
        let path = "/api/v1/stats/timeline?account=plain&from=2026-01-01T00:00:00%2B08:00&to=2026-01-03T23:00:00%2B08:00";
        // Compared as text, because a sum can exceed what JSON parsers keep exactly.
        let expected = "{'items':[\
            {'start':'2026-01-01T00:00:00+08:00','jobs':2,'sent':1,'failed':1,'rejected':0,'unknown':0,\
             'total_count':18446744073709551614,'filter_count':160,'sent_count':150,'error_count':10,'delivery_rate':0.9375},\
            {'start':'2026-01-02T00:00:00+08:00','jobs':0,'sent':0,'failed':0,'rejected':0,'unknown':0,\
             'total_count':0,'filter_count':0,'sent_count':0,'error_count':0,'delivery_rate':null},\
            {'start':'2026-01-03T00:00:00+08:00','jobs':1,'sent':0,'failed':0,'rejected':1,'unknown':0,\
             'total_count':7,'filter_count':0,'sent_count':0,'error_count':0,'delivery_rate':null}]}";
        let answer = server.get(path).await.text().await.unwrap();
        assert_eq!(answer, expected.replace('\'', "\""));

        for (query, expected) in [
            ("bucket=month", &[("2025-12-01T00:00:00+08:00", 1), ("2026-01-01T00:00:00+08:00", 4)][..]),
            ("bucket=week", &[("2025-12-29T00:00:00+08:00", 5)]),
            ("bucket=month&tz=utc", &[("2025-12-01T00:00:00+00:00", 3), ("2026-01-01T00:00:00+00:00", 2)]),
            ("bucket=month&tz=Asia/Tokyo", &[("2026-01-01T00:00:00+09:00", 5)]),
        ] {
            let path = format!("/api/v1/stats/timeline?account=plain&from={}000&to={}000&{query}", NEW_YEAR - 1, NEW_YEAR + 3 * DAY);
            let items = server.items(&path).await;
            let shown: Vec<_> = items.iter().map(|item| (item["start"].as_str().unwrap(), item["jobs"].as_i64().unwrap())).collect();
            assert_eq!(shown, expected, "{query}");
        }
        assert_eq!(starts(&server, "from=1&to=1").await, [""; 0]);
        assert_eq!(starts(&server, "from=2&to=1").await, [""; 0]);
    }

    async fn reasons_and_accounts_are_ranked(backend: Backend) {
        let server = Server::start(backend).await;
        for (msg_id, status) in [(1, "err(77)"), (2, "err(30003)"), (3, "err(30003)"), (4, "send success")] {
            server.accepts(&PLAIN, Event::new(msg_id, msg_id).status(status).xml()).await;
        }
        server.accepts(&SAFE, Event::new(1, 5).counts([1, 0, 0, 0]).xml()).await;

        let known = server.items("/api/v1/reasons").await;
        let known = known.iter().find(|reason| reason["code"] == 30003).unwrap();
        let frequent = json!({
            "code": 30003, "zh": known["zh"], "en": known["en"], "jobs": 2, "last_finished_at": "1970-01-01T00:00:03Z",
        });
        let rare = json!({"code": 77, "zh": null, "en": null, "jobs": 1, "last_finished_at": "1970-01-01T00:00:01Z"});
        assert_eq!(server.items("/api/v1/stats/reasons").await, [frequent.clone(), rare]);
        assert_eq!(server.items("/api/v1/stats/reasons?account=plain&from=2000&to=4000").await, [frequent]);
        assert_eq!(server.items("/api/v1/stats/reasons?account=safe").await, [Value::Null; 0]);

        let received = server.job(&PLAIN, "4").await["last_received_at"].clone();
        let plain = json!({
            "account": "plain", "jobs": 4, "sent": 1, "failed": 0, "rejected": 3, "unknown": 0,
            "total_count": 400, "filter_count": 320, "sent_count": 300, "error_count": 20, "delivery_rate": 0.9375,
            "last_finished_at": "1970-01-01T00:00:04Z", "last_received_at": received,
        });
        let accounts = server.items("/api/v1/stats/accounts").await;
        assert_eq!(accounts[1], plain);
        assert_eq!(accounts[0]["account"], "safe");
        assert_eq!(accounts[0]["delivery_rate"], Value::Null);
        assert_eq!(server.items("/api/v1/stats/accounts?to=5000").await, [plain]);
        assert_eq!(server.items("/api/v1/stats/accounts?account=safe").await, accounts[..1]);
        assert_eq!(server.items("/api/v1/stats/accounts?account=nobody").await, [Value::Null; 0]);
    }
}

#[tokio::test]
async fn accounts_are_told_with_their_last_job_or_none() {
    let server = Server::start(Backend::Sqlite).await;
    for (msg_id, finished) in [(1, 7), (2, 9), (3, 8)] {
        server
            .accepts(&PLAIN, Event::new(msg_id, finished).xml())
            .await;
    }
    let received = server.job(&PLAIN, "2").await["last_received_at"].clone();
    let accounts = server.items("/api/v1/accounts").await;
    let names: Vec<_> = accounts.iter().map(|item| &item["account"]).collect();
    assert_eq!(names, ["compatible", "plain", "safe"]);
    assert_eq!(
        accounts[1],
        json!({"account": "plain", "last_finished_at": "1970-01-01T00:00:09Z", "last_received_at": received})
    );
    assert_eq!(
        accounts[2],
        json!({"account": "safe", "last_finished_at": null, "last_received_at": null})
    );
}

#[tokio::test]
async fn the_zone_is_that_of_the_configuration_unless_another_is_named() {
    let newfoundland = "[api]\ntimezone = \"America/St_Johns\"";
    let server = Setup::default()
        .toml(newfoundland)
        .start(Backend::Sqlite)
        .await;
    let range = "from=2026-07-01T02:30:00Z&to=2026-07-01T02:31:00Z";
    assert_eq!(starts(&server, range).await, ["2026-07-01T00:00:00-02:30"]);
    let named = format!("{range}&tz=asia/shanghai&bucket=hour");
    assert_eq!(starts(&server, &named).await, ["2026-07-01T10:00:00+08:00"]);
}

#[tokio::test]
async fn without_a_range_a_timeline_ends_now() {
    let server = Server::start(Backend::Sqlite).await;
    let now = qunfa::domain::Time::now();
    server
        .accepts(&PLAIN, Event::new(1, now.seconds()).xml())
        .await;
    for (bucket, count) in [("hour", 24), ("day", 30), ("week", 12), ("month", 12)] {
        let path = format!("/api/v1/stats/timeline?bucket={bucket}");
        let items = server.items(&path).await;
        assert_eq!(items.len(), count, "{bucket}");
        // The next bucket may have started meanwhile.
        let jobs: Vec<_> = items
            .iter()
            .map(|item| item["jobs"].as_i64().unwrap())
            .collect();
        assert_eq!(jobs.iter().sum::<i64>(), 1, "{bucket}: {jobs:?}");
        assert_eq!(
            jobs[count - 2..].iter().sum::<i64>(),
            1,
            "{bucket}: {jobs:?}"
        );
    }
    let days = starts(&server, "").await;
    assert_eq!(days, starts(&server, "bucket=day&tz=Asia/Shanghai").await);
}
