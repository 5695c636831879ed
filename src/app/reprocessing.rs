//! Reprocessing stored deliveries in small batches, so that nobody who records one waits for long.

use std::time::Duration;

use crate::domain::{DeliveryState, Time};
use crate::store::{
    DeliveryFilter, DeliveryKey, Judge, Page, Reprocessed, Store, StoreError, StoredDelivery,
};

const PAGE: u32 = 200;
const BATCH: usize = 100;
/// Between two batches, for those who record. Whoever waits for SQLite's lock looks for it every 100 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// What a run has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReprocessSums {
    /// Deliveries that were read.
    pub read: u64,
    /// Those of them that changed.
    pub changed: u64,
    /// Those that were forgotten.
    pub forgotten: u64,
    /// Those that are still not understood.
    pub unparsed: u64,
    /// Those that are still sealed.
    pub sealed: u64,
}

/// Does with all stored deliveries that match one of the filters what `judge` says, or with `dry_run` only finds out. What has not changed is only
/// read; what has is written in short transactions with a pause between them. After each of them, `told` gets the sums so far and
/// what changed in it.
///
/// # Errors
/// When the database fails, or `told` does; the batches before that are done.
pub async fn reprocess<E: From<StoreError>>(
    store: &dyn Store,
    filters: &[DeliveryFilter],
    judge: &Judge<'_>,
    dry_run: bool,
    mut told: impl FnMut(ReprocessSums, &[Reprocessed]) -> Result<(), E>,
) -> Result<ReprocessSums, E> {
    let mut sums = ReprocessSums::default();
    for filter in filters {
        reprocess_filtered(store, filter, judge, dry_run, &mut sums, &mut told).await?;
    }
    Ok(sums)
}

async fn reprocess_filtered<E: From<StoreError>>(
    store: &dyn Store,
    filter: &DeliveryFilter,
    judge: &Judge<'_>,
    dry_run: bool,
    sums: &mut ReprocessSums,
    told: &mut impl FnMut(ReprocessSums, &[Reprocessed]) -> Result<(), E>,
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
            told(*sums, &done)?;
            tokio::time::sleep(PAUSE).await;
        }
        told(*sums, &[])?;
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

    /// Counts a delivery in the state that it has now.
    fn count(&mut self, state: DeliveryState) {
        match state {
            DeliveryState::Stored => {}
            DeliveryState::Unparsed => self.unparsed += 1,
            DeliveryState::Sealed => self.sealed += 1,
        }
    }
}
