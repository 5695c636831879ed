//! Invariants of the reading of any body, XML or JSON.

use qunfa::domain::{
    Article, Counts, MASS_SEND_FINISHED, MassSendFinished, MsgId, Outcome, Reading, Status, Time,
};
use qunfa::wechat::{Push, read};

use super::render;

/// The maximum depth, including the root.
pub const MAX_DEPTH: usize = 16;
/// The maximum number of elements, including the root; in JSON, of values.
pub const MAX_ELEMENTS: usize = 2000;

/// With this many articles, a result has fewer elements than that in either form.
const MANY_ARTICLES: usize = 100;

/// Reads the body, and checks the invariants of every reading.
pub fn check(body: &[u8]) -> Push {
    let push = read(body);
    assert_eq!(read(body), push, "read again, it says something else");
    for name in [push.reading.event(), push.to_user_name.as_deref()] {
        name.into_iter().for_each(check_text);
    }
    match &push.reading {
        Reading::Result {
            event,
            result,
            note,
        } => {
            assert!(event.eq_ignore_ascii_case(MASS_SEND_FINISHED));
            assert_eq!(result.to_user_name, push.to_user_name);
            assert_ne!(note.as_deref(), Some(""));
            check_result(result);
            check_rendered(event, result);
        }
        Reading::Other { event, .. } => {
            let is_result = |event: &String| event.eq_ignore_ascii_case(MASS_SEND_FINISHED);
            assert!(!event.as_ref().is_some_and(is_result));
        }
        Reading::Platform => {}
        Reading::Unparsed { error, .. } => {
            assert!(!error.is_empty() && error.len() < 200, "{error:?}");
        }
        Reading::Sealed { .. } => panic!("a message is not an envelope"),
    }
    check_surroundings(body, &push);
    check_cuts(body, &push);
    push
}

fn check_result(result: &MassSendFinished) {
    let MassSendFinished {
        msg_id,
        finished_at,
        status,
        counts,
        check_state: _,
        copyright_count,
        article_url_count,
        articles,
        to_user_name: _,
        from_user_name,
    } = result;
    assert!(msg_id.get() >= 1);
    assert_eq!(
        Time::from_create_time(finished_at.seconds()),
        Some(*finished_at)
    );
    assert_eq!(Status::read(status.text.as_deref()), *status);
    assert_eq!(status.code.is_some(), status.outcome == Outcome::Rejected);
    let Counts {
        total,
        filter,
        sent,
        error,
    } = *counts;
    let counts = [
        total,
        filter,
        sent,
        error,
        *copyright_count,
        *article_url_count,
    ];
    assert!(counts.into_iter().flatten().all(|count| count >= 0));
    assert!(articles.is_sorted_by(|a, b| a.idx < b.idx));
    assert!(articles.iter().all(|article| article.idx >= 0));
    let texts = articles.iter().flat_map(|Article { url, copyright, .. }| {
        let original = copyright
            .as_ref()
            .and_then(|copyright| copyright.original_url.as_ref());
        [url.as_ref(), original]
    });
    let texts = texts.chain([status.text.as_ref(), from_user_name.as_ref()]);
    texts.flatten().for_each(|text| check_text(text));
}

/// A text in a reading can be stored: it is not empty, and has no surrounding space and no NUL.
fn check_text(text: &str) {
    assert!(!text.is_empty() && text.trim() == text, "{text:?}");
    assert!(!text.contains('\0'), "{text:?}");
}

/// A job result reads the same in both forms.
fn check_rendered(event: &str, result: &MassSendFinished) {
    if result.articles.len() > MANY_ARTICLES {
        return;
    }
    let no_status = result.status.text.is_none();
    let expected = Reading::Result {
        event: event.to_owned(),
        result: Box::new(result.clone()),
        note: no_status.then(|| "`Status` is missing".to_owned()),
    };
    let xml = render::xml(event, result);
    for body in [xml.as_ref(), Some(&render::json(event, result))] {
        let Some(body) = body else { continue };
        assert_eq!(read(body.as_bytes()).reading, expected, "{body}");
    }
}

/// A byte-order mark before a body, and white space after one that can be parsed, make no
/// difference.
fn check_surroundings(body: &[u8], push: &Push) {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if !body.starts_with(MARK) {
        assert_eq!(read(&[MARK, body].concat()), *push);
    }
    if !matches!(push.reading, Reading::Unparsed { .. }) {
        assert_eq!(read(&[body, b" \r\n"].concat()), *push);
    }
}

/// A truncated job result or event reads the same or cannot be parsed, and then its event and id
/// are the same or unknown.
fn check_cuts(body: &[u8], push: &Push) {
    if push.reading.event().is_none() || matches!(push.reading, Reading::Unparsed { .. }) {
        return;
    }
    let eighths = (1..8).map(|eighth| body.len() * eighth / 8);
    for end in eighths.chain([body.len() - 1]) {
        let cut = read(&body[..end]);
        if cut == *push {
            continue;
        }
        let Reading::Unparsed { event, msg_id, .. } = cut.reading else {
            if cut.reading == Reading::Platform {
                continue;
            }
            panic!("cut off at {end}, it says something else: {cut:?}");
        };
        if let Reading::Result {
            event: whole,
            result,
            ..
        } = &push.reading
        {
            assert!(
                event.is_none_or(|event| event == *whole),
                "cut off at {end}"
            );
            let is_same = |msg_id: MsgId| msg_id == result.msg_id;
            assert!(msg_id.is_none_or(is_same), "cut off at {end}");
        }
    }
}

/// If a body is a document, or why not; `None` if its reading does not tell.
pub fn document(reading: &Reading) -> Option<Result<(), &str>> {
    match reading {
        Reading::Unparsed { error, .. } => Some(
            error
                .strip_prefix("the body is not a message: ")
                .map_or(Ok(()), Err),
        ),
        Reading::Result { .. } | Reading::Other { event: Some(_), .. } => Some(Ok(())),
        Reading::Other { event: None, .. } | Reading::Platform | Reading::Sealed { .. } => None,
    }
}
