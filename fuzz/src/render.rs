//! Writes a job result in the forms that WeChat sends.

use qunfa::domain::{Article, Copyright, MassSendFinished};
use serde_json::{Value, json};

/// As XML, without missing values; `None` if a text has characters that XML does not allow.
pub fn xml(event: &str, result: &MassSendFinished) -> Option<String> {
    let is_white = |character| matches!(character, '\t' | '\n' | '\r');
    let is_foreign = |character| {
        (character < ' ' && !is_white(character)) || matches!(character, '\u{fffe}' | '\u{ffff}')
    };
    let xml = element("xml", &fields(event, result));
    (!xml.contains(is_foreign)).then_some(xml)
}

/// As JSON, with the same names.
pub fn json(event: &str, result: &MassSendFinished) -> String {
    fields(event, result).to_string()
}

fn element(name: &str, value: &Value) -> String {
    let content = match value {
        Value::Null => return String::new(),
        Value::Array(items) => return items.iter().map(|item| element(name, item)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| element(name, value))
            .collect(),
        Value::String(text) => {
            let text = text.replace("]]>", "]]]]><![CDATA[>");
            format!("<![CDATA[{}]]>", text.replace('\r', "]]>&#13;<![CDATA["))
        }
        Value::Bool(flag) => u8::from(*flag).to_string(),
        Value::Number(number) => number.to_string(),
    };
    format!("<{name}>{content}</{name}>")
}

fn fields(event: &str, result: &MassSendFinished) -> Value {
    let checked = result.articles.iter().filter_map(checked);
    let is_linked = |article: &&Article| article.url.is_some() || article.copyright.is_none();
    let linked = result.articles.iter().filter(is_linked);
    let linked =
        linked.map(|article| json!({"ArticleIdx": article.idx, "ArticleUrl": article.url}));
    json!({
        "ToUserName": result.to_user_name,
        "FromUserName": result.from_user_name,
        "CreateTime": result.finished_at.seconds(),
        "MsgType": "event",
        "Event": event,
        "MsgID": result.msg_id.get(),
        "Status": result.status.text,
        "TotalCount": result.counts.total,
        "FilterCount": result.counts.filter,
        "SentCount": result.counts.sent,
        "ErrorCount": result.counts.error,
        "CopyrightCheckResult": {
            "Count": result.copyright_count,
            "ResultList": {"item": checked.collect::<Vec<_>>()},
            "CheckState": result.check_state,
        },
        "ArticleUrlResult": {
            "Count": result.article_url_count,
            "ResultList": {"item": linked.collect::<Vec<_>>()},
        },
    })
}

fn checked(article: &Article) -> Option<Value> {
    let copyright: &Copyright = article.copyright.as_ref()?;
    Some(json!({
        "ArticleIdx": article.idx,
        "UserDeclareState": copyright.user_declare_state,
        "AuditState": copyright.audit_state,
        "OriginalArticleUrl": copyright.original_url,
        "OriginalArticleType": copyright.original_type,
        "CanReprint": copyright.can_reprint,
        "NeedReplaceContent": copyright.need_replace_content,
        "NeedShowReprintSource": copyright.need_show_reprint_source,
    }))
}
