//! The stream of jobs as they change: in order, nothing missed, nobody waited for.

use qunfa::domain::{ApiKeyHash, Time};
use reqwest::Response;
use rustix::process::Signal;

use crate::support::sse::EventStream;
use crate::support::wire::Wire;
use crate::support::{
    Backend, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually, on_both_stores,
};

/// More than are read at once, and than wait for a slow follower.
const MANY: i64 = 1500;

/// The jobs 1 and 2 of version 0.1.0.
const OLD_ON_SQLITE: &str = "insert into jobs (account, msg_id, outcome, articles, finished_at, first_received_at, \
         last_received_at, updated_at, deliveries, revision, shown_id, shown_event, shown_body, shown_sha256, \
         shown_received_at, shown_last_received_at, shown_times, change) \
     select 'plain', value, 'sent', '[]', 10000, 10000, 10000, 10000, 1, 1, value, 'MASSSENDJOBFINISH', x'', x'', 10000, \
         10000, 1, value from json_each('[1, 2]'); \
     update delivery_ids set last = 2";
const OLD_ON_POSTGRES: &str = "insert into jobs (account, msg_id, outcome, articles, finished_at, first_received_at, \
         last_received_at, updated_at, deliveries, revision, shown_id, shown_event, shown_body, shown_sha256, \
         shown_received_at, shown_last_received_at, shown_times, change) \
     select 'plain', value, 'sent', '[]', now(), now(), now(), now(), 1, 1, nextval('delivery_ids'), 'MASSSENDJOBFINISH', \
         '', '', now(), now(), 1, next_change() from generate_series(1, 2) as value";

/// A client of the API, as TOML.
fn client(name: &str, key: &str, rest: &str) -> String {
    let hash = ApiKeyHash::of(key);
    format!("[api.clients.{name}]\nkey = \"{hash}\"\n{rest}\n")
}

async fn get(server: &Server, key: &str) -> Response {
    let request = server.client.get(server.url("/api/v1/stream"));
    request.bearer_auth(key).send().await.unwrap()
}

async fn push_all(server: &Server, msg_ids: impl IntoIterator<Item = i64>) {
    for msg_id in msg_ids {
        server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
    }
}

/// The jobs with which a stream goes on, up to one.
async fn msg_ids_up_to(stream: &mut EventStream, last: i64) -> Vec<i64> {
    let mut msg_ids = Vec::new();
    while msg_ids.last() != Some(&last) {
        msg_ids.push(stream.job().await.msg_id());
    }
    msg_ids
}

