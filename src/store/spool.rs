//! The spool: a local SQLite file that keeps deliveries while PostgreSQL is unavailable.
//!
//! It is emptied in batches. The [`BatchId`] of a batch is stored before the batch is first sent,
//! so the batch is recorded once, however often it is sent. Deliveries that PostgreSQL may have
//! recorded already come with their id; all others are gathered into batches just before they are
//! sent, so that these are larger than what came in at a time.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};

use super::dialect::{StoreRow, required};
use super::sqlite::{BEGIN, open_file};
use super::{BatchId, Migrations, OpenStoreError, StoreError};
use crate::domain::{AccountName, NewDelivery, Reading, Time};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/spool");

const PUT: &str = "insert into spooled (batch, account, body, body_sha256, received_at, refusal, sealed) \
     values ($1, $2, $3, $4, $5, $6, $7)";

/// Deliveries that failed less often come first.
const NEXT: &str =
    "select batch, failures from spooled where refusal is null order by failures, id limit 1";

const UNSENT: &str = "select id, length(body) as length from spooled \
     where refusal is null and batch is null and failures = $1 order by id limit $2";

const GATHER: &str = "update spooled set batch = $1 \
     where refusal is null and batch is null and failures = $2 and id <= $3";

const BATCH: &str = "select * from spooled where refusal is null and batch = $1 order by id";

const REMOVE: &str = "delete from spooled where refusal is null and batch = $1";

const FAIL: &str =
    "update spooled set failures = failures + 1 where refusal is null and batch = $1";

const SPLIT: &str = "update spooled set batch = $1, failures = failures + 1 \
     where id = $2 and refusal is null and batch = $3";

const REFUSE: &str = "update spooled set refusal = $2 where refusal is null and batch = $1";

const RETRY_REFUSED: &str =
    "update spooled set refusal = null, failures = 0 where refusal is not null";

const DEPTH: &str = "select (select count(*) from spooled where refusal is null) as waiting, \
     (select min(received_at) from spooled where refusal is null) as oldest, \
     (select count(*) from spooled where refusal is not null) as refused";

const REFUSED: &str = "select * from spooled where refusal is not null order by id";

/// Deliveries, and bytes of their bodies, that are gathered into a batch.
const MAX_BATCH: usize = 256;
const MAX_BATCH_BYTES: i64 = 1024 * 1024;

/// Keeps deliveries on this machine; when a call returns, its effect is on disk.
#[derive(Debug)]
pub struct Spool {
    file: SqlitePool,
}

/// Deliveries that are recorded together.
#[derive(Clone, Debug)]
pub struct Unit {
    /// It always means these deliveries.
    pub id: BatchId,
    /// It was gathered just now, so it was never sent.
    pub is_unsent: bool,
    /// How often it, or the batch that it was split from, failed though the database worked.
    pub failures: u32,
    /// Oldest first.
    pub deliveries: Vec<Spooled>,
}

/// A delivery in the spool.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// Its id in the spool.
    pub id: i64,
    pub account: AccountName,
    /// The decrypted body, or the envelope of a sealed delivery.
    pub body: Vec<u8>,
    /// Why it is sealed.
    pub sealed: Option<String>,
    pub body_sha256: [u8; 32],
    pub received_at: Time,
    /// Why PostgreSQL refuses it.
    pub refusal: Option<String>,
}

/// How much is in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries that wait for PostgreSQL.
    pub waiting: i64,
    /// When the oldest of them was received.
    pub oldest: Option<Time>,
    /// Deliveries that PostgreSQL refuses.
    pub refused: i64,
}

impl Spool {
    /// Opens the file, or creates it with mode 0600.
    ///
    /// # Errors
    /// [`OpenStoreError`] when the file cannot be created or opened, or has another schema.
    pub async fn open(path: &Path) -> Result<Self, OpenStoreError> {
        let (file, _) = open_file(path, &MIGRATOR, Migrations::Apply).await?;
        Ok(Self { file })
    }

    /// `id` is the one that the batch was sent with, if PostgreSQL may have recorded it.
    pub async fn put(&self, batch: &[NewDelivery], id: Option<BatchId>) -> Result<(), StoreError> {
        self.insert(batch, id, None).await
    }

