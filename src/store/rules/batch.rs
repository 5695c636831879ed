//! A batch in the order in which it is recorded, with copies of the same bytes merged.

use crate::domain::{Delivery, MassSendFinished, NewDelivery, Time};

use super::tally::Content;
use crate::store::Recorded;

/// The copies of the same bytes in a batch.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Bundle<'b> {
    pub(in crate::store) delivery: &'b NewDelivery,
    pub(in crate::store) first_received_at: Time,
    pub(in crate::store) last_received_at: Time,
    pub(in crate::store) recorded_at: Time,
    pub(in crate::store) times: i64,
    /// Its number in the order in which the batch is recorded, from 0.
    pub(in crate::store) number: i64,
    /// The place in the batch of the first copy.
    place: usize,
}

/// A batch, sorted by key: replicas lock jobs in the same order, so they cannot deadlock.
#[derive(Debug)]
pub(in crate::store) struct Sorted<'b> {
    /// One content for each job.
    pub(in crate::store) contents: Vec<Bundle<'b>>,
    /// Further contents of the same jobs, and copies that cannot be merged with others.
    pub(super) further: Vec<Bundle<'b>>,
    /// Deliveries that are not job results.
    pub(super) others: Vec<Bundle<'b>>,
    recorded: Vec<Recorded>,
}

impl<'b> Bundle<'b> {
    /// What it says, if it is a job result.
    pub(in crate::store) fn result(&self) -> Option<&'b MassSendFinished> {
        self.delivery.reading.result()
    }

    /// The account, and the id of the job if it is a job result.
    pub(in crate::store) fn key(&self) -> (&'b str, i64) {
        let msg_id = self.result().map_or(0, |result| result.msg_id.get());
        (self.delivery.account.as_str(), msg_id)
    }

    /// What it says, if it is one of the contents.
    pub(in crate::store) fn job_result(&self) -> &'b MassSendFinished {
        self.result().expect("contents of jobs are job results")
    }

    /// The content that it adds to a job whose account belongs to the WeChat account `name`.
    pub(super) fn content(&self, name: Option<&str>) -> Content {
        let result = self.job_result();
        Content {
            id: 0,
            finished_at: result.finished_at,
            received_at: self.first_received_at,
            last_received_at: self.last_received_at,
            times: self.times,
            is_foreign: result.is_foreign_to(name),
        }
    }

    /// The row that it becomes.
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
            received_at: self.first_received_at,
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
            number: 0,
            place,
        }
    }

    /// Whether a delivery can be merged. A copy of a job result that was received before the first
    /// one, by the clock, changes times depending on the other contents of its job, so it is
    /// recorded by itself.
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
        let contents = sorted.contents.iter_mut().chain(&mut sorted.further);
        for (number, bundle) in (0..).zip(contents.chain(&mut sorted.others)) {
            bundle.number = number;
        }
        sorted
    }

    pub(in crate::store) fn len(&self) -> i64 {
        let bundles = self.contents.len() + self.further.len() + self.others.len();
        i64::try_from(bundles).unwrap_or(i64::MAX)
    }

    /// It has one content for each job, and nothing else.
    pub(in crate::store) fn is_plain(&self) -> bool {
        self.further.is_empty() && self.others.is_empty()
    }

    /// The first copy of a bundle had new bytes.
    pub(in crate::store) fn note_new(&mut self, bundle: &Bundle<'_>) {
        self.recorded[bundle.place] = Recorded::New;
    }

    /// The first copy of a bundle had new bytes for a job that existed.
    pub(super) fn note_revision(&mut self, bundle: &Bundle<'_>) {
        self.recorded[bundle.place] = Recorded::Revision;
    }

    /// The outcome of each delivery, in the order of the batch.
    pub(in crate::store) fn into_recorded(self) -> Vec<Recorded> {
        self.recorded
    }
}
