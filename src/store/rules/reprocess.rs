//! Reprocessing: how a stored delivery and its jobs change when it is read again. Both stores use this one rule.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::domain::{
    AccountName, Delivery, DeliveryState, Job, MassSendFinished, MsgId, Reading, Time,
};

use super::job_rows::JobRows;
use super::tally::{Content, Tally};
use crate::store::row::{Showing, Standing, Updated};
use crate::store::{DeliveryKey, Page, StoreError};

/// What becomes of a stored delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept with this reading. A delivery that was understood and no longer is stays as it was.
    Keep {
        /// Replaces the stored body, as when a sealed envelope is opened; `None` keeps it.
        body: Option<Vec<u8>>,
        /// What the body says.
        reading: Reading,
    },
    /// It is deleted, unless it counts in a job.
    Forget,
    /// It stays as it is.
    Leave,
}

/// Decides about a stored delivery. It is asked again under the lock, so it must give the same answer each time. For a delivery that
/// counts in a job, [`Verdict::Keep`] tells what the job is to show of it.
pub type Judge<'j> = dyn Fn(&Delivery) -> Verdict + Send + Sync + 'j;

/// A delivery, with what is needed to tell whether reprocessing changes anything.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// `CreateTime`, where it counts in a job.
    pub(in crate::store) finished_at: Option<Time>,
    /// The values of the job that shows it.
    pub(in crate::store) shown: Option<MassSendFinished>,
    /// The `ToUserName` of its account, if the job that it counts in shows a result of another WeChat account.
    pub(in crate::store) foreign_to: Option<String>,
}

/// What reprocessing did with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reprocessed {
    /// The delivery before.
    pub before: Delivery,
    /// The delivery after; `None` if it was forgotten.
    pub after: Option<Delivery>,
    /// Whether a job was added, removed, or shows other values.
    pub job_changed: bool,
}

impl StoredDelivery {
    /// Whether the verdict changes anything, as far as can be told without a lock.
    pub fn is_changed_by(&self, verdict: Verdict) -> bool {
        self.change(verdict).is_some()
    }

    /// The first of two lists put together, in the order of the list of deliveries.
    pub(in crate::store) fn page(mut stored: Vec<Self>, page: &Page<DeliveryKey>) -> Vec<Self> {
        stored.sort_unstable_by_key(|stored| {
            Reverse((stored.delivery.received_at, stored.delivery.id))
        });
        stored.truncate(page.limit as usize);
        stored
    }

    fn change(&self, verdict: Verdict) -> Option<Change> {
        let (body, reading) = match verdict {
            Verdict::Keep { body, reading } => (body, reading),
            Verdict::Forget => return self.finished_at.is_none().then_some(Change::Forget),
            Verdict::Leave => return None,
        };
        let before = &self.delivery;
        if before.state == DeliveryState::Stored && reading.state() == DeliveryState::Unparsed {
            return None;
        }
        let mut after = Delivery {
            event: reading.event().map(str::to_owned),
            msg_id: reading.msg_id(),
            state: reading.state(),
            error: reading.error().map(str::to_owned),
            ..before.clone()
        };
        if let Some(body) = body {
            after.body_sha256 = Sha256::digest(&body).into();
            after.body = body;
        }
        let finished_at = reading.result().map(|result| result.finished_at);
        let shows_the_same = self
            .shown
            .as_ref()
            .is_none_or(|shown| Some(shown) == reading.result());
        let is_same = after == *before && finished_at == self.finished_at && shows_the_same;
        let replaces_foreign = self.foreign_to.as_deref().is_some_and(|name| {
            let result = reading.result();
            result.is_some_and(|result| !result.is_foreign_to(Some(name)))
        });
        (!is_same || replaces_foreign).then(|| {
            Change::Keep(Box::new(ReadDelivery {
                delivery: after,
                reading,
            }))
        })
    }

    /// The job that it counts in, and the one that it will count in.
    fn jobs(&self, verdict: &Verdict) -> Vec<MsgId> {
        let mut jobs = Vec::new();
        jobs.extend(self.delivery.msg_id.filter(|_| self.finished_at.is_some()));
        if let Verdict::Keep { reading, .. } = verdict {
            jobs.extend(reading.result().map(|result| result.msg_id));
        }
        jobs.sort_unstable();
        jobs.dedup();
        jobs
    }
}

