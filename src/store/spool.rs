//! The spool: a SQLite file of our own that keeps what PostgreSQL cannot take, until it can.
//!
//! It is taken out in units, each with one [`Ticket`]. A unit is filed whole and once, however often it is tried: PostgreSQL
//! remembers the ticket in the same transaction. What was sent there before it was put in is a unit already; what was not
//! becomes a part of one just before it is sent, so that small batches are not filed as small as they came.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqlitePool;
use sqlx::{Row, Sqlite, Transaction};

use super::sqlite::{BEGIN, open_file};
use super::{Migrations, OpenStoreError, StoreError, Ticket};
use crate::domain::{AccountName, NewDelivery, Reading, Time};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/spool");

const PUT: &str = "insert into spooled (writer, number, account, body, body_sha256, received_at, refusal, sealed) \
     values ($1, $2, $3, $4, $5, $6, $7, $8)";

/// The id that the next row will have; ids only rise, also after rows were deleted.
const NEXT_ID: &str =
    "select coalesce((select seq from sqlite_sequence where name = 'spooled'), 0) + 1";

const WRITER: &str = "select writer from spool";

const FIRST: &str = "select number from spooled where refusal is null order by id limit 1";

const HEADS: &str = "select id, number is null as is_loose, length(body) as length from spooled \
     where refusal is null order by id limit $1";

const GATHER: &str =
    "update spooled set writer = $1, number = $2 where id between $2 and $3 and refusal is null";

const OLDEST: &str = "select * from spooled where refusal is null and (writer, number) = \
     (select writer, number from spooled where refusal is null order by id limit 1) order by id";

const DELETE: &str = "delete from spooled where id = $1";

const RENAME: &str = "insert into spooled (writer, number, account, body, body_sha256, received_at, sealed) \
     select $2, $3, account, body, body_sha256, received_at, sealed from spooled where id = $1 and refusal is null";

const REFUSE: &str = "update spooled set refusal = $2 where id = $1";

const DEPTH: &str = "select (select count(*) from spooled where refusal is null) as waiting, \
     (select min(received_at) from spooled where refusal is null) as oldest, \
     (select count(*) from spooled where refusal is not null) as refused";

const REFUSED: &str = "select * from spooled where refusal is not null order by id";

/// How many deliveries, and how many bytes of bodies, are gathered to a unit.
const MAX_UNIT: usize = 256;
const MAX_UNIT_BYTES: i64 = 1024 * 1024;

/// Keeps deliveries on this machine's disk; when a call returns, what it did is there.
#[derive(Debug)]
pub struct Spool {
    file: SqlitePool,
    writer: [u8; 16],
}

/// Deliveries that are filed together.
#[derive(Clone, Debug)]
pub struct Unit {
    /// To be filed with this.
    pub ticket: Ticket,
    /// Oldest first.
    pub deliveries: Vec<Spooled>,
}

/// A delivery in the spool.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// A number of the spool's own.
    pub id: i64,
    /// The account that it was pushed to.
    pub account: AccountName,
    /// The decrypted body, or the envelope of a sealed one, byte for byte.
    pub body: Vec<u8>,
    /// Why it is sealed; `None` where it is not.
    pub sealed: Option<String>,
    /// SHA-256 of `body`.
    pub body_sha256: [u8; 32],
    /// When it came.
    pub received_at: Time,
    /// Why PostgreSQL refuses it.
    pub refusal: Option<String>,
}

/// How much is in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries that wait for PostgreSQL.
    pub waiting: i64,
    /// When the oldest of them came.
    pub oldest: Option<Time>,
    /// Deliveries that PostgreSQL refuses.
    pub refused: i64,
}

impl Spool {
    /// Opens the file, makes it where it is missing, for the user's eyes only.
    ///
    /// # Errors
    /// [`OpenStoreError`] when the file cannot be made or opened, or its schema is not ours.
    pub async fn open(path: &Path) -> Result<Self, OpenStoreError> {
        let (file, _) = open_file(path, &MIGRATOR, Migrations::Apply).await?;
        let writer: Vec<u8> = sqlx::query_scalar(WRITER)
            .fetch_one(&file)
            .await
            .map_err(OpenStoreError::Unreachable)?;
        let writer = writer.try_into().map_err(|_| {
            OpenStoreError::Unreachable(sqlx::Error::Decode("the spool has no writer".into()))
        })?;
        Ok(Self { file, writer })
    }

    /// Puts a batch in. `ticket`: the one that it was sent with before, if it was.
    pub async fn put(
        &self,
        batch: &[NewDelivery],
        ticket: Option<Ticket>,
    ) -> Result<(), StoreError> {
        self.insert(batch, ticket, None).await
    }

    /// Puts in what PostgreSQL refuses for ever.
    pub async fn put_refused(
        &self,
        delivery: &NewDelivery,
        refusal: &str,
    ) -> Result<(), StoreError> {
        self.insert(std::slice::from_ref(delivery), None, Some(refusal))
            .await
    }

