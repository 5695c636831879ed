//! Results with small errors are still jobs: unreadable values are null, and a note says so.

use serde_json::{Value, json};

use crate::support::{Backend, PLAIN, SAFE, Server, fixture, on_both_stores};

/// A job result as XML: common elements, and those of the case.
fn xml(msg_id: usize, elements: &str) -> String {
    format!(
        "<xml><ToUserName>gh_x</ToUserName><CreateTime>1767225600</CreateTime><MsgType>event</MsgType>\
         <Event>MASSSENDJOBFINISH</Event><MsgID>{msg_id}</MsgID>{elements}</xml>"
    )
}

/// The same as JSON.
fn json(msg_id: usize, fields: &str) -> String {
    format!(
        r#"{{"ToUserName":"gh_x","CreateTime":1767225600,"MsgType":"event",
        "Event":"MASSSENDJOBFINISH","MsgID":{msg_id},{fields}}}"#
    )
}

/// Pushes a job result; checks the job, and that its delivery has a note if one is expected.
async fn gives(server: &Server, msg_id: usize, body: &str, expected: &Value, note: bool) {
    for account in [PLAIN, SAFE] {
        server.accepts(&account, body).await;
        let job = server.job(&account, &msg_id.to_string()).await;
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&job[name], value, "{name} of {body}");
        }
        let path = format!("/api/v1/jobs/{}/{msg_id}/deliveries", account.name);
        let delivery = server.items(&path).await.swap_remove(0);
        assert_eq!(delivery["state"], "stored");
        assert_eq!(
            delivery["error"].is_string(),
            note,
            "{} of {body}",
            delivery["error"]
        );
    }
}

const STATUS: &str = "<Status>send success</Status>";

fn status(elements: &str) -> String {
    format!("{STATUS}{elements}")
}

fn copyright(elements: &str) -> String {
    status(&format!(
        "<CopyrightCheckResult>{elements}</CopyrightCheckResult>"
    ))
}

fn urls(items: &str) -> String {
    status(&format!(
        "<ArticleUrlResult><ResultList>{items}</ResultList></ArticleUrlResult>"
    ))
}

fn url(idx: i64, url: &str) -> Value {
    json!({ "idx": idx, "url": url, "copyright": null })
}

/// The elements, the job, and if a note is expected.
fn imperfect() -> Vec<(String, Value, bool)> {
    let unknown = json!({ "outcome": "unknown", "status": null, "reason": null });
    vec![
        (String::new(), unknown.clone(), true),
        ("<Status/>".into(), unknown.clone(), true),
        ("<Status> \n</Status>".into(), unknown.clone(), true),
        ("<Status><a>send success</a></Status>".into(), unknown, true),
        (
            "<Status>half sent</Status>".into(),
            json!({ "outcome": "unknown", "status": "half sent" }),
            false,
        ),
        (
            "<Status>err(2147483648)</Status>".into(),
            json!({ "outcome": "unknown", "status": "err(2147483648)", "reason": null }),
            false,
        ),
        (
            "<Status>err(2147483647)</Status>".into(),
            json!({ "outcome": "rejected", "reason": { "code": 2_147_483_647, "zh": null, "en": null } }),
            false,
        ),
        (
            status(""),
            json!({ "total_count": null, "filtered_out": null, "unaccounted": null, "articles": [] }),
            false,
        ),
        (
            status(
                "<TotalCount/><FilterCount>9</FilterCount><SentCount>5</SentCount><ErrorCount>1</ErrorCount>",
            ),
            json!({ "total_count": null, "filtered_out": null, "unaccounted": 3 }),
            false,
        ),
        (
            status("<TotalCount>-1</TotalCount><FilterCount>5</FilterCount>"),
            json!({ "total_count": null, "filter_count": 5, "filtered_out": null }),
            true,
        ),
        (
            status("<SentCount>many</SentCount>"),
            json!({ "sent_count": null }),
            true,
        ),
        (
            status("<SentCount>1.0</SentCount>"),
            json!({ "sent_count": null }),
            true,
        ),
        (
            status("<SentCount><a>1</a></SentCount>"),
            json!({ "sent_count": null }),
            true,
        ),
        (
            status("<ErrorCount>9223372036854775808</ErrorCount>"),
            json!({ "error_count": null }),
            true,
        ),
        (
            status("<ErrorCount>9223372036854775807</ErrorCount>"),
            json!({ "error_count": 9_223_372_036_854_775_807_i64 }),
            false,
        ),
    ]
}

