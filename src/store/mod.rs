//! What is kept, and the only place with SQL.
//!
//! [`Store`] is the contract. PostgreSQL and SQLite keep it alike: one suite of tests judges both.

mod batch;
mod changes;
mod client_uses;
mod copy;
mod error;
mod hours;
mod inspection;
mod job_rows;
mod migrate;
mod names;
mod postgres;
mod prune;
mod query;
mod reprocess;
mod row;
mod sealed;
mod spool;
mod sqlite;
mod tally;
mod time;
mod totals;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    AccountName, AccountStats, Accounts, ClientName, Delivery, DeliveryState, Job, LastJob, MsgId,
    NewDelivery, Outcome, Reading, ReasonStats, Stats, Time,
};

pub use changes::{Announcements, Change, ChangeKey, LatestChange};
pub use copy::{CopyError, CopySide, CopySums, copy};
pub use error::{OpenStoreError, StoreError};
pub use inspection::Inspection;
pub use migrate::Migrations;
pub use names::NamedAccount;
pub use postgres::PostgresStore;
pub use prune::{Prunable, Prune, Pruned};
pub use reprocess::{Judge, Reprocessed, StoredDelivery, Verdict};
pub use sealed::{MAX_SEALED, MAX_SEALED_BYTES, SealedTotal};
pub use spool::{Depth, Spool, Spooled, Unit};
pub use sqlite::{BackupError, SqliteStore};

/// Keeps deliveries and the jobs they add up to.
///
/// Jobs are keyed by (account, `msg_id`), deliveries by (account, SHA-256 of the body). Times come from the caller. Every
/// call is one transaction: it happens whole or not at all. A read that is dropped stops working in the database, too.
#[async_trait]
pub trait Store: Send + Sync {
    /// Records a batch; when this returns, all of it is on disk, as if its deliveries had come one by one. On an error none
    /// of it is, unless the database could not tell.
    ///
    /// The same bytes again are one more copy: `times`, `deliveries` and `last_received_at` move, nothing else. Other
    /// bytes for the same job are a new revision. The job shows the content with the latest `CreateTime`; on a tie, the
    /// one first received last, so a late retry of old content never flips it back. A result of another WeChat account,
    /// by its `ToUserName`, is shown only where the job has none of its own account: that of its first result, or the one
    /// set with [`Store::set_account_name`]. Only job results that were understood count in a job. A copy that was received before the first, but is recorded after it, moves the first time
    /// of a job with one content; with more, it does not, lest it change what a tie shows.
    ///
    /// Of each account at most [`MAX_SEALED`] deliveries and [`MAX_SEALED_BYTES`] bytes stay sealed: beyond that the oldest
    /// are deleted.
    ///
    /// With an id, a batch that was recorded before is not recorded again. So one whose answer got lost can be retried,
    /// even while the first attempt is still under way.
    async fn record(
        &self,
        batch: &[NewDelivery],
        id: Option<BatchId>,
    ) -> Result<BatchOutcome, StoreError>;

    /// Makes sure that a batch whose answer got lost will not be recorded any more under that id, not even by an attempt
    /// that is still under way. False if it was recorded before.
    async fn cancel(&self, id: BatchId) -> Result<bool, StoreError>;

    /// Forgets the ids of batches that were recorded longer ago than that, by the database's clock: at most `limit`; how
    /// many. Any number of callers may do so at once.
    async fn forget_batches(&self, age: Duration, limit: u32) -> Result<u64, StoreError>;

    /// Jobs in descending order of (`finished_at`, account, `msg_id` as a number), those after `page.after`.
    async fn jobs(&self, filter: &JobFilter, page: &Page<JobKey>) -> Result<Vec<Job>, StoreError>;

    /// One job.
    async fn job(&self, account: &AccountName, msg_id: MsgId) -> Result<Option<Job>, StoreError>;

