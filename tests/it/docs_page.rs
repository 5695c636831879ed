//! The documentation page in a real browser.

use qunfa::domain::ApiKeyHash;
use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::{Backend, Event, PLAIN, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_every_route_tries_them_with_a_key_and_asks_nobody_else() {
    let toml = format!("[api]\nkeys = [\"{}\"]", ApiKeyHash::of("the-key"));
    let server = Setup::default().toml(&toml).start(Backend::Sqlite).await;
    server.accepts(&PLAIN, Event::new(4_242, 10).xml()).await;
    let browser = Browser::start().await;
    browser.open(&server.url("/docs")).await;
    let document: Value = serde_json::from_str(qunfa::web::openapi()).unwrap();
    let routes = document["paths"].as_object().unwrap().len();
    browser
        .until(&format!(
            "document.querySelectorAll('section.operation').length === {routes}"
        ))
        .await;
    browser.shows("Jobs, the latest first").await;
    browser.shows("Not found.").await;

    browser
        .eval("document.querySelector('#jobs details.try').open = true")
        .await;
    browser.choose("#jobs-outcome", "sent").await;
    browser
        .until("document.querySelector('#jobs .command').textContent.includes('/api/v1/jobs?outcome=sent')")
        .await;
    browser.click("#jobs form.trial button").await;
    browser.until("document.querySelector('dialog #key')").await;
    browser
        .eval("document.querySelector('#key').value = 'the-key'")
        .await;
    browser.click("dialog button[type=submit]").await;
    browser
        .until("document.querySelector('#jobs details.try').textContent.includes('4242')")
        .await;

    browser.click("#language").await;
    browser.shows("参数").await;
    let complaints = browser.complaints();
    // The browser logs the 401.
    assert!(
        complaints.iter().all(|text| text.contains("401")),
        "{complaints:?}"
    );
    let origin = server.url("/");
    let requests = browser.requests();
    let others: Vec<_> = requests
        .iter()
        .filter(|url| !url.starts_with(&origin) && *url != "about:blank")
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
