//! `qunfa prune`.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

use super::{Failure, Outcome, print, with_store};
use crate::app::{self, ClockCheck, ClockError};
use crate::config::Settings;
use crate::domain::Time;
use crate::store::{Page, Prune, Store, StoreError};

const PAGE: u32 = 5000;
const HOUR: u64 = 3600;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct PruneArgs {
    /// Remove deliveries first received longer ago than this: hours, days or weeks, such as 72h,
    /// 400d or 52w
    #[arg(long, value_name = "AGE")]
    older_than: Age,
    /// Also those that could not be parsed: what they say is stored nowhere else
    #[arg(long)]
    unparsed: bool,
    /// Also those that are sealed: `qunfa reprocess` can then no longer open them
    #[arg(long)]
    sealed: bool,
    /// Trust this machine's clock, even if nothing was received for a year and a half or the
    /// database's clock differs
    #[arg(long)]
    trust_clock: bool,
    /// Remove them; without this, only count them
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Age(Duration);

impl FromStr for Age {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let hours = |unit| match unit {
            'h' => Some(1),
            'd' => Some(24),
            'w' => Some(7 * 24),
            _ => None,
        };
        let read = || {
            let unit = text.chars().next_back()?;
            let number = &text[..text.len() - unit.len_utf8()];
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let seconds = number
                .parse::<u64>()
                .ok()?
                .checked_mul(hours(unit)? * HOUR)?;
            (seconds > 0).then_some(Self(Duration::from_secs(seconds)))
        };
        read().ok_or("must be a whole number from 1 and `h`, `d` or `w`, for example 400d")
    }
}

/// Removes raw deliveries, or counts them.
pub(super) async fn run(settings: &Settings, arguments: PruneArgs) -> Outcome {
    let config = settings.check()?;
    let received_before = Time::now().checked_sub(arguments.older_than.0);
    let what = Prune {
        received_before: received_before
            .context("`--older-than` is too long")
            .map_err(Failure::usage)?,
        unparsed: arguments.unparsed,
        sealed: arguments.sealed,
    };
    let pruned = with_store(&config, async |store| {
        if !arguments.trust_clock {
            check_clock(&*store).await?;
        }
        if arguments.yes {
            remove(&*store, &what).await
        } else {
            count(&*store, &what).await
        }
    });
    Ok(pruned.await?)
}

/// With a clock that is years ahead, everything would be old.
async fn check_clock(store: &dyn Store) -> anyhow::Result<()> {
    let checked = match ClockCheck::start(store).await {
        Ok(clock) => clock.check(store).await,
        Err(error) => Err(error.into()),
    };
    match checked {
        Err(error @ (ClockError::Skew(_) | ClockError::Ahead { .. })) => Err(anyhow!(
            "{error}; nothing was removed. If the clock is right, add `--trust-clock`"
        )),
        checked => Ok(checked?),
    }
}

async fn remove(store: &dyn Store, what: &Prune) -> anyhow::Result<()> {
    let pruned = app::prune(store, what)
        .await
        .context("not everything was removed; run it again")?;
    let count = pruned.shown + pruned.others;
    print(format_args!("deliveries {count}\n"))?;
    eprintln!(
        "removed deliveries first received before {}; the jobs are unchanged",
        what.received_before
    );
    Ok(())
}

async fn count(store: &dyn Store, what: &Prune) -> anyhow::Result<()> {
    let (count, bytes) = measure(store, what)
        .await
        .map_err(|error| anyhow!(error).context("cannot count what would be removed"))?;
    print(format_args!("deliveries {count}\nbytes {bytes}\n"))?;
    eprintln!(
        "first received before {}; nothing was removed, add `--yes` to remove them",
        what.received_before
    );
    Ok(())
}

/// The number of deliveries that would be removed, and the total length of their bodies.
async fn measure(store: &dyn Store, what: &Prune) -> Result<(u64, i64), StoreError> {
    let mut page = Page {
        after: None,
        limit: PAGE,
    };
    let (mut count, mut bytes) = (0, 0);
    loop {
        let prunable = store.prunable(what, &page).await?;
        let Some(last) = prunable.last() else {
            return Ok((count, bytes));
        };
        page.after = Some(last.key.clone());
        count += prunable.len() as u64;
        bytes += prunable.iter().map(|one| one.bytes).sum::<i64>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        for (text, hours) in [("1h", 1), ("400d", 9600), ("52w", 8736), ("007d", 168)] {
            assert_eq!(
                text.parse(),
                Ok(Age(Duration::from_secs(hours * HOUR))),
                "{text}"
            );
        }
        for text in [
            "",
            "d",
            "400",
            "0d",
            "-1d",
            "+1d",
            "1.5d",
            "1 d",
            "1D",
            "1m",
            "1d1h",
            "１d",
            "d1",
            "天",
            "99999999999999999999d",
            "18446744073709551615h",
        ] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
    }
}
