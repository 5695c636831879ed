//! Which content a job shows, and the sums over its contents.

use crate::domain::{Delivery, Job, MassSendFinished, Time};

/// One job result among the deliveries of a job.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Content {
    pub(in crate::store) id: i64,
    pub(in crate::store) finished_at: Time,
    pub(in crate::store) received_at: Time,
    pub(in crate::store) last_received_at: Time,
    pub(in crate::store) times: i64,
    /// It is a result of another WeChat account than the one that belongs to its account.
    pub(in crate::store) is_foreign: bool,
}

impl Content {
    /// `name`: the `ToUserName` of the WeChat account that belongs to its account.
    pub(in crate::store) fn new(
        delivery: &Delivery,
        finished_at: Time,
        result: Option<&MassSendFinished>,
        name: Option<&str>,
    ) -> Self {
        Self {
            id: delivery.id,
            finished_at,
            received_at: delivery.received_at,
            last_received_at: delivery.last_received_at,
            times: delivery.times,
            is_foreign: result.is_some_and(|result| result.is_foreign_to(name)),
        }
    }

    /// A job shows the content that comes last: a result of another WeChat account only if there is
    /// no other; otherwise the latest `CreateTime` or, on a tie, the one that was first received
    /// last.
    pub(in crate::store) fn order(&self) -> (bool, Time, Time) {
        (!self.is_foreign, self.finished_at, self.received_at)
    }

    /// Adds the copies of the same content.
    pub(in crate::store) fn add_copies(&mut self, copies: &Delivery) {
        self.received_at = self.received_at.min(copies.received_at);
        self.last_received_at = self.last_received_at.max(copies.last_received_at);
        self.times += copies.times;
    }
}

/// The sums over all contents of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Tally {
    /// The delivery that the job shows.
    pub(in crate::store) shown: i64,
    pub(in crate::store) first_received_at: Time,
    pub(in crate::store) last_received_at: Time,
    pub(in crate::store) deliveries: i64,
    pub(in crate::store) revision: i64,
}

impl Tally {
    /// `None` if there is no content.
    pub(in crate::store) fn of(contents: &[Content]) -> Option<Self> {
        let order = |content: &&Content| (content.order(), content.id);
        Some(Self {
            shown: contents.iter().max_by_key(order)?.id,
            first_received_at: contents.iter().map(|content| content.received_at).min()?,
            last_received_at: contents
                .iter()
                .map(|content| content.last_received_at)
                .max()?,
            deliveries: contents.iter().map(|content| content.times).sum(),
            revision: i64::try_from(contents.len()).unwrap_or(i64::MAX),
        })
    }

    /// Whether a job has that result and these sums.
    pub(in crate::store) fn shows(&self, job: &Job, result: &MassSendFinished) -> bool {
        job.result == *result && self.counts(job)
    }

    /// Whether a job has these sums.
    pub(in crate::store) fn counts(&self, job: &Job) -> bool {
        job.deliveries == self.deliveries
            && job.revision == self.revision
            && job.first_received_at == self.first_received_at
            && job.last_received_at == self.last_received_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(id: i64, finished: i64, received: i64, last: i64, times: i64) -> Content {
        let time = |seconds| Time::from_create_time(seconds).expect("in range");
        Content {
            id,
            finished_at: time(finished),
            received_at: time(received),
            last_received_at: time(last),
            times,
            is_foreign: false,
        }
    }

    #[test]
    fn a_foreign_content_shows_only_where_there_is_no_other() {
        let foreign = Content {
            is_foreign: true,
            ..content(1, 30, 3, 3, 1)
        };
        let later = Content {
            is_foreign: true,
            ..content(2, 40, 4, 4, 1)
        };
        let shown = |contents: &[Content]| Tally::of(contents).map(|tally| tally.shown);
        assert_eq!(shown(&[later, foreign]), Some(2));
        assert_eq!(shown(&[foreign, content(3, 10, 1, 1, 1), later]), Some(3));
    }

    #[test]
    fn the_latest_create_time_shows_and_a_tie_goes_to_the_one_first_received_last() {
        let shown = |contents: &[Content]| Tally::of(contents).map(|tally| tally.shown);
        assert_eq!(shown(&[]), None);
        assert_eq!(
            shown(&[content(1, 20, 1, 9, 5), content(2, 10, 2, 2, 1)]),
            Some(1)
        );
        assert_eq!(
            shown(&[content(1, 10, 1, 9, 5), content(2, 10, 2, 2, 1)]),
            Some(2)
        );
        assert_eq!(
            shown(&[content(1, 10, 2, 9, 5), content(2, 10, 2, 2, 1)]),
            Some(2)
        );
    }

    #[test]
    fn copies_and_times_are_summed_up() {
        let tally = Tally::of(&[content(1, 10, 5, 9, 3), content(2, 20, 3, 4, 2)]);
        let expected = content(0, 0, 3, 9, 5);
        assert_eq!(
            tally,
            Some(Tally {
                shown: 2,
                first_received_at: expected.received_at,
                last_received_at: expected.last_received_at,
                deliveries: 5,
                revision: 2,
            })
        );
    }
}
