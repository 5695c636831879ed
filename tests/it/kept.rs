//! Which authentic pushes are kept: job results always, other events on request, users' messages
//! never.

use serde_json::Value;

use crate::support::{
    Backend, COMPATIBLE, PLAIN, SAFE, Server, Setup, event, fixture, on_both_stores,
};

fn other_event(name: &str, extra: &str) -> String {
    format!(
        "<xml><ToUserName>gh_0a1b2c3d4e5f</ToUserName><FromUserName>oPrivate</FromUserName>\
         <CreateTime>1767225600</CreateTime><MsgType>event</MsgType><Event>{name}</Event>{extra}</xml>"
    )
}

/// Users' messages, and events that are not in `keep_events`.
fn not_kept() -> Vec<String> {
    let message = |kind: &str, id: &str| {
        format!(
            "<xml><ToUserName>gh_0a1b2c3d4e5f</ToUserName><FromUserName>oPrivate</FromUserName>\
             <CreateTime>1767225600</CreateTime><MsgType>{kind}</MsgType><Content>Private</Content>{id}</xml>"
        )
    };
    vec![
        message("text", "<MsgId>22</MsgId>"),
        message("image", "<MsgId>not a number</MsgId>"),
        message("text", "<Event>MASSSENDJOBFINISH</Event><MsgID>22</MsgID>"),
        other_event("subscribe", ""),
        other_event(
            "TEMPLATESENDJOBFINISH",
            "<MsgID>22</MsgID><Status>success</Status>",
        ),
        other_event("MASSSENDJOBFINISHED", "<MsgID>22</MsgID>"),
        other_event(
            "PUBLISHJOBFINISH",
            "<PublishEventInfo><publish_id>1</publish_id></PublishEventInfo>",
        ),
        r#"{"MsgType":"text","Content":"Private","MsgId":22}"#.to_owned(),
        r#"{"MsgType":"event","Event":"subscribe"}"#.to_owned(),
    ]
}