fn imperfect_lists() -> Vec<(String, Value, bool)> {
    vec![
        (
            copyright(""),
            json!({ "check_state": null, "copyright_count": null, "articles": [] }),
            false,
        ),
        (
            copyright("<CheckState>-3</CheckState>"),
            json!({ "check_state": -3 }),
            false,
        ),
        (
            copyright("<CheckState>?</CheckState><Count>2</Count>"),
            json!({ "check_state": null, "copyright_count": 2 }),
            true,
        ),
        (
            copyright("<Count>-2</Count>"),
            json!({ "copyright_count": null }),
            true,
        ),
        (
            copyright("<ResultList>text</ResultList>"),
            json!({ "articles": [] }),
            false,
        ),
        (
            copyright(
                "<ResultList><item><ArticleIdx>3</ArticleIdx><CanReprint>2</CanReprint></item></ResultList>",
            ),
            json!({ "articles": [{ "idx": 3, "url": null, "copyright": {
                "user_declare_state": null, "audit_state": null, "original_url": null, "original_type": null,
                "can_reprint": null, "need_replace_content": null, "need_show_reprint_source": null,
            } }] }),
            true,
        ),
        (
            urls(
                "<item><ArticleUrl>a</ArticleUrl></item><item><ArticleIdx>2</ArticleIdx><ArticleUrl>b</ArticleUrl></item>",
            ),
            json!({ "articles": [url(2, "b")] }),
            true,
        ),
        (
            urls("<item><ArticleIdx>x</ArticleIdx><ArticleUrl>a</ArticleUrl></item>"),
            json!({ "articles": [] }),
            true,
        ),
        (
            urls(
                "<item><ArticleIdx>1</ArticleIdx><ArticleUrl>a</ArticleUrl></item><item><ArticleIdx>1</ArticleIdx><ArticleUrl>b</ArticleUrl></item>",
            ),
            json!({ "articles": [url(1, "a")] }),
            true,
        ),
        (
            urls(
                "<item><ArticleIdx>2</ArticleIdx><ArticleUrl>b</ArticleUrl></item><item><ArticleIdx>1</ArticleIdx><ArticleUrl/></item>",
            ),
            json!({ "articles": [{ "idx": 1, "url": null, "copyright": null }, url(2, "b")] }),
            false,
        ),
        (
            status("<New>1</New><New>2</New><New><Deep/></New>"),
            json!({ "outcome": "sent" }),
            false,
        ),
        (
            copyright("<New/><New/><CheckState>1</CheckState>"),
            json!({ "check_state": 1 }),
            false,
        ),
        (
            urls(
                "<item><New/><New/><ArticleIdx>1</ArticleIdx><ArticleUrl>a</ArticleUrl></item><other/>",
            ),
            json!({ "articles": [url(1, "a")] }),
            false,
        ),
    ]
}

