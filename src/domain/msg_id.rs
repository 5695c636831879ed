//! The id of a mass-send job.

use std::fmt;
use std::str::FromStr;

/// WeChat's id of a mass-send job, 1 to 2^63 − 1: a counter of the account, so it means something only beside an account.
///
/// Observed ids pass `i32::MAX`; its sisters pass 2^53, so JSON shows it as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgId(i64);

impl MsgId {
    /// The id as a number, at least 1.
    pub fn get(self) -> i64 {
        self.0
    }

    /// The id, unless the number is below 1.
    pub fn new(id: i64) -> Option<Self> {
        (id >= 1).then_some(Self(id))
    }
}

impl FromStr for MsgId {
    type Err = std::num::ParseIntError;

    /// Takes decimal digits only: no sign, no fraction.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A sign is the one thing that `i64` takes and an id has not; an empty text is always refused.
        let digits = if text.starts_with(['+', '-']) {
            ""
        } else {
            text
        };
        let id: i64 = digits.parse()?;
        Self::new(id).ok_or_else(|| "".parse::<i64>().expect_err("an empty text is no number"))
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
