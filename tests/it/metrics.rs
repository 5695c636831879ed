//! The metrics at `/metrics`.

use qunfa::domain::Time;
use rustix::process::Signal;

use crate::support::{
    Account, Backend, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, event, eventually,
    on_both_stores,
};

/// A server with metrics, whose account `plain` keeps an event.
fn setup() -> Setup {
    Setup::default().with_metrics().variable(
        "QUNFA_ACCOUNTS__PLAIN__KEEP_EVENTS",
        "publishjobfinish,card_pass",
    )
}

/// The value of a sample, by its name and labels as in the text; `None` if there is no such sample.
async fn sample(server: &Server, name: &str) -> Option<f64> {
    let text = server.metrics().await;
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(found, _)| *found == name);
    found.map(|(_, value)| value.parse().unwrap())
}

async fn has(server: &Server, samples: &[(&str, f64)]) {
    for (name, value) in samples {
        let found = sample(server, name).await;
        assert_eq!(found, Some(*value), "{name}: {}", server.metrics().await);
    }
}

fn other(name: &str) -> String {
    format!("<xml><MsgType>event</MsgType><Event>{name}</Event><CreateTime>1</CreateTime></xml>")
}

on_both_stores! {
    async fn every_push_is_counted_by_account_event_and_result(backend: Backend) {
        let server = setup().start(backend).await;
        has(&server, &[
            (r#"qunfa_pushes_total{account="safe",event="MASSSENDJOBFINISH",result="kept"}"#, 0.0),
            (r#"qunfa_pushes_total{account="safe",event="none",result="unparsed"}"#, 0.0),
            (r#"qunfa_job_results_total{account="safe",outcome="rejected"}"#, 0.0),
            (r#"qunfa_store_errors_total{kind="unavailable"}"#, 0.0),
            ("qunfa_acknowledgement_duration_seconds_count", 0.0),
        ]).await;
        let rejected = Event::new(1, 10).status("err(30003)").xml();
        server.accepts(&SAFE, &rejected).await;
        server.accepts(&SAFE, &rejected).await;
        server.accepts(&SAFE, event(2)).await;
        server.accepts(&SAFE, Event::new(1, 20).xml()).await;
        server.accepts(&SAFE, "<xml>").await;
        server.accepts(&PLAIN, other("PUBLISHJOBFINISH")).await;
        server.accepts(&PLAIN, other("card_pass")).await;
        server.accepts(&SAFE, other("card_pass")).await;
        server.accepts(&SAFE, "<xml><MsgType>text</MsgType></xml>").await;
        has(&server, &[
            (r#"qunfa_pushes_total{account="safe",event="MASSSENDJOBFINISH",result="kept"}"#, 2.0),
            (r#"qunfa_pushes_total{account="safe",event="MASSSENDJOBFINISH",result="duplicate"}"#, 1.0),
            (r#"qunfa_pushes_total{account="safe",event="MASSSENDJOBFINISH",result="revision"}"#, 1.0),
            (r#"qunfa_pushes_total{account="safe",event="none",result="unparsed"}"#, 1.0),
            (r#"qunfa_pushes_total{account="plain",event="PUBLISHJOBFINISH",result="kept"}"#, 1.0),
            (r#"qunfa_pushes_total{account="plain",event="card_pass",result="kept"}"#, 1.0),
            (r#"qunfa_pushes_total{account="safe",event="other",result="not_kept"}"#, 1.0),
            (r#"qunfa_pushes_total{account="safe",event="none",result="not_kept"}"#, 1.0),
            (r#"qunfa_job_results_total{account="safe",outcome="rejected"}"#, 1.0),
            (r#"qunfa_job_results_total{account="safe",outcome="sent"}"#, 1.0),
            ("qunfa_acknowledgement_duration_seconds_count", 9.0),
            ("qunfa_batch_deliveries_count", 7.0),
            ("qunfa_batch_deliveries_sum", 7.0),
            ("qunfa_queue_deliveries", 0.0),
            ("qunfa_database_up", 1.0),
            (r#"qunfa_status{status="ready"}"#, 1.0),
            (r#"qunfa_status{status="degraded"}"#, 0.0),
        ]).await;
        let skew = sample(&server, r#"qunfa_clock_skew_seconds{account="safe"}"#).await.unwrap();
        assert!((0.0..60.0).contains(&skew), "{skew}");
        assert!(!server.metrics().await.contains(r#"qunfa_clock_skew_seconds{account="compatible"}"#));
    }

    async fn an_account_is_not_silent_because_the_server_was_restarted(backend: Backend) {
        const LAST: &str = r#"qunfa_last_event_timestamp_seconds{account="safe"}"#;
        let mut server = setup().start(backend).await;
        assert_eq!(sample(&server, LAST).await, None);
        server.accepts(&SAFE, event(1)).await;
        let last = sample(&server, LAST).await.unwrap();
        server.kill();
        server.restart();
        assert_eq!(sample(&server, LAST).await, Some(last));
        server.accepts(&PLAIN, other("card_pass")).await;
        assert_eq!(sample(&server, LAST).await, Some(last));
    }

    async fn a_captured_push_does_not_hide_that_an_account_is_silent(backend: Backend) {
        const LAST: &str = r#"qunfa_last_event_timestamp_seconds{account="safe"}"#;
        let mut server = setup().start(backend).await;
        let push = SAFE.sign(event(1));
        assert_eq!(server.send("safe", push.clone()).await.0, 200);
        let last = sample(&server, LAST).await.unwrap();
        let this_second = Time::now().seconds();
        eventually("the clock goes on", async || Time::now().seconds() > this_second).await;
        assert_eq!(server.send("safe", push).await.0, 200);
        assert_eq!(server.job(&SAFE, "1").await["deliveries"], 2);
        assert_eq!(sample(&server, LAST).await, Some(last));
        server.kill();
        server.restart();
        assert_eq!(sample(&server, LAST).await, Some(last));
        server.accepts(&SAFE, Event::new(1, 20).xml()).await;
        assert!(sample(&server, LAST).await.unwrap() > last);
    }

    async fn requests_are_counted_by_route_and_status(backend: Backend) {
        let server = setup().start(backend).await;
        server.ok("/api/v1/jobs").await;
        server.json("/api/v1/jobs?colour=red").await;
        server.json("/api/v1/jobs/safe/1").await;
        server.get("/nowhere").await;
        has(&server, &[
            (r#"qunfa_http_request_duration_seconds_count{route="/api/v1/jobs",status="2xx"}"#, 1.0),
            (r#"qunfa_http_request_duration_seconds_count{route="/api/v1/jobs",status="4xx"}"#, 1.0),
            (r#"qunfa_http_request_duration_seconds_count{route="/api/v1/jobs/{account}/{msg_id}",status="4xx"}"#, 1.0),
            (r#"qunfa_http_request_duration_seconds_count{route="none",status="4xx"}"#, 1.0),
        ]).await;
        // A client may keep more than one open.
        for sought in [
            r#"qunfa_open_connections{listener="server"}"#,
            r#"qunfa_open_connections{listener="metrics"}"#,
        ] {
            let open = sample(&server, sought).await.unwrap();
            assert!(open >= 1.0, "{sought}: {open}");
        }
        assert_eq!(server.get("/metrics").await.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_counted_by_its_reason_and_names_no_account_from_outside() {
    let server = setup().start(Backend::Sqlite).await;
    let forged = Account {
        token: "AnotherTokenThanTheServers",
        ..SAFE
    };
    assert_eq!(server.push(&forged, event(1)).await.0, 403);
    let unknown = Account {
        name: "nobody",
        ..SAFE
    };
    assert_eq!(server.push(&unknown, event(1)).await.0, 403);
    // A monitor.
    assert_eq!(server.get("/wechat/safe").await.status(), 403);
    assert_eq!(
        server
            .post("safe", "timestamp=1&nonce=2", "")
            .await
            .status(),
        403
    );
    let long = server.post("safe", "", vec![b'x'; 70_000]).await;
    assert_eq!(long.status(), 413);
    has(
        &server,
        &[
            (
                r#"qunfa_refused_total{account="safe",reason="signature"}"#,
                1.0,
            ),
            (
                r#"qunfa_refused_total{account="safe",reason="unsigned"}"#,
                2.0,
            ),
            (
                r#"qunfa_refused_total{account="",reason="unknown_account"}"#,
                1.0,
            ),
            (
                r#"qunfa_refused_total{account="safe",reason="too_long"}"#,
                1.0,
            ),
        ],
    )
    .await;
    assert!(!server.metrics().await.contains("nobody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_tells_the_same_counts_in_the_log() {
    let mut server = setup().start(Backend::Sqlite).await;
    for _ in 0..2 {
        server.accepts(&SAFE, event(1)).await;
    }
    server.accepts(&SAFE, "<xml>").await;
    server.accepts(&SAFE, other("VIEW")).await;
    server.post("safe", "", "").await;
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0));
    let log = server.log();
    let counts = "results=1 duplicates=1 unparsed=1 sealed=0 other_kept=0 spooled=0 events=1 messages=0 failed=0 refused=1";
    assert!(log.contains(counts), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_shows_and_so_does_what_waits_for_it() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = setup().start_on(database);
    server.accepts(&SAFE, event(1)).await;
    has(
        &server,
        &[("qunfa_database_up", 1.0), ("qunfa_spool_deliveries", 0.0)],
    )
    .await;
    proxy.set(Way::Refused);
    server.accepts(&SAFE, event(2)).await;
    eventually("the metrics tell of the outage", async || {
        sample(&server, "qunfa_spool_deliveries").await == Some(1.0)
    })
    .await;
    has(
        &server,
        &[
            ("qunfa_database_up", 0.0),
            (r#"qunfa_status{status="degraded"}"#, 1.0),
            (
                r#"qunfa_pushes_total{account="safe",event="MASSSENDJOBFINISH",result="spooled"}"#,
                1.0,
            ),
        ],
    )
    .await;
    proxy.set(Way::Open);
    eventually("the metrics tell that it is over", async || {
        sample(&server, "qunfa_spool_deliveries").await == Some(0.0)
            && sample(&server, "qunfa_database_up").await == Some(1.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_the_spool_does_not_hide_that_an_account_is_silent() {
    const LAST: &str = r#"qunfa_last_event_timestamp_seconds{account="safe"}"#;
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = setup().start_on(database);
    let push = SAFE.sign(event(1));
    assert_eq!(server.send("safe", push.clone()).await.0, 200);
    let last = sample(&server, LAST).await.unwrap();
    let this_second = Time::now().seconds();
    eventually("the clock goes on", async || {
        Time::now().seconds() > this_second
    })
    .await;
    let is_drained = async || sample(&server, "qunfa_spool_deliveries").await == Some(0.0);

    proxy.set(Way::Refused);
    assert_eq!(server.send("safe", push).await.0, 200);
    eventually("the copy is in the spool", async || !is_drained().await).await;
    assert_eq!(sample(&server, LAST).await, Some(last));
    proxy.set(Way::Open);
    eventually("the copy is in the database", is_drained).await;
    assert_eq!(server.job(&SAFE, "1").await["deliveries"], 2);
    assert_eq!(sample(&server, LAST).await, Some(last));

    proxy.set(Way::Refused);
    server.accepts(&SAFE, Event::new(1, 20).xml()).await;
    eventually("the new content is in the spool", async || {
        !is_drained().await
    })
    .await;
    assert_eq!(sample(&server, LAST).await, Some(last));
    proxy.set(Way::Open);
    eventually("the new content shows", async || {
        sample(&server, LAST).await > Some(last)
    })
    .await;
}
