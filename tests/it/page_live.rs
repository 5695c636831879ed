//! The live page: lists, jobs and totals update by themselves, without moving what is being read.

use std::net::TcpListener;

use crate::support::browser::Browser;
use crate::support::cluster::Cluster;
use crate::support::{Backend, Event, PLAIN, SAFE, Server, Setup};

/// 2026-01-01 08:00 in Shanghai.
const NEW_YEAR: i64 = 1_767_225_600;

const FIRST: &str = "document.querySelector('tbody th a')?.textContent";
const ROWS: &str = "document.querySelectorAll('tbody tr').length";

/// A job whose place in the list is determined by `minutes`.
fn result(msg_id: i64, minutes: i64) -> Event {
    Event::new(msg_id, NEW_YEAR + minutes * 60)
}

/// A list of 60 jobs, live.
async fn list() -> (Server, Browser) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Setup::default().socket(socket).start(Backend::Sqlite).await;
    for number in 1..=60 {
        server
            .accepts(&PLAIN, result(1_000 + number, number).xml())
            .await;
    }
    let browser = Browser::start().await;
    browser.open(&server.url("/#/jobs")).await;
    browser.until(&format!("{ROWS} === 50")).await;
    browser
        .until("document.querySelector('.live').dataset.state === 'open'")
        .await;
    (server, browser)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_come_and_change_where_they_belong() {
    let (server, browser) = list().await;
    server.accepts(&PLAIN, result(2_000, 100).xml()).await;
    browser.until(&format!("{FIRST} === '2000'")).await;
    assert_eq!(browser.eval(ROWS).await, 50);
    browser
        .until("document.getElementById('announcements').textContent === '1 new job'")
        .await;

    // A revision updates the row of its job.
    let revised = result(2_000, 100).status("send fail");
    server.accepts(&PLAIN, revised.xml()).await;
    browser
        .until("document.querySelector('tbody tr').textContent.includes('Failed')")
        .await;
    assert_eq!(browser.eval(ROWS).await, 50);

    // A late job is inserted in order, not at the top.
    server.accepts(&SAFE, result(2_001, 59).xml()).await;
    browser
        .until("[...document.querySelectorAll('tbody th a')].findIndex(link => link.textContent === '2001') === 2")
        .await;

    // Jobs that do not match the filters are not inserted.
    browser.choose("#filter-account", "plain").await;
    browser
        .until("location.hash === '#/jobs?account=plain'")
        .await;
    browser.until(&format!("{ROWS} === 50")).await;
    server.accepts(&SAFE, result(2_002, 101).xml()).await;
    server.accepts(&PLAIN, result(2_003, 102).xml()).await;
    browser.until(&format!("{FIRST} === '2003'")).await;
    assert_eq!(
        browser
            .eval("document.body.innerText.includes('2002')")
            .await,
        false
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_read_stays_where_it_is() {
    let (server, browser) = list().await;
    browser.eval("scrollTo(0, 700)").await;
    let place = "document.querySelector('tr[data-key=\"plain/1040\"]').getBoundingClientRect().top";
    let before = browser.eval(place).await.as_f64().unwrap();
    for msg_id in [3_000, 3_001, 3_002] {
        server
            .accepts(&PLAIN, result(msg_id, msg_id - 2_900).xml())
            .await;
    }
    browser.until(&format!("{FIRST} === '3002'")).await;
    let after = browser.eval(place).await.as_f64().unwrap();
    assert!((before - after).abs() < 2.0, "{before} {after}");

    browser.click("nav.pager a[rel=next]").await;
    browser.until(&format!("{FIRST} === '1010'")).await;
    server.accepts(&PLAIN, result(3_003, 103).xml()).await;
    browser.shows("1 new job").await;
    assert_eq!(browser.eval(FIRST).await, "1010");
    browser.click(".new-jobs a").await;
    browser.until(&format!("{FIRST} === '3003'")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_comes_back_to_a_server_that_was_away() {
    let (mut server, browser) = list().await;
    server.kill();
    browser
        .until("document.querySelector('.live').dataset.state !== 'open'")
        .await;
    server.restart();
    server.accepts(&PLAIN, result(4_000, 200).xml()).await;
    browser.until(&format!("{FIRST} === '4000'")).await;
    browser
        .until("document.querySelector('.live').dataset.state === 'open'")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_and_the_overview_follow() {
    let (server, browser) = list().await;
    browser.click("tbody a[href='#/jobs/plain/1060']").await;
    browser.shows("WeChat has sent this job.").await;
    browser.click("details summary").await;
    browser
        .eval("document.querySelector('details summary').focus()")
        .await;
    let revised = result(1_060, 61).status("err(10001)");
    server.accepts(&PLAIN, revised.xml()).await;
    browser.shows("suspected advertising").await;
    browser.shows("2 / 2").await;
    // Open details stay open, and keep the focus.
    let first = "document.querySelector('details')";
    assert_eq!(browser.eval(&format!("{first}.open")).await, true);
    let focused = format!("document.activeElement === {first}.querySelector('summary')");
    assert_eq!(browser.eval(&focused).await, true);

    browser
        .eval("location.hash = '#/overview?from=2026-01-01&to=2026-01-02'")
        .await;
    let jobs = "document.querySelector('.tile .value')?.textContent";
    browser.until(&format!("{jobs} === '60'")).await;
    server.accepts(&SAFE, result(5_000, 90).xml()).await;
    browser.until(&format!("{jobs} === '61'")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_received_follows() {
    let (server, browser) = list().await;
    browser.eval("location.hash = '#/received'").await;
    browser
        .until("document.querySelectorAll('article').length === 25")
        .await;
    let first = "document.querySelector('article')";
    let shows = |msg_id: i64| format!("{first}?.innerText.includes('{msg_id}')");
    server.accepts(&PLAIN, result(7_001, 100).xml()).await;
    browser.until(&shows(7_001)).await;
    server.accepts(&PLAIN, result(7_002, 102).xml()).await;
    browser.until(&shows(7_002)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_left_gives_its_connection_back() {
    let (server, browser) = list().await;
    // Browsers open six connections to a server, and have a back/forward cache.
    for step in 1..=8 {
        browser
            .eval(&format!(
                "void setTimeout(() => location.href = '/?{step}#/jobs')"
            ))
            .await;
        browser
            .until(&format!("location.search === '?{step}' && {ROWS} === 50"))
            .await;
    }
    browser.eval("void setTimeout(() => history.back())").await;
    browser.until("location.search === '?7'").await;
    browser
        .until("document.querySelector('.live').dataset.state === 'open'")
        .await;
    server.accepts(&PLAIN, result(6_000, 100).xml()).await;
    browser.until(&format!("{FIRST} === '6000'")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_no_longer_matches_the_filters_says_so() {
    let (server, browser) = list().await;
    browser
        .eval("location.hash = '#/jobs?outcome=sent&account=plain'")
        .await;
    browser.until(&format!("{ROWS} === 50")).await;
    server.accepts(&PLAIN, result(2_000, 100).xml()).await;
    browser.until(&format!("{FIRST} === '2000'")).await;
    let failed = result(2_000, 100).status("send fail");
    server.accepts(&PLAIN, failed.xml()).await;
    let row = "document.querySelector('tbody tr').innerText";
    browser
        .until(&format!(
            "{row}.includes('No longer matches the filters') && {row}.includes('Failed')"
        ))
        .await;
    assert_eq!(browser.eval(FIRST).await, "2000");
    // If it matches again, it moves to its place in the order.
    server.accepts(&PLAIN, result(2_001, 101).xml()).await;
    browser.until(&format!("{FIRST} === '2001'")).await;
    server.accepts(&PLAIN, result(2_000, 102).xml()).await;
    browser.until(&format!("{FIRST} === '2000'")).await;
    assert_eq!(
        browser
            .eval("document.querySelectorAll('.unmatched').length")
            .await,
        0
    );
    assert_eq!(browser.eval(ROWS).await, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_the_page_says_so_and_then_catches_up() {
    let mut cluster = Cluster::start().await;
    let server = Setup::default().start_on(cluster.database().await);
    server.accepts(&PLAIN, result(1, 1).xml()).await;
    let browser = Browser::start().await;
    browser.open(&server.url("/#/jobs")).await;
    let state = "document.querySelector('.live').dataset.state";
    browser
        .until(&format!("{ROWS} === 1 && {state} === 'open'"))
        .await;
    assert_eq!(
        browser
            .eval("document.querySelector('.outdated').hidden")
            .await,
        true
    );

    cluster.stop().await;
    for msg_id in [2, 3] {
        server.accepts(&PLAIN, result(msg_id, msg_id).xml()).await;
    }
    browser
        .shows(
            "Database unavailable: 2 results are waiting on the server; figures may be out of date",
        )
        .await;
    assert_eq!(browser.eval(state).await, "away");
    // A list that is opened during the outage.
    browser.eval("location.hash = '#/jobs?account=plain'").await;
    browser.shows("(503)").await;
    browser.click("#language").await;
    browser
        .shows("数据库不可用：2 条结果暂存在服务器上，页面数据可能不是最新")
        .await;
    browser.shows("加载失败 (503)").await;
    assert_eq!(browser.eval(state).await, "away");

    cluster.restart().await;
    browser
        .until(&format!("{ROWS} === 3 && {state} === 'open'"))
        .await;
    browser
        .until("document.querySelector('.outdated').hidden")
        .await;
    server.accepts(&PLAIN, result(4, 4).xml()).await;
    browser.until(&format!("{FIRST} === '4'")).await;
}
