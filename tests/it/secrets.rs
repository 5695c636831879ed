//! Nothing secret or private gets out: not into logs at any level, responses or the database.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use qunfa::domain::Time;
use qunfa::simulator::SignedPush;
use reqwest::Response;
use sha2::Digest;
use sqlx::{Connection, PgConnection};

use crate::support::server::program;
use crate::support::{
    Account, Backend, COMPATIBLE, Database, PLAIN, SAFE, Server, Setup, event, eventually,
    on_both_stores,
};

const ACCOUNTS: [Account; 3] = [PLAIN, COMPATIBLE, SAFE];
const OPEN_ID: &str = "oAbCdEfGhIjKlMnOpQrStUvWxYz0";
const API_KEY: &str = "TheKeyOfTheDashboardInTheClear";
const STRANGERS_KEY: &str = "TheKeyThatSomebodyElseHasTried";
const PREVIOUS_TOKEN: &str = "TokenBeforeTheChange1";
const STRANGERS_TOKEN: &str = "TokenOfNobodyAtAll001";
/// In pushes that are refused, too long or not kept.
const UNWANTED: &str = "WordsThatAreNeverKept";
/// In pushes that are kept.
const WANTED: &str = "WordsInABodyThatIsKept";

/// Texts that must not appear, and the places where they might.
struct Watch {
    server: Server,
    /// Never anywhere.
    secrets: Vec<String>,
    answers: Vec<String>,
}

impl Watch {
    fn add(&mut self, query: &str, body: &[u8]) {
        self.secrets.push(query.to_owned());
        for piece in query.split('&') {
            let (name, value) = piece.split_once('=').unwrap();
            if ["signature", "msg_signature", "nonce", "echostr"].contains(&name) && value.len() > 7
            {
                self.secrets.push(value.to_owned());
            }
        }
        let body = String::from_utf8_lossy(body);
        if let Some((_, encrypt)) = body.split_once("<Encrypt><![CDATA[") {
            self.secrets.push(encrypt[..32].to_owned());
        }
    }

    async fn note(&mut self, response: Response, expected: u16) {
        assert_eq!(response.status(), expected);
        let headers = format!("{:?}", response.headers());
        self.answers.push(headers + &response.text().await.unwrap());
    }

    async fn push(&mut self, account: &str, push: SignedPush, expected: u16) {
        self.add(&push.query, &push.body);
        let response = self.server.post(account, &push.query, push.body).await;
        self.note(response, expected).await;
    }

    async fn check(&mut self, account: &str, query: &str, expected: u16) {
        self.add(query, b"");
        let response = self.server.get(&format!("/wechat/{account}?{query}")).await;
        if expected == 403 {
            self.note(response, expected).await;
        } else {
            assert_eq!(response.status(), expected);
        }
    }

    async fn api(&mut self, path: &str, key: Option<&str>, expected: u16) {
        let request = self.server.client.get(self.server.url(path));
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.unwrap();
        if expected == 200 {
            assert_eq!(response.status(), 200, "{path}");
        } else {
            self.note(response, expected).await;
        }
    }
}

/// A user's message, which is not kept.
fn message() -> String {
    format!(
        "<xml><ToUserName>gh_0a1b2c3d4e5f</ToUserName><FromUserName>{OPEN_ID}</FromUserName>\
         <CreateTime>1767225600</CreateTime><MsgType>text</MsgType><Content>{UNWANTED}</Content></xml>"
    )
}

