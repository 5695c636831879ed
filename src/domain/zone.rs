//! A time zone by its IANA name. The rules are compiled in, so that all machines and both stores
//! agree.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::Time;

const DAY: Duration = Duration::from_hours(24);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time zone is given by its IANA name, such as Asia/Shanghai or UTC")]
pub struct InvalidZone;

impl FromStr for Zone {
    type Err = InvalidZone;

    /// Case-insensitive.
    fn from_str(name: &str) -> Result<Self, InvalidZone> {
        match TimeZoneDatabase::bundled().get(name) {
            Ok(zone) if !zone.is_unknown() => Ok(Self(zone)),
            _ => Err(InvalidZone),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl Zone {
    /// The local time on clocks.
    pub(super) fn civil(&self, time: Time) -> Option<DateTime> {
        Some(self.0.to_datetime(timestamp(time)?))
    }

    /// The first millisecond of a day, or of the next day if clocks skipped it.
    pub(super) fn start_of_day(&self, date: Date) -> Option<Time> {
        let noon = self.0.to_timestamp(date.at(12, 0, 0, 0)).ok()?;
        let midnight = self.0.to_datetime(noon).start_of_day();
        let start = time(self.0.to_timestamp(midnight).ok()?)?;
        if self.civil(start)? == midnight {
            return Some(start);
        }
        // Clocks skipped midnight: the day began when they did.
        self.last_change(start.checked_sub(DAY)?, start)
    }

    /// The first change of the clocks after `start` and not after `end`.
    pub(super) fn first_change(&self, start: Time, end: Time) -> Option<Time> {
        let (start, end) = (timestamp(start)?, timestamp(end)?);
        // Some entries change only the zone's abbreviation.
        let before = self.0.to_offset(start);
        self.0
            .following(start)
            .take_while(|change| change.timestamp() <= end)
            .find(|change| change.offset() != before)
            .and_then(|change| time(change.timestamp()))
    }

    /// The last change of the clocks after `start` and not after `end`.
    pub(super) fn last_change(&self, start: Time, end: Time) -> Option<Time> {
        let first = self.first_change(start, end)?;
        Some(self.last_change(first, end).unwrap_or(first))
    }

    /// The time as RFC 3339 with this zone's offset, to the second.
    pub fn rfc3339(&self, time: Time) -> impl fmt::Display {
        Local { zone: self, time }
    }
}

struct Local<'z> {
    zone: &'z Zone,
    time: Time,
}

impl fmt::Display for Local<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = timestamp(self.time).ok_or(fmt::Error)?;
        // RFC 3339 has no seconds in an offset, but a few zones had them; the instant stays exact.
        let minutes = self.zone.0.to_offset(timestamp).seconds().div_euclid(60);
        let offset = Offset::from_seconds(minutes * 60).map_err(|_| fmt::Error)?;
        let local = offset.to_datetime(timestamp);
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
        write!(
            formatter,
            "{}{sign}{hours:02}:{minutes:02}",
            local.strftime("%Y-%m-%dT%H:%M:%S")
        )
    }
}

fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.milliseconds()).ok()
}

fn time(timestamp: Timestamp) -> Option<Time> {
    Time::from_milliseconds(timestamp.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_those_of_iana_in_any_case() {
        for name in ["Asia/Shanghai", "asia/shanghai", "UTC", "Etc/GMT+8", "PRC"] {
            assert!(name.parse::<Zone>().is_ok(), "{name}");
        }
        for name in [
            "",
            "Shanghai",
            "+08:00",
            "CST-8",
            "Etc/Unknown",
            "Asia/Shanghai ",
            "../etc/passwd",
            "北京",
        ] {
            assert_eq!(name.parse::<Zone>(), Err(InvalidZone), "{name}");
        }
    }

    #[test]
    fn times_show_with_the_offset_of_their_day() {
        for (name, time, shown) in [
            ("UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"),
            (
                "Asia/Shanghai",
                "2025-12-31T16:00:00Z",
                "2026-01-01T00:00:00+08:00",
            ),
            (
                "Asia/Kathmandu",
                "2026-01-01T00:00:00Z",
                "2026-01-01T05:45:00+05:45",
            ),
            (
                "America/New_York",
                "2026-07-01T04:00:00Z",
                "2026-07-01T00:00:00-04:00",
            ),
            // Its offset was -00:44:30.
            (
                "Africa/Monrovia",
                "1971-01-01T00:44:30Z",
                "1970-12-31T23:59:30-00:45",
            ),
        ] {
            let zone: Zone = name.parse().expect("it is a zone");
            let time = Time::parse_rounding_down(time).expect("it is a time");
            assert_eq!(zone.rfc3339(time).to_string(), shown, "{name}");
            assert_eq!(Time::parse_rounding_down(shown), Ok(time), "{name}");
        }
    }
}
