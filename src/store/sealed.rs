//! Limits the sealed deliveries of each account: the oldest are deleted, and counted.

use std::collections::BTreeSet;

use super::StoreError;
use super::dialect::StoreRow;
use crate::domain::{AccountName, DeliveryState, NewDelivery};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

/// Sealed deliveries of an account.
pub const MAX_SEALED: i64 = 10_000;
/// Bytes of their bodies.
pub const MAX_SEALED_BYTES: i64 = 64 * 1024 * 1024;

/// Deliveries that a statement deletes at most.
const MAX_DELETED: i64 = 512;

/// The oldest deliveries beyond a limit, among the first `$4` of the account.
macro_rules! oldest {
    ($lock:literal) => {
        concat!(
            "select id from ( \
                 select id, row_number() over oldest as place, sum(bytes) over oldest - bytes as bytes_before \
                 from ( \
                     select id, received_at, length(body) as bytes from other_deliveries \
                     where account = $1 and state = 'sealed' and exists (select 1 from excess) \
                     order by received_at, id limit $4",
            $lock,
            ") as candidates \
                 window oldest as (order by received_at, id) \
             ) as placed, excess \
             where place <= excess.deliveries or bytes_before < excess.bytes"
        )
    };
}

macro_rules! drop_oldest {
    ($lock:literal) => {
        concat!(
            "with excess as ( \
                 select deliveries - $2 as deliveries, bytes - $3 as bytes from sealed_totals \
                 where account = $1 and (deliveries > $2 or bytes > $3) \
             ) \
             delete from other_deliveries where id in (",
            oldest!($lock),
            ")"
        )
    };
}

const DROP_OLDEST_ON_SQLITE: &str = drop_oldest!("");

/// It never waits, so it cannot be part of a deadlock.
const DROP_OLDEST_ON_POSTGRES: &str = drop_oldest!(" for update skip locked");

const COUNT_DROPPED: &str = "update sealed_totals set dropped = dropped + $2 where account = $1";

pub(super) const TOTALS: &str = "select account, deliveries, dropped from sealed_totals \
     where deliveries > 0 or dropped > 0 order by account";

/// The sealed deliveries of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedTotal {
    pub account: AccountName,
    pub deliveries: i64,
    /// Deliveries that were ever deleted because there were too many.
    pub dropped: i64,
}

/// A row of [`TOTALS`].
pub(super) fn total(row: &impl StoreRow) -> Result<SealedTotal, sqlx::Error> {
    Ok(SealedTotal {
        account: row.parsed("account")?,
        deliveries: row.value("deliveries")?,
        dropped: row.value("dropped")?,
    })
}

/// The accounts with sealed deliveries in a batch, in the order in which their totals are locked.
fn sealed_accounts(batch: &[NewDelivery]) -> BTreeSet<&AccountName> {
    let is_sealed = |new: &&NewDelivery| new.reading.state() == DeliveryState::Sealed;
    batch
        .iter()
        .filter(is_sealed)
        .map(|new| &new.account)
        .collect()
}

macro_rules! limit {
    ($name:ident, $connection:ty, $drop_oldest:ident) => {
        /// Enforces the limits in the accounts of a batch that is recorded.
        pub(super) async fn $name(
            connection: &mut $connection,
            batch: &[NewDelivery],
        ) -> Result<(), StoreError> {
            for account in sealed_accounts(batch) {
                loop {
                    let done = sqlx::query($drop_oldest)
                        .bind(account.as_str())
                        .bind(MAX_SEALED)
                        .bind(MAX_SEALED_BYTES)
                        .bind(MAX_DELETED)
                        .execute(&mut *connection)
                        .await?;
                    let dropped = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
                    if dropped == 0 {
                        break;
                    }
                    sqlx::query(COUNT_DROPPED)
                        .bind(account.as_str())
                        .bind(dropped)
                        .execute(&mut *connection)
                        .await?;
                }
            }
            Ok(())
        }
    };
}

limit!(limit_on_postgres, PgConnection, DROP_OLDEST_ON_POSTGRES);
limit!(limit_on_sqlite, SqliteConnection, DROP_OLDEST_ON_SQLITE);
