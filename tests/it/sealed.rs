//! Pushes that WeChat has signed, but that our key, AppID or original id does not open: kept
//! sealed, reported, and opened later.

use qunfa::simulator::SignedPush;
use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::workplace::{Ended, ended};
use crate::support::{
    Account, Backend, COMPATIBLE, Database, Event, Proxy, SAFE, Server, Setup, Way, event,
    eventually, on_both_stores,
};

const OTHER_KEY: &str = "KeyOfAnotherAccountThatIs43CharactersLong06";
const OTHER_APP_ID: &str = "wx00000000000000ff";
const OURS: &str = "gh_0a1b2c3d4e5f";
const CHAT: &str = "the words of a follower";

/// An account, configured wrongly and rightly.
struct Case {
    /// As in WeChat's console.
    right: Account,
    wrong: String,
    /// The name that the error must contain.
    misfit: &'static str,
}

impl Case {
    /// The configuration that opens the pushes. One account has the key as its previous one.
    fn right(&self) -> String {
        let original_id = format!("original_id = \"{OURS}\"\n");
        if self.right.name != "safe-key" {
            return self.right.toml() + &original_id;
        }
        let changed = Account {
            aes_key: OTHER_KEY,
            ..self.right
        };
        let previous = format!("previous_encoding_aes_key = \"{}\"\n", self.right.aes_key);
        changed.toml() + &original_id + &previous
    }
}

/// Each mistake in each mode.
fn cases() -> Vec<Case> {
    let case = |name, account: Account, misfit| {
        let right = Account { name, ..account };
        let wrong = match misfit {
            "key" => Account {
                aes_key: OTHER_KEY,
                ..right
            },
            "AppID" => Account {
                app_id: OTHER_APP_ID,
                ..right
            },
            _ => right,
        };
        let original_id = if misfit == "ToUserName" {
            "gh_other"
        } else {
            OURS
        };
        Case {
            right,
            wrong: format!("{}original_id = \"{original_id}\"\n", wrong.toml()),
            misfit,
        }
    };
    vec![
        case("safe-key", SAFE, "key"),
        case("safe-app", SAFE, "AppID"),
        case("safe-id", SAFE, "ToUserName"),
        case("compatible-key", COMPATIBLE, "key"),
        case("compatible-app", COMPATIBLE, "AppID"),
        case("compatible-id", COMPATIBLE, "ToUserName"),
    ]
}

fn wrongly_configured() -> Setup {
    let wrong: String = cases().into_iter().map(|case| case.wrong).collect();
    Setup::default().accounts(&[]).toml(&wrong).with_metrics()
}

fn chat() -> String {
    Event::new(5, 10)
        .xml()
        .replace(
            "<MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event>",
            "<MsgType>text</MsgType>",
        )
        .replace(
            "<Status>send success</Status>",
            &format!("<Content>{CHAT}</Content>"),
        )
}

fn qunfa(server: &Server, arguments: &[&str]) -> Ended {
    let mut command = server.command();
    command
        .env("QUNFA_SERVER__LISTEN", server.address.to_string())
        .env("QUNFA_METRICS__LISTEN", server.metrics_address())
        .args(arguments);
    ended(command)
}

/// A successful run: standard output, and its summary.
fn reprocess(server: &Server, arguments: &[&str]) -> (String, String) {
    let ended = qunfa(server, &[&["reprocess"], arguments].concat()).with_code(0);
    (ended.output, ended.talk)
}

/// Configures every account as in WeChat's console, for the next start and for commands.
fn correct(server: &Server) {
    let right: String = cases().iter().map(Case::right).collect();
    std::fs::write(&server.config, right).unwrap();
}

async fn readiness(server: &Server) -> (String, String) {
    let ready = server.ok("/readyz").await;
    let text = |name: &str| ready[name].as_str().unwrap().to_owned();
    (text("status"), text("detail"))
}

async fn sealed(server: &Server, account: &Account) -> Vec<Value> {
    let path = format!(
        "/api/v1/deliveries?state=sealed&account={}&limit=500",
        account.name
    );
    server.items(&path).await
}

