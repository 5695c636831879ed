//! [`ChangeFeed`] on PostgreSQL: the number of a change is that of its transaction, so reading ends
//! before the lowest number that is still under way.

use async_trait::async_trait;
use sqlx::{Postgres, Row};

use super::{PostgresStore, notify};
use crate::domain::Accounts;
use crate::store::read::changes;
use crate::store::{Announcements, Change, ChangeFeed, ChangeKey, LatestChange, StoreError, row};

macro_rules! lowest_number {
    ($xid:literal, $from:literal) => {
        concat!(
            "select min(case when id < lifted_at then base_before else base end + id) as number, count(*) as transactions \
             from (select next - ((next - ",
            $xid,
            "::text::bigint) & 4294967295) as id from ",
            $from,
            ") as ids where next - id < 2147483648"
        )
    };
}

/// `first_open`: the lowest number of a transaction in this database that is under way or prepared,
/// or that of the next. It only rises. Transactions in other databases of the server do not hold it
/// back. Ids are compared as PostgreSQL does: half of 2^32 are ahead. `next`: no number that was
/// given out is as high.
///
/// Prepared transactions are looked up last, or one would be overlooked that is prepared between
/// the two: hence the reference to the count.
pub(super) const FIRST_OPEN_CHANGE: &str = concat!(
    "select least(base + next, open.number, (select number from (",
    lowest_number!(
        "transaction",
        "pg_prepared_xacts where database = current_database() and open.transactions >= 0"
    ),
    ") as prepared)) as first_open, base + next as next \
     from (select *, pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next from change_numbers) as numbers \
     cross join lateral (",
    lowest_number!(
        "backend_xid",
        "pg_stat_activity where datname = current_database() and backend_xid is not null"
    ),
    ") as open"
);

#[async_trait]
impl ChangeFeed for PostgresStore {
    async fn latest_change(&self) -> Result<LatestChange, StoreError> {
        let rows = self.all(sqlx::query(FIRST_OPEN_CHANGE)).await?;
        Ok(LatestChange {
            settled: ChangeKey::before(rows[0].try_get("first_open")?),
            given_out: ChangeKey::before(rows[0].try_get("next")?),
        })
    }

    async fn changes(
        &self,
        accounts: &Accounts,
        after: ChangeKey,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        let mut connection = self.pool().await?.acquire().await?;
        // Asked first, in a statement of its own: what has ended by now, the next statement sees.
        let first_open: i64 = sqlx::query_scalar(FIRST_OPEN_CHANGE)
            .fetch_one(&mut *connection)
            .await?;
        let rows = changes::changes::<Postgres>(accounts, after, first_open, limit)
            .build()
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(row::change).collect::<Result<_, _>>()?)
    }

    async fn newest_change(
        &self,
        accounts: &Accounts,
        until: ChangeKey,
        but: u32,
    ) -> Result<Option<ChangeKey>, StoreError> {
        let mut newest = changes::newest::<Postgres>(accounts, until, but);
        Ok(self.list(newest.build(), row::change_key).await?.pop())
    }

    async fn announce(&self) -> Result<(), StoreError> {
        self.execute(sqlx::query(notify::ANNOUNCE)).await?;
        Ok(())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        self.prepare().await?;
        Ok(Box::new(notify::listen(&self.options).await?))
    }
}
