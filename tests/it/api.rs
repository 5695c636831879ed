//! The API over real HTTP: every route, its shapes, filters, times and pages.

use serde_json::{Value, json};

use crate::support::{Backend, Event, PLAIN, SAFE, Server, Setup, fixture, on_both_stores};

/// The names of an object's members, sorted.
fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

const JOB: [&str; 23] = [
    "account",
    "article_url_count",
    "articles",
    "check_state",
    "copyright_count",
    "deliveries",
    "error_count",
    "filter_count",
    "filtered_out",
    "finished_at",
    "first_received_at",
    "from_user_name",
    "last_received_at",
    "msg_id",
    "outcome",
    "reason",
    "revision",
    "sent_count",
    "status",
    "to_user_name",
    "total_count",
    "unaccounted",
    "updated_at",
];

const DELIVERY: [&str; 12] = [
    "account",
    "body",
    "body_base64",
    "body_sha256",
    "error",
    "event",
    "id",
    "last_received_at",
    "msg_id",
    "received_at",
    "state",
    "times",
];

/// The ids of jobs or deliveries, in order.
fn ids(items: &[Value]) -> Vec<i64> {
    items
        .iter()
        .map(|item| item["msg_id"].as_str().unwrap().parse().unwrap())
        .collect()
}

async fn ids_at(server: &Server, path: &str) -> Vec<i64> {
    ids(&server.items(path).await)
}

/// Every page of a list; `between` is called after each.
async fn pages(server: &Server, path: &str, mut between: impl AsyncFnMut()) -> Vec<Vec<Value>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = server.ok(&format!("{path}{cursor}")).await;
        assert_eq!(names(&page), ["items", "next_cursor"]);
        pages.push(serde_json::from_value(page["items"].take()).unwrap());
        between().await;
        let Some(next) = page["next_cursor"].as_str() else {
            assert_eq!(page["next_cursor"], Value::Null);
            return pages;
        };
        assert!(
            next.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{next}"
        );
        cursor = format!("&cursor={next}");
    }
}