on_both_stores! {
    async fn what_cannot_be_read_is_null_and_noted(backend: Backend) {
        let server = Server::start(backend).await;
        for (msg_id, (elements, expected, note)) in (1..).zip([imperfect(), imperfect_lists()].concat()) {
            gives(&server, msg_id, &xml(msg_id, &elements), &expected, note).await;
        }
        assert!(server.items("/api/v1/deliveries?state=unparsed").await.is_empty());
    }

    async fn numbers_are_read_to_the_edge_of_their_range(backend: Backend) {
        let server = Server::start(backend).await;
        let largest = usize::try_from(i64::MAX).unwrap();
        for (msg_id, time, finished_at) in [
            (1, "0", "1970-01-01T00:00:00Z"),
            (largest, "253402300799", "9999-12-31T23:59:59Z"),
            (largest - 1, "00000000001", "1970-01-01T00:00:01Z"),
        ] {
            let body = xml(msg_id, STATUS).replace("1767225600", time);
            let expected = json!({ "msg_id": msg_id.to_string(), "finished_at": finished_at });
            gives(&server, msg_id, &body, &expected, false).await;
        }
        let body = json(2, r#""Status":"send success","TotalCount":9223372036854775808,"SentCount":1e300"#);
        gives(&server, 2, &body, &json!({ "total_count": null, "sent_count": null }), true).await;
        let stats = server.ok("/api/v1/stats").await;
        assert_eq!(stats["jobs"], 8, "{stats}");
    }

    async fn every_json_layout_of_a_result_list_is_read(backend: Backend) {
        let server = Server::start(backend).await;
        let (one, two) = (r#"{"ArticleIdx":1,"ArticleUrl":"a"}"#, r#"{"ArticleIdx":"2","ArticleUrl":"b"}"#);
        let both = json!([url(1, "a"), url(2, "b")]);
        let first = json!([url(1, "a")]);
        let none = json!([]);
        for (msg_id, (list, articles)) in (1..).zip([
            (String::new(), &none),
            (r#","ResultList":null"#.into(), &none),
            (r#","ResultList":"""#.into(), &none),
            (r#","ResultList":" \n""#.into(), &none),
            (r#","ResultList":{}"#.into(), &none),
            (r#","ResultList":[]"#.into(), &none),
            (format!(r#","ResultList":[{one}]"#), &first),
            (format!(r#","ResultList":[{one},{two}]"#), &both),
            (format!(r#","ResultList":[{two},{one}]"#), &both),
            (format!(r#","ResultList":{{"item":{one}}}"#), &first),
            (format!(r#","ResultList":{{"item":[{one}]}}"#), &first),
            (format!(r#","ResultList":{{"item":[{one},{two}]}}"#), &both),
            (r#","ResultList":{"item":[]}"#.into(), &none),
            (r#","ResultList":{"item":null}"#.into(), &none),
            (r#","ResultList":{"item":[null]}"#.into(), &none),
        ]) {
            let fields = format!(r#""Status":"send success","ArticleUrlResult":{{"Count":"2"{list}}}"#);
            let expected = json!({ "article_url_count": 2, "articles": articles });
            gives(&server, msg_id, &json(msg_id, &fields), &expected, false).await;
        }
    }

    async fn texts_and_numbers_are_what_the_formats_say(backend: Backend) {
        let server = Server::start(backend).await;
        let status = |status: &str| json!({ "outcome": "unknown", "status": status });
        let sent = json!({ "outcome": "sent" });
        let body = xml(1, "<Status>a\r\nb\rc&#13;d</Status>").replace("\n<", "\r\n<");
        gives(&server, 1, &body, &status("a\nb\nc\rd"), false).await;
        gives(&server, 2, &json(2, r#""Status":"send success","New":1e400"#), &sent, false).await;
        gives(&server, 3, &json(3, r#""Status":"send success","New":"\u001b""#), &sent, false).await;
        gives(&server, 4, &json(4, r#""Status":"send success","New":"\u0000""#), &sent, true).await;
        gives(&server, 5, &json(5, r#""Status":"send success","\u0000":1"#), &sent, true).await;
        gives(&server, 6, &json(6, r#""Status":"a\u0000b""#), &status("a\u{fffd}b"), true).await;
        assert!(server.items("/api/v1/deliveries?state=unparsed").await.is_empty());
    }

    async fn what_has_been_seen_in_the_wild_is_read(backend: Backend) {
        let server = Server::start(backend).await;
        let empty = |list: &str, state: i64| {
            format!(
                "{STATUS}<CopyrightCheckResult><Count>0</Count>{list}<CheckState>{state}</CheckState></CopyrightCheckResult>\
                 <ArticleUrlResult><Count>0</Count>{list}</ArticleUrlResult>"
            )
        };
        let successful = |state: i64| {
            json!({ "outcome": "sent", "check_state": state, "copyright_count": 0, "article_url_count": 0, "articles": [] })
        };
        for (msg_id, elements, expected) in [
            (2_347_649_618, empty("<ResultList></ResultList>", 0), successful(0)),
            (1_000_000_002, empty("<ResultList/>", 1), successful(1)),
            (3_147_484_542, empty("<ResultList>\n  </ResultList>", 0), successful(0)),
            (3_147_494_552, empty("", 0), successful(0)),
            (
                3_147_487_831,
                format!("{STATUS}<CopyrightCheckResult> \n </CopyrightCheckResult><ArticleUrlResult> </ArticleUrlResult>"),
                json!({ "outcome": "sent", "check_state": null, "copyright_count": null, "articles": [] }),
            ),
            (
                2_347_927_027,
                "<Status>err(20431)</Status><TotalCount>0</TotalCount><FilterCount>0</FilterCount>\
                 <SentCount>0</SentCount><ErrorCount>0</ErrorCount>\
                 <CopyrightCheckResult><Count>0</Count><ResultList/><CheckState>0</CheckState></CopyrightCheckResult>".to_owned(),
                json!({ "outcome": "rejected", "reason": { "code": 20431, "zh": null, "en": null },
                    "total_count": 0, "check_state": 0, "article_url_count": null }),
            ),
            (1_000_000_338, "<Status>sendsuccess</Status>".to_owned(), json!({ "outcome": "sent", "status": "sendsuccess" })),
            (5, "<Status>send fail</Status>".to_owned(), json!({ "outcome": "failed" })),
            (6, "<Status> Err ( 30003 ) </Status>".to_owned(), json!({ "outcome": "rejected", "status": "Err ( 30003 )" })),
            (7, "<Status>err（10001）</Status>".to_owned(), json!({ "outcome": "rejected" })),
        ] {
            gives(&server, msg_id, &xml(msg_id, &elements), &expected, false).await;
        }
    }

    async fn harmless_forms_of_a_message_are_read(backend: Backend) {
        let server = Server::start(backend).await;
        let plain = |msg_id: usize| xml(msg_id, STATUS);
        let alias = plain(4).replace("MsgID", "MsgId");
        let root = plain(5).replace("<xml>", "<root a='1' xmlns:x='urn:x' x:b=\"2\">").replace("</xml>", "</root>");
        let cdata = plain(6).replace("<MsgID>6<", "<MsgID> <![CDATA[6]]>\n<");
        let references = plain(7).replace("send success", "&#115;end succes&#x73;").replace("gh_x", "a&lt;b&amp;&quot;c");
        let comments = plain(8).replace("<MsgID>8<", "<!-- <MsgID>9</MsgID> --><MsgID>8<");
        let nested = plain(9).replace("</xml>", "<Other><MsgID>1</MsgID><Event/><a><a/></a></Other></xml>");
        let strings = r#"{"CreateTime":"1767225600","MsgType":"event","Event":"MASSSENDJOBFINISH","MsgID":"10","Status":"send success","TotalCount":"3"}"#;
        for (msg_id, body) in [
            (1, format!("\u{feff}{}", plain(1))),
            (2, format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", plain(2))),
            (3, format!(" \r\n\t{}\r\n", plain(3))),
            (4, alias),
            (5, root),
            (6, cdata),
            (7, references),
            (8, comments),
            (9, nested),
            (10, strings.to_owned()),
            (11, format!("\u{feff} {} ", json(11, r#""Status":"send success","x":{"y":[null,[1]]},"x":2"#))),
        ] {
            let expected = json!({ "outcome": "sent", "status": "send success", "deliveries": 1 });
            gives(&server, msg_id, &body, &expected, false).await;
        }
        assert_eq!(server.job(&SAFE, "7").await["to_user_name"], "a<b&\"c");
    }

    async fn long_texts_are_shown_whole(backend: Backend) {
        let server = crate::support::Setup::default().toml("[server]\nbody_limit = 1000000").start(backend).await;
        let long = "群".repeat(20_000);
        let named = xml(1, STATUS).replace("gh_x", &long);
        gives(&server, 1, &named, &json!({ "to_user_name": long }), false).await;
        let from = xml(2, &status(&format!("<FromUserName>{long}</FromUserName>")));
        gives(&server, 2, &from, &json!({ "from_user_name": long }), false).await;
        let text = xml(3, &format!("<Status>{long}</Status>"));
        gives(&server, 3, &text, &json!({ "status": long, "outcome": "unknown" }), false).await;
        let item = format!("<item><ArticleIdx>1</ArticleIdx><ArticleUrl>{long}</ArticleUrl></item>");
        gives(&server, 4, &xml(4, &urls(&item)), &json!({ "articles": [url(1, &long)] }), false).await;
        for account in [PLAIN, SAFE] {
            server.accepts(&account, xml(5, STATUS).replace("MASSSENDJOBFINISH", &long)).await;
        }
        assert_eq!(server.items("/api/v1/jobs").await.len(), 8);
        let sample = fixture("events/articles.xml");
        server.accepts(&SAFE, sample).await;
    }
}