impl Reprocessed {
    /// Whether anything has changed.
    pub fn changed(&self) -> bool {
        self.after.as_ref() != Some(&self.before) || self.job_changed
    }
}

enum Change {
    Forget,
    Keep(Box<ReadDelivery>),
}

struct ReadDelivery {
    delivery: Delivery,
    reading: Reading,
}

/// Reprocesses deliveries in one transaction, one after the other, until `at_most` has passed. The result has an entry for each that
/// was processed: `None` where it has gone or changed since it was read.
///
/// # Errors
/// [`StoreError::Contended`] when another transaction was faster: then it is to be rolled back and tried again.
pub(in crate::store) async fn reprocess<R: JobRows>(
    rows: &mut R,
    batch: &[StoredDelivery],
    judge: &Judge<'_>,
    now: Time,
    at_most: Duration,
) -> Result<Vec<Option<Reprocessed>>, StoreError> {
    // All at once, in the order in which every transaction locks them.
    let mut jobs = Vec::new();
    for stored in batch {
        let verdict = judge(&stored.delivery);
        let ids = stored.jobs(&verdict).into_iter();
        jobs.extend(ids.map(|id| (stored.delivery.account.clone(), id)));
    }
    jobs.sort_unstable();
    jobs.dedup();
    let others: Vec<_> = batch.iter().map(|stored| stored.delivery.id).collect();
    rows.lock(&jobs, &others).await?;
    let started = Instant::now();
    let mut done = Vec::with_capacity(batch.len());
    for stored in batch {
        done.push(reprocess_one(rows, stored, judge, now).await?);
        if started.elapsed() >= at_most {
            break;
        }
    }
    Ok(done)
}

async fn reprocess_one<R: JobRows>(
    rows: &mut R,
    read: &StoredDelivery,
    judge: &Judge<'_>,
    now: Time,
) -> Result<Option<Reprocessed>, StoreError> {
    let key = DeliveryKey::from(&read.delivery);
    let Some((delivery, finished_at)) = rows.find(&key).await? else {
        return Ok(None);
    };
    if !is_as_read(read, &delivery, finished_at) {
        return Ok(None);
    }
    let verdict = judge(&delivery);
    let mut jobs = Vec::new();
    for msg_id in read.jobs(&verdict) {
        jobs.push((msg_id, rows.job(&delivery.account, msg_id).await?));
    }
    let shown_by = jobs
        .iter()
        .filter_map(|(_, job)| job.as_ref())
        .find(|job| job.shown.id == delivery.id);
    let counts_in = jobs
        .iter()
        .filter(|(msg_id, _)| finished_at.is_some() && delivery.msg_id == Some(*msg_id))
        .find_map(|(_, job)| job.as_ref());
    let stored = StoredDelivery {
        shown: shown_by.map(|job| job.job.result.clone()),
        foreign_to: counts_in
            .filter(|job| job.shown.is_foreign)
            .and_then(|job| job.account_name.clone()),
        finished_at,
        delivery,
    };
    let change = stored.change(verdict);
    let before = stored.delivery;
    let (after, job_changed) = match change {
        None => (Some(before.clone()), false),
        Some(Change::Forget) => {
            rows.delete_other(before.id).await?;
            (None, false)
        }
        Some(Change::Keep(content)) => {
            let (after, job_changed) = replace(rows, &before, *content, jobs, judge, now).await?;
            (Some(after), job_changed)
        }
    };
    Ok(Some(Reprocessed {
        before,
        after,
        job_changed,
    }))
}