    /// Keeps a delivery that PostgreSQL will always refuse.
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
        id: Option<BatchId>,
        refusal: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for delivery in batch {
            sqlx::query(PUT)
                .bind(id.as_ref().map(|id| &id.0[..]))
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

    /// The batch to record next: the oldest of those that failed least often. It stays the same
    /// until it is removed, split or refused.
    pub async fn next(&self) -> Result<Option<Unit>, StoreError> {
        // Another process may gather at the same time.
        let mut transaction = self.begin().await?;
        let Some(next) = sqlx::query(NEXT).fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let failures: u32 = next.try_get("failures")?;
        let batch: Option<Vec<u8>> = next.try_get("batch")?;
        let is_unsent = batch.is_none();
        let id = match batch {
            Some(id) => BatchId(required(id.try_into().ok(), "batch")?),
            None => gather(&mut transaction, failures).await?,
        };
        let rows = sqlx::query(BATCH)
            .bind(&id.0[..])
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(Unit {
            id,
            is_unsent,
            failures,
            deliveries: rows.iter().map(spooled).collect::<Result<_, _>>()?,
        }))
    }

    /// Removes a batch that is recorded.
    pub async fn remove(&self, unit: &Unit) -> Result<(), StoreError> {
        self.update(REMOVE, unit).await
    }

    /// Puts a batch that failed behind the others.
    pub async fn put_off(&self, unit: &Unit) -> Result<(), StoreError> {
        self.update(FAIL, unit).await
    }

    async fn update(&self, statement: &'static str, unit: &Unit) -> Result<(), StoreError> {
        sqlx::query(statement)
            .bind(&unit.id.0[..])
            .execute(&self.file)
            .await?;
        Ok(())
    }

    /// Splits a batch into the deliveries at these places and the rest, each with a new id. The old
    /// id must have been cancelled, or the deliveries could count twice.
    pub async fn split(&self, unit: &Unit, places: &[usize]) -> Result<(), StoreError> {
        let (these, rest) = (BatchId::random(), BatchId::random());
        let mut transaction = self.begin().await?;
        for (place, delivery) in unit.deliveries.iter().enumerate() {
            let id = if places.contains(&place) { these } else { rest };
            sqlx::query(SPLIT)
                .bind(&id.0[..])
                .bind(delivery.id)
                .bind(&unit.id.0[..])
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Sets aside a batch of one delivery that PostgreSQL will always refuse, so that it does not
    /// block others.
    pub async fn refuse(&self, unit: &Unit, refusal: &str) -> Result<(), StoreError> {
        sqlx::query(REFUSE)
            .bind(&unit.id.0[..])
            .bind(refusal)
            .execute(&self.file)
            .await?;
        Ok(())
    }

    /// The deliveries that PostgreSQL refuses, oldest first.
    pub async fn refused(&self) -> Result<Vec<Spooled>, StoreError> {
        let rows = sqlx::query(REFUSED).fetch_all(&self.file).await?;
        Ok(rows.iter().map(spooled).collect::<Result<_, _>>()?)
    }

    /// Makes all refused deliveries wait again; returns how many.
    pub async fn retry_refused(&self) -> Result<u64, StoreError> {
        let done = sqlx::query(RETRY_REFUSED).execute(&self.file).await?;
        Ok(done.rows_affected())
    }

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
}

/// Makes a batch of the oldest deliveries that are in none.
async fn gather(
    transaction: &mut Transaction<'static, Sqlite>,
    failures: u32,
) -> Result<BatchId, StoreError> {
    let unsent = sqlx::query_as::<_, (i64, i64)>(UNSENT)
        .bind(failures)
        .bind(i64::try_from(MAX_BATCH).unwrap_or(i64::MAX))
        .fetch_all(&mut **transaction)
        .await?;
    let mut bytes = 0;
    let batch = unsent.iter().take_while(|(_, length)| {
        let is_first = bytes == 0;
        bytes += length;
        is_first || bytes <= MAX_BATCH_BYTES
    });
    let last = batch.last().map(|(id, _)| *id);
    let id = BatchId::random();
    sqlx::query(GATHER)
        .bind(&id.0[..])
        .bind(failures)
        .bind(last)
        .execute(&mut **transaction)
        .await?;
    Ok(id)
}

/// Why it is sealed; any other reading is read from the body again.
fn sealed(reading: &Reading) -> Option<&str> {
    match reading {
        Reading::Sealed { error } => Some(error),
        _ => None,
    }
}

fn spooled(row: &SqliteRow) -> Result<Spooled, sqlx::Error> {
    let body_sha256: Vec<u8> = row.try_get("body_sha256")?;
    Ok(Spooled {
        id: row.try_get("id")?,
        account: row.parsed("account")?,
        body: row.try_get("body")?,
        sealed: row.try_get("sealed")?,
        body_sha256: required(body_sha256.try_into().ok(), "body_sha256")?,
        received_at: row.try_get("received_at")?,
        refusal: row.try_get("refusal")?,
    })
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
            recorded_at: Time::EPOCH,
            reading: Reading::Other {
                event: None,
                msg_id: None,
            },
        };
        lengths.into_iter().map(delivery).collect()
    }

