//! The changes of jobs in an order in which none is overlooked.
//!
//! Every change has a number. On SQLite there is one writer, so numbers come in the order of commits. On PostgreSQL the
//! number is that of the transaction, and a lower one may be committed later: so what is read ends before the lowest that is
//! still under way.

use async_trait::async_trait;
use sqlx::{Database, Encode, QueryBuilder, Type};

use super::StoreError;
use super::query::{filter_accounts, job_columns};
use crate::domain::{AccountName, Accounts, Job};

/// Up to so many accounts, each is read by the index on accounts, and these are merged. With more, the index on changes
/// finds enough of their rows soon.
const MERGED: usize = 50;

pub(super) const STREAM_KEY: &str = "select key from stream_keys limit 1";

/// `select` of the jobs that changed after `after`, in the order of their changes. `first_open` is the first number that may
/// still get more jobs.
pub(super) fn changes<DB>(
    accounts: &Accounts,
    after: ChangeKey,
    first_open: i64,
    limit: u32,
) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(concat!(
        "select ",
        job_columns!(),
        ", change, shown_id from (select account, msg_id from ("
    ));
    push_keys(&mut query, accounts, |query| {
        query
            .push(" and (change, shown_id) > (")
            .push_bind(after.change);
        query.push(", ").push_bind(after.shown_id);
        query.push(") and change < ").push_bind(first_open);
        query.push(" order by change, shown_id limit ");
        query.push_bind(i64::from(limit));
    });
    query.push(") as merged order by change, shown_id limit ");
    query.push_bind(i64::from(limit));
    query.push(") as listed join jobs using (account, msg_id) order by change, shown_id");
    query
}

/// `select` of the key of the newest change up to `until`, but `but`.
pub(super) fn newest<DB>(accounts: &Accounts, until: ChangeKey, but: u32) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("select change, shown_id from (");
    push_keys(&mut query, accounts, |query| {
        query
            .push(" and (change, shown_id) <= (")
            .push_bind(until.change);
        query.push(", ").push_bind(until.shown_id);
        query.push(") order by change desc, shown_id desc limit ");
        query.push_bind(i64::from(but) + 1);
    });
    query.push(") as merged order by change desc, shown_id desc limit 1 offset ");
    query.push_bind(i64::from(but));
    query
}

/// `select` of the keys of jobs and of their changes, with the same conditions for each account.
fn push_keys<DB>(
    query: &mut QueryBuilder<DB>,
    accounts: &Accounts,
    conditions: impl Fn(&mut QueryBuilder<DB>),
) where
    DB: Database,
    for<'e> String: Encode<'e, DB> + Type<DB>,
{
    const KEYS: &str = "select account, msg_id, change, shown_id from jobs where true";
    let names: Vec<Option<&AccountName>> = match accounts {
        Accounts::Only(names) if (1..=MERGED).contains(&names.len()) => {
            names.iter().map(Some).collect()
        }
        _ => vec![None],
    };
    for (index, name) in names.into_iter().enumerate() {
        query.push(if index == 0 {
            "select * from ("
        } else {
            " union all select * from ("
        });
        query.push(KEYS);
        filter_accounts(query, name, accounts);
        conditions(query);
        query.push(") as keys");
    }
}

/// The place of a change in the order of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeKey {
    /// Its number; one transaction may change many jobs.
    pub change: i64,
    /// Tells the jobs of one transaction apart.
    pub shown_id: i64,
}

/// How far the changes have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestChange {
    /// What is not committed yet comes after it.
    pub settled: ChangeKey,
    /// The last that may have been given out.
    pub given_out: ChangeKey,
}

/// A change of a job.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its place.
    pub key: ChangeKey,
    /// The job as it is now.
    pub job: Job,
}

impl ChangeKey {
    /// Before every change. Jobs that `copy` has brought have the number 0.
    pub const FIRST: Self = Self {
        change: 0,
        shown_id: -1,
    };

    /// Before every change that has that number or a higher one.
    pub(super) const fn before(change: i64) -> Self {
        Self {
            change: change - 1,
            shown_id: i64::MAX,
        }
    }
}

/// What other processes on the same database say (LISTEN/NOTIFY).
#[async_trait]
pub trait Announcements: Send {
    /// Waits until another process says that jobs have changed, or may have said so unheard.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    async fn next(&mut self) -> Result<(), StoreError>;
}
