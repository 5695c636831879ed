//! Checks this machine's clock before old deliveries are removed: by a clock that is years fast,
//! all of them are old.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::domain::Time;
use crate::store::{DeliveryFilter, Page, Store, StoreError, within};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How far the database's clock may be from this one, in milliseconds.
const MAX_SKEW: i64 = 3_600_000;
/// The longest time without a delivery, in milliseconds: a year and a half. An idle server is quiet
/// for months.
const MAX_SILENCE: i64 = 548 * DAY;
const DAY: i64 = 24 * 3_600_000;

/// What this clock is compared with.
#[derive(Debug)]
pub struct ClockCheck {
    /// The newest receipt at the start: later ones have the time of the clock in question.
    newest_receipt: Option<Time>,
    started: Instant,
}

/// Why nothing is removed.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// In milliseconds.
    #[error(
        "this machine's clock is {} s away from the database's: check NTP on both",
        .0 / 1000
    )]
    Skew(i64),
    /// This clock seems to be years fast.
    #[error(
        "this machine's clock is {days} days ahead of the newest receipt, {newest_receipt}: is it right?"
    )]
    Ahead { days: i64, newest_receipt: Time },
}

impl ClockError {
    pub(super) fn cause(&self) -> Option<String> {
        self.source().map(ToString::to_string)
    }
}

impl ClockCheck {
    pub async fn start(store: &dyn Store) -> Result<Self, StoreError> {
        let page = Page {
            after: None,
            limit: 1,
        };
        let deliveries =
            within(TIMEOUT, store.deliveries(&DeliveryFilter::default(), &page)).await?;
        // Raw deliveries may all have been removed; jobs stay.
        let jobs = within(TIMEOUT, store.last_jobs()).await?;
        let receipts = deliveries.iter().map(|delivery| delivery.received_at);
        let newest_receipt = receipts.chain(jobs.iter().map(|job| job.received_at)).max();
        Ok(Self {
            newest_receipt,
            started: Instant::now(),
        })
    }

    /// Compares this clock with the database server's, if there is one, and with the newest
    /// receipt.
    pub async fn check(&self, store: &dyn Store) -> Result<(), ClockError> {
        let asked = Time::now();
        let clock = within(TIMEOUT, store.inspect()).await?.clock;
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