    /// The distinct contents received for a job, oldest first.
    async fn job_deliveries(
        &self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Everything kept, in descending order of (`received_at`, id), those after `page.after`.
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// The last job of each account that has one.
    async fn last_jobs(&self) -> Result<Vec<LastJob>, StoreError>;

    /// The accounts in which something is sealed, or was dropped because too much was, by name.
    async fn sealed(&self) -> Result<Vec<SealedTotal>, StoreError>;

    /// Totals over the jobs that match.
    async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError>;

    /// Where the changes so far end.
    async fn latest_change(&self) -> Result<LatestChange, StoreError>;

    /// Jobs of these accounts whose latest change comes after `after`, in the order of their changes, at most `limit`. Each
    /// change of what a job shows, or of its `revision`, comes up for whoever goes on from the last key, be it as part of a later
    /// one. A job that is gone does not, nor do mere copies.
    async fn changes(
        &self,
        accounts: &Accounts,
        after: ChangeKey,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError>;

    /// The key of the newest change of these accounts up to `until`, after `but` newer ones; none if there are not so many.
    async fn newest_change(
        &self,
        accounts: &Accounts,
        until: ChangeKey,
        but: u32,
    ) -> Result<Option<ChangeKey>, StoreError>;

    /// The key that encrypts the ids of the stream's events, the same for all servers on the database.
    async fn stream_key(&self) -> Result<[u8; 16], StoreError>;

    /// Tells the other processes on the database that jobs have changed.
    async fn announce(&self) -> Result<(), StoreError>;

    /// What other processes announce from now on.
    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError>;

    /// Totals over the jobs that match and finished between one edge, included, and the next, excluded: one fewer than
    /// edges. There are at least two of them, ascending.
    async fn timeline(&self, filter: &JobFilter, edges: &[Time]) -> Result<Vec<Stats>, StoreError>;

    /// Takes jobs that changed into what is kept of every hour, at most `limit`; whether there were so many. Totals of all
    /// accounts are right without it, and slower. Any number of callers may do so at once.
    async fn roll_up(&self, limit: u32) -> Result<bool, StoreError>;

    /// Each code with which jobs that match were rejected: the most frequent first, then the lowest.
    async fn reasons(&self, filter: &JobFilter) -> Result<Vec<ReasonStats>, StoreError>;

    /// Totals of each account that has jobs that match: the one whose job finished last first, then by name.
    async fn accounts(&self, filter: &JobFilter) -> Result<Vec<AccountStats>, StoreError>;

    /// Deliveries as [`Store::deliveries`] lists them, with what tells whether [`Store::reprocess`] would change them.
    async fn stored(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<StoredDelivery>, StoreError>;

    /// Does with deliveries what `judge` says, in one short transaction; their jobs follow. With `dry_run`, rolls it back.
    ///
    /// The transaction ends early if it takes long: the result has an entry for each delivery that was processed, and
    /// there is at least one. The entry is `None` for a delivery that has gone or was reprocessed since it was read.
    async fn reprocess(
        &self,
        batch: &[StoredDelivery],
        judge: &Judge<'_>,
        now: Time,
        dry_run: bool,
    ) -> Result<Vec<Option<Reprocessed>>, StoreError>;

    /// The deliveries that [`Store::prune`] would remove, in ascending order of (`received_at`, id), those after `page.after`.
    async fn prunable(
        &self,
        prune: &Prune,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Prunable>, StoreError>;

    /// Removes raw deliveries, the oldest first: at most `limit` that jobs show and as many others. Jobs stay as they are,
    /// with their outcomes and counts, and further copies of what they show still count as copies. Any number of callers
    /// may do so at once; what another one is at is left to that one.
    async fn prune(&self, prune: &Prune, limit: u32) -> Result<Pruned, StoreError>;

    /// A snapshot of everything, to copy from.
    async fn copy_source(&self) -> Result<CopySide, StoreError>;

    /// A transaction to copy into. Until it ends, nobody else can write; calls that try fail after a while.
    async fn copy_target(&self) -> Result<CopySide, StoreError>;

    /// Takes a job away that has one content alone, with these bytes, and its delivery; whether it was there. For what was
    /// made as a test.
    async fn withdraw(
        &self,
        account: &AccountName,
        msg_id: MsgId,
        body_sha256: &[u8; 32],
    ) -> Result<bool, StoreError>;

    /// Takes a sealed delivery with these bytes away; whether it was there. For what was made as a test.
    async fn withdraw_sealed(
        &self,
        account: &AccountName,
        body_sha256: &[u8; 32],
    ) -> Result<bool, StoreError>;

    /// The WeChat accounts that accounts stand for, by account.
    async fn account_names(&self) -> Result<Vec<NamedAccount>, StoreError>;

    /// Sets the `ToUserName` that an account stands for, as configured, whatever its first result came with.
    async fn set_account_name(&self, account: &AccountName, name: &str) -> Result<(), StoreError>;

    /// Notes that a client of the API has used its key. The latest time stays.
    async fn note_client_use(&self, client: &ClientName, used_at: Time) -> Result<(), StoreError>;

    /// When each client has last used its key, by name.
    async fn client_uses(&self) -> Result<BTreeMap<String, Time>, StoreError>;

    /// What the database says about itself.
    async fn inspect(&self) -> Result<Inspection, StoreError>;

    /// Whether the database answers, and lets us write.
    async fn ping(&self) -> Result<(), StoreError>;

    /// How many reads run at the same time; more wait for their turn.
    fn readers(&self) -> usize;

    /// Connections for reading that are open, and how many of them are idle.
    fn connections(&self) -> (usize, usize);

    /// Waits for calls that are under way, then closes every connection.
    async fn close(&self);
}

/// Turns the body of a kept delivery into what it says.
pub type Reader = fn(&[u8]) -> Reading;

/// Idempotency key of a batch: random, drawn when the batch is first sent. It stands for the same bytes for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId([u8; 16]);

impl BatchId {
    /// An id that no other batch has.
    pub fn random() -> Self {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the system gives random bytes once it has started");
        Self(id)
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is recorded: what became of each delivery, in the order of the batch.
    Recorded(Vec<Recorded>),
    /// It was recorded before, under the same id.
    RecordedBefore,
    /// Its id was cancelled: it is not recorded.
    Cancelled,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// These bytes are new, and so is the job, if it is a job result.
    New,
    /// These bytes are new, for a job that was there.
    Revision,
    /// The same bytes were there already; one more copy was counted.
    Duplicate,
}

/// Which jobs; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this account.
    pub account: Option<AccountName>,
    /// Of these accounts.
    pub accounts: Accounts,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Rejected with this code.
    pub code: Option<i32>,
    /// With this `CheckState`.
    pub check_state: Option<i64>,
    /// Finished at or after.
    pub from: Option<Time>,
    /// Finished before.
    pub to: Option<Time>,
    /// Changed after.
    pub updated_after: Option<Time>,
    /// With this id, in any account.
    pub msg_id: Option<MsgId>,
}

impl JobFilter {
    /// Changed after when, where it does not matter in which account.
    fn changed_in_any_account(&self) -> Option<Time> {
        let in_any = self.account.is_none() && self.accounts == Accounts::All;
        self.updated_after.filter(|_| in_any)
    }
}

/// Which deliveries; `None` means any.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this account.
    pub account: Option<AccountName>,
    /// Of these accounts.
    pub accounts: Accounts,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of this event, whatever its case.
    pub event: Option<String>,
    /// First received at or after.
    pub from: Option<Time>,
    /// First received before.
    pub to: Option<Time>,
}

/// A part of a list: what comes after a key, so that it stays right while rows arrive.
#[derive(Clone, Debug)]
pub struct Page<K> {
    /// The key of the last row seen; none for the beginning.
    pub after: Option<K>,
    /// How many rows at most.
    pub limit: u32,
}

/// Where a job stands in the list of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// Its `finished_at`.
    pub finished_at: Time,
    /// Its account.
    pub account: AccountName,
    /// Its `msg_id`.
    pub msg_id: MsgId,
}

/// Where a delivery stands in the list of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKey {
    /// Its `received_at`.
    pub received_at: Time,
    /// Its id.
    pub id: i64,
}

impl From<&Job> for JobKey {
    fn from(job: &Job) -> Self {
        Self {
            finished_at: job.result.finished_at,
            account: job.account.clone(),
            msg_id: job.result.msg_id,
        }
    }
}

impl From<&Delivery> for DeliveryKey {
    fn from(delivery: &Delivery) -> Self {
        Self {
            received_at: delivery.received_at,
            id: delivery.id,
        }
    }
}
