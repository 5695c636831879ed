//! The replay memory of plain mode: the signature does not cover the body, so an accepted query
//! string is refused with another body.

use qunfa::domain::Time;
use qunfa::simulator::SignedPush;
use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::{
    Account, Backend, COMPATIBLE, PLAIN, SAFE, Server, Setup, event, eventually, on_both_stores,
};

/// Another plain account, with the same token.
const TWIN: Account = Account {
    name: "twin",
    ..PLAIN
};

/// The status of a push of `message` under the query of `push`.
async fn reuse(server: &Server, account: &Account, push: &SignedPush, message: &str) -> u16 {
    let response = server
        .post(account.name, &push.query, message.to_owned())
        .await;
    response.status().as_u16()
}

on_both_stores! {
    async fn a_seen_query_admits_the_same_body_again_and_no_other(backend: Backend) {
        let server = Server::start(backend).await;
        let push = PLAIN.sign(event(1));
        for (message, expected) in [
            (event(1), 200),
            (event(1), 200),
            (event(2), 403),
            (event(1) + "\n", 403),
            (String::new(), 403),
            (event(1), 200),
        ] {
            assert_eq!(reuse(&server, &PLAIN, &push, &message).await, expected, "{message}");
        }
        let deliveries = server.items("/api/v1/deliveries").await;
        assert_eq!(deliveries.len(), 1);
        assert_eq!(deliveries[0]["times"], 3);
        let job = server.job(&PLAIN, "1").await;
        assert_eq!((&job["deliveries"], &job["revision"]), (&3.into(), &1.into()));
        assert_eq!(server.json("/api/v1/jobs/plain/2").await.0, 404);
    }

    async fn a_retry_with_another_encrypt_is_the_same_push(backend: Backend) {
        let server = Server::start(backend).await;
        let form = Account { mode: "compatible", ..PLAIN };
        let first = form.sign(event(1));
        let retry = SignedPush { query: first.query.clone(), body: form.sign(event(1)).body };
        let other = SignedPush { query: first.query.clone(), body: form.sign(event(2)).body };
        assert_ne!(first.body, retry.body);
        for (push, expected) in [(first, 200), (retry, 200), (other, 403)] {
            assert_eq!(server.send("plain", push).await.0, expected);
        }
        let job = server.job(&PLAIN, "1").await;
        assert_eq!((&job["deliveries"], &job["revision"]), (&2.into(), &1.into()));
    }

    async fn a_query_whose_timestamp_and_nonce_change_places_admits_no_other_body(backend: Backend) {
        let server = Server::start(backend).await;
        let (now, nonce) = (Time::now().seconds(), Time::now().seconds() + 60);
        let query = PLAIN.sign_query(&now.to_string(), &nonce.to_string());
        let signature = query.split('&').next().unwrap();
        let swapped = format!("{signature}&timestamp={nonce}&nonce={now}");
        for (query, message, expected) in [
            (&query, event(1), 200),
            (&swapped, event(2), 403),
            (&swapped, event(1), 200),
            (&query, event(2), 403),
        ] {
            assert_eq!(server.post("plain", query, message).await.status(), expected, "{query}");
        }
        assert_eq!(server.job(&PLAIN, "1").await["deliveries"], 2);
    }

    async fn the_query_of_a_check_admits_no_push(backend: Backend) {
        let server = Server::start(backend).await;
        let timestamp = Time::now().seconds().to_string();
        let query = PLAIN.sign_query(&timestamp, "1");
        let check = server.get(&format!("/wechat/plain?{query}&echostr=1")).await;
        assert_eq!(check.status(), 200);
        for message in [event(1), "1".to_owned(), String::new()] {
            let response = server.post("plain", &query, message).await;
            assert_eq!(response.status(), 403);
        }
        assert!(server.items("/api/v1/deliveries").await.is_empty());
        server.accepts(&PLAIN, event(1)).await;
    }
}

