//! Error responses of the API: keys, parameters, paths and methods.

use reqwest::{Method, Response};
use serde_json::Value;

use crate::support::{Backend, Event, PLAIN, SAFE, Server, Setup};

/// The key of these tests, and its line in the configuration.
const KEY: &str = "KeyOfTheTests";
const KEYS: &str = "[api]\nkeys = [\"sha256:0000000000000000000000000000000000000000000000000000000000000000\", \"sha256:KEY\"]";

/// A server that requires [`KEY`].
async fn guarded() -> Server {
    use sha2::{Digest, Sha256};
    let hash = hex::encode(Sha256::digest(KEY));
    let keys = KEYS.replace("KEY", &hash);
    Setup::default().toml(&keys).start(Backend::Sqlite).await
}

/// Checks that the response is a complete problem; returns its detail.
async fn problem(response: Response, status: u16, id: &str) -> String {
    let url = response.url().to_string();
    assert_eq!(response.status(), status, "{url}");
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/problem+json", "{url}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    let request_id = header("x-request-id");
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let mut members: Vec<_> = body.as_object().unwrap().keys().collect();
    members.sort_unstable();
    assert_eq!(
        members,
        ["detail", "request_id", "status", "title", "type"],
        "{url}"
    );
    assert_eq!(body["type"], format!("urn:qunfa:problem:{id}"), "{url}");
    assert_eq!(body["status"], status, "{url}");
    assert_eq!(body["request_id"], request_id, "{url}");
    for member in ["title", "detail"] {
        assert!(
            body[member].as_str().is_some_and(|text| !text.is_empty()),
            "{url}: {body}"
        );
    }
    body["detail"].as_str().unwrap().to_owned()
}

/// Malformed times.
const TIMES: &[&str] = &[
    "2026-01-01",
    "2026-01-01T00:00:00",
    "2026-01-01T00:00:00%2B8",
    "2026-01-01T00:00:00+08:00",
    "2026-13-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "1.5",
    "1e3",
    "99999999999999999999",
    "253402300800000",
    "now",
    "-",
];
/// Invalid for every parameter.
const COMMON: &[&str] = &[
    "x=1",
    "Account=a",
    "account",
    "account=",
    "account=A",
    "account=a&account=a",
    "%61ccount=a&account=a",
    "account=a__b",
    "account=%ff",
    "=",
    "a=b=c",
];
const OF_LISTS: &[&str] = &[
    "limit=0",
    "limit=501",
    "limit=-1",
    "limit=+1",
    "limit=%2B1",
    "limit=1.0",
    "limit=x",
    "limit=99999999999",
    "limit=1&limit=1",
    "cursor=",
    "cursor=x",
    "cursor=AAAA",
    "cursor=%ff",
];
const OF_JOBS: &[&str] = &[
    "outcome=Sent",
    "outcome=",
    "outcome=sent,failed",
    "code=-1",
    "code=x",
    "code=2147483648",
    "code=err(1)",
    "check_state=x",
    "check_state=1.0",
    "check_state=9223372036854775808",
    "msg_id=0",
    "msg_id=-1",
    "msg_id=%2B1",
    "msg_id=9223372036854775808",
    "updated_after=x",
    "updated_after=1&updated_after=1",
    "state=stored",
    "event=x",
];
const OF_DELIVERIES: &[&str] = &[
    "state=Stored",
    "state=x",
    "state=",
    "event=",
    "event=%00",
    "outcome=sent",
    "msg_id=1",
    "updated_after=1",
];
const OF_STATS: &[&str] = &[
    "limit=1",
    "cursor=x",
    "outcome=sent",
    "code=1",
    "updated_after=1",
];
const OF_BUCKETS: &[&str] = &["bucket=day", "tz=UTC"];
const OF_TIMELINES: &[&str] = &[
    "bucket=",
    "bucket=Day",
    "bucket=year",
    "bucket=day&bucket=day",
    "tz=",
    "tz=Shanghai",
    "tz=%2B08:00",
    "tz=Asia/Shanghai%20",
    "tz=../etc/localtime",
    "tz=Etc/Unknown",
    "from=0&bucket=hour",
    "from=-62135596800001&to=-62135596799000",
    "from=253370764800000&to=253370764800001",
];

