//! The database, and the only place with SQL.
//!
//! [`Store`] is the contract of both databases, PostgreSQL and SQLite; one suite of tests judges
//! both. It consists of a trait for each kind of caller, so that nobody is given more than it
//! needs.

mod dialect;
mod error;
mod filters;
mod names;
mod postgres;
mod read;
mod row;
mod rules;
mod sealed;
mod spool;
mod sqlite;
mod time;
mod upkeep;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    AccountName, AccountStats, Accounts, ClientName, Delivery, Job, LastJob, MsgId, NewDelivery,
    Reading, ReasonStats, Stats, Time,
};

pub use error::{OpenStoreError, StoreError, within};
pub use filters::{DeliveryFilter, DeliveryKey, JobFilter, JobKey, Page};
pub use names::NamedAccount;
pub use postgres::PostgresStore;
pub use read::changes::{Announcements, Change, ChangeKey, LatestChange};
pub use rules::reprocess::{Judge, Reprocessed, StoredDelivery, Verdict};
pub use sealed::{MAX_SEALED, MAX_SEALED_BYTES, SealedTotal};
pub use spool::{Depth, Spool, Spooled, Unit};
pub use sqlite::{BackupError, SqliteStore};
pub use upkeep::Inspection;
pub use upkeep::copy::{CopyError, CopySide, CopySums, copy};
pub use upkeep::migrate::Migrations;
pub use upkeep::prune::{Prunable, Prune, Pruned};

/// A database: deliveries, and the jobs that they add up to.
///
/// The key of a job is (account, `msg_id`), that of a delivery (account, SHA-256 of the body).
/// Times come from the caller. Every call is one transaction. A read that is dropped stops working
/// in the database as well.
#[async_trait]
pub trait Store: Recorder + Queries + ChangeFeed + KeyUses + Upkeep {
    /// Waits for calls that are under way, then closes every connection.
    async fn close(&self);
}

/// Tests the database.
#[async_trait]
pub trait Ping: Send + Sync {
    /// Fails unless the database answers and accepts writes.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Records what comes in.
#[async_trait]
pub trait Recorder: Ping {
    /// Records a batch; when this returns, all of it is on disk, as if its deliveries had come one
    /// by one. On an error nothing is recorded, unless the outcome of the transaction is unknown.
    ///
    /// The same bytes again are a copy: only `times`, `deliveries` and `last_received_at` change.
    /// Other bytes for the same job are a new revision. The job shows the content with the latest
    /// `CreateTime`; on a tie, the one that was first received last, so that a late retry of old
    /// content never flips it back. A result of another WeChat account, by its `ToUserName`, is
    /// shown only if the job has none of its own account: that of the first result, or the one set
    /// with [`Upkeep::set_account_name`]. Only job results that were understood count in a job. A
    /// copy that was received before the first one, but recorded after it, moves the first time of
    /// a job with one content; not of a job with more, as that would change how a tie is decided.
    ///
    /// Each account keeps at most [`MAX_SEALED`] deliveries and [`MAX_SEALED_BYTES`] bytes sealed;
    /// beyond that the oldest are deleted.
    ///
    /// A batch whose id was recorded before is not recorded again. So a batch whose answer was lost
    /// can be retried, even while the first attempt is still under way.
    async fn record(
        &self,
        batch: &[NewDelivery],
        id: Option<BatchId>,
    ) -> Result<BatchOutcome, StoreError>;

    /// Makes sure that a batch whose answer was lost will never be recorded under that id, not even
    /// by an attempt that is still under way. False if it was recorded before.
    async fn cancel(&self, id: BatchId) -> Result<bool, StoreError>;
}

/// Reads jobs, deliveries and totals.
#[async_trait]
pub trait Queries: Ping {
    /// A page of jobs in descending order of (`finished_at`, account, `msg_id` as a number).
    async fn jobs(&self, filter: &JobFilter, page: &Page<JobKey>) -> Result<Vec<Job>, StoreError>;

    async fn job(&self, account: &AccountName, msg_id: MsgId) -> Result<Option<Job>, StoreError>;

    /// The distinct contents received for a job, oldest first.
    async fn job_deliveries(
        &self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// A page of all deliveries in descending order of (`received_at`, id).
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// The last job of each account that has one.
    async fn last_jobs(&self) -> Result<Vec<LastJob>, StoreError>;

    /// The accounts with deliveries that are sealed, or were deleted because too many were, by
    /// name.
    async fn sealed(&self) -> Result<Vec<SealedTotal>, StoreError>;

    /// The WeChat account that belongs to each account, by account.
    async fn account_names(&self) -> Result<Vec<NamedAccount>, StoreError>;

    /// Totals over the jobs that match.
    async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError>;

    /// Totals over the jobs that match and finished between an edge (inclusive) and the next
    /// (exclusive): one fewer than edges, which are ascending, and at least two.
    async fn timeline(&self, filter: &JobFilter, edges: &[Time]) -> Result<Vec<Stats>, StoreError>;

    /// Each code with which jobs that match were rejected: the most frequent first, then the
    /// lowest.
    async fn reasons(&self, filter: &JobFilter) -> Result<Vec<ReasonStats>, StoreError>;

    /// Totals of each account that has jobs that match: the one whose job finished last first, then
    /// by name.
    async fn accounts(&self, filter: &JobFilter) -> Result<Vec<AccountStats>, StoreError>;

    /// The key that encrypts the ids of the stream's events, the same for all servers on the
    /// database.
    async fn stream_key(&self) -> Result<[u8; 16], StoreError>;

    /// How many queries run at the same time; more wait for their turn.
    fn readers(&self) -> usize;

    /// Open connections for queries, and how many of them are idle.
    fn connections(&self) -> (usize, usize);
}

/// Follows the changes of jobs.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// The position after all changes so far.
    async fn latest_change(&self) -> Result<LatestChange, StoreError>;

