//! Every form of the event, pushed over HTTP, gives the right job on both stores.

use serde_json::{Value, json};

use crate::support::{Backend, COMPATIBLE, PLAIN, SAFE, Server, fixture, on_both_stores};

/// A job without the values that depend on the time.
fn timeless(mut job: Value) -> Value {
    let object = job.as_object_mut().unwrap();
    for field in ["first_received_at", "last_received_at", "updated_at"] {
        let time = object
            .remove(field)
            .unwrap_or_else(|| panic!("{field} is missing"));
        let text = time.as_str().unwrap();
        assert!(
            text.starts_with("20") && text.ends_with('Z'),
            "{field} is {text}"
        );
    }
    job
}

fn documentation_2014() -> Value {
    json!({
        "account": "plain", "msg_id": "1988", "outcome": "sent", "status": "sendsuccess", "reason": null,
        "total_count": 100, "filter_count": 80, "sent_count": 75, "error_count": 5,
        "filtered_out": 20, "unaccounted": 0,
        "check_state": null, "copyright_count": null, "article_url_count": null, "articles": [],
        "to_user_name": "gh_3e8adccde292", "from_user_name": "oR5Gjjl_eiZoUpGozMo7dbBJ362A",
        "finished_at": "2014-03-11T07:51:35Z", "deliveries": 1, "revision": 1
    })
}

fn documentation_current() -> Value {
    let copyright = |url: &str| {
        json!({
            "user_declare_state": 0, "audit_state": 2, "original_url": url, "original_type": 1,
            "can_reprint": true, "need_replace_content": true, "need_show_reprint_source": true
        })
    };
    json!({
        "account": "plain", "msg_id": "1000001625", "outcome": "rejected", "status": "err(30003)",
        "reason": {
            "code": 30003,
            "zh": "原创校验被判定为转载文且用户选择了被判为转载就不群发",
            "en": "judged a reprint while the sender had chosen \"do not send if judged a reprint\""
        },
        "total_count": 0, "filter_count": 0, "sent_count": 0, "error_count": 0,
        "filtered_out": 0, "unaccounted": 0,
        "check_state": 2, "copyright_count": 2, "article_url_count": 1,
        "articles": [
            { "idx": 1, "url": "Url", "copyright": copyright("Url_1") },
            { "idx": 2, "url": null, "copyright": copyright("Url_2") }
        ],
        "to_user_name": "gh_4d00ed8d6399", "from_user_name": "oV5CrjpxgaGXNHIQigzNlgLTnwic",
        "finished_at": "2016-12-06T08:37:39Z", "deliveries": 1, "revision": 1
    })
}

on_both_stores! {
    async fn the_documentations_own_events_give_their_jobs(backend: Backend) {
        let server = Server::start(backend).await;
        server.accepts(&PLAIN, fixture("documentation/documentation-2014.xml")).await;
        server.accepts(&PLAIN, fixture("documentation/documentation-current.xml")).await;
        assert_eq!(timeless(server.job(&PLAIN, "1988").await), documentation_2014());
        assert_eq!(timeless(server.job(&PLAIN, "1000001625").await), documentation_current());
    }

    async fn every_mode_and_format_gives_the_same_job(backend: Backend) {
        let server = Server::start(backend).await;
        let xml = fixture("events/articles.xml");
        let json = fixture("events/articles.json");
        for (account, body) in [(PLAIN, &xml), (COMPATIBLE, &xml), (SAFE, &xml)] {
            server.accepts(&account, body).await;
        }
        let mut expected = timeless(server.job(&PLAIN, "3147483999").await);
        assert_eq!(expected["articles"][1]["idx"], 2);
        for account in [COMPATIBLE, SAFE] {
            expected["account"] = account.name.into();
            assert_eq!(timeless(server.job(&account, "3147483999").await), expected);
        }
        for account in [PLAIN, COMPATIBLE, SAFE] {
            server.accepts(&account, &json).await;
            expected["account"] = account.name.into();
            // The same content in other bytes is a revision with the same values.
            expected["deliveries"] = 2.into();
            expected["revision"] = 2.into();
            assert_eq!(timeless(server.job(&account, "3147483999").await), expected);
        }
    }
}
