//! Parses `MASSSENDJOBFINISH` events.

use std::collections::BTreeMap;

use super::document::{Node, Text};
use crate::domain::{Article, Copyright, Counts, MassSendFinished, Status, Time, whole_number};

/// Why an event cannot be parsed.
type Reason = String;

/// Parses a job result. The text notes which values could not be parsed; they are `None`. It is an
/// error if the event does not have the id and time of its job, or is ambiguous.
pub(super) fn read(root: Node<'_>) -> Result<(MassSendFinished, Option<String>), Reason> {
    let mut notes = Notes::default();
    let result = mass_send_finished(root, &mut notes)?;
    Ok((result, notes.into_text()))
}

fn mass_send_finished(root: Node<'_>, notes: &mut Notes) -> Result<MassSendFinished, Reason> {
    let msg_id = match (root.sole("MsgID")?, root.sole("MsgId")?) {
        (Some(_), Some(_)) => return Err("both `MsgID` and `MsgId` are given".to_owned()),
        (id, alias) => id.or(alias).and_then(Node::value),
    };
    let msg_id = msg_id
        .ok_or("`MsgID` is missing")?
        .parse()
        .map_err(|_| "`MsgID` is not a number from 1 to 9223372036854775807")?;
    let finished_at = whole_number(root.required("CreateTime")?)
        .and_then(Time::from_create_time)
        .ok_or("`CreateTime` is not a number from 0 to 253402300799")?;
    let status = root.sole("Status")?;
    if status.and_then(Node::value).is_none() {
        notes.add("`Status` is missing".to_owned());
    }
    let copyright = root.sole("CopyrightCheckResult")?;
    let article_urls = root.sole("ArticleUrlResult")?;
    Ok(MassSendFinished {
        msg_id,
        finished_at,
        status: Status::read(status.and_then(Node::value)),
        counts: Counts {
            total: notes.count(root, "TotalCount")?,
            filter: notes.count(root, "FilterCount")?,
            sent: notes.count(root, "SentCount")?,
            error: notes.count(root, "ErrorCount")?,
        },
        check_state: match copyright {
            Some(group) => notes.integer(group, "CheckState")?,
            None => None,
        },
        copyright_count: match copyright {
            Some(group) => notes.count(group, "Count")?,
            None => None,
        },
        article_url_count: match article_urls {
            Some(group) => notes.count(group, "Count")?,
            None => None,
        },
        articles: articles(copyright, article_urls, notes)?,
        to_user_name: root
            .sole("ToUserName")?
            .and_then(Node::value)
            .map(str::to_owned),
        from_user_name: root
            .sole("FromUserName")?
            .and_then(Node::value)
            .map(str::to_owned),
    })
}

/// Merges both result lists by `ArticleIdx`, ascending.
fn articles(
    copyright: Option<Node<'_>>,
    article_urls: Option<Node<'_>>,
    notes: &mut Notes,
) -> Result<Vec<Article>, Reason> {
    let mut checked = BTreeMap::new();
    for item in copyright.into_iter().flat_map(items) {
        let found = copyright_of(item, notes)?;
        notes.insert(&mut checked, "CopyrightCheckResult", item, found)?;
    }
    let mut linked = BTreeMap::new();
    for item in article_urls.into_iter().flat_map(items) {
        let url = item
            .sole("ArticleUrl")?
            .and_then(Node::value)
            .map(str::to_owned);
        notes.insert(&mut linked, "ArticleUrlResult", item, url)?;
    }
    let mut articles: BTreeMap<i64, Article> = BTreeMap::new();
    let blank = |idx| Article {
        idx,
        url: None,
        copyright: None,
    };
    for (idx, copyright) in checked {
        articles.entry(idx).or_insert_with(|| blank(idx)).copyright = Some(copyright);
    }
    for (idx, url) in linked {
        articles.entry(idx).or_insert_with(|| blank(idx)).url = url;
    }
    Ok(articles.into_values().collect())
}

