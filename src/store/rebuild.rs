//! How a job follows when a delivery is read again: what both stores do alike.

use crate::domain::{Delivery, Job, MassSendFinished, MsgId, Reading, Time};

use super::row::{Standing, Updated};
use super::tally::{Content, Tally};

/// Takes a delivery from among those that no job shows.
pub(super) const TAKE_OTHER: &str = "delete from other_deliveries where id = $1 returning *";

/// A job before one of its deliveries is read again.
#[derive(Debug)]
pub(super) struct JobBefore {
    pub(super) job: Job,
    pub(super) updated: Updated,
    /// What it shows, where the body was pruned: it can no longer be read, and keeps its place.
    pub(super) pruned: Option<Content>,
    /// Copies and contents that were pruned, beside that: counted, and no longer there.
    pruned_deliveries: i64,
    pruned_revision: i64,
}

impl JobBefore {
    /// `others`: its contents beside the one that it shows.
    pub(super) fn new(standing: Standing, others: &[Content]) -> Self {
        let Standing {
            job,
            shown,
            updated,
            ..
        } = standing;
        let copies: i64 = others.iter().map(|content| content.times).sum();
        let contents = i64::try_from(others.len()).unwrap_or(i64::MAX);
        Self {
            pruned_deliveries: job.deliveries - copies - shown.times,
            pruned_revision: job.revision - contents - 1,
            pruned: standing.is_pruned.then_some(shown),
            job,
            updated,
        }
    }

    /// Adds what was pruned to what is there.
    pub(super) fn add_pruned(&self, tally: &mut Tally) {
        if self.pruned_revision > 0 {
            tally.deliveries += self.pruned_deliveries;
            tally.revision += self.pruned_revision;
            tally.first_received_at = tally.first_received_at.min(self.job.first_received_at);
            tally.last_received_at = tally.last_received_at.max(self.job.last_received_at);
        }
    }
}

/// A delivery with another reading.
pub(super) fn filed_as(delivery: &Delivery, reading: &Reading) -> Delivery {
    Delivery {
        event: reading.event().map(str::to_owned),
        msg_id: reading.msg_id(),
        state: reading.state(),
        error: reading.error().map(str::to_owned),
        ..delivery.clone()
    }
}

/// What a job shows of a content of its own. One that is not read as this job's any more counts here until it is filed
/// anew: then its values show all the same, or, where it has none, those of before.
pub(super) fn result_for(
    msg_id: MsgId,
    finished_at: Time,
    reading: &Reading,
    before: Option<&JobBefore>,
) -> Option<MassSendFinished> {
    let result = reading
        .result()
        .or_else(|| before.map(|before| &before.job.result))?;
    Some(MassSendFinished {
        msg_id,
        finished_at,
        ..result.clone()
    })
}