#[tokio::test]
async fn parameters_that_are_unknown_doubled_empty_or_malformed_are_refused() {
    let server = Server::start(Backend::Sqlite).await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    let times = TIMES
        .iter()
        .flat_map(|time| ["from", "to"].map(|name| format!("{name}={time}")));
    let times: Vec<String> = times.collect();
    for (path, own) in [
        ("jobs", [OF_LISTS, OF_JOBS]),
        ("deliveries", [OF_LISTS, OF_DELIVERIES]),
        ("stats", [OF_STATS, OF_BUCKETS]),
        ("stats/timeline", [OF_STATS, OF_TIMELINES]),
        ("stats/reasons", [OF_STATS, OF_BUCKETS]),
        ("stats/accounts", [OF_STATS, OF_BUCKETS]),
    ] {
        let queries = [COMMON, &own.concat()].concat();
        for query in queries.into_iter().chain(times.iter().map(String::as_str)) {
            let detail = problem(
                server.get(&format!("/api/v1/{path}?{query}")).await,
                400,
                "invalid-parameter",
            )
            .await;
            // The detail names a known parameter and says what is allowed.
            let name = query.split('=').next().unwrap();
            let is_ours = detail.contains(&format!("`{name}`"))
                || detail.contains("known parameters: ")
                || query.starts_with("%61");
            assert!(is_ours, "{query}: {detail}");
        }
    }
    for path in [
        "reasons",
        "jobs/plain/1",
        "jobs/plain/1/deliveries",
        "jobs/plain/2",
    ] {
        problem(
            server.get(&format!("/api/v1/{path}?x=1")).await,
            400,
            "invalid-parameter",
        )
        .await;
    }
    // A bare `?` has no parameters.
    server.ok("/api/v1/jobs?").await;
}

