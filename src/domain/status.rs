//! `Status`, the text that says how a job ended, and its outcome.

use std::fmt;
use std::str::FromStr;

use super::whole_number;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `send success`: sent, though some followers may have failed.
    Sent,
    /// `send fail`.
    Failed,
    /// `err(num)`: rejected in review.
    Rejected,
    /// Any other text, or no text.
    Unknown,
}

impl Outcome {
    /// In the order of totals.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Failed, Self::Rejected, Self::Unknown];

    /// The word used in columns, JSON and filters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
            .ok_or(())
    }
}

/// The `Status` text as received, trimmed, and its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `None` if `Status` is missing or empty.
    pub text: Option<String>,
    pub outcome: Outcome,
    /// The number of `err(num)`; set exactly when the outcome is [`Outcome::Rejected`].
    pub code: Option<i32>,
}

impl Status {
    /// Ignores case, all white space and full-width parentheses: WeChat sends `send success`, and
    /// its documentation of 2014 has `sendsuccess`.
    pub fn read(text: Option<&str>) -> Self {
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        let (outcome, code) = text.map_or((Outcome::Unknown, None), classify);
        Self {
            text: text.map(str::to_owned),
            outcome,
            code,
        }
    }
}

fn classify(text: &str) -> (Outcome, Option<i32>) {
    let word: String = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(|character| match character {
            '（' => '(',
            '）' => ')',
            other => other.to_ascii_lowercase(),
        })
        .collect();
    match word.as_str() {
        "sendsuccess" => (Outcome::Sent, None),
        "sendfail" => (Outcome::Failed, None),
        word => match rejection_code(word) {
            Some(code) => (Outcome::Rejected, Some(code)),
            None => (Outcome::Unknown, None),
        },
    }
}

fn rejection_code(word: &str) -> Option<i32> {
    whole_number(word.strip_prefix("err(")?.strip_suffix(')')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_status_is_classified() {
        use Outcome::{Failed, Rejected, Sent, Unknown};
        for (text, outcome, code) in [
            ("send success", Sent, None),
            ("sendsuccess", Sent, None),
            ("  Send  Success ", Sent, None),
            ("send\u{3000}success", Sent, None),
            ("send fail", Failed, None),
            ("sendfail", Failed, None),
            ("err(30003)", Rejected, Some(30003)),
            ("ERR ( 20431 )", Rejected, Some(20431)),
            ("err（10001）", Rejected, Some(10001)),
            ("err(0)", Rejected, Some(0)),
            ("err(2147483647)", Rejected, Some(i32::MAX)),
            ("err(2147483648)", Unknown, None),
            ("err(-1)", Unknown, None),
            ("err(+1)", Unknown, None),
            ("err()", Unknown, None),
            ("err(1", Unknown, None),
            ("err(1)x", Unknown, None),
            ("send successful", Unknown, None),
            ("", Unknown, None),
        ] {
            let status = Status::read(Some(text));
            assert_eq!((status.outcome, status.code), (outcome, code), "{text:?}");
        }
    }

    #[test]
    fn the_text_is_kept_as_received_but_for_space_around_it() {
        assert_eq!(
            Status::read(Some(" Send  Success\n")).text.as_deref(),
            Some("Send  Success")
        );
        assert_eq!(Status::read(Some(" \n")).text, None);
        assert_eq!(Status::read(None).outcome, Outcome::Unknown);
    }
}
