//! The body of an authentic push into a [`Reading`]: what it is, and for a job result, what it says.

use std::collections::BTreeMap;

use super::document::{Document, Malformed, Node, Text};
use super::{json, xml};
use crate::domain::{Article, Copyright, Counts, MassSendFinished, MsgId, Reading, Status, Time};

/// The name of the event that reports a job's result. Names of events are compared without case.
pub const MASS_SEND_FINISHED: &str = "MASSSENDJOBFINISH";

/// What a body says, and whom it says it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// How the body was read.
    pub reading: Reading,
    /// `ToUserName`, where the body is well-formed and has just one.
    pub to_user_name: Option<String>,
}

/// Why a body that is well-formed is still not understood.
type Reason = String;

/// Reads the decrypted body of an authentic push. It never fails: what cannot be understood is [`Reading::Unparsed`].
///
/// XML and JSON are told apart by the first character, as the headers of pushes are not documented.
pub fn read(body: &[u8]) -> Push {
    let (document, outcome) = match std::str::from_utf8(body) {
        Ok(text) => document(without_mark(text)),
        Err(_) => (Document::default(), Err(Malformed("not UTF-8"))),
    };
    let Some(root) = document.root() else {
        let fault = outcome.err().unwrap_or(Malformed("empty"));
        return unparsed(format!("the body is no message: {}", fault.0), None, None);
    };
    match outcome {
        Err(fault) => {
            let error = format!("the body is no message: {}", fault.0);
            unparsed(error, event_name(root), any_msg_id(root))
        }
        Ok(()) => Push {
            reading: understand(root).unwrap_or_else(|error| {
                unparsed(error, event_name(root), any_msg_id(root)).reading
            }),
            to_user_name: sole_text(root, "ToUserName"),
        },
    }
}

/// The `Encrypt` element of an envelope, if the body is a well-formed document with just one.
pub(super) fn encrypt(body: &[u8]) -> Option<String> {
    sole_text(well_formed(body)?.root()?, "Encrypt")
}

/// Whether the body is the bare envelope of safe mode: an `Encrypt` element, and no message beside it.
pub(super) fn is_bare_envelope(body: &[u8]) -> bool {
    let has = |root: Node<'_>, name| root.named(name).next().is_some();
    well_formed(body).is_some_and(|document| {
        document
            .root()
            .is_some_and(|root| has(root, "Encrypt") && !has(root, "MsgType"))
    })
}

fn well_formed(body: &[u8]) -> Option<Document<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    let (document, outcome) = document(without_mark(text));
    outcome.ok().map(|()| document)
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn document(text: &str) -> (Document<'_>, Result<(), Malformed>) {
    match text.trim_start().as_bytes().first() {
        Some(b'<') => xml::read(text),
        Some(b'{') => json::read(text),
        Some(_) => (
            Document::default(),
            Err(Malformed("neither XML nor a JSON object")),
        ),
        None => (Document::default(), Err(Malformed("empty"))),
    }
}

fn unparsed(error: String, event: Option<String>, msg_id: Option<MsgId>) -> Push {
    Push {
        reading: Reading::Unparsed {
            error,
            event,
            msg_id,
        },
        to_user_name: None,
    }
}

fn understand(root: Node<'_>) -> Result<Reading, Reason> {
    for name in ["ToUserName", "FromUserName", "CreateTime"] {
        only(root, name)?;
    }
    let msg_type = required(root, "MsgType")?;
    let event = only(root, "Event")?.and_then(value).map(str::to_owned);
    if !msg_type.eq_ignore_ascii_case("event") {
        return Ok(Reading::Other {
            event: None,
            msg_id: any_msg_id(root),
        });
    }
    let event = event.ok_or("the event has no `Event`")?;
    if !event.eq_ignore_ascii_case(MASS_SEND_FINISHED) {
        return Ok(Reading::Other {
            event: Some(event),
            msg_id: any_msg_id(root),
        });
    }
    let mut notes = Notes::default();
    let result = mass_send_finished(root, &mut notes)?;
    Ok(Reading::Result {
        event,
        result: Box::new(result),
        note: notes.into_text(),
    })
}

