//! The event that load pushes: the full form, with both result lists.

use std::fmt::Write;

use super::plan::Event;

const FULL: &str = include_str!("../samples/full.xml");
const ADDRESSEE: &str = "gh_0a1b2c3d4e5f";

/// The event with gaps for `CreateTime` and `MsgID`.
#[derive(Debug)]
pub(super) struct Template {
    to_user_name: String,
    before: String,
    between: &'static str,
    after: &'static str,
}

impl Template {
    /// Addressed to this account, `gh_…`, or to a made-up one.
    pub(super) fn new(original_id: Option<&str>) -> Self {
        let (before, rest) = around(FULL, "CreateTime");
        let (between, after) = around(rest, "MsgID");
        let to_user_name = original_id.unwrap_or(ADDRESSEE);
        Self {
            to_user_name: to_user_name.to_owned(),
            before: before.replace(ADDRESSEE, to_user_name),
            between,
            after,
        }
    }

    pub(super) fn to_user_name(&self) -> &str {
        &self.to_user_name
    }

    pub(super) fn message(&self, event: Event) -> String {
        let digits = 40; // two numbers of 64 bits
        let length = self.before.len() + self.between.len() + self.after.len() + digits;
        let mut message = String::with_capacity(length);
        let Event {
            create_time,
            msg_id,
            ..
        } = event;
        let Self {
            before,
            between,
            after,
            ..
        } = self;
        let _ = write!(message, "{before}{create_time}{between}{msg_id}{after}");
        message
    }
}

/// The parts before and after the text of an element.
fn around(xml: &'static str, name: &str) -> (&'static str, &'static str) {
    let start = format!("<{name}>");
    let found = xml.find(&start).expect("the sample has the element") + start.len();
    let (before, rest) = xml.split_at(found);
    let (_, after) = rest.split_at(rest.find('<').expect("the element ends"));
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{MsgId, Reading};
    use crate::wechat;

    #[test]
    fn the_message_is_that_job_s_result_with_both_lists() {
        let event = Event {
            number: 3,
            msg_id: MsgId::new(i64::MAX).unwrap(),
            create_time: 1_800_000_000,
        };
        let template = Template::new(Some("gh_x"));
        let push = wechat::read(template.message(event).as_bytes());
        assert_eq!(push.to_user_name.as_deref(), Some("gh_x"));
        assert_eq!(template.to_user_name(), "gh_x");
        let Reading::Result {
            result, note: None, ..
        } = push.reading
        else {
            panic!("it is parsed with faults");
        };
        assert_eq!(result.msg_id, event.msg_id);
        assert_eq!(result.finished_at.seconds(), event.create_time);
        assert_eq!(result.articles.len(), 2);
        for article in result.articles {
            assert!(article.url.is_some() && article.copyright.is_some());
        }
    }
}
