//! The changes of jobs, in an order that overlooks none.
//!
//! Every change has a number. SQLite has one writer, so numbers are in the order of commits. On
//! PostgreSQL it is the number of the transaction, and a lower one may be committed later. So
//! reading ends before the lowest one that is still running.

use async_trait::async_trait;
use sqlx::QueryBuilder;

use crate::domain::{Accounts, Job};
use crate::store::StoreError;
use crate::store::dialect::{Dialect, PushValue};
use crate::store::filters::{filter_accounts, push_for_each_account};
use crate::store::rules::statements::job_columns;

pub(in crate::store) const STREAM_KEY: &str = "select key from stream_keys limit 1";

/// `select` of the jobs that changed after `after`, in the order of their changes. Transactions
/// with the number `first_open` or a higher one may still be running.
pub(in crate::store) fn changes<D: Dialect>(
    accounts: &Accounts,
    after: ChangeKey,
    first_open: i64,
    limit: u32,
) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new(concat!(
        "select ",
        job_columns!(),
        ", change, shown_id from (select account, msg_id from ("
    ));
    push_keys(&mut query, accounts, |query| {
        query
            .push(" and (change, shown_id) > (")
            .push_value(after.change);
        query.push(", ").push_value(after.shown_id);
        query.push(") and change < ").push_value(first_open);
        query.push(" order by change, shown_id limit ");
        query.push_value(i64::from(limit));
    });
    query.push(") as merged order by change, shown_id limit ");
    query.push_value(i64::from(limit));
    query.push(") as listed join jobs using (account, msg_id) order by change, shown_id");
    query
}

/// `select` of the key of the newest change up to `until`, after skipping `but` newer ones.
pub(in crate::store) fn newest<D: Dialect>(
    accounts: &Accounts,
    until: ChangeKey,
    but: u32,
) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new("select change, shown_id from (");
    push_keys(&mut query, accounts, |query| {
        query
            .push(" and (change, shown_id) <= (")
            .push_value(until.change);
        query.push(", ").push_value(until.shown_id);
        query.push(") order by change desc, shown_id desc limit ");
        query.push_value(i64::from(but) + 1);
    });
    query.push(") as merged order by change desc, shown_id desc limit 1 offset ");
    query.push_value(i64::from(but));
    query
}

/// `select` of the keys of jobs and of their changes, with the same conditions for each account.
fn push_keys<D: Dialect>(
    query: &mut QueryBuilder<D>,
    accounts: &Accounts,
    conditions: impl Fn(&mut QueryBuilder<D>),
) {
    push_for_each_account(query, None, accounts, |query, account| {
        query.push("select account, msg_id, change, shown_id from jobs where true");
        filter_accounts(query, account, accounts);
        conditions(query);
    });
}

/// The position of a change in the order of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeKey {
    /// The same for all jobs that a transaction changed, on PostgreSQL.
    pub change: i64,
    /// Distinguishes these jobs.
    pub shown_id: i64,
}

/// The end of the changes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestChange {
    /// Changes that are not committed yet come after it.
    pub settled: ChangeKey,
    /// No change that was read so far comes after it.
    pub given_out: ChangeKey,
}

/// A change of a job.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its position.
    pub key: ChangeKey,
    /// The job as it is now.
    pub job: Job,
}

impl ChangeKey {
    /// Before every change. Jobs that were copied here have the number 0.
    pub const FIRST: Self = Self {
        change: 0,
        shown_id: -1,
    };

    /// After every change with a lower number.
    pub(in crate::store) const fn before(change: i64) -> Self {
        Self {
            change: change - 1,
            shown_id: i64::MAX,
        }
    }
}

/// Announcements of other processes on the same database (LISTEN/NOTIFY).
#[async_trait]
pub trait Announcements: Send {
    /// Waits until another process announces that jobs have changed, or such an announcement may
    /// have been lost. Fails when the connection is lost.
    async fn next(&mut self) -> Result<(), StoreError>;
}