#[tokio::test]
async fn a_cursor_is_refused_with_other_filters_and_in_another_list() {
    let server = Server::start(Backend::Sqlite).await;
    for msg_id in 1..=3 {
        server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
    }
    let cursor = async |path: &str| {
        server.ok(path).await["next_cursor"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let of_jobs = cursor("/api/v1/jobs?account=plain&from=0&limit=1").await;
    let of_deliveries = cursor("/api/v1/deliveries?account=plain&from=0&limit=1").await;
    for (path, cursor, is_valid) in [
        ("jobs?account=plain&from=0", &of_jobs, true),
        // The same filters in another notation and order, with another limit.
        (
            "jobs?limit=2&from=1970-01-01T00:00:00Z&account=plain",
            &of_jobs,
            true,
        ),
        ("deliveries?account=plain&from=0", &of_deliveries, true),
        ("jobs?account=plain", &of_jobs, false),
        ("jobs?account=plain&from=1", &of_jobs, false),
        ("jobs?account=safe&from=0", &of_jobs, false),
        ("jobs?account=plain&from=0&outcome=sent", &of_jobs, false),
        ("jobs?account=plain&from=0", &of_deliveries, false),
        ("deliveries?account=plain&from=0", &of_jobs, false),
        ("jobs?account=plain&from=0", &of_jobs[1..].to_owned(), false),
        ("jobs?account=plain&from=0", &format!("{of_jobs}A"), false),
        ("jobs?account=plain&from=0", &format!("{of_jobs}%3D"), false),
    ] {
        let response = server.get(&format!("/api/v1/{path}&cursor={cursor}")).await;
        if is_valid {
            assert_eq!(response.status(), 200, "{path}");
        } else {
            problem(response, 400, "invalid-parameter").await;
        }
    }
}

#[tokio::test]
async fn paths_and_jobs_that_are_not_there() {
    let server = Server::start(Backend::Sqlite).await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/jobs",
        "/api/v1/jobs/",
        "/api/v1/job",
        "/api/v1/jobs/plain",
        "/api/v1/jobs/plain/2",
        "/api/v1/jobs/safe/1",
        "/api/v1/jobs/nobody/1",
        "/api/v1/jobs/plain/0",
        "/api/v1/jobs/plain/x",
        "/api/v1/jobs/plain/-1",
        "/api/v1/jobs/PLAIN/1",
        "/api/v1/jobs/%ff/1",
        "/api/v1/jobs/plain/2/deliveries",
        "/api/v1/jobs/plain/x/deliveries",
        "/api/v1/jobs/plain/1/x",
        "/api/v1/jobs/plain/1/deliveries/1",
        "/api/v1/Reasons",
        "/api/v1/stats/",
        "/api/v1/stats/nothing",
    ] {
        problem(server.get(path).await, 404, "not-found").await;
    }
    let response = server.get("/nothing").await;
    assert_eq!(
        (response.status().as_u16(), &*response.text().await.unwrap()),
        (404, "not found")
    );
}

#[tokio::test]
async fn the_api_is_read_only() {
    let server = Server::start(Backend::Sqlite).await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    for path in [
        "jobs",
        "jobs/plain/1",
        "jobs/plain/1/deliveries",
        "deliveries",
        "stats",
        "stats/timeline",
        "stats/reasons",
        "stats/accounts",
        "accounts",
        "reasons",
    ] {
        let url = server.url(&format!("/api/v1/{path}"));
        for method in [
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ] {
            let response = server.client.request(method, &url).send().await.unwrap();
            assert_eq!(response.headers()["allow"], "GET,HEAD");
            problem(response, 405, "method-not-allowed").await;
        }
        let head = server.client.head(&url).send().await.unwrap();
        assert_eq!(head.status(), 200);
        assert_eq!(head.text().await.unwrap(), "");
    }
    assert_eq!(server.items("/api/v1/jobs").await.len(), 1);
}

#[tokio::test]
async fn every_request_of_the_api_carries_a_configured_key() {
    let server = guarded().await;
    server.accepts(&SAFE, Event::new(1, 10).xml()).await;
    let answer = async |path: &str, headers: &[&str]| {
        let mut request = server.client.get(server.url(path));
        for header in headers {
            request = request.header("Authorization", *header);
        }
        request.send().await.unwrap()
    };
    let right = format!("Bearer {KEY}");
    for path in [
        "/api/v1/jobs",
        "/api/v1/jobs/safe/1",
        "/api/v1/jobs/safe/1/deliveries",
        "/api/v1/deliveries",
        "/api/v1/stats",
        "/api/v1/stats/timeline",
        "/api/v1/stats/reasons",
        "/api/v1/stats/accounts",
        "/api/v1/accounts",
        "/api/v1/reasons",
    ] {
        assert_eq!(answer(path, &[&right]).await.status(), 200, "{path}");
    }
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        assert_eq!(
            answer("/api/v1/jobs", &[&format!("{scheme} {KEY}")])
                .await
                .status(),
            200,
            "{scheme}"
        );
    }
    problem(answer("/api/v1/nothing", &[&right]).await, 404, "not-found").await;

    let (lower, longer, basic) = (
        right.to_lowercase(),
        format!("{right}x"),
        format!("Basic {KEY}"),
    );
    let both = format!("{right}, {right}");
    let wrong: [&[&str]; 9] = [
        &[],
        &[""],
        &["Bearer"],
        &[KEY],
        &[&lower],
        &[&longer],
        &[&basic],
        &[&both],
        &[&right, &right],
    ];
    for headers in wrong {
        for path in [
            "/api/v1/jobs",
            "/api/v1/jobs?x=1",
            "/api/v1/jobs/safe/1",
            "/api/v1/reasons",
            "/api/v1/nothing",
            "/api/",
            "/api",
            "/api/v1/jobs/%ff/x",
        ] {
            let response = answer(path, headers).await;
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            problem(response, 401, "unauthorized").await;
        }
    }
    let post = server
        .client
        .post(server.url("/api/v1/jobs"))
        .send()
        .await
        .unwrap();
    problem(post, 401, "unauthorized").await;
    problem(
        answer(&format!("/api/v1/jobs?key={KEY}"), &[]).await,
        401,
        "unauthorized",
    )
    .await;
    assert!(!server.log().contains(KEY));
}

#[tokio::test]
async fn health_is_open_to_all_and_says_nothing_private() {
    let server = guarded().await;
    let live = server.get("/livez").await;
    assert_eq!(
        (live.status().as_u16(), &*live.text().await.unwrap()),
        (200, "ok")
    );
    let (status, ready) = server.json("/readyz").await;
    assert_eq!((status, &ready["status"]), (200, &Value::from("ready")));
    let text = ready.to_string();
    for private in [&*server.database.url, "qunfa.db", "plain", "safe"] {
        assert!(!text.contains(private), "{text}");
    }
}

#[tokio::test]
async fn request_ids_do_not_count_requests() {
    let server = Server::start(Backend::Sqlite).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        let response = server.get("/livez").await;
        let id = response.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(id.len(), 16, "{id}");
        ids.push(u64::from_str_radix(id, 16).unwrap());
    }
    ids.sort_unstable();
    let steps = ids.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(steps.min().unwrap() > 1 << 32, "{ids:x?}");
}
