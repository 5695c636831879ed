//! Pushes that WeChat has signed, but that our key, AppID or original id does not open: kept sealed, told, and opened later.

use serde_json::Value;

use crate::support::{
    Account, Backend, COMPATIBLE, Event, SAFE, Server, Setup, event, on_both_stores,
};

const OTHER_KEY: &str = "KeyOfAnotherAccountThatIs43CharactersLong06";
const OTHER_APP_ID: &str = "wx00000000000000ff";
const OURS: &str = "gh_0a1b2c3d4e5f";
const CHAT: &str = "the words of a follower";

/// An account that is configured wrongly, and right.
struct Case {
    /// As WeChat's console has it.
    right: Account,
    wrong: String,
    /// What the error must name.
    misfit: &'static str,
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
                let again = qunfa::simulator::SignedPush { query: push.query.clone(), body: push.body.clone() };
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
}
