//! The page in a real browser: what it shows, how it is used, and that outside text stays text.

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::{Backend, Event, PLAIN, SAFE, Server, Setup};

/// 2026-01-01 08:00 in Shanghai.
const NEW_YEAR: i64 = 1_767_225_600;

async fn with_jobs(count: i64) -> Server {
    let server = Server::start(Backend::Sqlite).await;
    for number in 1..=count {
        let event = Event::new(1_000 + number, NEW_YEAR + number * 60);
        let event = match number % 10 {
            3 => event.status("err(30003)"),
            7 => event.status("send fail"),
            _ => event,
        };
        server.accepts(&PLAIN, event.xml()).await;
    }
    server
}

async fn opened(server: &Server, hash: &str) -> Browser {
    let browser = Browser::start().await;
    browser.open(&server.url(&format!("/{hash}"))).await;
    browser
}

/// The ids in the list, from top to bottom.
async fn listed(browser: &Browser) -> Vec<String> {
    let ids = browser
        .eval("[...document.querySelectorAll('tbody th a')].map(link => link.textContent)")
        .await;
    serde_json::from_value(ids).unwrap()
}

/// There were no console errors, and no requests to other origins.
fn assert_is_clean(browser: &Browser, server: &Server) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let origin = server.url("/");
    let requests = browser.requests();
    assert!(requests.iter().any(|url| url.contains("/api/v1/")));
    let is_ours =
        |url: &String| url.starts_with(&origin) || url.starts_with("data:") || url == "about:blank";
    let others: Vec<_> = requests.iter().filter(|url| !is_ours(url)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_filters_and_pages_and_each_step_can_be_shared() {
    let server = with_jobs(60).await;
    let browser = opened(&server, "#/jobs").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 50")
        .await;
    assert_eq!(listed(&browser).await[0], "1060");
    // One hour after 08:00, in the reader's time zone; the exact time on hover.
    let time = "document.querySelector('tbody time')";
    browser
        .until(&format!("{time}.textContent.includes('09:00')"))
        .await;
    browser
        .until(&format!("{time}.title.startsWith('2026-01-01T01:00:00Z')"))
        .await;

    browser.click("nav.pager a[rel=next]").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 10")
        .await;
    assert_eq!(listed(&browser).await[0], "1010");
    let second = browser.eval("location.href").await;
    browser.click("nav.pager a[rel=prev]").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 50")
        .await;
    browser.eval("history.back()").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 10")
        .await;

    browser.choose("#filter-outcome", "rejected").await;
    browser
        .until("location.hash === '#/jobs?outcome=rejected'")
        .await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 6")
        .await;
    browser.shows("judged a reprint").await;
    browser.choose("#filter-msg_id", "1003").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 1")
        .await;
    browser.choose("#filter-msg_id", "1004").await;
    browser.shows("No matching jobs").await;
    browser.choose("#filter-msg_id", "no number").await;
    browser.shows("`msg_id` must be").await;
    browser.shows("Request ").await;
    browser.click("form.filters button").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 50")
        .await;

    browser.open(second.as_str().unwrap()).await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 10")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_told_in_words_with_all_that_was_received_for_it() {
    let server = Server::start(Backend::Sqlite).await;
    let event = Event::new(77, NEW_YEAR).counts([1_000, 900, 880, 15]);
    server.accepts(&PLAIN, event.xml()).await;
    server.accepts(&PLAIN, event.xml()).await;
    let rejected = qunfa::simulator::Sample::Rejected.xml();
    server.accepts(&SAFE, rejected).await;

    let browser = opened(&server, "#/jobs").await;
    browser.click("tbody a[href='#/jobs/plain/77']").await;
    browser.shows("WeChat has sent this job.").await;
    for text in [
        "1,000",
        "Filtered out 100",
        "880",
        "97.78%",
        "1.67%",
        "Unaccounted for",
    ] {
        browser.shows(text).await;
    }
    browser.shows("2 times").await;
    browser.click("details summary").await;
    browser.shows("<MsgID>77</MsgID>").await;
    browser
        .until("document.title === 'Job 77 · plain · qunfa'")
        .await;
    browser.eval("history.back()").await;
    browser.until("document.title === 'Jobs · qunfa'").await;

    browser.click("tbody a[href^='#/jobs/safe/']").await;
    for text in [
        "Reprint, may be sent",
        "Not confirmed as original (state 2)",
        "May be reprinted; the content is replaced with that of the source; the source is credited",
    ] {
        browser.shows(text).await;
    }
    let link = "document.querySelector('.originality a')";
    browser
        .until(&format!("{link}.rel === 'noopener noreferrer'"))
        .await;
    browser.until(&format!("{link}.protocol === 'http:'")).await;
    assert_is_clean(&browser, &server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_from_outside_stays_text() {
    let server = Server::start(Backend::Sqlite).await;
    let status = "&lt;img src=x onerror=alert(1)&gt;&lt;script&gt;alert(2)&lt;/script&gt;";
    let urls = [
        "javascript:alert(3)",
        "data:text/html,x",
        "//x.example",
        "JavaScript:alert(4)",
        "ftp://x.example",
    ];
    let items = urls.iter().enumerate().map(|(index, url)| {
        let idx = index + 1;
        format!("<item><ArticleIdx>{idx}</ArticleIdx><ArticleUrl>{url}</ArticleUrl></item>")
    });
    let items = items.collect::<Vec<_>>().concat();
    let rest = format!(
        "<ArticleUrlResult><Count>5</Count><ResultList>{items}</ResultList></ArticleUrlResult>"
    );
    let event = Event::new(66, NEW_YEAR).status(status).rest(&rest);
    server.accepts(&PLAIN, event.xml()).await;
    server.accepts(&PLAIN, "<img src=x onerror=alert(5)>").await;

    let browser = opened(&server, "#/jobs").await;
    browser.shows("<img src=x onerror=alert(1)>").await;
    browser.click("tbody a[href='#/jobs/plain/66']").await;
    browser.shows("<script>alert(2)</script>").await;
    browser.shows("javascript:alert(3)").await;
    let links = "[...document.querySelectorAll('main a')].map(link => link.protocol)";
    let protocols = browser.eval(links).await;
    let protocols: Vec<String> = serde_json::from_value(protocols).unwrap();
    assert!(
        protocols.iter().all(|protocol| protocol == "http:"),
        "{protocols:?}"
    );
    let external = "document.querySelectorAll('a.external').length";
    assert_eq!(browser.eval(external).await, 0);

    browser
        .open(&server.url("/#/received?state=unparsed"))
        .await;
    browser.click("details summary").await;
    browser.shows("<img src=x onerror=alert(5)>").await;
    let made = browser
        .eval("document.querySelectorAll('img, main script').length")
        .await;
    assert_eq!(made, 0);
    assert_is_clean(&browser, &server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_adds_up_and_draws() {
    let server = with_jobs(20).await;
    let browser = opened(&server, "#/overview?from=2026-01-01&to=2026-01-03").await;
    browser
        .until("document.querySelectorAll('.tile').length === 5")
        .await;
    browser
        .until("document.querySelector('.tile .value').textContent === '20'")
        .await;
    browser
        .until("document.querySelectorAll('.chart canvas').length === 2")
        .await;
    browser
        .until("document.querySelector('.chart').getAttribute('aria-label').includes('20 jobs')")
        .await;
    browser.click("figure summary").await;
    browser
        .until("document.querySelectorAll('figure')[0].querySelectorAll('tbody tr').length === 3")
        .await;
    browser
        .until("document.querySelector('.reasons').textContent.includes('30003')")
        .await;
    browser.shows("Silent").await;
    browser.click(".choices a").await;
    browser.until("location.hash === '#/overview?days=7'").await;
    browser.shows("No jobs finished in this range").await;
    browser
        .shows("The latest job finished on 1 Jan 2026. Show it")
        .await;
    browser.click(".state.empty a").await;
    browser
        .until("location.hash === '#/overview?from=2025-12-03&to=2026-01-01'")
        .await;
    browser
        .until("document.querySelector('.tile .value')?.textContent === '20'")
        .await;
    browser.click("#language").await;
    browser
        .eval("location.hash = '#/jobs?from=2026-02-01&outcome=rejected'")
        .await;
    browser
        .shows("符合其他条件的最近一个任务完成于 2026年1月1日。 查看")
        .await;
    browser.click(".state.empty a").await;
    browser
        .until("location.hash === '#/jobs?outcome=rejected' && document.querySelectorAll('tbody tr').length === 2")
        .await;
    browser
        .eval("location.hash = '#/jobs?to=2025-12-01&msg_id=7'")
        .await;
    browser.shows("请调整筛选条件").await;
    assert_is_clean(&browser, &server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_asked_for_and_forgotten() {
    let hash = qunfa::domain::ApiKeyHash::of("the-right-key");
    let setup = Setup::default().toml(&format!("[api]\nkeys = [\"{hash}\"]"));
    let server = setup.start(Backend::Sqlite).await;
    server.accepts(&PLAIN, Event::new(5, NEW_YEAR).xml()).await;
    let browser = opened(&server, "#/jobs").await;
    browser.until("document.activeElement.id === 'key'").await;
    browser.write("the-wrong-key").await;
    browser.press("Enter").await;
    browser.shows("This key was not accepted").await;
    browser.until("document.activeElement.id === 'key'").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);

    // After many wrong keys, a wrong one gets 429, and is not kept either.
    let mut status = 401;
    while status == 401 {
        let guess = server.client.get(server.url("/api/v1/reasons"));
        let answer = guess.bearer_auth("another").send().await.unwrap();
        status = answer.status().as_u16();
    }
    assert_eq!(status, 429);
    browser.write("mistyped").await;
    browser.press("Enter").await;
    browser
        .until("document.activeElement.id === 'key' && document.activeElement.value === ''")
        .await;
    browser.shows("This key was not accepted").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    browser.write("the-right-key").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 1")
        .await;
    assert_eq!(browser.eval("sessionStorage.length").await, 1);
    assert_eq!(
        browser
            .eval("JSON.stringify(localStorage).includes('key')")
            .await,
        false
    );
    assert_eq!(browser.eval("document.cookie").await, "");

    browser.reload().await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 1")
        .await;
    browser.eval("[...document.querySelectorAll('header button')].find(button => button.innerText === 'Forget key').click()").await;
    browser.until("document.activeElement?.id === 'key'").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    browser.press("Escape").await;
    browser.shows("Access key required").await;
    browser.click(".state.error button").await;
    browser.until("document.activeElement.id === 'key'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn language_and_colours_are_those_of_the_browser_until_chosen() {
    let server = with_jobs(3).await;
    let browser = Browser::start().await;
    browser.speaks("zh-CN,zh").await;
    browser.prefers("dark").await;
    browser.open(&server.url("/#/jobs?outcome=rejected")).await;
    browser.shows("未通过").await;
    browser.shows("转载").await;
    browser
        .until("document.documentElement.lang === 'zh-CN'")
        .await;
    let brightness =
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]";
    browser.until(&format!("{brightness} < 60")).await;

    browser.choose("#theme", "light").await;
    browser.until(&format!("{brightness} > 200")).await;
    browser.click("#language").await;
    browser.shows("Rejected").await;
    browser
        .until("document.activeElement.id === 'language'")
        .await;
    browser.reload().await;
    browser.shows("Rejected").await;
    browser.until(&format!("{brightness} > 200")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_reaches_everything_and_a_phone_shows_everything() {
    let server = with_jobs(3).await;
    let browser = opened(&server, "#/jobs").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 3")
        .await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        browser.press("Tab").await;
        let focused = browser
            .eval("document.activeElement.textContent || document.activeElement.id")
            .await;
        seen.push(focused.as_str().unwrap().to_owned());
        if focused == "1003" {
            break;
        }
    }
    assert_eq!(seen[0], "Skip to content");
    for name in [
        "Overview",
        "Received",
        "中文",
        "filter-account",
        "filter-msg_id",
        "1003",
    ] {
        assert!(seen.iter().any(|text| text == name), "{name}: {seen:?}");
    }
    let outline = browser
        .eval("getComputedStyle(document.activeElement).outlineStyle")
        .await;
    assert_eq!(outline, "solid");
    browser.press("Enter").await;
    browser.until("document.activeElement.tagName === 'H1' && document.activeElement.textContent === 'Job 1003'").await;

    browser.width(360).await;
    for hash in [
        "#/overview",
        "#/jobs",
        "#/jobs/plain/1003",
        "#/received",
        "#/nowhere",
    ] {
        browser.eval(&format!("location.hash = {hash:?}")).await;
        browser.until("document.querySelector('main h1') && !document.querySelector('[aria-busy], .loading')").await;
        let too_wide = "document.documentElement.scrollWidth > 360";
        assert_eq!(browser.eval(too_wide).await, Value::Bool(false), "{hash}");
    }
    assert_is_clean(&browser, &server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn being_offline_is_said_and_made_good() {
    let server = with_jobs(3).await;
    let browser = opened(&server, "#/jobs").await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 3")
        .await;
    browser.offline(true).await;
    browser.shows("You are offline").await;
    browser.choose("#filter-outcome", "rejected").await;
    browser.shows("The server cannot be reached").await;
    browser.offline(false).await;
    browser
        .until("document.querySelectorAll('tbody tr').length === 1")
        .await;
    browser
        .until("!document.body.innerText.includes('You are offline')")
        .await;
}
