//! The results of a run under load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::connection::Trouble;
use super::histogram::Histogram;
use super::plan::Plan;
use crate::domain::MsgId;

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    /// Answers that are not an acknowledgement, by status.
    pub(super) others: BTreeMap<u16, u64>,
    pub(super) troubles: BTreeMap<Trouble, u64>,
    pub(super) latency: Histogram,
}

/// `Display` is a line for each value: its name, a space, the number.
#[derive(Debug)]
pub struct Report {
    /// All pushes: acknowledged, answered otherwise, or not answered.
    pub pushes: u64,
    /// Pushes with a legal answer: 200 with `success` or nothing.
    pub acknowledged: u64,
    /// Answers that are not legal, by status.
    pub others: BTreeMap<u16, u64>,
    /// Pushes without an answer, by cause.
    pub errors: BTreeMap<Trouble, u64>,
    /// Scheduled pushes for which no connection was free in time.
    pub unsent: u64,
    /// From the start to the last answer.
    pub took: Duration,
    /// Of all answers: from the scheduled time, or without a rate from sending.
    pub latency: Histogram,
    plan: Plan,
}

impl Report {
    /// `due` is the number of scheduled pushes.
    pub(super) fn new(tally: Tally, plan: Plan, due: u64, took: Duration) -> Self {
        let Tally {
            acknowledged,
            others,
            troubles: errors,
            latency,
        } = tally;
        let bad = others.values().chain(errors.values());
        let pushes = acknowledged + bad.sum::<u64>();
        Self {
            pushes,
            acknowledged,
            others,
            errors,
            unsent: due.saturating_sub(pushes),
            took,
            latency,
            plan,
        }
    }

    /// The ids of acknowledged events, each once, ascending.
    pub fn acknowledged_ids(&self) -> impl Iterator<Item = MsgId> {
        self.plan.acknowledged()
    }

    /// Acknowledged pushes per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
    pub fn rate(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 {
            self.acknowledged as f64 / seconds
        } else {
            0.0
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "pushes {}", self.pushes)?;
        writeln!(formatter, "acknowledged {}", self.acknowledged)?;
        writeln!(formatter, "events {}", self.acknowledged_ids().count())?;
        for (status, count) in &self.others {
            writeln!(formatter, "status_{status} {count}")?;
        }
        writeln!(formatter, "errors {}", self.errors.values().sum::<u64>())?;
        for (trouble, count) in &self.errors {
            writeln!(formatter, "error_{} {count}", trouble.as_str())?;
        }
        writeln!(formatter, "unsent {}", self.unsent)?;
        writeln!(formatter, "seconds {:.3}", self.took.as_secs_f64())?;
        writeln!(formatter, "rate {:.1}", self.rate())?;
        let milliseconds = |latency: Duration| latency.as_secs_f64() * 1000.0;
        for percent in [50, 90, 99] {
            let latency = milliseconds(self.latency.percentile(percent));
            writeln!(formatter, "p{percent}_ms {latency:.3}")?;
        }
        writeln!(formatter, "max_ms {:.3}", milliseconds(self.latency.max()))
    }
}