on_both_stores! {
    async fn a_job_comes_when_what_it_shows_changes_and_not_with_a_mere_copy(backend: Backend) {
        let server = Server::start(backend).await;
        push_all(&server, [1]).await;
        let (mut stream, _) = EventStream::follow(&server, "", None).await;
        push_all(&server, [2, 2, 1, 3]).await;
        assert_eq!(msg_ids_up_to(&mut stream, 3).await, [2, 3]);
        // A later content, an earlier one, which is a revision all the same, and one of another
        // account.
        for (account, event) in [
            (&PLAIN, Event::new(2, 20)),
            (&PLAIN, Event::new(1, 5)),
            (&SAFE, Event::new(9, 10)),
        ] {
            server.accepts(account, event.xml()).await;
            let block = stream.job().await;
            let path = format!("/api/v1/jobs/{}/{}", account.name, block.msg_id());
            assert_eq!(server.get(&path).await.text().await.unwrap(), block.data);
        }
    }

    async fn what_happened_between_two_connections_comes_first_and_once(backend: Backend) {
        let server = Server::start(backend).await;
        let (mut stream, hello) = EventStream::follow(&server, "", None).await;
        push_all(&server, 1..=3).await;
        let first = stream.job().await;
        drop(stream);
        push_all(&server, 4..=MANY).await;
        for (id, seen) in [(hello, 0), (first.id.clone(), first.msg_id())] {
            let (mut stream, _) = EventStream::follow(&server, "", Some(&id)).await;
            let expected: Vec<_> = (seen + 1..=MANY).collect();
            assert_eq!(msg_ids_up_to(&mut stream, MANY).await, expected);
        }
    }

    async fn who_reads_nothing_for_a_while_misses_nothing(backend: Backend) {
        let server = Server::start(backend).await;
        let (mut slow, mut last) = EventStream::follow(&server, "", None).await;
        let (mut other, _) = EventStream::follow(&server, "?account=safe", None).await;
        push_all(&server, 1..=MANY).await;
        server.accepts(&SAFE, Event::new(1, 10).xml()).await;
        let expected: Vec<_> = (1..=MANY).chain([1]).collect();
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            if let Some(block) = slow.job_unless_cut().await {
                seen.push(block.msg_id());
                last = block.id;
            } else {
                // It read nothing for longer than a connection may stall, and goes on as browsers
                // do.
                (slow, _) = EventStream::follow(&server, "", Some(&last)).await;
            }
        }
        assert_eq!(seen, expected);
        assert!(other.job().await.data.contains("\"account\":\"safe\""));
    }

    async fn a_place_that_is_ahead_is_set_back(backend: Backend) {
        let other = Server::start(Backend::Sqlite).await;
        let (_, of_another_database) = EventStream::follow(&other, "", None).await;
        let server = Server::start(backend).await;
        push_all(&server, 1..=3).await;
        server.accepts(&SAFE, Event::new(4, 10).xml()).await;
        // The second as version 0.1.0 wrote it.
        for id in [&*of_another_database, "9000000000000000000-1"] {
            let (mut stream, _) = EventStream::follow(&server, "?account=plain", Some(id)).await;
            assert_eq!(msg_ids_up_to(&mut stream, 3).await, [1, 2, 3], "{id}");
            let (mut stream, _) = EventStream::follow(&server, "", Some(id)).await;
            assert_eq!(msg_ids_up_to(&mut stream, 4).await, [1, 2, 3, 4], "{id}");
        }
        // That version's first place.
        let (mut stream, _) = EventStream::follow(&server, "?account=safe", Some("0-0")).await;
        push_all(&server, [5]).await;
        server.accepts(&SAFE, Event::new(6, 10).xml()).await;
        assert_eq!(msg_ids_up_to(&mut stream, 6).await, [4, 6]);
    }

    async fn a_database_and_an_id_of_the_version_before_go_on(backend: Backend) {
        let database = backend.database().await;
        database.migrate_to(4).await;
        database
            .execute(match backend {
                Backend::Sqlite => OLD_ON_SQLITE,
                Backend::Postgres => OLD_ON_POSTGRES,
            })
            .await;
        let server = Setup::default().start_on(database);
        let (mut stream, _) = EventStream::follow(&server, "", Some("0-0")).await;
        let first = stream.job().await;
        assert_eq!((first.msg_id(), stream.job().await.msg_id()), (1, 2));
        push_all(&server, [3]).await;
        assert_eq!(stream.job().await.msg_id(), 3);
        let (mut stream, _) = EventStream::follow(&server, "", Some(&first.id)).await;
        assert_eq!(msg_ids_up_to(&mut stream, 3).await, [2, 3]);
        assert_eq!(server.ok("/api/v1/stats").await["jobs"], 3);
    }

    async fn ids_show_nothing_of_other_accounts(backend: Backend) {
        let client = client("one", "k", "accounts = [\"safe\"]");
        let server = Setup::default().toml(&client).start(backend).await;
        let hello = async || {
            let mut response = get(&server, "k").await;
            let chunk = response.chunk().await.unwrap().unwrap();
            let text = std::str::from_utf8(&chunk).unwrap();
            let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
            assert!(id.len() == 48 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            id.to_owned()
        };
        let before = hello().await;
        push_all(&server, 1..=3).await;
        assert_eq!(hello().await, before);
        server.accepts(&SAFE, Event::new(4, 10).xml()).await;
        assert_ne!(hello().await, before);
    }

    async fn a_restart_ends_the_stream_and_it_goes_on_after_it(backend: Backend) {
        let mut server = Server::start(backend).await;
        let (mut stream, _) = EventStream::follow(&server, "", None).await;
        push_all(&server, 1..=2).await;
        let last = stream.job().await;
        assert_eq!(last.msg_id(), 1);
        stop(&mut server).await;
        while stream.block().await.is_some() {}
        server.restart();
        let (mut stream, _) = EventStream::follow(&server, "", Some(&last.id)).await;
        push_all(&server, 3..=4).await;
        assert_eq!(msg_ids_up_to(&mut stream, 4).await, [2, 3, 4]);
    }
}

async fn stop(server: &mut Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0));
}