fn mass_send_finished(root: Node<'_>, notes: &mut Notes) -> Result<MassSendFinished, Reason> {
    let msg_id = match (only(root, "MsgID")?, only(root, "MsgId")?) {
        (Some(_), Some(_)) => return Err("both `MsgID` and `MsgId` are there".to_owned()),
        (id, alias) => id.or(alias).and_then(value),
    };
    let msg_id = msg_id
        .ok_or("`MsgID` is missing")?
        .parse()
        .map_err(|_| "`MsgID` is not a number from 1 to 9223372036854775807")?;
    let finished_at = whole_number(required(root, "CreateTime")?)
        .and_then(Time::from_create_time)
        .ok_or("`CreateTime` is not a number from 0 to 253402300799")?;
    let status = only(root, "Status")?;
    if status.and_then(value).is_none() {
        notes.add("`Status` is missing".to_owned());
    }
    let copyright = only(root, "CopyrightCheckResult")?;
    let article_urls = only(root, "ArticleUrlResult")?;
    Ok(MassSendFinished {
        msg_id,
        finished_at,
        status: Status::read(status.and_then(value)),
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
        to_user_name: only(root, "ToUserName")?.and_then(value).map(str::to_owned),
        from_user_name: only(root, "FromUserName")?
            .and_then(value)
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
        notes.file(&mut checked, "CopyrightCheckResult", item, found)?;
    }
    let mut linked = BTreeMap::new();
    for item in article_urls.into_iter().flat_map(items) {
        let url = only(item, "ArticleUrl")?.and_then(value).map(str::to_owned);
        notes.file(&mut linked, "ArticleUrlResult", item, url)?;
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
        original_url: only(item, "OriginalArticleUrl")?
            .and_then(value)
            .map(str::to_owned),
        original_type: notes.integer(item, "OriginalArticleType")?,
        can_reprint: notes.flag(item, "CanReprint")?,
        need_replace_content: notes.flag(item, "NeedReplaceContent")?,
        need_show_reprint_source: notes.flag(item, "NeedShowReprintSource")?,
    })
}

/// The entries of a group's `ResultList`. XML wraps each in `item`; JSON's layout is not documented, so a list of
/// bare entries is taken too. An empty list, or one that holds only text, has none.
fn items(group: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    group.named("ResultList").flat_map(|list| {
        let wrapped = list.named("item").next().is_some();
        let bare = !wrapped && list.children().next().is_some();
        list.named("item").chain(bare.then_some(list))
    })
}

/// What could not be read of a job result that is otherwise understood.
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

    /// A count: a whole number, not negative.
    fn count(&mut self, parent: Node<'_>, name: &'static str) -> Result<Option<i64>, Reason> {
        self.read(parent, name, "a count", whole_number)
    }

    /// Any integer.
    fn integer(&mut self, parent: Node<'_>, name: &'static str) -> Result<Option<i64>, Reason> {
        self.read(parent, name, "an integer", |text| text.parse().ok())
    }

    /// 0 or 1; JSON may say it in its own way.
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
        let converted = match only(parent, name)?.map(Node::text) {
            None | Some(Text::Empty) => return Ok(None),
            Some(Text::Value(text)) => convert(text),
            Some(Text::Nested) => None,
        };
        if converted.is_none() {
            self.add(format!("`{name}` is not {kind}"));
        }
        Ok(converted)
    }

    /// Files an entry under its `ArticleIdx`; one without is left out, of two the first stays.
    fn file<T>(
        &mut self,
        entries: &mut BTreeMap<i64, T>,
        group: &str,
        item: Node<'_>,
        entry: T,
    ) -> Result<(), Reason> {
        match only(item, "ArticleIdx")?
            .and_then(value)
            .and_then(whole_number)
        {
            None => self.add(format!("an article in `{group}` has no `ArticleIdx`")),
            Some(idx) if entries.contains_key(&idx) => {
                self.add(format!("`ArticleIdx` {idx} stands twice in `{group}`"));
            }
            Some(idx) => {
                entries.insert(idx, entry);
            }
        }
        Ok(())
    }
}

/// The child of that name; known elements may stand once at most.
fn only<'d>(parent: Node<'d>, name: &'static str) -> Result<Option<Node<'d>>, Reason> {
    let mut found = parent.named(name);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(format!("`{name}` stands twice")),
        (child, None) => Ok(child),
    }
}

fn required<'d>(parent: Node<'d>, name: &'static str) -> Result<&'d str, Reason> {
    only(parent, name)?
        .and_then(value)
        .ok_or_else(|| format!("`{name}` is missing"))
}

fn value(node: Node<'_>) -> Option<&str> {
    match node.text() {
        Text::Value(text) => Some(text),
        Text::Empty | Text::Nested => None,
    }
}

/// Digits only: no sign, no fraction.
fn whole_number(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn sole_text(root: Node<'_>, name: &'static str) -> Option<String> {
    only(root, name).ok()??;
    root.named(name).find_map(value).map(str::to_owned)
}

fn event_name(root: Node<'_>) -> Option<String> {
    sole_text(root, "Event")
}

/// The id of whatever the body is about: `MsgID` in events, `MsgId` in messages.
fn any_msg_id(root: Node<'_>) -> Option<MsgId> {
    match (sole_text(root, "MsgID"), sole_text(root, "MsgId")) {
        (Some(id), None) | (None, Some(id)) => id.parse().ok(),
        _ => None,
    }
}
