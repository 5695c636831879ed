//! Whether this machine's clock may decide what is old enough to be removed: to a clock that is years fast, everything is.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::domain::Time;
use crate::store::{DeliveryFilter, Page, Store, StoreError};

use super::pruning::within;

/// How far the database's clock may be from this one, in milliseconds.
const MAX_SKEW: i64 = 3_600_000;
/// How long there may have been no receipts, in milliseconds: a year and a half. An idle server is quiet for months.
const MAX_SILENCE: i64 = 548 * DAY;
const DAY: i64 = 24 * 3_600_000;

/// What this clock is compared with.
#[derive(Debug)]
pub struct ClockCheck {
    /// The newest receipt at the start. Later ones would have been stamped by the clock in question.
    newest_receipt: Option<Time>,
    started: Instant,
}

/// Why nothing is removed.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The database did not say what is needed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The two clocks disagree.
    #[error(
        "this machine's clock is {} s away from the database's: check NTP on both",
        .0 / 1000
    )]
    Skew(i64),
    /// This clock seems to be years fast.
    #[error(
        "this machine's clock is {days} days ahead of the newest receipt, {newest_receipt}: is it right?"
    )]
    Ahead {
        /// By how much.
        days: i64,
        /// The receipt.
        newest_receipt: Time,
    },
}

impl ClockError {
    /// The cause, for the log.
    pub(super) fn cause(&self) -> Option<String> {
        self.source().map(ToString::to_string)
    }
}

impl ClockCheck {
    /// Notes the newest receipt so far.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn start(store: &dyn Store) -> Result<Self, StoreError> {
        let page = Page {
            after: None,
            limit: 1,
        };
        let deliveries = within(store.deliveries(&DeliveryFilter::default(), &page)).await?;
        // Raw deliveries may all have been removed; jobs stay.
        let jobs = within(store.last_jobs()).await?;
        let receipts = deliveries.iter().map(|delivery| delivery.received_at);
        let newest_receipt = receipts.chain(jobs.iter().map(|job| job.received_at)).max();
        Ok(Self {
            newest_receipt,
            started: Instant::now(),
        })
    }

    /// Compares this clock with the database's, where it has one of its own, and with the newest receipt.
    ///
    /// # Errors
    /// [`ClockError`] when they are too far apart.
    pub async fn check(&self, store: &dyn Store) -> Result<(), ClockError> {
        let asked = Time::now();
        let clock = within(store.inspect()).await?.clock;
        let now = Time::now();
        if let Some(clock) = clock {
            let ahead = asked.milliseconds() - clock.milliseconds();
            let behind = clock.milliseconds() - now.milliseconds();
            if ahead.max(behind) > MAX_SKEW {
                return Err(ClockError::Skew(ahead.max(behind)));
            }
        }
        self.compare(now, self.started.elapsed())
    }

    fn compare(&self, now: Time, elapsed: Duration) -> Result<(), ClockError> {
        let Some(newest) = self.newest_receipt else {
            return Ok(());
        };
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let ahead = now.milliseconds() - newest.milliseconds();
        if ahead.saturating_sub(elapsed) > MAX_SILENCE {
            return Err(ClockError::Ahead {
                days: ahead / DAY,
                newest_receipt: newest,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_without_a_receipt_are_honest_and_years_are_not() {
        let receipt = Time::from_milliseconds(1_000 * DAY).unwrap();
        let check = ClockCheck {
            newest_receipt: Some(receipt),
            started: Instant::now(),
        };
        let after = |days: i64| receipt.milliseconds() + days * DAY;
        let days = |days: u64| Duration::from_hours(24 * days);
        for (now, elapsed, is_right) in [
            (after(0), days(0), true),
            (after(-4000), days(0), true),
            (after(200), days(0), true),
            (after(548), days(0), true),
            (after(549), days(0), false),
            (after(3650), days(0), false),
            // A server that has run all the time knows that it did.
            (after(3650), days(3600), true),
            // A clock that jumps while the server runs.
            (after(3650), days(1), false),
        ] {
            let compared = check.compare(Time::from_milliseconds(now).unwrap(), elapsed);
            assert_eq!(compared.is_ok(), is_right, "{now} {elapsed:?}");
        }
        let nothing = ClockCheck {
            newest_receipt: None,
            started: Instant::now(),
        };
        assert!(nothing.compare(receipt, days(0)).is_ok());
    }
}
