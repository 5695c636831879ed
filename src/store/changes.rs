//! The changes of jobs in an order in which none is overlooked.
//!
//! Every change has a number. On SQLite one alone writes, so that numbers come in the order of commits. On PostgreSQL it is
//! that of the transaction, and a lower one may be committed later: so what is read ends before the lowest that is still
//! under way.

use async_trait::async_trait;

use super::StoreError;
use super::query::job_columns;
use crate::domain::Job;

/// `$3` is the first number that may still grow.
pub(super) const CHANGES: &str = concat!(
    "select ",
    job_columns!(),
    ", change, shown_id from jobs where (change, shown_id) > ($1, $2) and change < $3 order by change, shown_id limit $4"
);

/// Where a change stands in the order of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeKey {
    /// Its number; one transaction may change many jobs.
    pub change: i64,
    /// Tells the jobs of one transaction apart.
    pub shown_id: i64,
}

/// A change of a job.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where it stands.
    pub key: ChangeKey,
    /// The job as it is now.
    pub job: Job,
}

impl ChangeKey {
    /// Before every change that has that number or a higher one.
    pub(super) const fn before(change: i64) -> Self {
        Self {
            change: change - 1,
            shown_id: i64::MAX,
        }
    }
}

/// Word from other processes on the same database.
#[async_trait]
pub trait Announcements: Send {
    /// Waits until another process says that jobs have changed, or may have said so unheard.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    async fn next(&mut self) -> Result<(), StoreError>;
}