on_both_stores! {
    async fn a_job_shows_what_came_and_null_for_what_did_not(backend: Backend) {
        let server = Server::start(backend).await;
        server.accepts(&PLAIN, Event::new(9_007_199_254_740_993, 0).xml()).await;
        let bare = "<xml><CreateTime>253402300799</CreateTime><MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event>\
            <MsgID>9223372036854775807</MsgID></xml>";
        server.accepts(&PLAIN, bare).await;
        server.accepts(&PLAIN, Event::new(5, 1_767_225_600).status("err(77)").xml()).await;

        let job = server.job(&PLAIN, "9007199254740993").await;
        assert_eq!(names(&job), JOB);
        assert_eq!(job["msg_id"], "9007199254740993");
        assert_eq!(job["finished_at"], "1970-01-01T00:00:00Z");
        assert_eq!((&job["filtered_out"], &job["unaccounted"]), (&20.into(), &0.into()));

        let job = server.job(&PLAIN, "9223372036854775807").await;
        assert_eq!(names(&job), JOB);
        assert_eq!(job["outcome"], "unknown");
        assert_eq!(job["finished_at"], "9999-12-31T23:59:59Z");
        assert_eq!(job["articles"], json!([]));
        let told = [
            "account", "msg_id", "outcome", "articles", "finished_at", "first_received_at", "last_received_at",
            "updated_at", "deliveries", "revision",
        ];
        for name in JOB.iter().filter(|name| !told.contains(name)) {
            assert_eq!(job[name], Value::Null, "{name}");
        }

        // An unknown code has no texts.
        assert_eq!(server.job(&PLAIN, "5").await["reason"], json!({"code": 77, "zh": null, "en": null}));
        let items = server.items("/api/v1/jobs").await;
        assert_eq!(ids(&items), [i64::MAX, 5, 9_007_199_254_740_993]);
        assert_eq!(items[2], server.job(&PLAIN, "9007199254740993").await);
    }

    async fn deliveries_show_what_was_received(backend: Backend) {
        let server = Server::start(backend).await;
        let (first, second) = (Event::new(7, 10), Event::new(7, 10).rest("<x/>"));
        server.accepts(&SAFE, first.xml()).await;
        server.accepts(&SAFE, second.xml()).await;
        server.accepts(&SAFE, first.xml()).await;
        server.accepts(&SAFE, b"\xff").await;
        let of_job = server.items("/api/v1/jobs/safe/7/deliveries").await;
        let shown: Vec<_> = of_job.iter().map(|item| (item["body"].as_str().unwrap(), item["times"].as_i64().unwrap())).collect();
        assert_eq!(shown, [(&*first.xml(), 2), (&*second.xml(), 1)]);
        assert_eq!(names(&server.ok("/api/v1/jobs/safe/7/deliveries").await), ["items"]);

        let all = server.items("/api/v1/deliveries").await;
        assert_eq!(all[1..], [of_job[1].clone(), of_job[0].clone()]);
        let unparsed = &all[0];
        assert_eq!(names(unparsed), DELIVERY);
        assert!(unparsed["id"].as_str().unwrap().parse::<i64>().is_ok());
        for (name, expected) in [
            ("account", json!("safe")), ("state", json!("unparsed")), ("event", Value::Null), ("msg_id", Value::Null),
            ("body", Value::Null), ("body_base64", json!("/w==")), ("times", json!(1)),
            ("body_sha256", json!("a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89")),
        ] {
            assert_eq!(unparsed[name], expected, "{name}");
        }
        assert!(unparsed["error"].as_str().is_some_and(|error| !error.is_empty()));
        let stored = &all[2];
        assert_eq!(names(stored), DELIVERY);
        assert_eq!((&stored["body_base64"], &stored["error"]), (&Value::Null, &Value::Null));
        assert_eq!((&stored["event"], &stored["msg_id"]), (&json!("MASSSENDJOBFINISH"), &json!("7")));
        assert!(stored["last_received_at"].as_str() > stored["received_at"].as_str());
    }

    async fn totals_and_their_filters(backend: Backend) {
        let server = Server::start(backend).await;
        for (msg_id, status) in [(1, "send success"), (2, "send fail"), (3, "err(10001)"), (4, "?")] {
            server.accepts(&PLAIN, Event::new(msg_id, msg_id * 10).status(status).counts([i64::MAX, 4, 3, 1]).xml()).await;
        }
        server.accepts(&SAFE, Event::new(1, 10).xml()).await;
        // Compared as text, because the sum exceeds what JSON parsers keep exactly.
        let totals = server.get("/api/v1/stats?account=plain").await.text().await.unwrap();
        let expected = "{'jobs':4,'by_outcome':{'sent':1,'failed':1,'rejected':1,'unknown':1},\
             'total_count':36893488147419103228,'filter_count':16,'sent_count':12,'error_count':4}";
        assert_eq!(totals, expected.replace('\'', "\""));
        for (query, jobs) in [
            ("", 5), ("?account=safe", 1), ("?account=nobody", 0), ("?from=20000", 3), ("?to=20000", 2),
            ("?from=20000&to=40000&account=plain", 2), ("?from=40000&to=20000", 0),
        ] {
            assert_eq!(server.ok(&format!("/api/v1/stats{query}")).await["jobs"], jobs, "{query}");
        }
    }

    async fn each_filter_of_jobs(backend: Backend) {
        let server = Server::start(backend).await;
        // 2026-01-01T00:00:00Z and the following seconds.
        let second = |n: i64| 1_767_225_600 + n;
        let check = "<CopyrightCheckResult><CheckState>2</CheckState></CopyrightCheckResult>";
        server.accepts(&PLAIN, Event::new(1, second(1)).xml()).await;
        server.accepts(&PLAIN, Event::new(2, second(2)).status("err(30003)").rest(check).xml()).await;
        server.accepts(&SAFE, Event::new(3, second(3)).status("send fail").xml()).await;
        server.accepts(&SAFE, Event::new(4, second(4)).status("").xml()).await;
        let updated = server.job(&SAFE, "3").await["updated_at"].as_str().unwrap().to_owned();
        for (query, expected) in [
            ("", &[4, 3, 2, 1][..]),
            ("account=plain", &[2, 1]),
            ("account=nobody", &[]),
            ("outcome=sent", &[1]),
            ("outcome=failed", &[3]),
            ("outcome=rejected", &[2]),
            ("outcome=unknown", &[4]),
            ("code=30003", &[2]),
            ("code=0", &[]),
            ("check_state=2", &[2]),
            ("check_state=-2", &[]),
            ("msg_id=3", &[3]),
            ("msg_id=0003", &[3]),
            ("account=plain&msg_id=3", &[]),
            ("from=2026-01-01T00:00:02Z&to=2026-01-01T00:00:04Z", &[3, 2]),
            ("from=2026-01-01T08:00:02%2B08:00&to=2025-12-31T19:00:04-05:00", &[3, 2]),
            ("from=1767225602000&to=1767225604000", &[3, 2]),
            ("from=1767225602001", &[4, 3]),
            ("from=2026-01-01T00:00:02.0001Z", &[4, 3]),
            ("to=2026-01-01T00:00:02.0001Z", &[2, 1]),
            ("to=-1", &[]),
            ("from=1767225604000&to=1767225602000", &[]),
            (&*format!("updated_after={updated}"), &[4]),
            ("updated_after=2020-01-01T00:00:00z", &[4, 3, 2, 1]),
        ] {
            assert_eq!(ids_at(&server, &format!("/api/v1/jobs?{query}")).await, expected, "{query}");
        }
    }

    async fn each_filter_of_deliveries(backend: Backend) {
        let keep = PLAIN.toml().replace("[accounts.plain]", "[accounts.plain]\nkeep_events = [\"publishjobfinish\"]");
        let server = Setup::default().accounts(&[SAFE]).toml(&keep).start(backend).await;
        let other = |name: &str| Event::new(2, 10).xml().replace("MASSSENDJOBFINISH", name);
        server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
        server.accepts(&PLAIN, other("PublishJobFinish")).await;
        server.accepts(&PLAIN, other("SCAN")).await;
        server.accepts(&SAFE, other("PUBLISHJOBFINISH")).await;
        server.accepts(&SAFE, Event::new(3, 10).xml().replace("<CreateTime>10", "<CreateTime>")).await;
        let newest = server.items("/api/v1/deliveries").await[0]["received_at"].as_str().unwrap().to_owned();
        for (query, expected) in [
            ("", &[3, 2, 1][..]),
            ("account=plain", &[2, 1]),
            ("state=stored", &[2, 1]),
            ("state=unparsed", &[3]),
            ("event=PUBLISHJOBFINISH", &[2]),
            ("event=masssendjobfinish", &[3, 1]),
            ("event=SCAN", &[]),
            (&*format!("from={newest}"), &[3]),
            (&*format!("to={newest}"), &[2, 1]),
            ("from=2999-01-01T00:00:00Z", &[]),
            ("to=0", &[]),
            ("state=stored&event=masssendjobfinish&account=plain", &[1]),
        ] {
            assert_eq!(ids_at(&server, &format!("/api/v1/deliveries?{query}")).await, expected, "{query}");
        }
        // Kept events are not jobs.
        assert_eq!(ids_at(&server, "/api/v1/jobs").await, [1]);
    }

    async fn pages_follow_each_other_while_events_arrive(backend: Backend) {
        let server = Server::start(backend).await;
        for msg_id in 1..=7 {
            server.accepts(&PLAIN, Event::new(msg_id, 100).xml()).await;
        }
        let expected: Vec<i64> = (1..=7).rev().collect();
        let mut next = 100;
        for (list, limit) in [("jobs", 1), ("jobs", 3), ("jobs", 7), ("deliveries", 2), ("deliveries", 7), ("deliveries", 500)] {
            let path = format!("/api/v1/{list}?account=plain&to=2999-01-01T00:00:00Z&limit={limit}");
            let pages = pages(&server, &path, async || {
                // A copy, and another account's job, which is newer in both lists.
                server.accepts(&PLAIN, Event::new(4, 100).xml()).await;
                server.accepts(&SAFE, Event::new(next, 200).xml()).await;
                next += 1;
            }).await;
            let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
            assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == limit), "{list}, {limit}: {sizes:?}");
            assert_eq!(ids(&pages.concat()), expected, "{list}, {limit}");
        }
        // Without filters, new rows before the cursor do not appear on later pages.
        let pages = pages(&server, "/api/v1/jobs?limit=5", async || {
            server.accepts(&SAFE, Event::new(next, 300).xml()).await;
            next += 1;
        }).await;
        assert_eq!(ids(&pages.concat())[..2], [next - 1 - i64::try_from(pages.len()).unwrap(), next - 2 - i64::try_from(pages.len()).unwrap()]);
    }

    async fn a_page_holds_fifty_unless_told_otherwise(backend: Backend) {
        let server = Server::start(backend).await;
        for msg_id in 1..=51 {
            server.accepts(&PLAIN, Event::new(msg_id, 100).xml()).await;
        }
        for list in ["jobs", "deliveries"] {
            let page = server.ok(&format!("/api/v1/{list}")).await;
            assert_eq!(page["items"].as_array().unwrap().len(), 50);
            assert!(page["next_cursor"].is_string());
            let page = server.ok(&format!("/api/v1/{list}?limit=51")).await;
            assert_eq!(page["items"].as_array().unwrap().len(), 51);
            assert_eq!(page["next_cursor"], Value::Null);
        }
    }
}

#[tokio::test]
async fn the_catalogue_of_reasons() {
    let server = Server::start(Backend::Sqlite).await;
    let items = server.items("/api/v1/reasons").await;
    let codes: Vec<_> = items
        .iter()
        .map(|item| item["code"].as_i64().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            10001, 20001, 20002, 20004, 20006, 20008, 20013, 20431, 21000, 22000, 30001, 30002,
            30003, 40001, 40002, 93115
        ]
    );
    for item in &items {
        assert_eq!(names(item), ["code", "en", "zh"]);
        assert_eq!(item["zh"].is_null(), item["code"] == 20431, "{item}");
        assert_eq!(item["en"].is_null(), item["zh"].is_null(), "{item}");
    }
    server
        .accepts(&PLAIN, fixture("documentation/documentation-current.xml"))
        .await;
    let job = server.job(&PLAIN, "1000001625").await;
    assert!(items.contains(&job["reason"]));
}