on_both_stores! {
    async fn what_does_not_open_is_kept_as_it_came_and_makes_no_job(backend: Backend) {
        let server = wrongly_configured().start(backend).await;
        for Case { right, misfit, .. } in cases() {
            let push = right.sign(event(1));
            let envelope = String::from_utf8(push.body.clone()).unwrap();
            for _ in 0..2 {
                let again = SignedPush { query: push.query.clone(), body: push.body.clone() };
                assert_eq!(server.send(right.name, again).await, (200, "success".to_owned()));
            }
            server.accepts(&right, chat()).await;
            let kept = sealed(&server, &right).await;
            assert_eq!(kept.len(), 2, "{kept:?}");
            let delivery = kept.iter().find(|one| one["body"] == envelope).unwrap();
            assert_eq!(delivery["times"], 2);
            for one in &kept {
                assert_eq!((&one["event"], &one["msg_id"]), (&Value::Null, &Value::Null));
                let error = one["error"].as_str().unwrap();
                assert!(error.contains(misfit), "{}: {error}", right.name);
                assert!(!one["body"].as_str().unwrap().contains(CHAT), "{one}");
                assert!(one["body"].as_str().unwrap().contains(OURS), "{one}");
            }
        }
        assert_eq!(server.items("/api/v1/jobs").await.len(), 0);
        for state in ["stored", "unparsed"] {
            assert_eq!(server.items(&format!("/api/v1/deliveries?state={state}")).await.len(), 0);
        }
        assert!(!server.log().contains(CHAT));
    }

    async fn what_is_sealed_is_told_everywhere(backend: Backend) {
        let mut server = wrongly_configured().start(backend).await;
        assert_eq!(readiness(&server).await.0, "ready");
        let all = cases();
        let first = &all[0].right;
        for _ in 0..3 {
            server.accepts(first, event(1)).await;
        }
        let told = "a push does not open with the configuration of its account and is kept sealed";
        assert_eq!(server.log().matches(told).count(), 1, "{}", server.log());
        server.accepts(&all[2].right, event(1)).await;
        assert_eq!(server.log().matches(told).count(), 2, "{}", server.log());

        eventually("an earlier answer is forgotten", async || readiness(&server).await.0 == "degraded").await;
        let (_, detail) = readiness(&server).await;
        assert!(detail.contains("sealed") && !detail.contains(first.name), "{detail}");

        let metrics = server.metrics().await;
        for line in [
            r#"qunfa_pushes_total{account="safe-key",event="none",result="sealed"} 3"#,
            r#"qunfa_pushes_total{account="safe-app",event="none",result="sealed"} 0"#,
            r#"qunfa_sealed_deliveries{account="safe-key"} 3"#,
            r#"qunfa_sealed_deliveries{account="safe-id"} 1"#,
            r#"qunfa_sealed_deliveries{account="safe-app"} 0"#,
            r#"qunfa_sealed_dropped_deliveries{account="safe-key"} 0"#,
            r#"qunfa_status{status="degraded"} 1"#,
        ] {
            assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
        }

        let found = qunfa(&server, &["doctor"]).with_code(1);
        let line = |account: &str| {
            let about = format!("of `{account}` are sealed");
            let mut lines = found.output.lines().filter(|line| line.starts_with("fail  sealed: ") && line.contains(&about));
            lines.next().unwrap_or_else(|| panic!("{found:#?}")).to_owned()
        };
        let told = line("safe-key");
        assert!(told.contains("3 deliveries") && told.contains("EncodingAESKey") && told.contains("qunfa reprocess"), "{told}");
        assert!(line("safe-id").contains("ToUserName"), "{found:#?}");

        server.kill();
        server.restart();
        eventually("the start tells", async || {
            server.log().contains("deliveries are sealed; once the configuration of their account is right, run `qunfa reprocess`")
        })
        .await;
    }

    async fn once_the_configuration_is_right_reprocess_opens_it(backend: Backend) {
        let mut server = wrongly_configured().start(backend).await;
        let subscribe = chat().replace("<MsgType>text</MsgType>", "<MsgType>event</MsgType><Event>subscribe</Event>");
        for Case { right, .. } in cases() {
            for message in [event(1), chat(), event(1), subscribe.clone(), event(2)] {
                server.accepts(&right, message).await;
            }
        }
        let sealed_before = server.items("/api/v1/deliveries?state=sealed").await;
        assert_eq!(sealed_before.len(), 30);

        let (output, talk) = reprocess(&server, &[]);
        assert_eq!(output, "");
        assert!(talk.contains("changed: 0,") && talk.contains("still sealed: 30"), "{talk}");

        // The key is right now, but the AppID is not.
        let half_right = Account { app_id: OTHER_APP_ID, ..cases()[0].right };
        std::fs::write(&server.config, half_right.toml()).unwrap();
        reprocess(&server, &["--account", "safe-key"]);
        let kept = sealed(&server, &half_right).await;
        assert_eq!(kept.len(), 5);
        assert!(kept.iter().all(|one| one["error"].as_str().unwrap().contains("AppID")), "{kept:?}");
        assert_eq!(server.items("/api/v1/jobs").await.len(), 0);

        correct(&server);
        server.kill();
        server.restart();
        // Pushed again, it opens, and the sealed copy is merged with it.
        let last = cases().pop().unwrap().right;
        server.accepts(&last, event(1)).await;

        let (planned, talk) = reprocess(&server, &["--dry-run"]);
        assert!(talk.contains("would change: 18, not understood: 0, would be forgotten: 12, still sealed: 0"), "{talk}");
        assert_eq!(server.items("/api/v1/deliveries?state=sealed").await.len(), 30);
        let (done, talk) = reprocess(&server, &[]);
        assert!(talk.contains("changed: 18, not understood: 0, forgotten: 12, still sealed: 0"), "{talk}");
        assert_eq!(done.lines().count(), planned.lines().count());

        for Case { right, .. } in cases() {
            let received = |name: &str| {
                let copies = sealed_before.iter().filter(|one| one["account"] == right.name);
                // Without the `Z`, as `…03Z` is earlier than `…03.016Z`.
                let times = copies.map(|one| one[name].as_str().unwrap().trim_end_matches('Z'));
                times.min().map(|time| format!("{time}Z"))
            };
            let job = server.job(&right, "1").await;
            let copies = if right.name == last.name { 3 } else { 2 };
            assert_eq!((&job["deliveries"], &job["revision"]), (&copies.into(), &1.into()), "{job}");
            assert_eq!((&job["sent_count"], &job["status"]), (&1148.into(), &"send success".into()), "{job}");
            assert_eq!(job["first_received_at"].as_str().map(str::to_owned), received("received_at"));
            assert_eq!(server.job(&right, "2").await["deliveries"], 1);
            let bodies = server.items(&format!("/api/v1/deliveries?account={}", right.name)).await;
            assert_eq!(bodies.len(), 2, "{bodies:?}");
            assert!(bodies.iter().any(|one| one["body"] == event(1) && one["times"] == copies), "{bodies:?}");
            assert!(bodies.iter().all(|one| one["state"] == "stored"), "{bodies:?}");
        }
        assert_eq!(reprocess(&server, &["--all"]).0, "");
        eventually("all is well again", async || readiness(&server).await.0 == "ready").await;
        qunfa(&server, &["doctor"]).with_code(0);
    }

    async fn only_a_prune_that_asks_for_sealed_deliveries_removes_them(backend: Backend) {
        let server = wrongly_configured().start(backend).await;
        let account = cases()[0].right;
        server.accepts(&account, event(1)).await;
        server.database.execute(match backend {
            Backend::Sqlite => "update other_deliveries set received_at = received_at - 172800000",
            Backend::Postgres => "update other_deliveries set received_at = received_at - interval '2 days'",
        }).await;
        let all = ["prune", "--older-than", "1d", "--unparsed", "--yes"];
        assert_eq!(qunfa(&server, &all).with_code(0).output, "deliveries 0\n");
        let prune = ["prune", "--older-than", "1d", "--sealed"];
        assert!(qunfa(&server, &prune).with_code(0).output.starts_with("deliveries 1\nbytes "));
        assert_eq!(sealed(&server, &account).await.len(), 1);
        assert_eq!(qunfa(&server, &[&prune[..], &["--yes"]].concat()).with_code(0).output, "deliveries 1\n");
        assert_eq!(sealed(&server, &account).await.len(), 0);
        eventually("all is well again", async || readiness(&server).await.0 == "ready").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_postgresql_is_away_stays_sealed_on_its_way_through_the_spool() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = wrongly_configured().start_on(database);
    proxy.set(Way::Refused);
    for Case { right, .. } in cases() {
        server.accepts(&right, event(1)).await;
        server.accepts(&right, chat()).await;
    }
    proxy.set(Way::Open);
    for Case { right, misfit, .. } in cases() {
        eventually("it is in the database", async || {
            let path = format!("/api/v1/deliveries?state=sealed&account={}", right.name);
            let (status, kept) = server.json(&path).await;
            status == 200 && kept["items"].as_array().unwrap().len() == 2
        })
        .await;
        for one in sealed(&server, &right).await {
            let error = one["error"].as_str().unwrap();
            assert!(error.contains(misfit), "{}: {error}", right.name);
        }
    }
    assert_eq!(server.items("/api/v1/deliveries").await.len(), 12);
    correct(&server);
    reprocess(&server, &[]);
    for Case { right, .. } in cases() {
        let job = server.job(&right, "1").await;
        assert_eq!(job["deliveries"], 1, "{job}");
    }
    assert_eq!(server.items("/api/v1/deliveries").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_a_server_that_was_not_restarted_and_leaves_nothing_sealed() {
    let server = wrongly_configured().start(Backend::Sqlite).await;
    correct(&server);
    let found = qunfa(&server, &["doctor", "--account", "compatible-key"]).with_code(1);
    let mut lines = found.output.lines();
    let told = lines.find(|line| line.starts_with("fail  push: "));
    assert!(
        told.is_some_and(|told| told.contains("restart it")),
        "{found:#?}"
    );
    assert_eq!(server.items("/api/v1/deliveries").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_what_to_correct() {
    let server = wrongly_configured().start(Backend::Sqlite).await;
    server.accepts(&cases()[1].right, event(1)).await;
    let browser = Browser::start().await;
    browser.open(&server.url("/#/overview")).await;
    browser
        .shows("Pushes to safe-app cannot be opened and are kept sealed: app_id does not match the AppID")
        .await;
    browser.click(".note.warning a").await;
    browser
        .until("location.hash === '#/received?state=sealed'")
        .await;
    browser
        .until("document.querySelector('.delivery .badge').textContent === 'Sealed'")
        .await;
    browser.click("#language").await;
    browser
        .until("document.querySelector('.delivery .badge').textContent === '未解密'")
        .await;
    browser.open(&server.url("/#/overview")).await;
    browser
        .shows("app_id 与微信后台的开发者 ID（AppID）不一致")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_and_a_backup_have_what_is_sealed() {
    let server = wrongly_configured().start(Backend::Sqlite).await;
    let account = cases()[0].right;
    for _ in 0..3 {
        server.accepts(&account, event(1)).await;
    }
    let before = server.items("/api/v1/deliveries?state=sealed").await;
    let sealed_in = async |database: Database| {
        let server = wrongly_configured().start_on(database);
        assert_eq!(
            server.items("/api/v1/deliveries?state=sealed").await,
            before
        );
        let metrics = server.metrics().await;
        let told = "qunfa_sealed_deliveries{account=\"safe-key\"} 3";
        assert!(metrics.contains(told), "{metrics}");
    };

    let copied = Backend::Postgres.database().await;
    let file = server.database.directory().join("target-url");
    std::fs::write(&file, &copied.url).unwrap();
    let sums = qunfa(&server, &["copy", "--to-file", file.to_str().unwrap()]).with_code(0);
    assert!(sums.output.contains("bodies 3 3"), "{sums:#?}");
    sealed_in(copied).await;

    let backup = Backend::Sqlite.database().await;
    let path = backup.url.strip_prefix("sqlite://").unwrap();
    qunfa(&server, &["backup", path]).with_code(0);
    sealed_in(backup).await;
}
