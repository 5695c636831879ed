//! The result of a mass-send job: the content of one `MASSSENDJOBFINISH` event, and the job that
//! its deliveries make up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AccountName, MsgId, Status, Time};

/// The content of one `MASSSENDJOBFINISH` event. Values that the event does not have are `None`.
///
/// Source: the field table in WeChat's documentation of `message/mass/sendall`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MassSendFinished {
    /// `MsgID`.
    pub msg_id: MsgId,
    /// `CreateTime`.
    pub finished_at: Time,
    pub status: Status,
    pub counts: Counts,
    /// `CopyrightCheckResult/CheckState`: 1 not a reprint, 2 reprint that may be sent, 3 reprint
    /// that must not be sent; 0 was observed and seems to mean "not checked". Any integer is taken.
    pub check_state: Option<i64>,
    /// `CopyrightCheckResult/Count`.
    pub copyright_count: Option<i64>,
    /// `ArticleUrlResult/Count`.
    pub article_url_count: Option<i64>,
    /// Both result lists, merged by `ArticleIdx`, ascending.
    pub articles: Vec<Article>,
    /// `ToUserName`: the account's original id, `gh_…`.
    pub to_user_name: Option<String>,
    /// `FromUserName`: documented as the mass-send assistant, in fact an OpenID.
    pub from_user_name: Option<String>,
}

/// The `ToUserName` of samples, which do not belong to any WeChat account.
pub const SAMPLE_NAME: &str = "gh_qunfa_sample";

impl MassSendFinished {
    /// The `ToUserName` of a WeChat account, if there is one.
    pub fn addressee(&self) -> Option<&str> {
        addressee(self.to_user_name.as_deref())
    }

    /// True if it belongs to another WeChat account than the one with that `ToUserName`.
    pub fn is_foreign_to(&self, name: Option<&str>) -> bool {
        is_foreign(self.to_user_name.as_deref(), name)
    }
}

/// True if a result with that `ToUserName` belongs to another WeChat account than `name`.
pub fn is_foreign(to_user_name: Option<&str>, name: Option<&str>) -> bool {
    matches!((addressee(to_user_name), name), (Some(theirs), Some(ours)) if theirs != ours)
}

fn addressee(to_user_name: Option<&str>) -> Option<&str> {
    to_user_name.filter(|name| !name.is_empty() && *name != SAMPLE_NAME)
}

/// Counts of followers, never negative. WeChat takes them shortly before the job ends, so they need
/// not add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `TotalCount`: followers under the tag, or entries in `touser`.
    pub total: Option<i64>,
    /// `FilterCount`: followers **left** after filtering, not those filtered out.
    pub filter: Option<i64>,
    /// `SentCount`.
    pub sent: Option<i64>,
    /// `ErrorCount`.
    pub error: Option<i64>,
}

impl Counts {
    /// Followers removed by filtering: total − filter.
    pub fn filtered_out(&self) -> Option<i64> {
        Some(self.total? - self.filter?)
    }

    /// Followers left to send to that are neither sent nor failed: filter − sent − error.
    pub fn unaccounted(&self) -> Option<i128> {
        Some(i128::from(self.filter?) - i128::from(self.sent?) - i128::from(self.error?))
    }
}

/// One article of the message.
// Its serde form is the shape in the stores' JSON column and in the API, whose document has these
// words, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Article {
    /// `ArticleIdx`, from 1.
    pub idx: i64,
    /// `ArticleUrl`; null when `ArticleUrlResult` had no entry for it.
    pub url: Option<String>,
    /// The originality check; null when `CopyrightCheckResult` had no entry for it.
    pub copyright: Option<Copyright>,
}

/// What the originality check found for one article.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Copyright {
    /// `UserDeclareState`: 0 nothing declared, 1 original, 2 reprint.
    pub user_declare_state: Option<i64>,
    /// `AuditState`: 0 not checked yet, 1 checking, 11 passed as original, anything else not passed.
    pub audit_state: Option<i64>,
    /// `OriginalArticleUrl`: the similar original.
    pub original_url: Option<String>,
    /// `OriginalArticleType`: 1 original, 2 older non-original, 3 news, 4 blacklisted.
    pub original_type: Option<i64>,
    /// `CanReprint`.
    pub can_reprint: Option<bool>,
    /// `NeedReplaceContent`: the content must be replaced by the original's.
    pub need_replace_content: Option<bool>,
    /// `NeedShowReprintSource`.
    pub need_show_reprint_source: Option<bool>,
}

/// A job and the sums over its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub account: AccountName,
    /// The content with the latest `CreateTime`; on a tie, the one received last. A result of
    /// another WeChat account is shown only if there is no other.
    pub result: MassSendFinished,
    /// When its first delivery was received.
    pub first_received_at: Time,
    /// When its latest delivery was received, including retries.
    pub last_received_at: Time,
    /// When a shown value or the revision last changed; a retry does not count.
    pub updated_at: Time,
    /// Copies received, including retries.
    pub deliveries: i64,
    /// Distinct contents received.
    pub revision: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_null_when_a_part_is_and_never_overflow() {
        let full = Counts {
            total: Some(1200),
            filter: Some(1150),
            sent: Some(1148),
            error: Some(1),
        };
        assert_eq!(
            (full.filtered_out(), full.unaccounted()),
            (Some(50), Some(1))
        );
        let partial = Counts { sent: None, ..full };
        assert_eq!(
            (partial.filtered_out(), partial.unaccounted()),
            (Some(50), None)
        );
        let huge = Counts {
            total: Some(0),
            filter: Some(i64::MAX),
            sent: Some(i64::MAX),
            error: Some(i64::MAX),
        };
        assert_eq!(huge.filtered_out(), Some(-i64::MAX));
        assert_eq!(huge.unaccounted(), Some(-i128::from(i64::MAX)));
    }
}