#[tokio::test]
async fn a_seen_query_is_known_by_its_signature_however_it_is_written() {
    let server = Server::start(Backend::Sqlite).await;
    let push = PLAIN.sign(event(1));
    assert_eq!(reuse(&server, &PLAIN, &push, &event(1)).await, 200);
    let (signature, rest) = push.query.split_once('&').unwrap();
    let (_, hex) = signature.split_once('=').unwrap();
    let pieces: Vec<_> = rest.split('&').collect();
    for query in [
        format!("{rest}&{signature}"),
        format!("signature={}&{rest}", hex.to_uppercase()),
        format!("%73ignature={hex}&{rest}"),
        format!("{signature}&{}&{}", pieces[1], pieces[0]),
        format!("{signature}&{rest}&more=1"),
    ] {
        let response = server.post("plain", &query, event(2)).await;
        assert_eq!(response.status(), 403, "{query}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_stored_uses_its_query_up_and_one_that_is_too_long_does_not() {
    let server = Server::start(Backend::Sqlite).await;
    let text = "<xml><MsgType>text</MsgType><Content>hello</Content></xml>";
    let push = PLAIN.sign(text);
    assert_eq!(reuse(&server, &PLAIN, &push, text).await, 200);
    assert_eq!(reuse(&server, &PLAIN, &push, text).await, 200);
    assert_eq!(reuse(&server, &PLAIN, &push, &event(1)).await, 403);
    let honest = PLAIN.sign(event(2));
    let too_long = "x".repeat(70_000);
    assert_eq!(reuse(&server, &PLAIN, &honest, &too_long).await, 413);
    assert_eq!(reuse(&server, &PLAIN, &honest, &event(2)).await, 200);
}

#[tokio::test]
async fn what_was_answered_503_is_not_held_against_a_retry() {
    let server = Server::start(Backend::Sqlite).await;
    let path = server.database.url.strip_prefix("sqlite://").unwrap();
    let mut lock = SqliteConnection::connect(path).await.unwrap();
    lock.execute("begin exclusive").await.unwrap();
    let push = PLAIN.sign(event(1));
    assert_eq!(reuse(&server, &PLAIN, &push, &event(1)).await, 503);
    lock.execute("rollback").await.unwrap();
    eventually("another body comes in", async || {
        reuse(&server, &PLAIN, &push, &event(2)).await == 200
    })
    .await;
    assert_eq!(reuse(&server, &PLAIN, &push, &event(1)).await, 403);
}

#[tokio::test]
async fn each_account_has_its_own_memory() {
    let server = Setup::default()
        .accounts(&[PLAIN, TWIN])
        .start(Backend::Sqlite)
        .await;
    let push = PLAIN.sign(event(1));
    assert_eq!(reuse(&server, &PLAIN, &push, &event(1)).await, 200);
    assert_eq!(reuse(&server, &TWIN, &push, &event(2)).await, 200);
    assert_eq!(reuse(&server, &PLAIN, &push, &event(2)).await, 403);
    assert_eq!(reuse(&server, &TWIN, &push, &event(1)).await, 403);
}

#[tokio::test]
async fn many_pushes_at_once_under_one_query_let_one_body_in() {
    let server = Server::start(Backend::Sqlite).await;
    let push = PLAIN.sign(event(1));
    let url = server.url(&format!("/wechat/plain?{}", push.query));
    let mut pushes = tokio::task::JoinSet::new();
    for msg_id in 1..=8 {
        pushes.spawn(server.client.post(&url).body(event(msg_id)).send());
    }
    let answers = pushes.join_all().await;
    let admitted = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().status() == 200);
    assert_eq!(admitted.count(), 1, "{answers:?}");
    assert_eq!(server.items("/api/v1/jobs").await.len(), 1);
}

#[tokio::test]
async fn an_encrypted_push_may_come_again_as_it_likes() {
    let server = Server::start(Backend::Sqlite).await;
    for account in [COMPATIBLE, SAFE] {
        let push = account.sign(event(1));
        for _ in 0..3 {
            assert_eq!(server.send(account.name, push.clone()).await.0, 200);
        }
        assert_eq!(server.job(&account, "1").await["deliveries"], 3);
    }
}
