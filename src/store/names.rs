//! The WeChat account that belongs to each account, by its `ToUserName`: that of the first result,
//! or `original_id`. Results of another WeChat account are logged, and do not replace its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use tracing::warn;

use super::StoreError;
use super::dialect::StoreRow;
use crate::domain::{AccountName, NewDelivery, Time};

/// Between two warnings about another name, for each account.
const INTERVAL: Duration = Duration::from_mins(1);

/// Returns the existing name, or the new one.
pub(super) const REMEMBER: &str = "insert into account_names (account, name) values ($1, $2) \
     on conflict (account) do update set account = excluded.account returning name";

/// Forgets the other name, too.
pub(super) const SET: &str = "insert into account_names (account, name) values ($1, $2) \
     on conflict (account) do update set name = excluded.name, other_name = null, other_received_at = null";

pub(super) const ALL: &str =
    "select account, name, other_name, other_received_at from account_names order by account";

pub(super) const NAME: &str = "select name from account_names where account = $1";

const NOTE_OTHER: &str = "update account_names set other_name = $2, other_received_at = $3 where account = $1 and name <> $2";

/// The WeChat account that belongs to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAccount {
    pub account: AccountName,
    /// Its `ToUserName`, `gh_…`.
    pub name: String,
    /// The `ToUserName` of another WeChat account that sent results, and when the latest came, to
    /// the minute.
    pub other: Option<(String, Time)>,
}

/// A row of [`ALL`].
pub(super) fn named_account(row: &impl StoreRow) -> Result<NamedAccount, sqlx::Error> {
    let other_name: Option<String> = row.value("other_name")?;
    let other_received_at: Option<Time> = row.value("other_received_at")?;
    Ok(NamedAccount {
        account: row.parsed("account")?,
        name: row.value("name")?,
        other: other_name.zip(other_received_at),
    })
}

/// A cache of the names in the database, so that recording reads the name of each account once.
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    known: Mutex<HashMap<AccountName, Known>>,
}

#[derive(Debug)]
struct Known {
    name: String,
    warned_at: Option<Instant>,
}

impl Known {
    /// Whether a warning about that name is due.
    fn is_due(&self, name: &str) -> bool {
        self.name != name
            && self
                .warned_at
                .is_none_or(|warned_at| warned_at.elapsed() >= INTERVAL)
    }
}

/// A job result of another WeChat account.
struct Other<'b> {
    account: &'b AccountName,
    name: &'b str,
    received_at: Time,
    first_name: String,
}

impl KnownNames {
    pub(super) fn set(&self, account: &AccountName, name: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let warned_at = None;
        known.insert(account.clone(), Known { name, warned_at });
    }

    /// Whether the batch has a name that the database has to learn.
    pub(super) fn has_news(&self, batch: &[NewDelivery]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        addressed(batch).any(|(delivery, name)| {
            known
                .get(&delivery.account)
                .is_none_or(|known| known.is_due(name))
        })
    }

    /// The first name of each account in a batch that is not in the cache.
    fn unknown<'b>(&self, batch: &'b [NewDelivery]) -> BTreeMap<&'b AccountName, &'b str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown = BTreeMap::new();
        for (delivery, name) in addressed(batch) {
            if !known.contains_key(&delivery.account) {
                unknown.entry(&delivery.account).or_insert(name);
            }
        }
        unknown
    }

    /// The other names in a batch for which a warning is due.
    fn others<'b>(&self, batch: &'b [NewDelivery]) -> Vec<Other<'b>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = Vec::new();
        for (delivery, name) in addressed(batch) {
            if let Some(known) = known.get_mut(&delivery.account)
                && known.is_due(name)
            {
                known.warned_at = Some(Instant::now());
                others.push(Other {
                    account: &delivery.account,
                    name,
                    received_at: delivery.received_at,
                    first_name: known.name.clone(),
                });
            }
        }
        others
    }
}

/// The job results of a batch, with their `ToUserName`.
fn addressed(batch: &[NewDelivery]) -> impl Iterator<Item = (&NewDelivery, &str)> {
    batch
        .iter()
        .filter_map(|delivery| Some((delivery, delivery.reading.result()?.addressee()?)))
}

macro_rules! learn {
    ($name:ident, $connection:ty) => {
        /// Stores the name of each account that has none, and warns about other names.
        pub(super) async fn $name(
            connection: &mut $connection,
            known: &KnownNames,
            batch: &[NewDelivery],
        ) -> Result<(), StoreError> {
            for (account, name) in known.unknown(batch) {
                let name = sqlx::query_scalar(REMEMBER)
                    .bind(account.as_str())
                    .bind(name)
                    .fetch_one(&mut *connection)
                    .await?;
                known.set(account, name);
            }
            for other in known.others(batch) {
                let Other {
                    account,
                    name,
                    received_at,
                    first_name,
                } = other;
                warn!(
                    %account,
                    to_user_name = name,
                    expected = first_name,
                    "results of another WeChat account come to this one and do not replace its own; set `original_id` to the \
                     one that is right, and give the other an account of its own"
                );
                sqlx::query(NOTE_OTHER)
                    .bind(account.as_str())
                    .bind(name)
                    .bind(received_at)
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(())
        }
    };
}

learn!(learn_on_postgres, PgConnection);
learn!(learn_on_sqlite, SqliteConnection);
