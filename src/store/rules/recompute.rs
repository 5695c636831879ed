//! A job as its contents make it, after one of them was reprocessed.

use super::job_rows::JobRows;
use super::tally::{Content, Tally};
use crate::domain::{AccountName, Delivery, Job, MassSendFinished, MsgId, Reading, Time};
use crate::store::StoreError;
use crate::store::row::{JobUpdate, StoredJob, Updated};

/// Lets a job show another reading of its only content; true if its values changed.
pub(super) async fn update_shown(
    rows: &mut dyn JobRows,
    before: &StoredJob,
    result: &MassSendFinished,
    shown: &Delivery,
    now: Time,
) -> Result<bool, StoreError> {
    let changed = before.job.result != *result;
    let mut updated = before.updated;
    if changed {
        updated = updated.next(now, rows.next_change().await?);
    }
    let tally = Tally {
        shown: shown.id,
        first_received_at: before.job.first_received_at,
        last_received_at: before.job.last_received_at,
        deliveries: before.job.deliveries,
        revision: before.job.revision,
    };
    let showing = JobUpdate {
        result,
        tally,
        updated,
        shown,
    };
    rows.show(&showing, true).await?;
    Ok(changed)
}

/// A job before one of its deliveries is reprocessed.
#[derive(Debug)]
pub(super) struct JobBefore {
    job: Job,
    updated: Updated,
    /// What it shows, if the body was pruned: it cannot be read again, so it stays as it is.
    pruned: Option<Content>,
    shown_sha256: Vec<u8>,
    /// Other copies and contents that it counts, but that were pruned.
    pruned_deliveries: i64,
    pruned_revision: i64,
}

impl JobBefore {
    /// Moves the content that a job shows to the others.
    pub(super) async fn take(
        rows: &mut dyn JobRows,
        stored: StoredJob,
    ) -> Result<Self, StoreError> {
        let account = &stored.job.account;
        let msg_id = stored.job.result.msg_id;
        let contents = rows.other_contents(account, msg_id).await?;
        rows.demote(account, msg_id).await?;
        Ok(Self::new(stored, &contents))
    }

    /// `others`: the contents that it does not show.
    fn new(stored: StoredJob, others: &[(Delivery, Time)]) -> Self {
        let StoredJob {
            job,
            shown,
            shown_sha256,
            updated,
            is_pruned,
            account_name: _,
        } = stored;
        let copies: i64 = others.iter().map(|(delivery, _)| delivery.times).sum();
        let contents = i64::try_from(others.len()).unwrap_or(i64::MAX);
        Self {
            pruned_deliveries: job.deliveries - copies - shown.times,
            pruned_revision: job.revision - contents - 1,
            pruned: is_pruned.then_some(shown),
            shown_sha256,
            job,
            updated,
        }
    }

    /// The pruned content that it shows, if it has the same bytes.
    pub(super) fn pruned_copy(&mut self, delivery: &Delivery) -> Option<&mut Content> {
        let is_same = self.shown_sha256 == delivery.body_sha256;
        self.pruned.as_mut().filter(|_| is_same)
    }

    /// Adds what was pruned to what is there.
    fn add_pruned(&self, tally: &mut Tally) {
        if self.pruned_revision > 0 {
            tally.deliveries += self.pruned_deliveries;
            tally.revision += self.pruned_revision;
            tally.first_received_at = tally.first_received_at.min(self.job.first_received_at);
            tally.last_received_at = tally.last_received_at.max(self.job.last_received_at);
        }
    }
}

/// The `ToUserName` of the WeChat account that belongs to an account. If it is not known yet, that
/// of the first reading is remembered.
async fn account_name(
    rows: &mut dyn JobRows,
    account: &AccountName,
    readings: &[Option<Reading>],
) -> Result<Option<String>, StoreError> {
    let known = rows.account_name(account).await?;
    let mut results = readings.iter().flatten().filter_map(Reading::result);
    let first = results.find_map(MassSendFinished::addressee);
    match (known, first.map(str::to_owned)) {
        (None, Some(first)) => {
            rows.remember_name(account, &first).await?;
            Ok(Some(first))
        }
        (known, _) => Ok(known),
    }
}

/// Makes a job from its contents; true if it changed.
pub(super) async fn recompute(
    rows: &mut dyn JobRows,
    (account, msg_id): (&AccountName, MsgId),
    before: Option<JobBefore>,
    read: &(dyn Fn(&Delivery) -> Option<Reading> + Sync),
    now: Time,
) -> Result<bool, StoreError> {
    let mut others = rows.other_contents(account, msg_id).await?;
    others.sort_by_key(|(delivery, _)| delivery.received_at);
    let readings: Vec<_> = others.iter().map(|(delivery, _)| read(delivery)).collect();
    let name = account_name(rows, account, &readings).await?;
    let mut contents: Vec<_> = others
        .iter()
        .zip(&readings)
        .map(|((delivery, finished_at), reading)| {
            let result = reading.as_ref().and_then(Reading::result);
            Content::new(delivery, *finished_at, result, name.as_deref())
        })
        .collect();
    contents.extend(before.as_ref().and_then(|before| before.pruned));
    let Some(mut tally) = Tally::of(&contents) else {
        if before.is_none() {
            return Ok(false);
        }
        rows.delete_job(account, msg_id).await?;
        return Ok(true);
    };
    if let Some(before) = &before {
        before.add_pruned(&mut tally);
        if let Some(pruned) = before.pruned.filter(|pruned| pruned.id == tally.shown) {
            let changed = !tally.counts(&before.job);
            if changed {
                let updated = before.updated.next(now, rows.next_change().await?);
                rows.count(account, msg_id, &tally, updated).await?;
                rows.count_shown(account, msg_id, &pruned).await?;
            }
            return Ok(changed);
        }
    }
    let (shown, finished_at) = rows.take_other(tally.shown).await?;
    // A delivery that no longer reads as this job's counts here until it is reprocessed itself:
    // with what it says or, if it says nothing, with the old values of the job.
    let reading = read(&shown);
    let said = reading.as_ref().and_then(Reading::result);
    let Some(result) = said.or_else(|| Some(&before.as_ref()?.job.result)) else {
        return Err(StoreError::Contended);
    };
    let result = MassSendFinished {
        msg_id,
        finished_at,
        ..result.clone()
    };
    let changed = before
        .as_ref()
        .is_none_or(|before| !tally.shows(&before.job, &result));
    let updated = match &before {
        Some(before) if !changed => before.updated,
        Some(before) => before.updated.next(now, rows.next_change().await?),
        None => Updated {
            at: now,
            change: rows.next_change().await?,
        },
    };
    let showing = JobUpdate {
        result: &result,
        tally,
        updated,
        shown: &shown,
    };
    if rows.show(&showing, before.is_some()).await? {
        Ok(changed)
    } else {
        // Another transaction has inserted the job meanwhile.
        Err(StoreError::Contended)
    }
}
