//! WeChat's check of the URL: a `GET` when the owner saves the server configuration.

use reqwest::Response;

use crate::support::accounts::timestamp;
use crate::support::{Account, Backend, COMPATIBLE, PLAIN, SAFE, Server, Setup};

const ACCOUNTS: [Account; 3] = [PLAIN, COMPATIBLE, SAFE];

async fn check(server: &Server, account: &str, query: &str) -> Response {
    server.get(&format!("/wechat/{account}?{query}")).await
}

async fn status(server: &Server, account: &str, query: &str) -> u16 {
    check(server, account, query).await.status().as_u16()
}

#[tokio::test]
async fn echostr_is_echoed_byte_for_byte_in_every_mode() {
    let server = Server::start(Backend::Sqlite).await;
    let echoes: [(&str, &[u8]); 8] = [
        ("5837397920594883", b"5837397920594883"),
        (
            "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
            b"<script>alert(1)</script>",
        ),
        ("%00%01%7f%80%ff", b"\x00\x01\x7f\x80\xff"),
        ("a+b%2Bc%20d", b"a b+c d"),
        ("%0d%0aSet-Cookie:%20a=b%0d%0a", b"\r\nSet-Cookie: a=b\r\n"),
        ("{\"a\":1}%zz%", b"{\"a\":1}%zz%"),
        ("%E7%BE%A4%E5%8F%91", "群发".as_bytes()),
        ("success", b"success"),
    ];
    for account in ACCOUNTS {
        for (raw, expected) in echoes {
            let query = account.sign_query(&timestamp(), "42") + "&echostr=" + raw;
            let response = check(&server, account.name, &query).await;
            let header = |name| {
                response
                    .headers()
                    .get(name)
                    .map(|value| value.to_str().unwrap())
            };
            assert_eq!(response.status(), 200, "{} {raw}", account.name);
            assert_eq!(header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(header("x-content-type-options"), Some("nosniff"));
            assert_eq!(
                response.bytes().await.unwrap(),
                expected,
                "{} {raw}",
                account.name
            );
        }
    }
    assert!(server.items("/api/v1/deliveries").await.is_empty());
}

#[tokio::test]
async fn the_check_that_wechats_documentation_prints_is_answered() {
    let documented = Account {
        token: "AAAAA",
        ..PLAIN
    };
    let server = Setup::default()
        .accounts(&[documented])
        .start(Backend::Sqlite)
        .await;
    let query = "signature=f464b24fc39322e44b38aa78f5edd27bd1441696&echostr=4375120948345356249&timestamp=1714036504&nonce=1514711492";
    let response = check(&server, "plain", query).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "4375120948345356249");
}

#[tokio::test]
async fn a_check_is_verified_by_signature_whatever_stands_beside_it() {
    let server = Server::start(Backend::Sqlite).await;
    for account in ACCOUNTS {
        let good = account.sign_query(&timestamp(), "7") + "&echostr=1";
        let (signature, rest) = good.split_once('&').unwrap();
        let wrong = format!("signature={}", "0".repeat(40));
        for (query, expected) in [
            (format!("{rest}&{signature}"), 200),
            (
                format!("{good}&openid=o1&encrypt_type=aes&msg_signature=no&msg_signature=no"),
                200,
            ),
            (format!("{good}&unknown=1&unknown=2&%ff&=&&"), 200),
            (format!("{wrong}&{rest}"), 403),
            (format!("msg_{signature}&{rest}"), 403),
            (
                format!("{rest}&signature={}", &signature["signature=".len() + 1..]),
                403,
            ),
            (format!("{good}x&echostr=1"), 403),
        ] {
            assert_eq!(
                status(&server, account.name, &query).await,
                expected,
                "{query}"
            );
        }
    }
}

#[tokio::test]
async fn the_timestamp_of_a_check_may_be_as_old_as_it_likes() {
    let server = Server::start(Backend::Sqlite).await;
    for account in ACCOUNTS {
        for timestamp in ["1", "0", "1714036504", "0001714036504", "99999999999"] {
            let query = account.sign_query(timestamp, "7") + "&echostr=1";
            assert_eq!(
                status(&server, account.name, &query).await,
                200,
                "{timestamp}"
            );
        }
    }
}

#[tokio::test]
async fn a_timestamp_that_is_no_number_fails_the_check_in_plain_mode_alone() {
    let server = Server::start(Backend::Sqlite).await;
    for timestamp in ["now", "-1", "1.5", "0x10", "1e9"] {
        for (account, expected) in [(PLAIN, 403), (COMPATIBLE, 200), (SAFE, 200)] {
            let query = account.sign_query(timestamp, "7") + "&echostr=1";
            let got = status(&server, account.name, &query).await;
            assert_eq!(got, expected, "{} {timestamp}", account.name);
        }
    }
}

#[tokio::test]
async fn a_check_is_never_refused_for_having_been_seen() {
    let server = Server::start(Backend::Sqlite).await;
    for account in ACCOUNTS {
        let push = account.sign(crate::support::event(1));
        let (signed, _) = push.query.split_once("&openid").unwrap();
        let query = format!("{signed}&echostr=");
        for echo in ["first", "first", "second"] {
            assert_eq!(
                status(&server, account.name, &(query.clone() + echo)).await,
                200
            );
        }
    }
}

#[tokio::test]
async fn the_previous_token_still_passes_the_check() {
    let toml = format!(
        "{}previous_token = \"TokenBeforeTheChange1\"\n",
        SAFE.toml()
    );
    let server = Setup::default()
        .accounts(&[])
        .toml(&toml)
        .start(Backend::Sqlite)
        .await;
    for (token, expected) in [
        (SAFE.token, 200),
        ("TokenBeforeTheChange1", 200),
        ("TokenOfNobodyAtAll001", 403),
    ] {
        let query = Account { token, ..SAFE }.sign_query(&timestamp(), "7") + "&echostr=1";
        assert_eq!(status(&server, "safe", &query).await, expected, "{token}");
    }
}