async fn honest_and_refused_pushes(watch: &mut Watch, account: Account) {
    let kept = event(1).replace("</xml>", &format!("<x>{WANTED}</x></xml>"));
    let broken = kept.replace("<MsgID>1<", "<MsgID>none<");
    let hostile = format!("<!DOCTYPE x [<!ENTITY {WANTED} SYSTEM 'file:///etc/passwd'>]>{kept}");
    let unwanted = kept.replace(WANTED, UNWANTED);
    let name = account.name;
    for message in [&kept, &broken, &message()] {
        watch.push(name, account.sign(message), 200).await;
    }
    let safe = if account.mode == "compatible" {
        "safe"
    } else {
        account.mode
    };
    watch
        .push(
            name,
            Account {
                mode: safe,
                ..account
            }
            .sign(hostile),
            200,
        )
        .await;
    watch
        .push(
            name,
            Account {
                token: PREVIOUS_TOKEN,
                ..account
            }
            .sign(&kept),
            200,
        )
        .await;

    let stranger = Account {
        token: STRANGERS_TOKEN,
        ..account
    };
    watch.push(name, stranger.sign(&unwanted), 403).await;
    watch.push("nobody", account.sign(&unwanted), 403).await;
    watch
        .push(
            name,
            account.sign(format!("<a>{}</a>", UNWANTED.repeat(4000))),
            413,
        )
        .await;
    if account.mode == "plain" {
        let envelope = Account {
            mode: "safe",
            ..account
        };
        watch.push(name, envelope.sign(&unwanted), 403).await;
        let old = Time::from_create_time(1_767_225_600).unwrap();
        let old = account.sender().sign(unwanted.as_bytes(), old).unwrap();
        watch.push(name, old, 403).await;
        let seen = account.sign(&kept);
        watch.push(name, seen.clone(), 200).await;
        watch
            .push(
                name,
                SignedPush {
                    body: unwanted.into(),
                    ..seen
                },
                403,
            )
            .await;
    } else {
        let plain = Account {
            mode: "plain",
            ..account
        };
        watch.push(name, plain.sign(&unwanted), 403).await;
        for sealed in [
            Account {
                app_id: "wx00000000000000ff",
                ..account
            },
            Account {
                aes_key: "KeyOfNobodyAtAllThatIs43CharactersLong00005",
                ..account
            },
        ] {
            let push = sealed.sign(&kept);
            // Its envelope is stored, so it is not checked.
            watch.add(&push.query, b"");
            let response = watch.server.post(name, &push.query, push.body).await;
            watch.note(response, 200).await;
        }
    }
    let now = Time::now().seconds().to_string();
    let query = account.sign_query(&now, "nonce-of-a-check") + "&echostr=EchoOfTheCheck";
    watch.check(name, &query, 200).await;
    watch
        .check(name, &query.replace("signature=", "signature=0"), 403)
        .await;
    watch.check("nobody", &query, 403).await;
}

async fn calls_of_the_api(watch: &mut Watch) {
    for path in [
        "/api/v1/jobs",
        "/api/v1/deliveries?state=unparsed",
        "/api/v1/stats",
        "/api/v1/stats/timeline?tz=UTC",
        "/api/v1/stats/reasons",
        "/api/v1/stats/accounts",
        "/api/v1/accounts",
        "/api/v1/jobs/plain/1",
    ] {
        watch.api(path, Some(API_KEY), 200).await;
        watch.api(path, Some(STRANGERS_KEY), 401).await;
        watch.api(path, None, 401).await;
    }
    for name in ["account", "outcome", "from", "limit", "cursor", "msg_id"] {
        let path = format!("/api/v1/jobs?{name}={UNWANTED}%20");
        watch.api(&path, Some(API_KEY), 400).await;
    }
    watch
        .api(&format!("/api/v1/{UNWANTED}"), Some(API_KEY), 404)
        .await;
    watch
        .api(
            &format!("/api/v1/jobs/plain/{UNWANTED}"),
            Some(API_KEY),
            404,
        )
        .await;
}

