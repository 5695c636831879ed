//! Permissions: every route with every kind of key.

use std::collections::BTreeMap;

use qunfa::domain::{ApiKeyHash, Scope, Time};
use qunfa::web::{Group, routes};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::workplace::{ended, unused_address};
use crate::support::{
    Account, Backend, COMPATIBLE, Event, PLAIN, SAFE, Server, Setup, eventually, on_both_stores,
};

/// The id, the only count and the status of a job of `plain`; nothing else has the same values.
const MSG_ID: i64 = 4_242_424_242;
const COUNT: i64 = 777_777;
const STATUS: &str = "a status of its own";
/// Text that reveals this job or its account.
const TRACES: [&str; 4] = ["4242424242", "777777", STATUS, "plain"];

/// The scope of each route. A new route fails until it is added here.
const DECIDED: [(&str, Group); 20] = [
    ("/wechat/{account}", Group::Callback),
    ("/livez", Group::Health),
    ("/readyz", Group::Health),
    ("/api/v1/jobs", Group::Api(Scope::Read)),
    ("/api/v1/jobs.csv", Group::Api(Scope::Export)),
    ("/api/v1/jobs.ndjson", Group::Api(Scope::Export)),
    ("/api/v1/jobs/{account}/{msg_id}", Group::Api(Scope::Read)),
    (
        "/api/v1/jobs/{account}/{msg_id}/deliveries",
        Group::Api(Scope::Read),
    ),
    ("/api/v1/deliveries", Group::Api(Scope::Read)),
    ("/api/v1/stats", Group::Api(Scope::Read)),
    ("/api/v1/stats/timeline", Group::Api(Scope::Read)),
    ("/api/v1/stats/reasons", Group::Api(Scope::Read)),
    ("/api/v1/accounts", Group::Api(Scope::Read)),
    ("/api/v1/stats/accounts", Group::Api(Scope::Read)),
    ("/api/v1/stream", Group::Api(Scope::Read)),
    ("/api/v1/reasons", Group::Api(Scope::Read)),
    ("/openapi.json", Group::Open),
    ("/", Group::Page),
    ("/docs", Group::Page),
    ("/assets/{version}/{*path}", Group::Page),
];

/// A client whose key is its name.
fn client(name: &str, keys: &str) -> String {
    let hash = ApiKeyHash::of(name);
    format!("[api.clients.{name}]\nkey = \"{hash}\"\n{keys}\n")
}

/// A server with the key `full`, and a client of every kind.
async fn guarded(backend: Backend) -> Server {
    let toml = [
        format!("[api]\nkeys = [\"{}\"]\n", ApiKeyHash::of("full")),
        client("read", ""),
        client("export", "scopes = [\"export\"]"),
        client("admin", "scopes = [\"admin\"]"),
        client(
            "expired",
            "scopes = [\"admin\"]\nexpires = \"2026-01-01T00:00:00+08:00\"",
        ),
        client("later", "expires = \"9999-01-01T00:00:00Z\""),
        client(
            "foreign",
            "scopes = [\"admin\"]\naccounts = [\"safe\", \"gone\"]",
        ),
        client("two", "accounts = [\"safe\", \"compatible\"]"),
    ];
    Setup::default().toml(&toml.concat()).start(backend).await
}

async fn get(server: &Server, path: &str, key: Option<&str>) -> Response {
    let mut request = server.client.get(server.url(path));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.unwrap()
}