    /// Takes out the next batch: its id, and the lengths of what is in it.
    async fn take(spool: &Spool) -> Option<(BatchId, Vec<usize>)> {
        let unit = spool.next().await.unwrap()?;
        let again = spool.next().await.unwrap().unwrap();
        assert!(!again.is_unsent);
        assert_eq!((again.id, lengths(&again)), (unit.id, lengths(&unit)));
        spool.remove(&unit).await.unwrap();
        Some((unit.id, lengths(&unit)))
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
        assert_ne!(first, second);
        assert!(take(&spool).await.is_none());
    }

    #[tokio::test]
    async fn what_is_put_in_later_joins_no_batch_that_may_have_been_sent() {
        let (_directory, spool) = spool().await;
        spool.put(&batch([1, 2]), None).await.unwrap();
        let sent = spool.next().await.unwrap().unwrap();
        assert!(sent.is_unsent);
        spool.put(&batch([3]), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap(), (sent.id, vec![1, 2]));
        let (later, lengths) = take(&spool).await.unwrap();
        assert_ne!(later, sent.id);
        assert_eq!(lengths, [3]);
    }

    #[tokio::test]
    async fn a_batch_that_was_sent_before_stays_a_batch_of_its_own() {
        let (_directory, spool) = spool().await;
        let sent = BatchId::random();
        spool.put(&batch([1]), None).await.unwrap();
        spool.put(&batch([2, 3]), Some(sent)).await.unwrap();
        spool.put(&batch([4]), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [1, 4]);
        assert_eq!(take(&spool).await.unwrap(), (sent, vec![2, 3]));
        assert!(take(&spool).await.is_none());
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let (_directory, spool) = spool().await;
        let mebibyte = 1024 * 1024;
        let lengths = [mebibyte + 1, mebibyte - 1, 1, 1];
        spool.put(&batch(lengths), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [mebibyte + 1]);
        assert_eq!(take(&spool).await.unwrap().1, [mebibyte - 1, 1]);
        assert_eq!(take(&spool).await.unwrap().1, [1]);
    }

    #[tokio::test]
    async fn what_is_refused_is_left_out_of_a_batch() {
        let (_directory, spool) = spool().await;
        spool.put(&batch([1]), None).await.unwrap();
        spool.put_refused(&batch([2])[0], "no").await.unwrap();
        spool.put(&batch([3]), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [1, 3]);
        assert!(take(&spool).await.is_none());
        assert_eq!(spool.retry_refused().await.unwrap(), 1);
        assert_eq!(take(&spool).await.unwrap().1, [2]);
    }

    #[tokio::test]
    async fn others_go_before_a_batch_that_fails_and_its_parts() {
        let (_directory, spool) = spool().await;
        spool.put(&batch([1, 2, 3]), None).await.unwrap();
        let whole = spool.next().await.unwrap().unwrap();
        spool.split(&whole, &[0, 1]).await.unwrap();
        spool.put(&batch([4]), None).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [4]);
        let first = spool.next().await.unwrap().unwrap();
        assert_eq!((first.failures, lengths(&first)), (1, vec![1, 2]));
        assert_ne!(first.id, whole.id);
        spool.put_off(&first).await.unwrap();
        assert_eq!(take(&spool).await.unwrap().1, [3]);
        assert_eq!(take(&spool).await.unwrap(), (first.id, vec![1, 2]));
        assert!(take(&spool).await.is_none());
    }
}