    async fn insert(
        &self,
        batch: &[NewDelivery],
        ticket: Option<Ticket>,
        refusal: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for delivery in batch {
            sqlx::query(PUT)
                .bind(ticket.as_ref().map(|ticket| &ticket.writer[..]))
                .bind(ticket.map(|ticket| ticket.number))
                .bind(delivery.account.as_str())
                .bind(&delivery.body[..])
                .bind(&delivery.body_sha256[..])
                .bind(delivery.received_at)
                .bind(refusal)
                .bind(sealed(&delivery.reading))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The unit to file next. It stays as it is until it is removed, split or refused, whatever is put in meanwhile.
    pub async fn oldest(&self) -> Result<Option<Unit>, StoreError> {
        let first: Option<Option<i64>> =
            sqlx::query_scalar(FIRST).fetch_optional(&self.file).await?;
        if first == Some(None) {
            self.gather().await?;
        }
        let rows = sqlx::query(OLDEST).fetch_all(&self.file).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let writer: Vec<u8> = first.try_get("writer")?;
        let ticket = Ticket {
            writer: required(writer.try_into().ok())?,
            number: first.try_get("number")?,
        };
        let deliveries = rows.iter().map(spooled).collect::<Result<_, _>>()?;
        Ok(Some(Unit { ticket, deliveries }))
    }

    /// Makes a unit of the oldest that are in none.
    async fn gather(&self) -> Result<(), StoreError> {
        // What another process has put into a unit in the meantime must not grow.
        let mut transaction = self.begin().await?;
        let heads = sqlx::query_as::<_, (i64, bool, i64)>(HEADS)
            .bind(i64::try_from(MAX_UNIT).unwrap_or(i64::MAX))
            .fetch_all(&mut *transaction)
            .await?;
        let mut bytes = 0;
        let unit = heads.iter().take_while(|(_, is_loose, length)| {
            let is_first = bytes == 0;
            bytes += length;
            *is_loose && (is_first || bytes <= MAX_UNIT_BYTES)
        });
        let ids: Vec<i64> = unit.map(|(id, ..)| *id).collect();
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            sqlx::query(GATHER)
                .bind(&self.writer[..])
                .bind(first)
                .bind(last)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Takes out a unit that is filed.
    pub async fn remove(&self, unit: &Unit) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for delivery in &unit.deliveries {
            sqlx::query(DELETE)
                .bind(delivery.id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Makes a unit of each delivery of one that was refused as a whole, at the end of the queue.
    pub async fn split(&self, unit: &Unit) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for delivery in &unit.deliveries {
            let ticket = self.ticket(&mut transaction).await?;
            sqlx::query(RENAME)
                .bind(delivery.id)
                .bind(&ticket.writer[..])
                .bind(ticket.number)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(DELETE)
                .bind(delivery.id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Sets a delivery aside that PostgreSQL refuses for ever, so that it blocks no other.
    pub async fn refuse(&self, delivery: &Spooled, refusal: &str) -> Result<(), StoreError> {
        sqlx::query(REFUSE)
            .bind(delivery.id)
            .bind(refusal)
            .execute(&self.file)
            .await?;
        Ok(())
    }

    /// What PostgreSQL refuses, oldest first.
    pub async fn refused(&self) -> Result<Vec<Spooled>, StoreError> {
        let rows = sqlx::query(REFUSED).fetch_all(&self.file).await?;
        Ok(rows.iter().map(spooled).collect::<Result<_, _>>()?)
    }

    /// Lets everything that was refused be tried again; how many.
    pub async fn retry_refused(&self) -> Result<usize, StoreError> {
        let refused = self.refused().await?;
        let mut transaction = self.begin().await?;
        for delivery in &refused {
            let ticket = self.ticket(&mut transaction).await?;
            sqlx::query(REFUSE)
                .bind(delivery.id)
                .bind(None::<&str>)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(RENAME)
                .bind(delivery.id)
                .bind(&ticket.writer[..])
                .bind(ticket.number)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(DELETE)
                .bind(delivery.id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(refused.len())
    }

    /// How much there is.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        let row = sqlx::query(DEPTH).fetch_one(&self.file).await?;
        Ok(Depth {
            waiting: row.try_get("waiting")?,
            oldest: row.try_get("oldest")?,
            refused: row.try_get("refused")?,
        })
    }

    /// Waits for calls that are under way, then closes the file.
    pub async fn close(&self) {
        self.file.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.file.begin_with(BEGIN).await?)
    }

    /// A ticket for a unit that starts with the next row.
    async fn ticket(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
    ) -> Result<Ticket, StoreError> {
        let number = sqlx::query_scalar(NEXT_ID)
            .fetch_one(&mut **transaction)
            .await?;
        Ok(Ticket {
            writer: self.writer,
            number,
        })
    }
}

/// Why it is sealed. Any other reading is found again in the body.
fn sealed(reading: &Reading) -> Option<&str> {
    match reading {
        Reading::Sealed { error } => Some(error),
        _ => None,
    }
}

fn spooled(row: &sqlx::sqlite::SqliteRow) -> Result<Spooled, sqlx::Error> {
    let account: String = row.try_get("account")?;
    let body_sha256: Vec<u8> = row.try_get("body_sha256")?;
    Ok(Spooled {
        id: row.try_get("id")?,
        account: required(account.parse().ok())?,
        body: row.try_get("body")?,
        sealed: row.try_get("sealed")?,
        body_sha256: required(body_sha256.try_into().ok())?,
        received_at: row.try_get("received_at")?,
        refusal: row.try_get("refusal")?,
    })
}

fn required<T>(value: Option<T>) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::Decode("the spool holds what no qunfa writes".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spool() -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("spool.db")).await;
        (directory, spool.unwrap())
    }

    /// Deliveries whose bodies have these lengths.
    fn batch(lengths: impl IntoIterator<Item = usize>) -> Vec<NewDelivery> {
        let delivery = |length| NewDelivery {
            account: "main".parse().unwrap(),
            body: vec![b'x'; length],
            body_sha256: [0; 32],
            received_at: Time::EPOCH,
            filed_at: Time::EPOCH,
            reading: Reading::Other {
                event: None,
                msg_id: None,
            },
        };
        lengths.into_iter().map(delivery).collect()
    }

    /// Takes out the next unit: its ticket, and the lengths of what is in it.
    async fn take(spool: &Spool) -> Option<(Ticket, Vec<usize>)> {
        let unit = spool.oldest().await.unwrap()?;
        let again = spool.oldest().await.unwrap().unwrap();
        assert_eq!(lengths(&again), lengths(&unit));
        spool.remove(&unit).await.unwrap();
        Some((unit.ticket, lengths(&unit)))
    }

    fn lengths(unit: &Unit) -> Vec<usize> {
        unit.deliveries.iter().map(|one| one.body.len()).collect()
    }

    #[tokio::test]
    async fn small_batches_leave_together_in_their_order() {
        let (_directory, spool) = spool().await;
        for length in 1..=300 {
            spool.put(&batch([length]), None).await.unwrap();
        }
        let (first, lengths) = take(&spool).await.unwrap();
        assert_eq!(lengths, (1..=256).collect::<Vec<_>>());
        let (second, lengths) = take(&spool).await.unwrap();
        assert_eq!(lengths, (257..=300).collect::<Vec<_>>());
        assert_eq!(first.writer, second.writer);
        assert!(first.number < second.number);
        assert!(take(&spool).await.is_none());
    }

    #[tokio::test]
    async fn what_is_put_in_later_joins_no_unit_that_may_have_been_sent() {
        let (_directory, spool) = spool().await;
        spool.put(&batch([1, 2]), None).await.unwrap();
        let sent = spool.oldest().await.unwrap().unwrap();
        spool.put(&batch([3]), None).await.unwrap();
        let (ticket, lengths) = take(&spool).await.unwrap();
        assert_eq!(ticket, sent.ticket);
        assert_eq!(lengths, [1, 2]);
        let (later, lengths) = take(&spool).await.unwrap();
        assert!(later.number > ticket.number);
        assert_eq!(lengths, [3]);
    }

    #[tokio::test]
    async fn a_batch_that_was_sent_before_stays_a_unit_of_its_own() {
        let (_directory, spool) = spool().await;
        let sent = Ticket::new_writer();
        spool.put(&batch([1]), None).await.unwrap();
        spool.put(&batch([2, 3]), Some(sent)).await.unwrap();
        spool.put(&batch([4]), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [1]);
        assert_eq!(take(&spool).await.unwrap(), (sent, vec![2, 3]));
        assert_eq!(take(&spool).await.unwrap().1, [4]);
    }

    #[tokio::test]
    async fn a_unit_is_bounded_in_bytes_but_never_empty() {
        let (_directory, spool) = spool().await;
        let mebibyte = 1024 * 1024;
        let lengths = [mebibyte + 1, mebibyte - 1, 1, 1];
        spool.put(&batch(lengths), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [mebibyte + 1]);
        assert_eq!(take(&spool).await.unwrap().1, [mebibyte - 1, 1]);
        assert_eq!(take(&spool).await.unwrap().1, [1]);
    }

    #[tokio::test]
    async fn what_is_refused_is_left_out_of_a_unit() {
        let (_directory, spool) = spool().await;
        spool.put(&batch([1]), None).await.unwrap();
        spool.put_refused(&batch([2])[0], "no").await.unwrap();
        spool.put(&batch([3]), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [1, 3]);
        assert!(take(&spool).await.is_none());
        assert_eq!(spool.retry_refused().await.unwrap(), 1);
        assert_eq!(take(&spool).await.unwrap().1, [2]);
    }
}