fn copyright_of(item: Node<'_>, notes: &mut Notes) -> Result<Copyright, Reason> {
    Ok(Copyright {
        user_declare_state: notes.integer(item, "UserDeclareState")?,
        audit_state: notes.integer(item, "AuditState")?,
        original_url: item
            .sole("OriginalArticleUrl")?
            .and_then(Node::value)
            .map(str::to_owned),
        original_type: notes.integer(item, "OriginalArticleType")?,
        can_reprint: notes.flag(item, "CanReprint")?,
        need_replace_content: notes.flag(item, "NeedReplaceContent")?,
        need_show_reprint_source: notes.flag(item, "NeedShowReprintSource")?,
    })
}

/// The entries of a group's `ResultList`. In XML each is an `item`; the JSON layout is not
/// documented, so a list of bare entries is accepted, too. An empty list, a list with text only and
/// an empty `item` have no entries.
fn items(group: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    group.named("ResultList").flat_map(|list| {
        let wrapped = list.named("item").next().is_some();
        let bare = !wrapped && list.children().next().is_some();
        list.named("item")
            .filter(|item| item.text() != Text::Empty)
            .chain(bare.then_some(list))
    })
}

/// Notes on the values of a job result that could not be parsed.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn add(&mut self, note: String) {
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    fn into_text(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }

    fn count(&mut self, parent: Node<'_>, name: &'static str) -> Result<Option<i64>, Reason> {
        self.read(parent, name, "a count", whole_number)
    }

    fn integer(&mut self, parent: Node<'_>, name: &'static str) -> Result<Option<i64>, Reason> {
        self.read(parent, name, "an integer", |text| text.parse().ok())
    }

    /// 0 or 1, or a boolean in JSON.
    fn flag(&mut self, parent: Node<'_>, name: &'static str) -> Result<Option<bool>, Reason> {
        self.read(parent, name, "0 or 1", |text| match text {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    fn read<T>(
        &mut self,
        parent: Node<'_>,
        name: &'static str,
        kind: &str,
        convert: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Reason> {
        let converted = match parent.sole(name)?.map(Node::text) {
            None | Some(Text::Empty) => return Ok(None),
            Some(Text::Value(text)) => convert(text),
            Some(Text::Nested) => None,
        };
        if converted.is_none() {
            self.add(format!("`{name}` is not {kind}"));
        }
        Ok(converted)
    }

    /// Inserts an entry under its `ArticleIdx`. One without is dropped; of two the first is kept.
    fn insert<T>(
        &mut self,
        entries: &mut BTreeMap<i64, T>,
        group: &str,
        item: Node<'_>,
        entry: T,
    ) -> Result<(), Reason> {
        match item
            .sole("ArticleIdx")?
            .and_then(Node::value)
            .and_then(whole_number)
        {
            None => self.add(format!("an article in `{group}` has no `ArticleIdx`")),
            Some(idx) if entries.contains_key(&idx) => {
                self.add(format!("`ArticleIdx` {idx} is given twice in `{group}`"));
            }
            Some(idx) => {
                entries.insert(idx, entry);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Outcome, Reading};
    use crate::wechat;

    /// A job result with these elements beside the two that it must have.
    fn result(elements: &str) -> (MassSendFinished, Option<String>) {
        let body = format!(
            "<xml><MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event><CreateTime>1</CreateTime><MsgID>7</MsgID>{elements}</xml>"
        );
        match wechat::read(body.as_bytes()).reading {
            Reading::Result { result, note, .. } => (*result, note),
            other => panic!("{elements}: {other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_none_and_only_a_missing_status_is_noted() {
        let (result, note) = result("");
        assert_eq!(result.msg_id.get(), 7);
        assert_eq!(result.status.outcome, Outcome::Unknown);
        assert_eq!(result.counts, Counts::default());
        assert_eq!(
            (
                result.check_state,
                result.copyright_count,
                result.article_url_count
            ),
            (None, None, None)
        );
        assert!(result.articles.is_empty());
        assert_eq!(note.as_deref(), Some("`Status` is missing"));
    }

    #[test]
    fn what_is_unreadable_is_none_with_a_note() {
        for (elements, expected) in [
            ("<TotalCount>-1</TotalCount>", "`TotalCount` is not a count"),
            ("<SentCount>many</SentCount>", "`SentCount` is not a count"),
            (
                "<ErrorCount><x/></ErrorCount>",
                "`ErrorCount` is not a count",
            ),
            (
                "<FilterCount>9223372036854775808</FilterCount>",
                "`FilterCount` is not a count",
            ),
            (
                "<CopyrightCheckResult><CheckState>x</CheckState></CopyrightCheckResult>",
                "`CheckState` is not an integer",
            ),
            (
                "<ArticleUrlResult><ResultList><item><ArticleUrl>u</ArticleUrl></item></ResultList></ArticleUrlResult>",
                "an article in `ArticleUrlResult` has no `ArticleIdx`",
            ),
            (
                "<CopyrightCheckResult><ResultList><item><ArticleIdx>1</ArticleIdx><CanReprint>2</CanReprint></item></ResultList></CopyrightCheckResult>",
                "`CanReprint` is not 0 or 1",
            ),
        ] {
            let (result, note) = result(&format!("<Status>send success</Status>{elements}"));
            assert_eq!(note.as_deref(), Some(expected), "{elements}");
            assert_eq!(result.counts, Counts::default());
        }
    }

    #[test]
    fn an_empty_entry_of_a_list_is_none() {
        for list in [
            "null",
            "\"\"",
            "{}",
            "[]",
            "[null]",
            "[{},{}]",
            r#"{"item":null}"#,
            r#"{"item":[]}"#,
            r#"{"item":{}}"#,
            r#"{"item":[null,""]}"#,
        ] {
            let body = format!(
                r#"{{"MsgType":"event","Event":"MASSSENDJOBFINISH","CreateTime":1,"MsgID":7,"Status":"send success","Unknown":1e400,
                "ArticleUrlResult":{{"Count":0,"ResultList":{list}}}}}"#
            );
            let reading = wechat::read(body.as_bytes()).reading;
            assert_eq!(reading.error(), None, "{list}");
            assert!(reading.result().unwrap().articles.is_empty(), "{list}");
        }
        let (result, note) = result(
            "<Status>s</Status><ArticleUrlResult><ResultList><item/><item> </item></ResultList></ArticleUrlResult>",
        );
        assert_eq!((result.articles.len(), note), (0, None));
    }

    #[test]
    fn both_lists_are_merged_by_index_and_of_two_entries_the_first_stays() {
        let (result, note) = result(
            "<Status>send success</Status>\
             <ArticleUrlResult><Count>3</Count><ResultList>\
                <item><ArticleIdx>3</ArticleIdx><ArticleUrl>c</ArticleUrl></item>\
                <item><ArticleIdx>1</ArticleIdx><ArticleUrl>a</ArticleUrl></item>\
                <item><ArticleIdx>1</ArticleIdx><ArticleUrl>z</ArticleUrl></item>\
             </ResultList></ArticleUrlResult>\
             <CopyrightCheckResult><CheckState>-3</CheckState><ResultList>\
                <item><ArticleIdx>2</ArticleIdx><AuditState>11</AuditState></item>\
                <item><ArticleIdx>1</ArticleIdx><CanReprint>0</CanReprint></item>\
             </ResultList></CopyrightCheckResult>",
        );
        let articles: Vec<_> = result
            .articles
            .iter()
            .map(|article| {
                (
                    article.idx,
                    article.url.as_deref(),
                    article.copyright.is_some(),
                )
            })
            .collect();
        assert_eq!(
            articles,
            [(1, Some("a"), true), (2, None, true), (3, Some("c"), false)]
        );
        assert_eq!(result.check_state, Some(-3));
        assert_eq!(
            note.as_deref(),
            Some("`ArticleIdx` 1 is given twice in `ArticleUrlResult`")
        );
    }
}