    /// Jobs of these accounts whose latest change comes after `after`, in the order of their
    /// changes, at most `limit`. Reading on from the last key finds each change of what a job
    /// shows, or of its `revision`, perhaps merged into a later one; but not copies, and no job
    /// that was deleted.
    async fn changes(
        &self,
        accounts: &Accounts,
        after: ChangeKey,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError>;

    /// The key of the newest change of these accounts up to `until`, after skipping `but` newer
    /// ones; `None` if there are fewer.
    async fn newest_change(
        &self,
        accounts: &Accounts,
        until: ChangeKey,
        but: u32,
    ) -> Result<Option<ChangeKey>, StoreError>;

    /// Tells the other processes on the database that jobs have changed.
    async fn announce(&self) -> Result<(), StoreError>;

    /// Subscribes to what other processes announce.
    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError>;
}

/// Remembers when clients of the API last used their keys.
#[async_trait]
pub trait KeyUses: Send + Sync {
    /// Notes that a client has used its key. The latest time wins.
    async fn note_client_use(&self, client: &ClientName, used_at: Time) -> Result<(), StoreError>;

    /// When each client last used its key, by name.
    async fn client_uses(&self) -> Result<BTreeMap<String, Time>, StoreError>;
}

/// What the server does in the background, and the commands.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Forgets at most `limit` ids of batches that were recorded longer ago than `age`, by the
    /// database's clock; returns how many. Any number of callers may do so at once.
    async fn forget_batches(&self, age: Duration, limit: u32) -> Result<u64, StoreError>;

    /// Adds at most `limit` jobs that changed to the totals of hours; true if it reached `limit`,
    /// so that more may be waiting. Without it totals are correct, but slower. Any number of
    /// callers may do so at once.
    async fn roll_up(&self, limit: u32) -> Result<bool, StoreError>;

    /// Deliveries as [`Queries::deliveries`] lists them, with what tells whether
    /// [`Upkeep::reprocess`] would change them.
    async fn stored(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<StoredDelivery>, StoreError>;

    /// Does with deliveries what `judge` says, in one short transaction, and updates their jobs.
    /// With `dry_run`, rolls it back.
    ///
    /// The transaction ends early if it takes long: the result has an entry for each delivery that
    /// was processed, at least one. The entry is `None` for a delivery that was deleted or
    /// reprocessed since it was read.
    async fn reprocess(
        &self,
        batch: &[StoredDelivery],
        judge: &Judge<'_>,
        now: Time,
        dry_run: bool,
    ) -> Result<Vec<Option<Reprocessed>>, StoreError>;

    /// A page of the deliveries that [`Upkeep::prune`] would remove, in ascending order of
    /// (`received_at`, id).
    async fn prunable(
        &self,
        prune: &Prune,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Prunable>, StoreError>;

    /// Removes raw deliveries, the oldest first: at most `limit` that jobs show and as many others.
    /// Jobs keep their outcomes and counts, and further copies of what they show still count as
    /// copies. Any number of callers may do so at once; each skips the rows of the others.
    async fn prune(&self, prune: &Prune, limit: u32) -> Result<Pruned, StoreError>;

    /// A snapshot of everything, to copy from.
    async fn copy_source(&self) -> Result<CopySide, StoreError>;

    /// A transaction to copy into. Until it ends nobody else can write; calls that try fail after a
    /// while.
    async fn copy_target(&self) -> Result<CopySide, StoreError>;

    /// Deletes a job that was made as a test, if its only content has these bytes; false if there
    /// is none.
    async fn withdraw(
        &self,
        account: &AccountName,
        msg_id: MsgId,
        body_sha256: &[u8; 32],
    ) -> Result<bool, StoreError>;

    /// Deletes a sealed delivery that was made as a test; false if there is none.
    async fn withdraw_sealed(
        &self,
        account: &AccountName,
        body_sha256: &[u8; 32],
    ) -> Result<bool, StoreError>;

    /// Sets the `ToUserName` of the WeChat account that belongs to an account, whatever its first
    /// result came with.
    async fn set_account_name(&self, account: &AccountName, name: &str) -> Result<(), StoreError>;

    /// What the database says about itself.
    async fn inspect(&self) -> Result<Inspection, StoreError>;
}

/// Reads the body of a delivery.
pub type Reader = fn(&[u8]) -> Reading;

/// Idempotency key of a batch: random, drawn when the batch is first sent. It always means the same
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId([u8; 16]);

impl BatchId {
    pub fn random() -> Self {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the system gives random bytes once it has started");
        Self(id)
    }
}

/// What recording a batch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is recorded; has an entry for each delivery, in the order of the batch.
    Recorded(Vec<Recorded>),
    /// It was recorded before, under the same id.
    RecordedBefore,
    /// Its id was cancelled, so it is not recorded.
    Cancelled,
}

/// What recording a delivery did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The bytes are new, and so is the job, if it is a job result.
    New,
    /// The bytes are new, for a job that existed.
    Revision,
    /// The same bytes existed; one more copy was counted.
    Duplicate,
}
