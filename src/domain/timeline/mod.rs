//! A time range, split into hours, days, weeks or months of a time zone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Span, ToSpan};

use super::{Time, Zone};

/// The unit of buckets, by the calendar and clocks of a zone: a day may have 23 or 25 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// From one full hour to the next, or to a change of the clocks: an hour that is repeated makes
    /// two buckets.
    Hour,
    /// From midnight.
    Day,
    /// From Monday, as in ISO 8601.
    Week,
    /// From the first.
    Month,
}

/// A time range and the buckets that it overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The start of each bucket, ascending. The first may be before `from`. Empty if `from` is not
    /// before `to`.
    pub starts: Vec<Time>,
    /// Inclusive.
    pub from: Time,
    /// Exclusive.
    pub to: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimeline {
    /// See [`Timeline::MAX_BUCKETS`].
    #[error("the range has more than {} buckets", Timeline::MAX_BUCKETS)]
    TooLong,
    /// It leaves the years 1 to 9998.
    #[error("the range must be within the years 1 to 9998")]
    OffTheCalendar,
}

impl Bucket {
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word used in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Bucket {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|bucket| bucket.as_str() == word).ok_or(())
    }
}

impl Timeline {
    pub const MAX_BUCKETS: usize = 2000;

    /// Splits a range. Without `to`, it ends with the bucket of `now`; without `from`, it has 24
    /// hours, 30 days, 12 weeks or 12 months, including the bucket in which it ends.
    pub fn new(
        bucket: Bucket,
        zone: &Zone,
        from: Option<Time>,
        to: Option<Time>,
        now: Time,
    ) -> Result<Self, InvalidTimeline> {
        let range = || {
            let to = match to {
                Some(to) => to,
                None => bucket.next(zone, bucket.start(zone, now)?)?,
            };
            let from = match from {
                Some(from) => from,
                None => bucket.usual_start(zone, to)?,
            };
            Some((from, to))
        };
        let (from, to) = range()
            .filter(|(from, to)| is_on_the_calendar(*from) && is_on_the_calendar(*to))
            .ok_or(InvalidTimeline::OffTheCalendar)?;
        let starts = bucket.starts(zone, from, to)?;
        Ok(Self { starts, from, to })
    }

    /// The bounds of the parts of buckets that are in the range.
    pub fn edges(&self) -> Vec<Time> {
        let inner = self.starts.iter().copied().skip(1);
        [self.from]
            .into_iter()
            .chain(inner)
            .chain([self.to])
            .collect()
    }
}

impl Bucket {
    fn starts(self, zone: &Zone, from: Time, to: Time) -> Result<Vec<Time>, InvalidTimeline> {
        let off = InvalidTimeline::OffTheCalendar;
        let mut starts = Vec::new();
        if from >= to {
            return Ok(starts);
        }
        let mut start = self.start(zone, from).ok_or(off)?;
        while start < to {
            // If clocks went back over midnight, a date occurs twice, and the range may begin in
            // the second.
            if start <= from {
                starts.clear();
            }
            if starts.len() == Timeline::MAX_BUCKETS {
                return Err(InvalidTimeline::TooLong);
            }
            starts.push(start);
            start = self.next(zone, start).ok_or(off)?;
        }
        Ok(starts)
    }

    /// The start of the bucket that contains `time`.
    fn start(self, zone: &Zone, time: Time) -> Option<Time> {
        if self != Self::Hour {
            return zone.start_of_day(self.first_date(zone.civil(time)?.date())?);
        }
        let start = time.checked_sub(into_hour(zone, time)?)?;
        Some(zone.last_change(start, time).unwrap_or(start))
    }

    /// The start of the bucket after the one that starts at `start`.
    fn next(self, zone: &Zone, start: Time) -> Option<Time> {
        if self != Self::Hour {
            let date = self.first_date(zone.civil(start)?.date())?;
            return zone.start_of_day(date.checked_add(self.span()).ok()?);
        }
        let rest = HOUR.checked_sub(into_hour(zone, start)?)?;
        let end = start.checked_add(rest)?;
        Some(zone.first_change(start, end).unwrap_or(end))
    }

    /// The start of a range of the default length that ends at `to`.
    fn usual_start(self, zone: &Zone, to: Time) -> Option<Time> {
        let last = to.checked_sub(Duration::from_millis(1))?;
        if self == Self::Hour {
            return self.start(zone, last.checked_sub(HOUR * 23)?);
        }
        let others = if self == Self::Day { 29 } else { 11 };
        let date = self.first_date(zone.civil(last)?.date())?;
        zone.start_of_day(date.checked_sub(self.span() * others).ok()?)
    }

    fn first_date(self, date: Date) -> Option<Date> {
        match self {
            Self::Hour | Self::Day => Some(date),
            Self::Week => {
                let days = date.weekday().to_monday_zero_offset();
                date.checked_sub(days.days()).ok()
            }
            Self::Month => Some(date.first_of_month()),
        }
    }

    fn span(self) -> Span {
        match self {
            Self::Hour => 1.hour(),
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
        }
    }
}

const HOUR: Duration = Duration::from_hours(1);

/// The time since the last full hour, as clocks show it.
fn into_hour(zone: &Zone, time: Time) -> Option<Duration> {
    let civil = zone.civil(time)?;
    let hour = civil.date().at(civil.hour(), 0, 0, 0);
    civil.duration_since(hour).try_into().ok()
}

/// True if calendars and RFC 3339 can show it and the times around it.
fn is_on_the_calendar(time: Time) -> bool {
    const FIRST: i64 = -62_135_596_800_000;
    const END: i64 = 253_370_764_800_000;
    (FIRST..=END).contains(&time.milliseconds())
}

#[cfg(test)]
mod tests;