async fn body(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn json(server: &Server, path: &str, key: &str) -> Value {
    let response = get(server, path, Some(key)).await;
    assert_eq!(response.status(), 200, "{path} {key}");
    body(response).await
}

async fn items(server: &Server, path: &str, key: &str) -> Vec<Value> {
    serde_json::from_value(json(server, path, key).await["items"].take()).unwrap()
}

/// The path of a route, for the job of `plain`.
fn path_of(route: &str) -> String {
    let path = route
        .replace("{account}", PLAIN.name)
        .replace("{version}/{*path}", "another-version/main.js")
        .replace("{msg_id}", &MSG_ID.to_string());
    assert!(
        !path.contains('{'),
        "{route} has a part that is not known here"
    );
    path
}

/// The response to a key with all scopes that sees only other accounts, where a key that sees all
/// gets 200.
fn is_about_one_job(route: &str) -> bool {
    route.contains("{msg_id}")
}

#[test]
fn every_route_is_decided() {
    let routes = routes();
    let there: BTreeMap<_, _> = routes
        .iter()
        .map(|route| (route.path.as_str(), format!("{:?}", route.group)))
        .collect();
    let decided = DECIDED.map(|(path, group)| (path, format!("{group:?}")));
    assert_eq!(there, BTreeMap::from(decided));
}

#[tokio::test]
async fn every_route_answers_every_key_as_its_group_says() {
    let server = guarded(Backend::Sqlite).await;
    let event = Event::new(MSG_ID, 10).status(STATUS).counts([COUNT; 4]);
    server.accepts(&PLAIN, event.xml()).await;
    server.accepts(&SAFE, Event::new(1, 10).xml()).await;
    for route in routes() {
        let path = path_of(&route.path);
        for key in [
            None,
            Some("wrong"),
            Some("full"),
            Some("read"),
            Some("export"),
            Some("admin"),
            Some("expired"),
            Some("later"),
            Some("foreign"),
        ] {
            let expected = match (route.group, key) {
                (Group::Api(_), None | Some("wrong" | "expired")) => 401,
                (Group::Api(_), Some("foreign")) if is_about_one_job(&route.path) => 404,
                (Group::Page, _) if path.starts_with("/assets/") => 404,
                (Group::Health | Group::Open | Group::Page, _)
                | (Group::Api(_), Some("full" | "admin" | "foreign"))
                | (Group::Api(Scope::Read), Some("read" | "later"))
                | (Group::Api(Scope::Export), Some("export")) => 200,
                (Group::Callback, _) | (Group::Api(_), Some(_)) => 403,
            };
            let response = get(&server, &path, key).await;
            assert_eq!(response.status(), expected, "{path} {key:?}");
            // A stream does not end.
            let text = if route.path == "/api/v1/stream" && expected == 200 {
                String::new()
            } else {
                response.text().await.unwrap()
            };
            if matches!(route.group, Group::Api(_)) && expected != 200 {
                let id = ["unauthorized", "forbidden", "not-found"]
                    .into_iter()
                    .find(|id| text.contains(&format!("\"urn:qunfa:problem:{id}\"")));
                let expected = match expected {
                    401 => "unauthorized",
                    403 => "forbidden",
                    _ => "not-found",
                };
                assert_eq!(id, Some(expected), "{path} {key:?}: {text}");
            }
            // The document is the same for everyone.
            if route.group != Group::Open && (key == Some("foreign") || expected != 200) {
                for trace in TRACES {
                    assert!(
                        !text.contains(trace),
                        "{path} {key:?} tells {trace}: {text}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused_as_an_unknown_one_is_and_the_log_says_so_once() {
    let server = guarded(Backend::Sqlite).await;
    let mut bodies = Vec::new();
    for key in ["wrong", "expired", "expired"] {
        let response = get(&server, "/api/v1/jobs", Some(key)).await;
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"qunfa\""
        );
        let mut body = body(response).await;
        body["request_id"].take();
        bodies.push(body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    let log = server.log();
    let told = log.matches("a client uses a key that has expired").count();
    assert_eq!(told, 1, "{log}");
    assert!(log.contains("client=expired"), "{log}");
}

#[tokio::test]
async fn clients_alone_close_the_api() {
    let server = Setup::default()
        .toml(&client("read", ""))
        .start(Backend::Sqlite)
        .await;
    assert_eq!(get(&server, "/api/v1/jobs", None).await.status(), 401);
    assert_eq!(
        get(&server, "/api/v1/jobs", Some("read")).await.status(),
        200
    );
}

#[tokio::test]
async fn wrong_keys_from_one_address_are_limited_and_right_ones_never() {
    let server = guarded(Backend::Sqlite).await;
    let mut limited = None;
    for _ in 0..300 {
        let response = get(&server, "/api/v1/jobs", Some("wrong")).await;
        if response.status() == 429 {
            limited = Some(response);
            break;
        }
        assert_eq!(response.status(), 401);
    }
    let limited = limited.expect("some 100 wrong keys are too many");
    assert_eq!(limited.headers()["retry-after"], "1");
    assert_eq!(
        body(limited).await["type"],
        "urn:qunfa:problem:too-many-requests"
    );
    for (key, status) in [
        (Some("full"), 200),
        (Some("read"), 200),
        (None, 401),
        (Some("expired"), 429),
    ] {
        // The requests before have used up the refill, except for at most one second.
        let mut found = get(&server, "/api/v1/jobs", key).await.status();
        if status == 429 && found == 401 {
            found = get(&server, "/api/v1/jobs", key).await.status();
        }
        assert_eq!(found, status, "{key:?}");
    }
    // Another address has its own limit.
    let elsewhere = reqwest::Client::builder()
        .no_proxy()
        .local_address(std::net::IpAddr::from([127, 0, 0, 2]))
        .build()
        .unwrap();
    let request = elsewhere
        .get(server.url("/api/v1/jobs"))
        .bearer_auth("wrong");
    assert_eq!(request.send().await.unwrap().status(), 401);
    assert_eq!(server.get("/readyz").await.status(), 200);
}

on_both_stores! {
    async fn a_client_sees_its_accounts_alone(backend: Backend) {
        let server = guarded(backend).await;
        for (account, msg_ids) in [(PLAIN, 1..=3), (SAFE, 11..=13), (COMPATIBLE, 21..=23)] {
            for msg_id in msg_ids {
                server.accepts(&account, Event::new(msg_id, msg_id % 10).counts([msg_id; 4]).xml()).await;
            }
        }
        for (key, accounts) in [
            ("read", &[PLAIN, SAFE, COMPATIBLE][..]), ("foreign", &[SAFE]), ("two", &[SAFE, COMPATIBLE]),
        ] {
            let sees = |account: &Account| accounts.iter().any(|own| own.name == account.name);
            for list in ["jobs", "deliveries"] {
                let path = format!("/api/v1/{list}?limit=500");
                let items = items(&server, &path, key).await;
                assert_eq!(items.len(), 3 * accounts.len(), "{list} {key}");
                let mut names = items.iter().map(|item| item["account"].as_str().unwrap());
                assert!(names.all(|name| accounts.iter().any(|own| own.name == name)), "{list} {key}");
            }
            assert_eq!(json(&server, "/api/v1/stats", key).await["jobs"], 3 * accounts.len());
            for (account, msg_id) in [(PLAIN, 1), (SAFE, 11), (COMPATIBLE, 21)] {
                let expected = usize::from(sees(&account));
                for list in ["jobs", "deliveries"] {
                    let path = format!("/api/v1/{list}?account={}", account.name);
                    assert_eq!(items(&server, &path, key).await.len(), 3 * expected, "{path} {key}");
                }
                let path = format!("/api/v1/stats?account={}", account.name);
                assert_eq!(json(&server, &path, key).await["jobs"], 3 * expected, "{path} {key}");
                let status = if sees(&account) { 200 } else { 404 };
                for end in ["", "/deliveries"] {
                    let path = format!("/api/v1/jobs/{}/{msg_id}{end}", account.name);
                    assert_eq!(get(&server, &path, Some(key)).await.status(), status, "{path} {key}");
                }
            }
        }

        // Accounts that it may not see look as if they did not exist.
        let answer = async |path: &str| {
            let response = get(&server, path, Some("foreign")).await;
            let status = response.status().as_u16();
            let mut body = body(response).await;
            if status != 200 {
                body["request_id"].take();
            }
            (status, body)
        };
        for (foreign, missing) in [
            ("/api/v1/jobs/plain/1", "/api/v1/jobs/safe/99"),
            ("/api/v1/jobs/plain/1/deliveries", "/api/v1/jobs/nobody/1/deliveries"),
            ("/api/v1/jobs?account=plain", "/api/v1/jobs?account=gone"),
            ("/api/v1/deliveries?account=plain", "/api/v1/deliveries?account=nobody"),
            ("/api/v1/stats?account=plain", "/api/v1/stats?account=nobody"),
        ] {
            assert_eq!(answer(foreign).await, answer(missing).await, "{foreign}");
        }
    }

    async fn the_last_use_of_a_key_is_noted_and_listed(backend: Backend) {
        let server = guarded(backend).await;
        let list = || {
            let ended = ended({
                let mut command = server.command();
                command.args(["key", "list"]);
                command
            });
            let output = ended.with_code(0).output;
            let line = |name: &str| {
                let start = format!("client {name} ");
                output.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
            };
            (line("two"), line("expired"), output.lines().count())
        };
        let unused = list();
        assert!(unused.0.ends_with(" accounts compatible,safe expires - last_used -"), "{unused:?}");
        assert!(unused.1.contains(" scopes admin accounts * expired 2025-12-31T16:00:00Z last_used -"), "{unused:?}");
        assert_eq!(unused.2, 8);

        let before = Time::now();
        for key in ["two", "expired"] {
            get(&server, "/api/v1/jobs", Some(key)).await;
        }
        let mut found = unused;
        eventually("the use is noted", async || {
            found = list();
            !found.0.ends_with(" last_used -")
        })
        .await;
        let (_, time) = found.0.rsplit_once(' ').unwrap();
        assert!(Time::parse_rounding_down(time).unwrap() >= before, "{found:?} {before}");
        assert!(found.1.ends_with(" last_used -"), "{found:?}");
    }

    async fn the_pages_of_a_client_are_its_own(backend: Backend) {
        let server = guarded(backend).await;
        let mut expected = Vec::new();
        for msg_id in 1..=12 {
            let account = [PLAIN, SAFE, COMPATIBLE][usize::try_from(msg_id % 3).unwrap()];
            server.accepts(&account, Event::new(msg_id, msg_id / 5).xml()).await;
            if account.name != PLAIN.name {
                expected.push((msg_id / 5, account.name, msg_id));
            }
        }
        expected.sort_unstable();
        let expected: Vec<_> = expected.iter().rev().map(|(_, _, msg_id)| msg_id.to_string()).collect();
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = json(&server, &format!("/api/v1/jobs?limit=3{cursor}"), "two").await;
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|job| job["msg_id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            // Another client's list is a different list, even with the same filters.
            for (key, status) in [("two", 200), ("read", 400), ("foreign", 400), ("full", 400)] {
                let response = get(&server, &format!("/api/v1/jobs?limit=3&cursor={next}"), Some(key)).await;
                assert_eq!(response.status(), status, "{key}");
            }
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, expected);
        assert_eq!(json(&server, "/api/v1/jobs?limit=1", "two").await["items"][0]["account"], json!(SAFE.name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_listed_while_the_database_is_away() {
    let server = guarded(Backend::Sqlite).await;
    let mut command = server.command();
    let away = format!("postgres://nobody@{}/none", unused_address());
    command.args(["key", "list"]).env("QUNFA_STORE__URL", away);
    let listed = ended(command).with_code(1);
    let client = |line: &str| line.starts_with("client two ") && line.ends_with(" last_used ?");
    assert!(listed.output.lines().any(client), "{listed:?}");
}
