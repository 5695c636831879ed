//! Reprocesses stored deliveries.

use super::DELAY;
use crate::domain::{DeliveryState, Time};
use crate::store::{
    DeliveryFilter, DeliveryKey, Judge, Page, Reprocessed, Store, StoreError, StoredDelivery,
};

const PAGE: u32 = 200;
const BATCH: usize = 100;

/// The sums of a run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReprocessSums {
    pub read: u64,
    pub changed: u64,
    pub forgotten: u64,
    /// Still not understood.
    pub unparsed: u64,
    /// Still sealed.
    pub sealed: u64,
}

/// Reprocesses all stored deliveries that match one of the filters as `judge` says. Deliveries that
/// do not change are only read; the others are written in short transactions. After each, `report`
/// gets the sums so far and what changed. On an error, the transactions before it are done. With
/// `dry_run`, each is rolled back.
pub async fn reprocess<E: From<StoreError>>(
    store: &dyn Store,
    filters: &[DeliveryFilter],
    judge: &Judge<'_>,
    dry_run: bool,
    mut report: impl FnMut(ReprocessSums, &[Reprocessed]) -> Result<(), E>,
) -> Result<ReprocessSums, E> {
    let mut sums = ReprocessSums::default();
    for filter in filters {
        reprocess_filtered(store, filter, judge, dry_run, &mut sums, &mut report).await?;
    }
    Ok(sums)
}

async fn reprocess_filtered<E: From<StoreError>>(
    store: &dyn Store,
    filter: &DeliveryFilter,
    judge: &Judge<'_>,
    dry_run: bool,
    sums: &mut ReprocessSums,
    report: &mut impl FnMut(ReprocessSums, &[Reprocessed]) -> Result<(), E>,
) -> Result<(), E> {
    let mut page = Page {
        after: None,
        limit: PAGE,
    };
    loop {
        let stored = store.stored(filter, &page).await?;
        let Some(last) = stored.last() else {
            return Ok(());
        };
        page.after = Some(DeliveryKey::from(&last.delivery));
        sums.read += stored.len() as u64;
        let mut changing: Vec<StoredDelivery> = Vec::new();
        for one in stored {
            if one.is_changed_by(judge(&one.delivery)) {
                changing.push(one);
            } else {
                sums.count(one.delivery.state);
            }
        }
        let mut rest = &changing[..];
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(BATCH)];
            let done = store.reprocess(batch, judge, Time::now(), dry_run).await?;
            rest = &rest[done.len()..];
            let mut done: Vec<_> = done.into_iter().flatten().collect();
            done.retain(Reprocessed::changed);
            for one in &done {
                sums.add(one);
            }
            report(*sums, &done)?;
            tokio::time::sleep(DELAY).await;
        }
        report(*sums, &[])?;
    }
}

impl ReprocessSums {
    fn add(&mut self, done: &Reprocessed) {
        match &done.after {
            Some(after) => {
                self.changed += 1;
                self.count(after.state);
            }
            None => self.forgotten += 1,
        }
    }

    fn count(&mut self, state: DeliveryState) {
        match state {
            DeliveryState::Stored => {}
            DeliveryState::Unparsed => self.unparsed += 1,
            DeliveryState::Sealed => self.sealed += 1,
        }
    }
}
