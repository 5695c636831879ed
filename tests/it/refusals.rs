//! Every refusal is the same constant 403, byte for byte, and leaves nothing behind.

use qunfa::domain::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::accounts::timestamp;
use crate::support::{
    Account, Backend, COMPATIBLE, PLAIN, SAFE, Server, Setup, event, on_both_stores,
};

/// An account that checks `ToUserName`.
const BOUND: Account = Account {
    name: "bound",
    ..SAFE
};
const BOUND_PLAIN: Account = Account {
    name: "bound-plain",
    ..PLAIN
};
const NOBODY: &str = "nobody";

/// A request that must be refused.
struct Attempt {
    what: String,
    account: &'static str,
    query: String,
    /// `None` for a `GET`.
    body: Option<Vec<u8>>,
}

fn attempt(what: &str, account: &Account, query: &str, body: Option<&str>) -> Attempt {
    Attempt {
        what: format!("{what}, {} account", account.name),
        account: account.name,
        query: query.to_owned(),
        body: body.map(Into::into),
    }
}

/// The query string with one parameter corrupted in every way.
fn spoiled(query: &str, name: &str) -> Vec<(String, String)> {
    let pieces: Vec<_> = query.split('&').collect();
    let prefix = format!("{name}=");
    let piece = *pieces
        .iter()
        .find(|piece| piece.starts_with(&prefix))
        .unwrap();
    let value = &piece[prefix.len()..];
    let rest: Vec<_> = pieces.into_iter().filter(|other| *other != piece).collect();
    let rest = rest.join("&");
    let (head, last) = value.split_at(value.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    [
        ("missing", String::new()),
        ("doubled", format!("&{piece}&{piece}")),
        ("doubled with another first", format!("&{name}=1&{piece}")),
        ("doubled with another last", format!("&{piece}&{name}=1")),
        (
            "doubled in escapes",
            format!("&{piece}&%{:x}{}={value}", name.as_bytes()[0], &name[1..]),
        ),
        ("an array", format!("&{name}[]={value}")),
        ("an array in escapes", format!("&{name}%5B0%5D={value}")),
        ("an array beside itself empty", format!("&{name}=&{piece}")),
        ("empty", format!("&{name}=")),
        ("without a value", format!("&{name}")),
        ("in upper case", format!("&{}={value}", name.to_uppercase())),
        ("changed", format!("&{name}={head}{other}")),
        ("cut", format!("&{name}={head}")),
        ("longer", format!("&{name}={value}0")),
        ("with white space", format!("&{name}=%20{value}")),
        ("with a NUL", format!("&{name}={value}%00")),
    ]
    .into_iter()
    .map(|(how, piece)| (format!("{name} {how}"), format!("{rest}{piece}")))
    .collect()
}

fn checks(account: &Account) -> Vec<Attempt> {
    let signed = account.sign_query(&timestamp(), "4242");
    let query = format!("{signed}&echostr=1234567890");
    let mut attempts: Vec<_> = ["signature", "timestamp", "nonce"]
        .into_iter()
        .flat_map(|name| spoiled(&query, name))
        .map(|(what, query)| attempt(&what, account, &query, None))
        .collect();
    attempts.push(attempt("no echostr", account, &signed, None));
    attempts.push(attempt(
        "two echostr",
        account,
        &format!("{query}&echostr=1234567890"),
        None,
    ));
    attempts.push(attempt("no query", account, "", None));
    attempts.push(Attempt {
        account: NOBODY,
        ..attempt("unknown", account, &query, None)
    });
    attempts
}

fn pushes(account: &Account) -> Vec<Attempt> {
    let push = account.sign(event(1));
    let body = std::str::from_utf8(&push.body).unwrap();
    let covering: &[_] = if account.mode == "plain" {
        &["signature", "timestamp", "nonce"]
    } else {
        &["msg_signature", "timestamp", "nonce"]
    };
    let mut attempts: Vec<_> = covering
        .iter()
        .flat_map(|name| spoiled(&push.query, name))
        .map(|(what, query)| attempt(&what, account, &query, Some(body)))
        .collect();
    attempts.push(attempt("no query", account, "", Some(body)));
    attempts.push(Attempt {
        account: NOBODY,
        ..attempt("unknown", account, &push.query, Some(body))
    });
    attempts
}

fn plain_attempts() -> Vec<Attempt> {
    let long_ago = Time::from_create_time(Time::now().seconds() - 10_000).unwrap();
    let old = PLAIN.sender().sign(event(1).as_bytes(), long_ago).unwrap();
    let envelope = Account {
        mode: "safe",
        ..PLAIN
    }
    .sign(event(1));
    let json = Account {
        mode: "safe",
        ..PLAIN
    }
    .sign(r#"{"MsgType":"event"}"#);
    let foreign = BOUND_PLAIN.sign(event(1).replace("gh_0a1b2c3d4e5f", "gh_other"));
    let mut attempts = vec![
        attempt(
            "no number as timestamp",
            &PLAIN,
            &(PLAIN.sign_query("now", "1") + "&echostr=1"),
            None,
        ),
        attempt(
            "no number as timestamp",
            &PLAIN,
            &PLAIN.sign_query("now", "1"),
            Some(&event(1)),
        ),
    ];
    for (what, account, push) in [
        ("an old timestamp", PLAIN, old),
        ("an envelope", PLAIN, envelope),
        ("an envelope in JSON", PLAIN, json),
        ("a foreign ToUserName", BOUND_PLAIN, foreign),
    ] {
        let body = String::from_utf8(push.body).unwrap();
        attempts.push(attempt(what, &account, &push.query, Some(&body)));
    }
    attempts
}

/// For an encrypted account: what is signed as `Encrypt`, and the body that is sent with it.
fn ciphertexts(account: &Account) -> Vec<(&'static str, String, String)> {
    let one = |encrypt: &str| format!("<xml><Encrypt>{encrypt}</Encrypt></xml>");
    let good = account.encrypt(event(1));
    let message = event(1);
    let foreign_app = Account {
        app_id: "wx00000000000000ff",
        ..*account
    }
    .encrypt(&message);
    let sixteen = "A".repeat(22) + "==";
    vec![
        ("a plain body", good.clone(), message.clone()),
        ("no body", good.clone(), String::new()),
        (
            "an empty Encrypt under a bare signature",
            String::new(),
            one(""),
        ),
        (
            "no Encrypt under a bare signature",
            String::new(),
            message.clone(),
        ),
        ("bad padding", sixteen.clone(), one(&sixteen)),
        ("half a block", "AAAA".to_owned(), one("AAAA")),
        ("no base64", "*".to_owned(), one("*")),
        (
            "base64 in two lines",
            format!("{}\n{}", &good[..64], &good[64..]),
            one(&format!("{}\n{}", &good[..64], &good[64..])),
        ),
        ("another Encrypt", good.clone(), one(&foreign_app)),
        (
            "Encrypt twice, neither signed",
            good.clone(),
            format!("<xml><Encrypt>{foreign_app}</Encrypt><Encrypt>{foreign_app}</Encrypt></xml>"),
        ),
        (
            "Encrypt as a list",
            good.clone(),
            format!(r#"{{"Encrypt":["{good}","{good}"]}}"#),
        ),
        (
            "Encrypt deeper",
            good.clone(),
            format!("<xml><a><Encrypt>{good}</Encrypt></a></xml>"),
        ),
        (
            "Encrypt in lower case",
            good.clone(),
            format!("<xml><encrypt>{good}</encrypt></xml>"),
        ),
        (
            "an attribute",
            good.clone(),
            format!("<xml Encrypt='{good}'/>"),
        ),
        (
            "an entity",
            good.clone(),
            format!("<!DOCTYPE xml [<!ENTITY e '{good}'>]>{}", one("&e;")),
        ),
        ("half a body", good.clone(), format!("<xml><Encrypt>{good}")),
    ]
}

fn encrypted_attempts(account: &Account) -> Vec<Attempt> {
    let timestamp = timestamp();
    let mut attempts: Vec<_> = ciphertexts(account)
        .iter()
        .map(|(what, signed, body)| {
            let query = account.sign_encrypt(signed, &timestamp, "5");
            attempt(what, account, &query, Some(body))
        })
        .collect();
    attempts.extend(unsealable(account));
    let mut bytes = attempt(
        "bytes",
        account,
        &account.sign_encrypt("", &timestamp, "5"),
        None,
    );
    bytes.body = Some(vec![0xff, 0x00, b'<']);
    attempts.push(bytes);
    attempts
}

/// A recent push that does not open would be kept sealed.
fn unsealable(account: &Account) -> Vec<Attempt> {
    const DAY: i64 = 24 * 3600;
    let wrong = Account {
        aes_key: PLAIN.aes_key,
        ..*account
    }
    .encrypt(event(1));
    let foreign = BOUND.encrypt(event(1).replace("gh_0a1b2c3d4e5f", "gh_other"));
    let now = Time::now().seconds();
    // With tolerance on either side, for a slow machine.
    [
        (now - DAY - 1).to_string(),
        (now + DAY + 600).to_string(),
        "0".to_owned(),
        format!("{now}a"),
        format!("-{now}"),
        String::new(),
    ]
    .iter()
    .flat_map(|timestamp| {
        [
            ("a foreign key", account, &wrong),
            ("a foreign ToUserName", &BOUND, &foreign),
        ]
        .map(|(what, account, encrypt)| {
            attempt(
                &format!("{what} at {timestamp}"),
                account,
                &account.sign_encrypt(encrypt, timestamp, "5"),
                Some(&format!("<xml><Encrypt>{encrypt}</Encrypt></xml>")),
            )
        })
    })
    .collect()
}

/// The response on the wire, without its date and request id.
async fn answer(server: &Server, attempt: &Attempt) -> String {
    let (method, body) = match &attempt.body {
        None => ("GET", &[][..]),
        Some(body) => ("POST", &body[..]),
    };
    let head = format!(
        "{method} /wechat/{}?{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        attempt.account,
        attempt.query,
        body.len()
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(&[head.as_bytes(), body].concat())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "))
        .collect()
}

on_both_stores! {
    async fn every_refusal_is_the_same_to_the_byte_and_leaves_nothing(backend: Backend) {
        let bound = |account: &Account| account.toml() + "original_id = \"gh_0a1b2c3d4e5f\"\n";
        let server = Setup::default()
            .toml(&(bound(&BOUND) + &bound(&BOUND_PLAIN)))
            .start(backend)
            .await;
        let mut attempts = plain_attempts();
        for account in [PLAIN, COMPATIBLE, SAFE] {
            attempts.extend(checks(&account));
            attempts.extend(pushes(&account));
        }
        attempts.extend(encrypted_attempts(&COMPATIBLE));
        attempts.extend(encrypted_attempts(&SAFE));
        for attempt in &attempts {
            assert_eq!(
                answer(&server, attempt).await,
                "HTTP/1.1 403 Forbidden\r\n\
                 content-type: text/plain; charset=utf-8\r\n\
                 x-content-type-options: nosniff\r\n\
                 content-length: 9\r\n\
                 connection: close\r\n\
                 \r\n\
                 forbidden",
                "{}: {}",
                attempt.what,
                attempt.query
            );
        }
        assert!(attempts.len() > 300, "{}", attempts.len());
        assert!(server.items("/api/v1/deliveries").await.is_empty());
        assert!(server.items("/api/v1/jobs").await.is_empty());

        for account in [PLAIN, COMPATIBLE, SAFE, BOUND, BOUND_PLAIN] {
            server.accepts(&account, event(1)).await;
            assert_eq!(server.job(&account, "1").await["deliveries"], 1);
        }
        assert_eq!(server.items("/api/v1/deliveries").await.len(), 5);

        // An accepted query string with another body.
        let push = PLAIN.sign(event(1));
        let mut replay = attempt("a replay", &PLAIN, &push.query, Some(&event(1)));
        assert!(answer(&server, &replay).await.ends_with("success"));
        replay.body = Some(event(2).into_bytes());
        assert_eq!(answer(&server, &replay).await, answer(&server, &attempts[0]).await);
        assert_eq!(server.items("/api/v1/deliveries").await.len(), 5);
    }
}