/// Users' messages and other events that are malformed, or have a job result in a user's
/// text.
fn not_kept_with_faults() -> Vec<Vec<u8>> {
    let xml = |content: &str| {
        format!(
            "<xml><ToUserName>gh_0a1b2c3d4e5f</ToUserName><FromUserName>oPrivate</FromUserName>\
             <CreateTime>1767225600</CreateTime><MsgType>text</MsgType><Content><![CDATA[{content}]]></Content>\
             <MsgId>22</MsgId></xml>"
        )
    };
    let json = |content: &str| {
        format!(
            "{{\"FromUserName\":\"oPrivate\",\"CreateTime\":1767225600,\"MsgType\":\"text\",\"Content\":\"{content}\",\"MsgId\":22}}"
        )
    };
    let forged = event(22);
    let forged = forged.strip_prefix("<xml>").unwrap();
    let forged_json =
        r#"x","MsgType":"event","Event":"MASSSENDJOBFINISH","MsgID":22,"Status":"send success"#;
    let mut bodies: Vec<_> = [
        xml("Private \u{2}"),
        xml("\u{10}"),
        xml("a]]>b"),
        xml("]]></Content><b>Private</Content>"),
        xml(&format!("]]></Content></xml><xml>{forged}")),
        xml(&format!(
            "]]></Content>{}",
            forged.replace("</xml>", "<Content><![CDATA[")
        )),
        xml("]]></Content></xml><!--"),
        xml("]]>&nbsp;<![CDATA["),
        xml(&format!("]]>{}<![CDATA[", "<a>".repeat(20))),
        xml(&format!(
            "]]></Content>{}<Content><![CDATA[",
            "<a/>".repeat(2000)
        )),
        json("Private \\u0002"),
        json("Private \\u0000"),
        json("Private \u{2}"),
        json("Private \"quoted\""),
        json("\\ud83d"),
        json(forged_json),
        json(&format!("x\"}}{}", r#"{"MsgType":"event"#)),
        other_event("SCAN", "<EventKey>\u{1d}</EventKey>"),
        other_event("VIEW", "<EventKey>http://example.com/?a=1&b=2</EventKey>"),
        other_event("SCAN", "<Event>MASSSENDJOBFINISH</Event><MsgID>22</MsgID>"),
        other_event("SCAN", "").replace("<MsgType>event</MsgType>", ""),
        r#"{"MsgType":"event","Event":"SCAN","EventKey":"\u0007","EventKey":"#.to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    let halves = xml("Private ?").into_bytes();
    let at = halves.iter().position(|byte| *byte == b'?').unwrap();
    bodies.push([&halves[..at], &"发".as_bytes()[..2], &halves[at + 1..]].concat());
    for case in [
        "chat-control-1d",
        "chat-forged-result",
        "event-control",
        "ticket",
    ] {
        bodies.push(fixture(&format!("cases/{case}.xml")));
    }
    bodies
}

fn with_keep_events() -> Setup {
    let keep = |account: &crate::support::Account| {
        account.toml() + "keep_events = [\"PUBLISHJOBFINISH\", \"templateSendJobFinish\"]\n"
    };
    Setup::default()
        .accounts(&[COMPATIBLE])
        .toml(&(keep(&PLAIN) + &keep(&SAFE)))
}

on_both_stores! {
    async fn users_messages_and_other_events_are_answered_and_not_stored(backend: Backend) {
        let server = Server::start(backend).await;
        for account in [PLAIN, COMPATIBLE, SAFE] {
            for message in not_kept() {
                server.accepts(&account, message).await;
            }
        }
        assert!(server.items("/api/v1/deliveries").await.is_empty());
        assert!(server.items("/api/v1/jobs").await.is_empty());
    }

    async fn what_shows_that_it_is_no_job_result_is_forgotten_whatever_its_faults(backend: Backend) {
        let server = Setup::default().with_metrics().start(backend).await;
        let messages = not_kept_with_faults();
        for account in [PLAIN, COMPATIBLE, SAFE] {
            for message in &messages {
                let (status, _) = server.push(&account, message).await;
                assert_eq!(status, 200, "{}: {}", account.name, String::from_utf8_lossy(message));
            }
        }
        let deliveries = server.items("/api/v1/deliveries").await;
        assert!(deliveries.is_empty(), "{deliveries:?}");
        assert!(server.items("/api/v1/jobs").await.is_empty());
        let log = server.log();
        for private in ["could not be understood", "Private", "oField", "ticket@@@"] {
            assert!(!log.contains(private), "{log}");
        }
        let metrics = server.metrics().await;
        let has = |account: &str, event: &str, count: usize| {
            let line = format!(
                "qunfa_pushes_total{{account=\"{account}\",event=\"{event}\",result=\"not_kept\"}} {count}\n"
            );
            assert!(metrics.contains(&line), "{line}: {metrics}");
        };
        for account in [PLAIN, COMPATIBLE, SAFE] {
            has(account.name, "none", messages.len() - 7);
            has(account.name, "SCAN", 5);
            has(account.name, "VIEW", 1);
            has(account.name, "platform", 1);
        }
    }

    async fn an_event_on_the_list_with_a_fault_is_kept_as_not_understood(backend: Backend) {
        let server = with_keep_events().start(backend).await;
        let kept = other_event("publishJobFinish", "<a>\u{2}</a>");
        server.accepts(&SAFE, &kept).await;
        server.accepts(&SAFE, other_event("SCAN", "<a>\u{2}</a>")).await;
        let deliveries = server.items("/api/v1/deliveries").await;
        assert_eq!(deliveries.len(), 1);
        assert_eq!((&deliveries[0]["body"], &deliveries[0]["state"]), (&kept.into(), &"unparsed".into()));
    }

    async fn the_event_of_a_job_result_is_compared_without_case(backend: Backend) {
        let server = Server::start(backend).await;
        let message = event(1).replace("MASSSENDJOBFINISH", "MassSendJobFinish");
        server.accepts(&SAFE, &message).await;
        let deliveries = server.items("/api/v1/jobs/safe/1/deliveries").await;
        assert_eq!(deliveries[0]["event"], "MassSendJobFinish");
    }

    async fn an_event_on_the_list_is_kept_raw_and_makes_no_job(backend: Backend) {
        let server = with_keep_events().start(backend).await;
        let kept = [
            other_event("PUBLISHJOBFINISH", "<MsgID>55</MsgID>"),
            other_event("publishJobFinish", "<MsgID>55</MsgID>"),
            other_event("TEMPLATESENDJOBFINISH", "<Status>send success</Status>"),
        ];
        for account in [PLAIN, SAFE] {
            for message in kept.iter().chain([&kept[0], &other_event("PUBLISH", "")]) {
                server.accepts(&account, message).await;
            }
            let path = format!("/api/v1/deliveries?account={}", account.name);
            let deliveries = server.items(&path).await;
            assert_eq!(deliveries.len(), 3);
            for (body, event, msg_id, times) in [
                (&kept[0], "PUBLISHJOBFINISH", "55".into(), 2),
                (&kept[1], "publishJobFinish", "55".into(), 1),
                (&kept[2], "TEMPLATESENDJOBFINISH", Value::Null, 1),
            ] {
                let delivery = deliveries.iter().find(|one| one["body"] == *body).unwrap();
                assert_eq!(delivery["state"], "stored");
                assert_eq!(delivery["error"], Value::Null);
                assert_eq!(delivery["event"], event);
                assert_eq!(delivery["msg_id"], msg_id);
                assert_eq!(delivery["times"], times);
            }
        }
        server.accepts(&COMPATIBLE, &kept[0]).await;
        assert!(server.items("/api/v1/deliveries?account=compatible").await.is_empty());
        assert!(server.items("/api/v1/jobs").await.is_empty());
        assert_eq!(server.json("/api/v1/jobs/plain/55").await.0, 404);
        assert_eq!(server.json("/api/v1/jobs/plain/55/deliveries").await.0, 404);
    }

    async fn a_kept_or_unparsed_event_never_counts_for_the_job_with_its_id(backend: Backend) {
        let server = with_keep_events().start(backend).await;
        for account in [PLAIN, SAFE] {
            server.accepts(&account, other_event("PUBLISHJOBFINISH", "<MsgID>55</MsgID>")).await;
            server.accepts(&account, event(55)).await;
            server.accepts(&account, other_event("PUBLISHJOBFINISH", "<MsgID>55</MsgID><x/>")).await;
            server.accepts(&account, event(55).replace("<CreateTime>", "<CreateTime>x")).await;
            let job = server.job(&account, "55").await;
            assert_eq!((&job["deliveries"], &job["revision"]), (&1.into(), &1.into()));
            let path = format!("/api/v1/jobs/{}/55/deliveries", account.name);
            let deliveries = server.items(&path).await;
            assert_eq!(deliveries.len(), 1);
            assert_eq!(deliveries[0]["body"], event(55));
            let all = server.items(&format!("/api/v1/deliveries?account={}", account.name)).await;
            assert!(all.len() == 4 && all.iter().all(|delivery| delivery["msg_id"] == "55"), "{all:?}");
        }
    }
}
