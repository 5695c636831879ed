//! What makes a push authentic: signatures in each mode, keys, `AppID`, `ToUserName`, timestamps,
//! methods.

use qunfa::domain::Time;
use qunfa::simulator::SignedPush;
use reqwest::Method;

use crate::support::accounts::timestamp;
use crate::support::{
    Account, Backend, COMPATIBLE, PLAIN, SAFE, Server, Setup, event, fixture, on_both_stores,
};

const ENCRYPTED: [Account; 2] = [COMPATIBLE, SAFE];

async fn status(server: &Server, account: &Account, query: &str, body: &str) -> u16 {
    let response = server.post(account.name, query, body.to_owned()).await;
    response.status().as_u16()
}

/// The ids of the jobs of an account, ascending.
async fn msg_ids(server: &Server, account: &Account) -> Vec<i64> {
    let path = format!("/api/v1/jobs?account={}&limit=500", account.name);
    let jobs = server.items(&path).await;
    let mut ids: Vec<_> = jobs
        .iter()
        .map(|job| job["msg_id"].as_str().unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

fn envelope(encrypt: &str) -> String {
    format!("<xml><ToUserName>gh_x</ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")
}

#[tokio::test]
async fn a_plain_account_goes_by_signature_alone() {
    let server = Server::start(Backend::Sqlite).await;
    let wrong = "0".repeat(40);
    for (n, (extra, expected)) in [
        (String::new(), 200),
        ("&openid=o1&openid=o2".to_owned(), 200),
        ("&encrypt_type=raw".to_owned(), 200),
        (format!("&encrypt_type=aes&msg_signature={wrong}"), 200),
        (format!("&signature={wrong}"), 403),
    ]
    .into_iter()
    .enumerate()
    {
        let query = PLAIN.sign_query(&timestamp(), &n.to_string()) + &extra;
        assert_eq!(
            status(&server, &PLAIN, &query, &event(1)).await,
            expected,
            "{extra}"
        );
    }
    let query = PLAIN
        .sign_query(&timestamp(), "9")
        .replace("signature=", "msg_signature=");
    assert_eq!(status(&server, &PLAIN, &query, &event(1)).await, 403);
}

#[tokio::test]
async fn an_encrypted_account_goes_by_msg_signature_alone() {
    let server = Server::start(Backend::Sqlite).await;
    let wrong = "0".repeat(40);
    for account in ENCRYPTED {
        let encrypt = account.encrypt(event(1));
        let query = account.sign_encrypt(&encrypt, &timestamp(), "7");
        let (signature, rest) = query.split_once('&').unwrap();
        let (_, msg_signature) = rest.split_once("&msg_signature=").unwrap();
        let unsigned = rest.replace(msg_signature, "");
        for (query, expected) in [
            (rest.to_owned(), 200),
            (format!("signature={wrong}&{rest}"), 200),
            (format!("{signature}&{query}"), 200),
            (rest.replace("encrypt_type=aes", "encrypt_type=raw"), 200),
            (rest.replace("&encrypt_type=aes", ""), 200),
            (format!("{signature}&{unsigned}{wrong}"), 403),
            (
                format!("{signature}&{unsigned}{}", &signature["signature=".len()..]),
                403,
            ),
            (
                query.replace(&format!("&msg_signature={msg_signature}"), ""),
                403,
            ),
        ] {
            let got = status(&server, &account, &query, &envelope(&encrypt)).await;
            assert_eq!(got, expected, "{} {query}", account.name);
        }
    }
}

on_both_stores! {
    async fn only_the_forms_that_the_accounts_mode_allows_are_taken(backend: Backend) {
        let server = Server::start(backend).await;
        let xml = event(1);
        let json = String::from_utf8(fixture("events/articles.json")).unwrap();
        for (account, form, expected) in [
            (PLAIN, "plain", 200),
            (PLAIN, "compatible", 200),
            (PLAIN, "safe", 403),
            (COMPATIBLE, "plain", 403),
            (COMPATIBLE, "compatible", 200),
            (COMPATIBLE, "safe", 200),
            (SAFE, "plain", 403),
            (SAFE, "compatible", 200),
            (SAFE, "safe", 200),
        ] {
            for message in [&xml, &json] {
                let push = Account { mode: form, ..account }.sign(message);
                let (status, _) = server.send(account.name, push).await;
                assert_eq!(status, expected, "{form} to {}: {message}", account.name);
            }
        }
        for account in [PLAIN, COMPATIBLE, SAFE] {
            assert_eq!(msg_ids(&server, &account).await, [1, 3_147_483_999]);
        }
        assert!(server.items("/api/v1/deliveries?state=unparsed").await.is_empty());
    }

    async fn the_clear_part_of_a_compatible_body_is_never_believed(backend: Backend) {
        let server = Server::start(backend).await;
        for account in ENCRYPTED {
            let honest = Account { mode: "compatible", ..account }.sign(event(1000));
            let body = String::from_utf8(honest.body).unwrap();
            let lie = body.replace(">1000<", ">2000<").replace("send success", "send fail");
            assert_ne!(lie, body);
            let push = SignedPush { query: honest.query, body: lie.into_bytes() };
            assert_eq!(server.send(account.name, push).await, (200, "success".to_owned()));
            assert_eq!(msg_ids(&server, &account).await, [1000]);
            let path = format!("/api/v1/jobs/{}/1000/deliveries", account.name);
            assert_eq!(server.items(&path).await[0]["body"], event(1000));
        }
    }

    async fn whatever_stands_in_the_clear_part_the_encrypted_message_is_taken(backend: Backend) {
        let server = Server::start(backend).await;
        let clear_parts = [
            "<?pi?>", "</Wrong>", "& &nbsp;", "<a b='1' b='2'/>", "<![CDATA[\u{8}\0]]>", "<1/>",
            &"<a>".repeat(20), &"<a/>".repeat(2000),
        ];
        for (account, (n, clear_part)) in ENCRYPTED.into_iter().flat_map(|account| {
            clear_parts.iter().enumerate().map(move |part| (account, part))
        }) {
            let msg_id = i64::try_from(n).unwrap() + 1;
            let SignedPush { query, body } = account.sign(event(msg_id));
            let body = String::from_utf8(body).unwrap().replacen("<ToUserName>", &format!("{clear_part}<ToUserName>"), 1);
            assert_eq!(status(&server, &account, &query, &body).await, 200, "{clear_part}");
        }
        for account in ENCRYPTED {
            assert_eq!(msg_ids(&server, &account).await, (1..=8).collect::<Vec<_>>());
        }
        assert_eq!(server.items("/api/v1/deliveries?state=unparsed").await.len(), 0);
    }

    async fn of_many_encrypts_the_one_that_is_signed_is_read(backend: Backend) {
        let server = Server::start(backend).await;
        for account in ENCRYPTED {
            let unsigned = account.encrypt(event(1000));
            let element = format!("<Encrypt>{unsigned}</Encrypt>");
            let many = element.repeat(50_000 / element.len());
            for (n, before, after) in [
                (1, &*element, ""),
                (2, "", &*element),
                (3, "", "<Encrypt/>"),
                (4, "<Encrypt></Encrypt>", "<Encrypt><![CDATA["),
                (5, &format!("<Content><![CDATA[{element}]]></Content>"), ""),
                (6, &format!("<Content>\u{2}{element}</Content>"), ""),
                (7, &format!("<Content><![CDATA[]]></Content>{element}<![CDATA[]]>"), &element),
                (8, &many, ""),
                (9, "", &many),
            ] {
                let encrypt = account.encrypt(event(n));
                let query = account.sign_encrypt(&encrypt, &timestamp(), "7");
                let body = format!("<xml>{before}<Encrypt><![CDATA[{encrypt}]]></Encrypt>{after}</xml>");
                assert_eq!(status(&server, &account, &query, &body).await, 200, "{before:.100} {after:.100}");
            }
            for (n, before, after) in [(10, true, false), (11, false, true), (12, true, true)] {
                let encrypt = account.encrypt(event(n));
                let query = account.sign_encrypt(&encrypt, &timestamp(), "7");
                let other = |is_there| if is_there { format!("\"Encrypt\":\"{unsigned}\",") } else { String::new() };
                let body = format!("{{{}\"Encrypt\":\"{encrypt}\",{}\"x\":1}}", other(before), other(after));
                assert_eq!(status(&server, &account, &query, &body).await, 200, "{body}");
            }
            assert_eq!(msg_ids(&server, &account).await, (1..=12).collect::<Vec<_>>());
        }
        for state in ["unparsed", "sealed"] {
            assert!(server.items(&format!("/api/v1/deliveries?state={state}")).await.is_empty());
        }
    }

    async fn a_compatible_push_to_a_plain_account_is_its_clear_part(backend: Backend) {
        let server = Server::start(backend).await;
        let form = Account { mode: "compatible", ..PLAIN };
        let json = String::from_utf8(fixture("events/articles.json")).unwrap();
        let xml = String::from_utf8(fixture("cases/compat-to-plain.xml")).unwrap();
        for (msg_id, clear) in [("1000000570", &xml), ("3147483999", &json)] {
            // With another time, query string and `Encrypt`.
            for _ in 0..2 {
                let push = form.sign(clear);
                assert!(String::from_utf8_lossy(&push.body).contains("Encrypt"));
                assert_eq!(server.send("plain", push).await.0, 200);
            }
            server.accepts(&PLAIN, clear).await;
            let job = server.job(&PLAIN, msg_id).await;
            assert_eq!((&job["deliveries"], &job["revision"]), (&3.into(), &1.into()));
            let deliveries = server.items(&format!("/api/v1/jobs/plain/{msg_id}/deliveries")).await;
            assert_eq!(deliveries.len(), 1);
            assert_eq!(deliveries[0]["body"], **clear);
        }
    }

    async fn a_plain_push_whose_body_was_lost_comes_again(backend: Backend) {
        let server = Setup::default().with_metrics().start(backend).await;
        let push = PLAIN.sign(event(1));
        let answer = server.post("plain", &push.query, "").await;
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.text().await.unwrap(), "body empty");
        assert!(server.items("/api/v1/deliveries").await.is_empty());
        assert!(server.metrics().await.contains("qunfa_refused_total{account=\"plain\",reason=\"empty\"} 1\n"));
        assert_eq!(server.send("plain", push).await.0, 200);
        assert_eq!(server.job(&PLAIN, "1").await["deliveries"], 1);

        let unsigned = server.post("plain", "", "").await;
        assert_eq!(unsigned.status(), 403);
        // An encrypted message can only be empty if WeChat sent it so.
        server.accepts(&SAFE, "").await;
        server.accepts(&PLAIN, " ").await;
        let unparsed = server.items("/api/v1/deliveries?state=unparsed").await;
        assert_eq!((unparsed.len(), &unparsed[0]["body"], &unparsed[1]["body"]), (2, &" ".into(), &"".into()));
    }

    async fn the_same_id_in_two_accounts_is_two_jobs(backend: Backend) {
        let server = Server::start(backend).await;
        for account in [PLAIN, COMPATIBLE, SAFE] {
            server.accepts(&account, event(77)).await;
        }
        let jobs = server.items("/api/v1/jobs?msg_id=77").await;
        let accounts: Vec<_> = jobs.iter().map(|job| job["account"].as_str().unwrap()).collect();
        assert_eq!(accounts, ["safe", "plain", "compatible"]);
        assert!(jobs.iter().all(|job| job["deliveries"] == 1), "{jobs:?}");
    }
}

#[tokio::test]
async fn during_a_change_the_previous_token_and_key_still_open_a_push() {
    const OLD_TOKEN: &str = "TokenBeforeTheChange1";
    const OLD_KEY: &str = "KeyBeforeTheChangeThatIs43CharactersLong004";
    for account in [PLAIN, COMPATIBLE, SAFE] {
        let toml = format!(
            "{}previous_token = \"{OLD_TOKEN}\"\nprevious_encoding_aes_key = \"{OLD_KEY}\"\n",
            account.toml()
        );
        let server = Setup::default()
            .accounts(&[])
            .toml(&toml)
            .start(Backend::Sqlite)
            .await;
        for (token, aes_key, expected) in [
            (account.token, account.aes_key, 200),
            (OLD_TOKEN, account.aes_key, 200),
            (account.token, OLD_KEY, 200),
            (OLD_TOKEN, OLD_KEY, 200),
            ("TokenOfNobodyAtAll001", account.aes_key, 403),
            // Sealed, but acknowledged.
            (
                account.token,
                "KeyOfNobodyAtAllThatIs43CharactersLong00005",
                200,
            ),
        ] {
            let push = Account {
                token,
                aes_key,
                ..account
            }
            .sign(event(1));
            let (status, _) = server.send(account.name, push).await;
            assert_eq!(status, expected, "{} {token} {aes_key}", account.name);
        }
    }
}

#[tokio::test]
async fn a_message_for_another_app_id_makes_no_job() {
    let server = Server::start(Backend::Sqlite).await;
    for account in ENCRYPTED {
        for app_id in [
            "wx00000000000000ff",
            "wx00000000000000c",
            "wx00000000000000c33",
        ] {
            let push = Account { app_id, ..account }.sign(event(1));
            let answer = server.send(account.name, push).await;
            assert_eq!(
                answer,
                (200, "success".to_owned()),
                "{} {app_id}",
                account.name
            );
        }
        assert!(msg_ids(&server, &account).await.is_empty());
        let path = format!("/api/v1/deliveries?state=sealed&account={}", account.name);
        assert_eq!(server.items(&path).await.len(), 3);
    }
}

on_both_stores! {
    async fn where_original_id_is_set_a_foreign_to_user_name_is_not_opened_and_an_unreadable_one_kept(backend: Backend) {
        let bound = |account: Account| account.toml() + "original_id = \"gh_0a1b2c3d4e5f\"\n";
        let toml = bound(PLAIN) + &bound(SAFE);
        let server = Setup::default().accounts(&[COMPATIBLE]).toml(&toml).start(backend).await;
        let own = "<ToUserName><![CDATA[gh_0a1b2c3d4e5f]]></ToUserName>";
        for (n, (element, expected, state)) in (1..).zip([
            (own, 200, "stored"),
            ("<ToUserName> gh_0a1b2c3d4e5f\n</ToUserName>", 200, "stored"),
            ("", 200, "stored"),
            ("<ToUserName/>", 200, "stored"),
            ("<ToUserName>gh_other</ToUserName>", 403, "stored"),
            ("<ToUserName>GH_0A1B2C3D4E5F</ToUserName>", 403, "stored"),
            ("<ToUserName>gh_other</ToUserName><ToUserName>gh_other</ToUserName>", 200, "unparsed"),
            ("<ToUserName>gh_other</ToUserName>&undeclared;", 200, "unparsed"),
        ]) {
            let message = event(n).replace(own, element);
            let unbound = Account { mode: "safe", ..COMPATIBLE };
            for (account, is_opened) in [(PLAIN, expected == 200), (SAFE, expected == 200), (unbound, true)] {
                let (status, _) = server.push(&account, &message).await;
                // A plain push has no proof of its origin; an encrypted one is kept sealed.
                let expected = if account.mode == "plain" { expected } else { 200 };
                assert_eq!(status, expected, "{element} to {}", account.name);
                let path = format!("/api/v1/deliveries?account={}&limit=500", account.name);
                let kept = server.items(&path).await;
                let kept = kept.iter().find(|delivery| delivery["body"] == message);
                let kept = kept.map(|delivery| delivery["state"].as_str().unwrap());
                assert_eq!(kept, is_opened.then_some(state), "{element} to {}", account.name);
            }
        }
        assert_eq!(server.items("/api/v1/deliveries?state=sealed&account=safe").await.len(), 2);
    }
}

#[tokio::test]
async fn a_plain_push_must_come_within_the_tolerance_and_an_encrypted_one_need_not() {
    let server = Setup::default()
        .toml("[server]\ntimestamp_tolerance = 100")
        .start(Backend::Sqlite)
        .await;
    let now = Time::now().seconds();
    // 20 seconds of tolerance for a slow machine.
    for (timestamp, plain) in [
        (now.to_string(), 200),
        (format!("00{now}"), 200),
        ((now - 80).to_string(), 200),
        ((now + 80).to_string(), 200),
        ((now - 101).to_string(), 403),
        ((now + 121).to_string(), 403),
        ("0".to_owned(), 403),
        ("9223372036854775807".to_owned(), 403),
        ("9223372036854775808".to_owned(), 403),
        (format!("-{now}"), 403),
        (format!("%2B{now}"), 403),
        (format!("{now}.0"), 403),
        (format!("{now}%00"), 403),
        ("soon".to_owned(), 403),
        (String::new(), 403),
    ] {
        let signed = timestamp.replace("%2B", "+").replace("%00", "\0");
        for (account, expected) in [(PLAIN, plain), (COMPATIBLE, 200), (SAFE, 200)] {
            let (query, body) = if account.mode == "plain" {
                (account.sign_query(&signed, "7"), event(1))
            } else {
                let encrypt = account.encrypt(event(1));
                (
                    account.sign_encrypt(&encrypt, &signed, "7"),
                    envelope(&encrypt),
                )
            };
            let query = query.replace(
                &format!("timestamp={signed}"),
                &format!("timestamp={timestamp}"),
            );
            let got = status(&server, &account, &query, &body).await;
            assert_eq!(got, expected, "{timestamp} to {}", account.name);
        }
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed_signed_or_not() {
    let server = Server::start(Backend::Sqlite).await;
    for account in [PLAIN.name, SAFE.name, "nobody"] {
        let query = PLAIN.sign_query(&timestamp(), "7") + "&echostr=1";
        for method in [
            "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "ANYTHING",
        ] {
            let url = server.url(&format!("/wechat/{account}?{query}"));
            let method: Method = method.parse().unwrap();
            let response = server
                .client
                .request(method.clone(), url)
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), 405, "{method} {account}");
            assert_eq!(
                response.headers()["allow"],
                "GET,POST",
                "{method} {account}"
            );
        }
    }
    assert!(server.items("/api/v1/deliveries").await.is_empty());
}
