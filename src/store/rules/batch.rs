//! A batch in the order in which it is recorded, copies of the same bytes put together.

use crate::domain::{Delivery, MassSendFinished, NewDelivery, Time};

use super::tally::Tally;
use crate::store::Recorded;
use crate::store::row::Standing;

/// The copies of the same bytes in a batch.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Bundle<'b> {
    pub(in crate::store) delivery: &'b NewDelivery,
    pub(in crate::store) first_received_at: Time,
    pub(in crate::store) last_received_at: Time,
    pub(in crate::store) recorded_at: Time,
    pub(in crate::store) times: i64,
    /// The place in the batch of the first copy.
    place: usize,
}

/// A batch, sorted by key: replicas that record at the same moment wait for each other in one order, and never in a circle.
#[derive(Debug)]
pub(in crate::store) struct Sorted<'b> {
    /// One content for each job.
    pub(in crate::store) contents: Vec<Bundle<'b>>,
    /// Further contents of the same jobs, or copies that cannot be put together with others.
    pub(in crate::store) further: Vec<Bundle<'b>>,
    /// What is no job result.
    pub(in crate::store) others: Vec<Bundle<'b>>,
    recorded: Vec<Recorded>,
}

impl<'b> Bundle<'b> {
    /// What it says, where it is a job result.
    pub(in crate::store) fn result(&self) -> Option<&'b MassSendFinished> {
        self.delivery.reading.result()
    }

    /// The account, and the id of the job where it is a job result.
    pub(in crate::store) fn key(&self) -> (&'b str, i64) {
        let msg_id = self.result().map_or(0, |result| result.msg_id.get());
        (self.delivery.account.as_str(), msg_id)
    }

    /// The delivery that it becomes, once it has an id. Its time is that of the copy that came first, not the earliest.
    pub(in crate::store) fn as_delivery(&self, id: i64) -> Delivery {
        let new = self.delivery;
        Delivery {
            id,
            account: new.account.clone(),
            event: new.reading.event().map(str::to_owned),
            msg_id: new.reading.msg_id(),
            body: new.body.clone(),
            body_sha256: new.body_sha256,
            state: new.reading.state(),
            error: new.reading.error().map(str::to_owned),
            received_at: new.received_at,
            last_received_at: self.last_received_at,
            times: self.times,
        }
    }

    fn starts(place: usize, delivery: &'b NewDelivery) -> Self {
        Self {
            delivery,
            first_received_at: delivery.received_at,
            last_received_at: delivery.received_at,
            recorded_at: delivery.recorded_at,
            times: 1,
            place,
        }
    }

    /// Whether it can be counted here. A job result that came before the first copy by the clock moves times that depend on
    /// what its job has by then: it is recorded by itself.
    fn is_copy(&self, delivery: &'b NewDelivery) -> bool {
        self.key() == Self::starts(0, delivery).key()
            && (self.result().is_none() || self.delivery.received_at <= delivery.received_at)
            && self.delivery.body_sha256 == delivery.body_sha256
            && self.delivery.reading.result().is_some() == delivery.reading.result().is_some()
    }

    fn add(&mut self, copy: &NewDelivery) {
        self.first_received_at = self.first_received_at.min(copy.received_at);
        self.last_received_at = self.last_received_at.max(copy.received_at);
        self.recorded_at = self.recorded_at.min(copy.recorded_at);
        self.times += 1;
    }
}

impl<'b> Sorted<'b> {
    pub(in crate::store) fn new(batch: &'b [NewDelivery]) -> Self {
        let mut bundles: Vec<Bundle> = Vec::with_capacity(batch.len());
        let mut copies: Vec<_> = batch.iter().enumerate().collect();
        copies.sort_by_key(|(place, delivery)| {
            (
                Bundle::starts(*place, delivery).key(),
                &delivery.body_sha256,
                *place,
            )
        });
        for (place, delivery) in copies {
            match bundles.last_mut() {
                Some(bundle) if bundle.is_copy(delivery) => bundle.add(delivery),
                _ => bundles.push(Bundle::starts(place, delivery)),
            }
        }
        let mut sorted = Self {
            contents: Vec::with_capacity(bundles.len()),
            further: Vec::new(),
            others: Vec::new(),
            recorded: vec![Recorded::Duplicate; batch.len()],
        };
        // The contents of one job stay in the order in which they came.
        bundles.sort_by_key(|bundle| (bundle.key(), bundle.place));
        for bundle in bundles {
            if bundle.result().is_none() {
                sorted.others.push(bundle);
            } else if sorted.contents.last().map(Bundle::key) == Some(bundle.key()) {
                sorted.further.push(bundle);
            } else {
                sorted.contents.push(bundle);
            }
        }
        // By the unique key of the table.
        sorted
            .others
            .sort_by_key(|bundle| (bundle.key().0, bundle.delivery.body_sha256));
        sorted
    }

    /// How many bundles it has.
    pub(in crate::store) fn len(&self) -> i64 {
        let bundles = self.contents.len() + self.further.len() + self.others.len();
        i64::try_from(bundles).unwrap_or(i64::MAX)
    }

    /// Whether one statement can record it: it has one content for each job, and nothing else.
    pub(in crate::store) fn is_plain(&self) -> bool {
        self.further.is_empty() && self.others.is_empty()
    }

    /// Notes that the first copy of a bundle brought new bytes.
    pub(in crate::store) fn note_new(&mut self, bundle: &Bundle<'_>) {
        self.recorded[bundle.place] = Recorded::New;
    }

    /// Notes that the first copy of a bundle brought new bytes for a job that was there.
    pub(in crate::store) fn note_revision(&mut self, bundle: &Bundle<'_>) {
        self.recorded[bundle.place] = Recorded::Revision;
    }

    /// What became of each delivery, in the order of the batch.
    pub(in crate::store) fn into_recorded(self) -> Vec<Recorded> {
        self.recorded
    }
}

/// What a job comes to with one more content, or with copies of one that it does not show.
#[derive(Debug)]
pub(in crate::store) struct Revision<'r, 'b> {
    pub(in crate::store) bundle: &'r Bundle<'b>,
    /// The bytes are new.
    pub(in crate::store) is_new: bool,
    /// The job shows them from now on.
    pub(in crate::store) is_shown: bool,
    /// `shown` is the delivery that the job shows so far.
    pub(in crate::store) tally: Tally,
    pub(in crate::store) updated_at: Time,
}

impl<'r, 'b> Revision<'r, 'b> {
    /// `is_copy`: the content is there already, though the job does not show it.
    pub(in crate::store) fn new(stored: &Standing, bundle: &'r Bundle<'b>, is_copy: bool) -> Self {
        let Standing {
            job,
            shown,
            account_name,
            ..
        } = stored;
        let received_at = bundle.delivery.received_at;
        let mut tally = Tally {
            shown: shown.id,
            first_received_at: job.first_received_at,
            last_received_at: job.last_received_at.max(bundle.last_received_at),
            deliveries: job.deliveries + bundle.times,
            revision: job.revision,
        };
        let mut updated_at = stored.updated.at;
        if !is_copy {
            tally.first_received_at = job.first_received_at.min(received_at);
            tally.revision += 1;
            updated_at = updated_at.max(bundle.recorded_at);
        }
        let is_shown = !is_copy
            && bundle.result().is_some_and(|result| {
                let is_foreign = result.is_foreign_to(account_name.as_deref());
                (!is_foreign, result.finished_at, received_at) >= shown.order()
            });
        Self {
            bundle,
            is_new: !is_copy,
            is_shown,
            tally,
            updated_at,
        }
    }
}