/// The same for PostgreSQL is in `failover`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_every_new_result_after_an_older_sqlite_file_was_put_back() {
    let mut server = Server::start(Backend::Sqlite).await;
    let file = server.database.url.replace("sqlite://", "");
    let older = format!("{file}.older");
    let (mut stream, hello) = EventStream::follow(&server, "", None).await;
    push_all(&server, 1..=3).await;
    assert_eq!(msg_ids_up_to(&mut stream, 3).await, [1, 2, 3]);
    stop(&mut server).await;
    std::fs::copy(&file, &older).unwrap();
    server.restart();
    push_all(&server, 4..=6).await;
    let (mut stream, mut last) = EventStream::follow(&server, "", Some(&hello)).await;
    for msg_id in 1..=6 {
        let block = stream.job().await;
        assert_eq!(block.msg_id(), msg_id);
        last = block.id;
    }
    stop(&mut server).await;
    std::fs::copy(&older, &file).unwrap();
    server.restart();
    let (mut connected, _) = EventStream::follow(&server, "", Some(&last)).await;
    push_all(&server, 7..=12).await;
    let new: Vec<_> = (7..=12).collect();
    assert_eq!(msg_ids_up_to(&mut connected, 12).await, new);
    let kept: Vec<_> = (1..=3).chain(7..=12).collect();
    for (id, expected) in [(last, new), (hello, kept)] {
        let (mut resumed, _) = EventStream::follow(&server, "", Some(&id)).await;
        assert_eq!(msg_ids_up_to(&mut resumed, 12).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_streams_what_the_other_files() {
    let one = Server::start(Backend::Postgres).await;
    let two = Setup::default().start_on(one.database.shared());
    let (mut stream, _) = EventStream::follow(&two, "", None).await;
    for msg_id in 1..=20 {
        let pushed_to = if msg_id % 3 == 0 { &two } else { &one };
        push_all(pushed_to, [msg_id]).await;
        assert_eq!(stream.job().await.msg_id(), msg_id);
    }
}

#[tokio::test]
async fn a_client_sees_the_jobs_of_its_accounts_alone() {
    let hash = qunfa::domain::ApiKeyHash::of("k");
    let client = format!("[api.clients.one]\nkey = \"{hash}\"\naccounts = [\"safe\"]");
    let server = Setup::default().toml(&client).start(Backend::Sqlite).await;
    let request = server.client.get(server.url("/api/v1/stream"));
    let mut response = request.bearer_auth("k").send().await.unwrap();
    push_all(&server, 1..=3).await;
    server.accepts(&SAFE, Event::new(4, 10).xml()).await;
    let mut text = String::new();
    while !text.contains("\"msg_id\":\"4\"") {
        let chunk = response.chunk().await.unwrap().unwrap();
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(!text.contains("plain"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_may_have_so_many_streams_open_and_no_more() {
    let clients = client("one", "1", "") + &client("two", "2", "");
    let full = ApiKeyHash::of("full");
    let server = Setup::default()
        .toml(&format!("api.keys = [\"{full}\"]\n{clients}"))
        .start(Backend::Sqlite)
        .await;
    let mut open = Vec::new();
    for _ in 0..100 {
        let response = get(&server, "1").await;
        assert_eq!(response.status(), 200);
        open.push(response);
    }
    let refused = get(&server, "1").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "30");
    let problem: serde_json::Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(problem["type"], "urn:qunfa:problem:too-many-requests");
    assert!(
        problem["detail"].as_str().unwrap().contains("100 streams"),
        "{problem}"
    );
    for key in ["2", "full"] {
        assert_eq!(get(&server, key).await.status(), 200, "{key}");
    }
    open.pop();
    eventually("a place is free", async || {
        get(&server, "1").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn an_id_that_is_none_of_the_streams_is_refused() {
    let server = Server::start(Backend::Sqlite).await;
    for id in [
        "",
        "1",
        "-1",
        "1-",
        "a-1",
        "1-1-1",
        "9223372036854775808-1",
        " ",
        "0123456789abcdef",
    ] {
        let request = server.client.get(server.url("/api/v1/stream"));
        let response = request.header("Last-Event-ID", id).send().await.unwrap();
        assert_eq!(response.status(), 400, "{id}");
        let text = response.text().await.unwrap();
        assert!(text.contains("Last-Event-ID"), "{text}");
    }
    for query in ["?account=", "?x=1", "?account=a&account=b"] {
        let response = server.get(&format!("/api/v1/stream{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_never_read_hold_up_no_push() {
    let server = Server::start(Backend::Sqlite).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::connect(server.address).await;
        wire.send("GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        silent.push(wire);
    }
    let (mut stream, _) = EventStream::follow(&server, "", None).await;
    push_all(&server, 1..=500).await;
    server.accepts_quickly().await;
    let expected: Vec<_> = (1..=500).collect();
    assert_eq!(msg_ids_up_to(&mut stream, 500).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_while_the_database_is_away_and_resumes_without_a_gap() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = Setup::default().start_on(database);
    let (mut stream, _) = EventStream::follow(&server, "", None).await;
    push_all(&server, [1]).await;
    let mut last = stream.job().await.id;
    proxy.set(Way::Refused);
    while let Some(block) = stream.block().await {
        last = block.id;
    }
    push_all(&server, [2]).await;
    assert_eq!(server.get("/api/v1/stream").await.status(), 503);
    proxy.set(Way::Open);
    eventually("what waited is in the database", async || {
        server.json("/readyz").await.1["status"] == "ready"
    })
    .await;
    let (mut stream, _) = EventStream::follow(&server, "", Some(&last)).await;
    assert_eq!(stream.job().await.msg_id(), 2);
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let expires = std::time::SystemTime::now() + std::time::Duration::from_secs(3);
    let expires = expires
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let expires = Time::from_create_time(i64::try_from(expires).unwrap()).unwrap();
    let hash = qunfa::domain::ApiKeyHash::of("k");
    let client = format!("[api.clients.one]\nkey = \"{hash}\"\nexpires = \"{expires}\"");
    let server = Setup::default().toml(&client).start(Backend::Sqlite).await;
    let get = |path| server.client.get(server.url(path)).bearer_auth("k").send();
    let mut response = get("/api/v1/stream").await.unwrap();
    assert_eq!(response.status(), 200);
    eventually("the key is no longer taken", async || {
        get("/api/v1/reasons").await.unwrap().status() == 401
    })
    .await;
    push_all(&server, [1]).await;
    let mut text = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(!text.contains("msg_id"), "{text}");
}
