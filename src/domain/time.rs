//! A point in time in milliseconds since 1970, as in both stores; in JSON it is RFC 3339.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// Milliseconds since 1970-01-01T00:00:00Z, from the year −9999 to the end of the year 9999.
///
/// A plain count, because an event may have any second up to 9999-12-31T23:59:59Z, which is later
/// than the last instant of the usual time types, and because the two stores must agree to the
/// digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// The text is neither an RFC 3339 time nor a count of milliseconds, or the time is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is RFC 3339, such as 2026-01-01T08:00:00+08:00, or milliseconds since 1970")]
pub struct InvalidTime;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const FIRST_MILLISECOND: i64 = -377_705_116_800_000;
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

impl Time {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The first millisecond of the year −9999.
    pub const FIRST: Self = Self(FIRST_MILLISECOND);
    /// The last millisecond of the year 9999.
    pub const LAST: Self = Self(LAST_MILLISECOND);

    pub fn now() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(now.as_millis()).unwrap_or(LAST_MILLISECOND))
    }

    /// A `CreateTime`: whole seconds since 1970, 0 to 253402300799, the end of the year 9999.
    pub fn from_create_time(seconds: i64) -> Option<Self> {
        (0..=LAST_MILLISECOND / 1000)
            .contains(&seconds)
            .then(|| Self(seconds * 1000))
    }

    /// `None` if the year does not have four digits.
    pub fn from_milliseconds(milliseconds: i64) -> Option<Self> {
        (FIRST_MILLISECOND..=LAST_MILLISECOND)
            .contains(&milliseconds)
            .then_some(Self(milliseconds))
    }

    pub fn milliseconds(self) -> i64 {
        self.0
    }

    /// Rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let milliseconds = i64::try_from(duration.as_millis()).ok()?;
        Self::from_milliseconds(self.0.checked_sub(milliseconds)?)
    }

    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let milliseconds = i64::try_from(duration.as_millis()).ok()?;
        Self::from_milliseconds(self.0.checked_add(milliseconds)?)
    }

    /// Parses RFC 3339 or a count of milliseconds, rounding down to a millisecond.
    pub fn parse_rounding_down(text: &str) -> Result<Self, InvalidTime> {
        parse(text).map(|(time, _)| time)
    }

    /// Parses RFC 3339 or a count of milliseconds, rounding up to a millisecond.
    pub fn parse_rounding_up(text: &str) -> Result<Self, InvalidTime> {
        let (time, exact) = parse(text)?;
        if exact {
            return Ok(time);
        }
        Self::from_milliseconds(time.0 + 1).ok_or(InvalidTime)
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with milliseconds only if they are not zero.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = EPOCH
            .checked_add(SignedDuration::from_millis(self.0))
            .map_err(|_| fmt::Error)?;
        write!(
            formatter,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        )?;
        if time.millisecond() != 0 {
            write!(formatter, ".{:03}", time.millisecond())?;
        }
        formatter.write_str("Z")
    }
}

/// The millisecond, rounded down, and whether it is exact.
fn parse(text: &str) -> Result<(Time, bool), InvalidTime> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (milliseconds, exact) =
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            (text.parse().map_err(|_| InvalidTime)?, true)
        } else {
            rfc3339(text).ok_or(InvalidTime)?
        };
    let time = Time::from_milliseconds(milliseconds).ok_or(InvalidTime)?;
    Ok((time, exact))
}

/// Strict RFC 3339. The common parsers accept more than the standard, and end before the end of the
/// year 9999.
fn rfc3339(text: &str) -> Option<(i64, bool)> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    for (index, byte) in date_time.bytes().enumerate() {
        match separators.iter().find(|(at, _)| *at == index) {
            Some((_, separator)) if byte.to_ascii_uppercase() == *separator => {}
            None if byte.is_ascii_digit() => {}
            _ => return None,
        }
    }
    let field = |range: std::ops::Range<usize>| date_time[range].parse::<i8>().ok();
    let civil = DateTime::new(
        date_time[..4].parse().ok()?,
        field(5..7)?,
        field(8..10)?,
        field(11..13)?,
        field(14..16)?,
        field(17..19)?,
        0,
    )
    .ok()?;
    let seconds = civil.duration_since(EPOCH).as_secs();
    let (fraction, offset) = fraction(rest)?;
    let mut digits = fraction.bytes().map(|digit| i64::from(digit - b'0'));
    let milliseconds = (0..3).fold(0, |sum, _| sum * 10 + digits.next().unwrap_or(0));
    let exact = digits.all(|digit| digit == 0);
    Some((
        (seconds - offset_seconds(offset)?) * 1000 + milliseconds,
        exact,
    ))
}

/// Splits `.123+08:00` into `123` and `+08:00`.
fn fraction(rest: &str) -> Option<(&str, &str)> {
    let Some(rest) = rest.strip_prefix('.') else {
        return Some(("", rest));
    };
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    (end > 0).then(|| rest.split_at(end))
}

fn offset_seconds(offset: &str) -> Option<i64> {
    let sign = match offset.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, minutes) = offset[1..].split_once(':')?;
    let part = |text: &str, limit: i64| {
        let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two_digits
            .then(|| text.parse().ok())?
            .filter(|value: &i64| *value < limit)
    };
    Some(sign * (part(hours, 24)? * 3600 + part(minutes, 60)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_shows_as_rfc_3339_up_to_the_last_second_of_9999() {
        let show = |milliseconds| {
            Time::from_milliseconds(milliseconds)
                .expect("in range")
                .to_string()
        };
        assert_eq!(show(1_767_225_700_000), "2026-01-01T00:01:40Z");
        assert_eq!(show(1_767_225_700_120), "2026-01-01T00:01:40.120Z");
        assert_eq!(show(-1), "1969-12-31T23:59:59.999Z");
        let last = Time::from_create_time(253_402_300_799).expect("in range");
        assert_eq!(last.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Time::from_create_time(253_402_300_800), None);
        assert_eq!(Time::from_create_time(-1), None);
    }

    #[test]
    fn texts_are_read_in_both_forms() {
        for (text, milliseconds) in [
            ("1767225700000", 1_767_225_700_000),
            ("-5", -5),
            ("2026-01-01T00:01:40Z", 1_767_225_700_000),
            ("2026-01-01t08:01:40.5+08:00", 1_767_225_700_500),
            ("2025-12-31T19:01:40.123456-05:00", 1_767_225_700_123),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(
                Time::parse_rounding_down(text),
                Ok(Time(milliseconds)),
                "{text}"
            );
        }
        assert_eq!(
            Time::parse_rounding_up("1970-01-01T00:00:00.0010Z"),
            Ok(Time(1))
        );
        assert_eq!(
            Time::parse_rounding_up("1970-01-01T00:00:00.0011Z"),
            Ok(Time(2))
        );
        assert_eq!(
            Time::parse_rounding_up("9999-12-31T23:59:59.9999Z"),
            Err(InvalidTime)
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "-",
            "today",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+8:00",
            "2026-01-01T00:00:00 08:00",
            "2026-01-01T00:00:00+24:00",
            "9999-12-31T23:59:59-00:01",
            "99999999999999999999",
            "1e3",
            "２０26-01-01T00:00:00Z",
        ] {
            assert_eq!(
                Time::parse_rounding_down(text),
                Err(InvalidTime),
                "{text:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_read_back(milliseconds in -62_167_219_200_000..=LAST_MILLISECOND) {
            let time = Time(milliseconds);
            proptest::prop_assert_eq!(Time::parse_rounding_down(&time.to_string()), Ok(time));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = Time::parse_rounding_up(&text);
        }
    }
}
