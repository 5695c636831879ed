//! Reprocessing: how a stored delivery and its jobs change when it is read again.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::domain::{Delivery, DeliveryState, MassSendFinished, MsgId, Reading, Time};

use super::job_rows::JobRows;
use super::recompute::{JobBefore, recompute, update_shown};
use crate::store::row::StoredJob;
use crate::store::{DeliveryKey, Page, StoreError};

/// What to do with a stored delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it with this reading. A delivery that was understood before, and no longer is, stays as
    /// it is.
    Keep {
        /// Replaces the stored body, as when a sealed envelope is opened; `None` keeps it.
        body: Option<Vec<u8>>,
        /// What the body says.
        reading: Reading,
    },
    /// Delete it, unless it counts in a job.
    Forget,
    /// Leave it as it is.
    Leave,
}

/// Decides about a stored delivery. It is asked again under the lock, so it must always give the
/// same answer. For a delivery that counts in a job, [`Verdict::Keep`] has what the job is to show
/// of it.
pub type Judge<'j> = dyn Fn(&Delivery) -> Verdict + Send + Sync + 'j;

/// A delivery, with what is needed to tell whether reprocessing changes anything.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// `CreateTime`, if it counts in a job.
    pub(in crate::store) finished_at: Option<Time>,
    /// The values of the job that shows it.
    pub(in crate::store) shown: Option<MassSendFinished>,
    /// The `ToUserName` of its account, if the job that it counts in shows a result of another
    /// WeChat account.
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
    /// Whether the verdict changes anything, as far as is known without a lock.
    pub fn is_changed_by(&self, verdict: Verdict) -> bool {
        self.change(verdict).is_some()
    }

    /// A page of two lists, merged in the order of the list of deliveries.
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

/// Reprocesses deliveries in one transaction until `at_most` has passed. The result has an entry
/// for each delivery that was processed: `None` if it was deleted or changed since it was read.
///
/// # Errors
/// [`StoreError::Contended`] when another transaction was faster: roll back and retry.
pub(in crate::store) async fn reprocess(
    rows: &mut dyn JobRows,
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

async fn reprocess_one(
    rows: &mut dyn JobRows,
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

/// Records a delivery again and updates its jobs; returns the new delivery, and whether a job
/// changed.
async fn replace(
    rows: &mut dyn JobRows,
    before: &Delivery,
    ReadDelivery {
        delivery: mut after,
        reading,
    }: ReadDelivery,
    jobs: Vec<(MsgId, Option<StoredJob>)>,
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
        let job_changed = update_shown(rows, job, result, &after, now).await?;
        return Ok((after, job_changed));
    }
    let mut jobs_before = Vec::new();
    for (msg_id, job) in jobs {
        let before = match job {
            Some(job) => Some(JobBefore::take(rows, job).await?),
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
    // A sealed delivery is opened only once.
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
        job_changed |= recompute(rows, (&before.account, msg_id), job, &read, now).await?;
    }
    Ok((after, job_changed))
}

/// Whether a delivery is still as it was read, except for copies.
fn is_as_read(read: &StoredDelivery, found: &Delivery, finished_at: Option<Time>) -> bool {
    let copies_aside = Delivery {
        last_received_at: found.last_received_at,
        times: found.times,
        ..read.delivery.clone()
    };
    copies_aside == *found && read.finished_at == finished_at
}