/// Records a delivery anew and lets its jobs follow; the delivery as it is then, and whether a job changed.
async fn replace<R: JobRows>(
    rows: &mut R,
    before: &Delivery,
    ReadDelivery {
        delivery: mut after,
        reading,
    }: ReadDelivery,
    jobs: Vec<(MsgId, Option<Standing>)>,
    judge: &Judge<'_>,
    now: Time,
) -> Result<(Delivery, bool), StoreError> {
    if let [(msg_id, Some(job))] = &jobs[..]
        && let Some(result) = reading.result()
        && result.msg_id == *msg_id
        && job.shown.id == before.id
        && job.job.revision == 1
        && after.body_sha256 == before.body_sha256
    {
        let job_changed = show_anew(rows, job, result, &after, now).await?;
        return Ok((after, job_changed));
    }
    let mut jobs_before = Vec::new();
    for (msg_id, job) in jobs {
        let before = match job {
            Some(job) => Some(take_apart(rows, job).await?),
            None => None,
        };
        jobs_before.push((msg_id, before));
    }
    rows.delete_other(before.id).await?;
    let msg_id = reading.result().map(|result| result.msg_id);
    let pruned = jobs_before
        .iter_mut()
        .filter(|(id, _)| Some(*id) == msg_id)
        .find_map(|(_, job)| job.as_mut()?.pruned_copy(&after));
    if let Some(pruned) = pruned {
        pruned.add_copies(&after);
    } else {
        let finished_at = reading.result().map(|result| result.finished_at);
        after = rows.keep_other(&after, finished_at).await?;
    }
    // What was opened need not be opened again.
    let read = |delivery: &Delivery| {
        if delivery.body_sha256 == after.body_sha256 {
            return Some(reading.clone());
        }
        match judge(delivery) {
            Verdict::Keep { reading, .. } => Some(reading),
            Verdict::Forget | Verdict::Leave => None,
        }
    };
    let mut job_changed = false;
    for (msg_id, job) in jobs_before {
        job_changed |= rebuild(rows, (&before.account, msg_id), job, &read, now).await?;
    }
    Ok((after, job_changed))
}

/// Whether a delivery is still what the verdict was about; copies may have come.
fn is_as_read(read: &StoredDelivery, found: &Delivery, finished_at: Option<Time>) -> bool {
    let copies_aside = Delivery {
        last_received_at: found.last_received_at,
        times: found.times,
        ..read.delivery.clone()
    };
    copies_aside == *found && read.finished_at == finished_at
}

/// Lets a job show another reading of its only content; tells whether its values changed.
async fn show_anew<R: JobRows>(
    rows: &mut R,
    before: &Standing,
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
    let showing = Showing {
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
struct JobBefore {
    job: Job,
    updated: Updated,
    /// What it shows, if the body was pruned: it cannot be read again, and keeps its place.
    pruned: Option<Content>,
    shown_sha256: Vec<u8>,
    /// Copies and contents that were pruned, beside that: counted, and no longer there.
    pruned_deliveries: i64,
    pruned_revision: i64,
}

impl JobBefore {
    /// `others`: its contents beside the one that it shows.
    fn new(standing: Standing, others: &[(Delivery, Time)]) -> Self {
        let Standing {
            job,
            shown,
            shown_sha256,
            updated,
            is_pruned,
            account_name: _,
        } = standing;
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
    fn pruned_copy(&mut self, delivery: &Delivery) -> Option<&mut Content> {
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

/// Moves the content that a job shows to the others.
async fn take_apart<R: JobRows>(rows: &mut R, standing: Standing) -> Result<JobBefore, StoreError> {
    let msg_id = standing.job.result.msg_id;
    let contents = rows.other_contents(&standing.job.account, msg_id).await?;
    rows.demote(&standing.job).await?;
    Ok(JobBefore::new(standing, &contents))
}

/// The `ToUserName` that an account stands for; if none is known yet, that of the first of these is remembered.
async fn account_name<R: JobRows>(
    rows: &mut R,
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

/// Makes a job from its contents; tells whether it changed.
async fn rebuild<R: JobRows>(
    rows: &mut R,
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
                rows.count(&before.job, &tally, updated).await?;
                rows.count_shown(&before.job, &pruned).await?;
            }
            return Ok(changed);
        }
    }
    let (shown, finished_at) = rows.take_other(tally.shown).await?;
    // One that is not read as this job's any more counts here until it is reprocessed itself: with what it says all the same
    // or, where that is nothing, with the job's values of before.
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
    let showing = Showing {
        result: &result,
        tally,
        updated,
        shown: &shown,
    };
    if rows.show(&showing, before.is_some()).await? {
        Ok(changed)
    } else {
        // The job was not there, and now it is.
        Err(StoreError::Contended)
    }
}