/// Everything in the database, as text.
async fn stored(database: &Database) -> String {
    let Some(path) = database.url.strip_prefix("sqlite://") else {
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        let rows: Vec<String> = sqlx::query_scalar(
            "select to_jsonb(d)::text || encode(body, 'escape') from deliveries d union all select to_jsonb(j)::text from jobs j",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        return rows.concat();
    };
    let bytes = ["", "-wal"].map(|end| std::fs::read(format!("{path}{end}")).unwrap_or_default());
    String::from_utf8_lossy(&bytes.concat()).into_owned()
}

fn assert_none(secrets: &[String], place: &str, text: &str) {
    for secret in secrets {
        if let Some(position) = text.find(secret.as_str()) {
            let before: String = text[..position].chars().rev().take(300).collect();
            let before: String = before.chars().rev().collect();
            panic!("{secret} stands in {place}, after {before}");
        }
    }
}

on_both_stores! {
    async fn nothing_is_logged_answered_or_stored_that_should_not_be(backend: Backend) {
        let hash = hex::encode(sha2::Sha256::digest(API_KEY));
        let accounts = ACCOUNTS
            .map(|account| format!("{}previous_token = \"{PREVIOUS_TOKEN}\"\n", account.toml()))
            .concat();
        let server = Setup::default()
            .accounts(&[])
            .toml(&format!("[api]\nkeys = [\"sha256:{hash}\"]\n{accounts}"))
            .log_level("trace")
            .start(backend)
            .await;
        let mut watch = Watch { server, secrets: Vec::new(), answers: Vec::new() };
        for account in ACCOUNTS {
            watch.secrets.extend([account.token.to_owned(), account.aes_key.to_owned()]);
            honest_and_refused_pushes(&mut watch, account).await;
        }
        calls_of_the_api(&mut watch).await;
        let Watch { mut server, mut secrets, answers } = watch;
        server.kill();
        for secret in [API_KEY, STRANGERS_KEY, PREVIOUS_TOKEN, STRANGERS_TOKEN, UNWANTED] {
            secrets.push(secret.to_owned());
        }
        let stored = stored(&server.database).await;
        assert!(stored.contains(WANTED) && stored.contains("gh_0a1b2c3d4e5f"));
        assert_none(&secrets, "the database", &stored);

        secrets.extend([OPEN_ID, WANTED, "gh_0a1b2c3d4e5f", "send success", "/etc/passwd"].map(str::to_owned));
        secrets.push(hash);
        let log = server.log();
        for expected in ["refused", "a job result is kept", "could not be understood", "not kept", "DEBUG"] {
            assert!(log.contains(expected), "{expected} is not in the log:\n{log}");
        }
        assert_none(&secrets, "the log", &log);
        assert_none(&secrets, "an answer", &answers.concat());
    }
}

/// What a command writes to both streams, and its exit code.
fn output(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

/// Mistakes in a configuration file; every secret value contains the word `Secret`.
const MISTAKES: [&str; 17] = [
    "[accounts.main]\nmode = \"plain\"\ntoken = \"SecretTokenThatIsMuchTooLongForAnyAccount\"",
    "[accounts.main]\nmode = \"plain\"\ntoken = \"Secret-Token\"",
    "[accounts.main]\nmode = \"Secret\"\ntoken = \"SecretTokenOfThisAccount\"\nencoding_aes_key = \"Secret\"",
    "[accounts.main]\nmode = \"safe\"\ntoken = \"SecretToken\"\nencoding_aes_key = \"SecretKeyThatIsOneCharacterTooShort4200000\"",
    "[accounts.main]\nmode = \"plain\"\ntoken = \"SecretUnclosed\nprevious_token = \"SecretToo\"",
    "[accounts.main]\nmode = \"plain\"\ntoken = SecretWithoutQuotes",
    "[accounts.main]\nmode = \"plain\"\ntoken = \"SecretOne\"\ntoken = \"SecretTwo\"",
    "[accounts.main]\nmode = \"plain\"\ntoken = [\"SecretInAList\"]",
    "[accounts.main]\nmode = \"plain\"\ntoken = { a = \"SecretInATable\" }",
    "[accounts.main]\nmode = \"plain\"\ntokn = \"SecretUnderAWrongName\"",
    "[accounts.main]\nmode = \"plain\"\ntoken = \"SecretBesideAFile\"\ntoken_file = \"missing\"",
    "[accounts]\nmain = \"SecretInsteadOfATable\"",
    "[store]\nurl = \"mysql://user:SecretPassword@localhost/qunfa\"",
    "[store]\nurl = \"postgres://user:SecretPassword@localhost:port/qunfa\"",
    "[store]\nurl = [\"postgres://user:SecretPassword@localhost/qunfa\"]",
    "[api]\nkeys = [\"SecretKeyInTheClear\", \"sha256:SecretKey\"]",
    "[server]\nbody_limit = \"SecretInsteadOfANumber\"",
];

/// Mistakes in the environment.
const VARIABLES: [(&str, &str); 6] = [
    ("QUNFA_ACCOUNTS__MAIN__TOKEN", "Secret-Token"),
    ("QUNFA_ACCOUNTS__MAIN__TOKN", "SecretUnderAWrongName"),
    (
        "QUNFA_STORE__URL",
        "postgres://user:SecretPassword@localhost:port/qunfa",
    ),
    ("QUNFA_API__KEYS", "SecretKeyInTheClear,sha256:SecretKey"),
    ("QUNFA_SERVER__BODY_LIMIT", "SecretInsteadOfANumber"),
    ("QUNFA_TOKEN", "SecretOfNothing"),
];

#[test]
fn no_mistake_in_the_configuration_quotes_a_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let commands: [&[&str]; 3] = [&["config", "check"], &["config", "show"], &["serve"]];
    let run = |arguments: &[&str], variable: Option<(&str, &str)>| {
        let mut command = program();
        command
            .current_dir(directory.path())
            .env("QUNFA_LOG__LEVEL", "trace");
        command.args(arguments).envs(variable);
        output(&mut command)
    };
    for arguments in commands {
        for mistake in MISTAKES {
            std::fs::write(&path, mistake).unwrap();
            let (text, code) = run(arguments, None);
            assert!(
                !text.contains("Secret"),
                "{arguments:?}, {mistake}:\n{text}"
            );
            assert!(
                code == Some(2) || arguments[1..] == ["show"],
                "{arguments:?}, {mistake}:\n{text}"
            );
        }
        std::fs::write(&path, PLAIN.toml()).unwrap();
        for variable in VARIABLES {
            let (text, code) = run(arguments, Some(variable));
            assert!(
                !text.contains("Secret"),
                "{arguments:?}, {variable:?}:\n{text}"
            );
            assert!(
                code == Some(2) || arguments[1..] == ["show"],
                "{arguments:?}, {variable:?}:\n{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_show_no_secret_of_a_good_configuration() {
    let hash = hex::encode(sha2::Sha256::digest(API_KEY));
    let server = Setup::default()
        .toml(&format!("[api]\nkeys = [\"sha256:{hash}\"]"))
        .log_level("trace")
        .start(Backend::Sqlite)
        .await;
    server.accepts(&PLAIN, event(1)).await;
    let mut secrets: Vec<_> = ACCOUNTS
        .iter()
        .flat_map(|account| [account.token.to_owned(), account.aes_key.to_owned()])
        .collect();
    secrets.extend([hash, OPEN_ID.to_owned()]);
    let address = server.address.to_string();
    let arguments: [&[&str]; 7] = [
        &["config", "check"],
        &["config", "show"],
        &["migrate"],
        &["healthcheck"],
        &["reprocess", "--all"],
        &["simulate", "push", "--account", "safe"],
        &[
            "simulate",
            "load",
            "--account",
            "safe",
            "--seconds",
            "1",
            "--rate",
            "9",
        ],
    ];
    for arguments in arguments {
        let mut command = server.command();
        command
            .args(arguments)
            .env("QUNFA_SERVER__LISTEN", &address);
        let (text, code) = output(&mut command);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        assert_none(&secrets, "the output", &text);
    }
    let path = server.database.directory().join("output");
    let written = serve_until_it_listens(&server, &path).await;
    assert_none(&secrets, "the output of serve", &written);
    assert!(written.contains("/wechat/safe"), "{written}");
}

/// The output of another `serve` with the same configuration, on both streams.
async fn serve_until_it_listens(server: &Server, path: &Path) -> String {
    let file = File::create(path).unwrap();
    let mut child = server
        .command()
        .arg("serve")
        .env("QUNFA_SERVER__LISTEN", "127.0.0.1:0")
        .env("QUNFA_METRICS__LISTEN", "")
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let written = || std::fs::read_to_string(path).unwrap();
    eventually("it says where WeChat should push to", async || {
        written().contains("/wechat/safe")
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    written()
}
