//! Recording a batch in a transaction of several statements.

use async_trait::async_trait;

use super::batch::{Bundle, Sorted};
use super::tally::Tally;
use crate::store::StoreError;
use crate::store::row::{StoredJob, Updated};

/// The statements of a transaction that records a batch. Each is about at most one content of a
/// job, and its result is in the order of the argument.
#[async_trait]
pub(in crate::store) trait RecordRows: Send {
    /// Records contents that are new or shown by their jobs. `Some` is the number of copies that
    /// the job then has of the content; `None` means that it shows another one: then nothing is
    /// done, but the job is locked.
    async fn record_contents(
        &mut self,
        bundles: &[Bundle<'_>],
    ) -> Result<Vec<Option<i64>>, StoreError>;

    async fn jobs(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<Option<StoredJob>>, StoreError>;

    /// Adds copies to contents that their jobs have and do not show; false if there is no such
    /// content.
    async fn count_copies(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<bool>, StoreError>;

    /// Lets jobs show new contents, and keeps those that they showed.
    async fn show_revisions(&mut self, revisions: &[Revision<'_>]) -> Result<(), StoreError>;

    /// Updates what jobs count.
    async fn count_revisions(&mut self, revisions: &[Revision<'_>]) -> Result<(), StoreError>;

    /// Keeps deliveries that no job shows; true if the bytes are new.
    async fn keep_others(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<bool>, StoreError>;
}

/// What a content that its job does not show changes in the job.
#[derive(Debug)]
pub(in crate::store) struct Revision<'b> {
    pub(in crate::store) bundle: Bundle<'b>,
    /// The bytes are new.
    pub(in crate::store) is_new: bool,
    /// The job shows them from now on.
    pub(in crate::store) is_shown: bool,
    /// `shown` is the delivery that the job shows before.
    pub(in crate::store) tally: Tally,
    /// Has the number of the change before.
    pub(in crate::store) updated: Updated,
}

impl<'b> Revision<'b> {
    /// `is_copy`: the job has the content, though it does not show it.
    fn new(stored: &StoredJob, bundle: Bundle<'b>, is_copy: bool) -> Self {
        let StoredJob { job, shown, .. } = stored;
        let content = bundle.content(stored.account_name.as_deref());
        let mut tally = Tally {
            shown: shown.id,
            first_received_at: job.first_received_at,
            last_received_at: job.last_received_at.max(content.last_received_at),
            deliveries: job.deliveries + content.times,
            revision: job.revision,
        };
        let mut updated = stored.updated;
        if !is_copy {
            tally.first_received_at = job.first_received_at.min(content.received_at);
            tally.revision += 1;
            updated.at = updated.at.max(bundle.recorded_at);
        }
        Self {
            bundle,
            is_new: !is_copy,
            is_shown: !is_copy && content.order() >= shown.order(),
            tally,
            updated,
        }
    }
}

/// Records the rest of a batch. `copies` is what [`RecordRows::record_contents`] returned for
/// `sorted.contents`.
pub(in crate::store) async fn record_rest(
    rows: &mut dyn RecordRows,
    sorted: &mut Sorted<'_>,
    mut copies: Vec<Option<i64>>,
) -> Result<(), StoreError> {
    let mut round = sorted.contents.clone();
    let mut further = sorted.further.clone();
    loop {
        let mut others = Vec::new();
        for (bundle, copies) in round.into_iter().zip(copies) {
            match copies {
                Some(copies) if copies == bundle.times => sorted.note_new(&bundle),
                Some(_) => {}
                None => others.push(bundle),
            }
        }
        for bundle in revise(rows, &others).await? {
            sorted.note_revision(&bundle);
        }
        (round, further) = first_of_each_job(further);
        if round.is_empty() {
            break;
        }
        copies = rows.record_contents(&round).await?;
    }
    let others = sorted.others.clone();
    let are_new = rows.keep_others(&others).await?;
    for (bundle, _) in others.iter().zip(are_new).filter(|(_, is_new)| *is_new) {
        sorted.note_new(bundle);
    }
    Ok(())
}

/// Takes the first content of each job from what is sorted by job.
fn first_of_each_job(sorted: Vec<Bundle<'_>>) -> (Vec<Bundle<'_>>, Vec<Bundle<'_>>) {
    let (mut first, mut rest): (Vec<Bundle>, Vec<Bundle>) = (Vec::new(), Vec::new());
    for bundle in sorted {
        if first.last().map(Bundle::key) == Some(bundle.key()) {
            rest.push(bundle);
        } else {
            first.push(bundle);
        }
    }
    (first, rest)
}

/// Adds contents to jobs that show another one; returns those whose bytes are new.
async fn revise<'b>(
    rows: &mut dyn RecordRows,
    bundles: &[Bundle<'b>],
) -> Result<Vec<Bundle<'b>>, StoreError> {
    if bundles.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = rows.jobs(bundles).await?;
    let are_copies = rows.count_copies(bundles).await?;
    let (mut shown, mut counted, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut new = Vec::new();
    for ((bundle, job), is_copy) in bundles.iter().zip(&jobs).zip(are_copies) {
        let revision = job
            .as_ref()
            .filter(|job| job.shown_sha256 != bundle.delivery.body_sha256)
            .map(|job| Revision::new(job, *bundle, is_copy))
            .ok_or(StoreError::Contended)?;
        new.extend(revision.is_new.then_some(*bundle));
        if revision.is_shown {
            shown.push(revision);
        } else {
            others.extend(revision.is_new.then_some(*bundle));
            counted.push(revision);
        }
    }
    rows.show_revisions(&shown).await?;
    rows.keep_others(&others).await?;
    rows.count_revisions(&counted).await?;
    Ok(new)
}
