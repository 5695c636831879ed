//! The id of a mass-send job.

use std::fmt;
use std::str::FromStr;

use super::whole_number;

/// WeChat's id of a mass-send job, 1 to 2^63 − 1. Each account counts separately, so it is unique
/// only within an account.
///
/// Observed ids exceed `i32::MAX`, and ids of other kinds exceed 2^53, so JSON has it as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgId(i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a MsgID is a number from 1 to 9223372036854775807")]
pub struct InvalidMsgId;

impl MsgId {
    pub fn get(self) -> i64 {
        self.0
    }

    /// `None` for a number below 1.
    pub fn new(id: i64) -> Option<Self> {
        (id >= 1).then_some(Self(id))
    }
}

impl FromStr for MsgId {
    type Err = InvalidMsgId;

    fn from_str(text: &str) -> Result<Self, InvalidMsgId> {
        whole_number(text).and_then(Self::new).ok_or(InvalidMsgId)
    }
}

impl fmt::Display for MsgId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_from_one_to_the_largest_i64() {
        for (text, id) in [
            ("1", 1),
            ("0042", 42),
            ("3147487831", 3_147_487_831),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(MsgId(id)));
        }
        for text in [
            "",
            "0",
            "-1",
            "+1",
            "1.0",
            " 1",
            "9223372036854775808",
            "１",
        ] {
            assert!(text.parse::<MsgId>().is_err(), "{text}");
        }
    }
}
