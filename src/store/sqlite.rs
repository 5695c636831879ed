//! [`Store`] on an embedded SQLite file. Reads like its sibling [`super::postgres`], query by query.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, Sqlite, Transaction};

use super::tally::{Standing, Tally};
use super::{
    DeliveryFilter, DeliveryKey, JobFilter, JobKey, Migrations, OpenStoreError, Page, Reader,
    Recorded, Reread, Store, StoreError, migrate, query, row,
};
use crate::domain::{
    AccountName, Delivery, DeliveryState, Job, MassSendFinished, MsgId, NewDelivery, Reading,
    Stats, Time,
};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

const READERS: u32 = 4;
/// How long a call waits for a connection, or for another process that writes, before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Takes the write lock at once, so that no transaction fails half-way because another has written.
const BEGIN: &str = "begin immediate";

const KEEP: &str = "insert into deliveries \
         (account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 1) \
     on conflict (account, body_sha256) do update set \
         times = times + 1, \
         last_received_at = max(last_received_at, excluded.last_received_at) \
     returning *";

const FILE: &str = "update deliveries set \
         state = $2, event = $3, msg_id = $4, error = $5, finished_at = $6 \
     where id = $1 returning *";

const COUNT_COPY: &str = "update jobs set \
         deliveries = deliveries + 1, last_received_at = max(last_received_at, $3) \
     where account = $1 and msg_id = $2";

const INSERT_JOB: &str = "insert into jobs \
         (account, msg_id, outcome, status, code, total_count, filter_count, sent_count, error_count, check_state, \
          copyright_count, article_url_count, articles, to_user_name, from_user_name, finished_at, \
          first_received_at, last_received_at, deliveries, revision, updated_at) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) \
     on conflict do nothing";

const SHOW_RESULT: &str = "update jobs set \
         outcome = $3, status = $4, code = $5, total_count = $6, filter_count = $7, sent_count = $8, error_count = $9, \
         check_state = $10, copyright_count = $11, article_url_count = $12, articles = $13, to_user_name = $14, \
         from_user_name = $15, finished_at = $16, first_received_at = $17, last_received_at = $18, deliveries = $19, \
         revision = $20, updated_at = max(updated_at, $21) \
     where account = $1 and msg_id = $2";

const SHOW_TALLY: &str = "update jobs set \
         first_received_at = $3, last_received_at = $4, deliveries = $5, revision = $6, \
         updated_at = max(updated_at, $7) \
     where account = $1 and msg_id = $2";

const DELETE_JOB: &str = "delete from jobs where account = $1 and msg_id = $2";

/// One SQLite file: one connection that writes, and some that read.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, makes it where it is missing, and brings its schema up to date. What is made is for the user's
    /// eyes only.
    ///
    /// # Errors
    /// [`OpenStoreError`] when the file cannot be made or opened, or its schema is not ours.
    pub async fn open(path: &Path, migrations: Migrations) -> Result<Self, OpenStoreError> {
        make_private(path).map_err(|source| OpenStoreError::File {
            path: path.to_owned(),
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let writer = connect_writer(&options)
            .await
            .map_err(OpenStoreError::Unreachable)?;
        let mut connection = writer
            .acquire()
            .await
            .map_err(OpenStoreError::Unreachable)?;
        // One process migrates while others that start wait for the lock.
        let mut transaction = connection
            .begin_with(BEGIN)
            .await
            .map_err(OpenStoreError::Unreachable)?;
        migrate::run(&MIGRATOR, &mut *transaction, migrations).await?;
        transaction
            .commit()
            .await
            .map_err(OpenStoreError::Unreachable)?;
        drop(connection);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options.pragma("query_only", "on"));
        Ok(Self { writer, readers })
    }

    async fn begin(&self) -> Result<Tx<'static>, StoreError> {
        Ok(self.writer.begin_with(BEGIN).await?)
    }
}

/// Opens the file. While another process switches it to write-ahead logging, SQLite refuses at once instead of waiting.
async fn connect_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let started = Instant::now();
    loop {
        let connected = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options.clone())
            .await;
        match connected {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// `SQLITE_BUSY`, whatever its extended code.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<i32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// Makes the file and its directory with no rights for anyone else; SQLite's own files beside it take the same rights.
/// The directory entries are synced, so that a loss of power cannot take the file away under an acknowledged event.
fn make_private(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)?;
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    for directory in directory.canonicalize()?.ancestors().take(2) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    async fn record(&self, delivery: &NewDelivery) -> Result<Recorded, StoreError> {
        let mut transaction = self.begin().await?;
        let (kept, standing) = keep(&mut transaction, delivery).await?;
        let is_counted = match standing {
            Standing::New => false,
            // However this copy was read: an older replica may not understand what a newer one has.
            Standing::Result => count_copy(&mut transaction, &kept, delivery.received_at).await?,
            Standing::Other => true,
        };
        if let Some(result) = delivery.reading.result().filter(|_| !is_counted) {
            add_content(&mut transaction, &kept, result, delivery.received_at).await?;
        }
        transaction.commit().await?;
        Ok(if kept.times == 1 {
            Recorded::New
        } else {
            Recorded::Duplicate
        })
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page<JobKey>) -> Result<Vec<Job>, StoreError> {
        let rows = query::jobs::<Sqlite>(filter, page)
            .build()
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(row::job).collect::<Result<_, _>>()?)
    }

    async fn job(&self, account: &AccountName, msg_id: MsgId) -> Result<Option<Job>, StoreError> {
        let row = sqlx::query(query::JOB)
            .bind(account.as_str())
            .bind(msg_id.get())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.as_ref().map(row::job).transpose()?)
    }

    async fn job_deliveries(
        &self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = sqlx::query(query::JOB_DELIVERIES)
            .bind(account.as_str())
            .bind(msg_id.get())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = query::deliveries::<Sqlite>(filter, page)
            .build()
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError> {
        let row = query::stats::<Sqlite>(filter)
            .build()
            .fetch_one(&self.readers)
            .await?;
        Ok(query::stats_of(&row)?)
    }

    async fn reread(
        &self,
        id: i64,
        read: Reader,
        now: Time,
        dry_run: bool,
    ) -> Result<Option<Reread>, StoreError> {
        let mut transaction = self.begin().await?;
        let Some(row) = sqlx::query(query::DELIVERY)
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?
        else {
            return Ok(None);
        };
        let before = row::delivery(&row)?;
        let was_result = row.try_get::<Option<Time>, _>("finished_at")?.is_some();
        let reading = read(&before.body);
        if before.state == DeliveryState::Stored && reading.state() == DeliveryState::Unparsed {
            let after = before.clone();
            return Ok(Some(Reread {
                before,
                after,
                job_changed: false,
            }));
        }
        let after = file(&mut transaction, id, &reading).await?;
        let mut jobs: Vec<MsgId> = Vec::new();
        jobs.extend(before.msg_id.filter(|_| was_result));
        jobs.extend(reading.result().map(|result| result.msg_id));
        jobs.sort_unstable();
        jobs.dedup();
        let mut job_changed = false;
        for msg_id in jobs {
            job_changed |= rebuild(&mut transaction, &before.account, msg_id, read, now).await?;
        }
        if dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok(Some(Reread {
            before,
            after,
            job_changed,
        }))
    }

    /// Takes the write lock and gives it back: an event could be written.
    async fn ping(&self) -> Result<(), StoreError> {
        self.begin().await?.rollback().await?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

type Tx<'c> = Transaction<'c, Sqlite>;

/// Keeps the bytes, or counts one more copy of them.
async fn keep(
    transaction: &mut Tx<'_>,
    delivery: &NewDelivery,
) -> Result<(Delivery, Standing), StoreError> {
    let reading = &delivery.reading;
    let row = sqlx::query(KEEP)
        .bind(delivery.account.as_str())
        .bind(&delivery.body_sha256[..])
        .bind(&delivery.body)
        .bind(reading.state().as_str())
        .bind(reading.event())
        .bind(reading.msg_id().map(MsgId::get))
        .bind(reading.error())
        .bind(reading.result().map(|result| result.finished_at))
        .bind(delivery.received_at)
        .fetch_one(&mut **transaction)
        .await?;
    let kept = row::delivery(&row)?;
    if kept.times == 1 {
        return Ok((kept, Standing::New));
    }
    if kept.state == DeliveryState::Unparsed && reading.state() == DeliveryState::Stored {
        let kept = file(transaction, kept.id, reading).await?;
        return Ok((kept, Standing::New));
    }
    let is_result = row.try_get::<Option<Time>, _>("finished_at")?.is_some();
    let standing = if is_result {
        Standing::Result
    } else {
        Standing::Other
    };
    Ok((kept, standing))
}

/// Writes how a kept delivery was read.
async fn file(
    transaction: &mut Tx<'_>,
    id: i64,
    reading: &Reading,
) -> Result<Delivery, StoreError> {
    let row = sqlx::query(FILE)
        .bind(id)
        .bind(reading.state().as_str())
        .bind(reading.event())
        .bind(reading.msg_id().map(MsgId::get))
        .bind(reading.error())
        .bind(reading.result().map(|result| result.finished_at))
        .fetch_one(&mut **transaction)
        .await?;
    Ok(row::delivery(&row)?)
}

/// Counts one more copy of a content in its job; false when the job is not there.
async fn count_copy(
    transaction: &mut Tx<'_>,
    kept: &Delivery,
    received_at: Time,
) -> Result<bool, StoreError> {
    let done = sqlx::query(COUNT_COPY)
        .bind(kept.account.as_str())
        .bind(kept.msg_id.map(MsgId::get))
        .bind(received_at)
        .execute(&mut **transaction)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Adds a content to its job: the first makes the job, any other is a revision.
async fn add_content(
    transaction: &mut Tx<'_>,
    kept: &Delivery,
    result: &MassSendFinished,
    now: Time,
) -> Result<(), StoreError> {
    let tally = Tally {
        shown: kept.id,
        first_received_at: kept.received_at,
        last_received_at: kept.last_received_at,
        deliveries: kept.times,
        revision: 1,
    };
    let made = write_job(transaction, INSERT_JOB, &kept.account, result, &tally, now).await?;
    if made {
        return Ok(());
    }
    let tally = tally_up(transaction, &kept.account, result.msg_id)
        .await?
        .unwrap_or(tally);
    if tally.shown == kept.id {
        write_job(transaction, SHOW_RESULT, &kept.account, result, &tally, now).await?;
    } else {
        write_tally(transaction, &kept.account, result.msg_id, &tally, now).await?;
    }
    Ok(())
}

/// Makes a job anew from its deliveries; tells whether it changed.
async fn rebuild(
    transaction: &mut Tx<'_>,
    account: &AccountName,
    msg_id: MsgId,
    read: Reader,
    now: Time,
) -> Result<bool, StoreError> {
    let before = load_job(transaction, account, msg_id).await?;
    let Some(tally) = tally_up(transaction, account, msg_id).await? else {
        let done = sqlx::query(DELETE_JOB)
            .bind(account.as_str())
            .bind(msg_id.get())
            .execute(&mut **transaction)
            .await?;
        return Ok(done.rows_affected() == 1);
    };
    let row = sqlx::query(query::DELIVERY)
        .bind(tally.shown)
        .fetch_one(&mut **transaction)
        .await?;
    let reading = read(&row::delivery(&row)?.body);
    // What shows may not be read as this job's any more; it counts here, and shows what it did, until it is filed anew.
    let result = reading.result().filter(|result| result.msg_id == msg_id);
    match (before, result) {
        (Some(job), Some(result)) if tally.shows(&job, result) => Ok(false),
        (Some(job), None) if tally.counts(&job) => Ok(false),
        (Some(_), Some(result)) => {
            write_job(transaction, SHOW_RESULT, account, result, &tally, now).await
        }
        (Some(_), None) => write_tally(transaction, account, msg_id, &tally, now).await,
        (None, Some(result)) => {
            write_job(transaction, INSERT_JOB, account, result, &tally, now).await
        }
        (None, None) => Ok(false),
    }
}

async fn load_job(
    transaction: &mut Tx<'_>,
    account: &AccountName,
    msg_id: MsgId,
) -> Result<Option<Job>, StoreError> {
    let row = sqlx::query(query::JOB)
        .bind(account.as_str())
        .bind(msg_id.get())
        .fetch_optional(&mut **transaction)
        .await?;
    Ok(row.as_ref().map(row::job).transpose()?)
}

async fn tally_up(
    transaction: &mut Tx<'_>,
    account: &AccountName,
    msg_id: MsgId,
) -> Result<Option<Tally>, StoreError> {
    let rows = sqlx::query(query::JOB_CONTENTS)
        .bind(account.as_str())
        .bind(msg_id.get())
        .fetch_all(&mut **transaction)
        .await?;
    let contents: Vec<_> = rows.iter().map(row::content).collect::<Result<_, _>>()?;
    Ok(Tally::of(&contents))
}

async fn write_job(
    transaction: &mut Tx<'_>,
    sql: &'static str,
    account: &AccountName,
    result: &MassSendFinished,
    tally: &Tally,
    now: Time,
) -> Result<bool, StoreError> {
    let done = row::bind_result(sqlx::query(sql).bind(account.as_str()), result)
        .bind(tally.first_received_at)
        .bind(tally.last_received_at)
        .bind(tally.deliveries)
        .bind(tally.revision)
        .bind(now)
        .execute(&mut **transaction)
        .await?;
    Ok(done.rows_affected() == 1)
}

async fn write_tally(
    transaction: &mut Tx<'_>,
    account: &AccountName,
    msg_id: MsgId,
    tally: &Tally,
    now: Time,
) -> Result<bool, StoreError> {
    let done = sqlx::query(SHOW_TALLY)
        .bind(account.as_str())
        .bind(msg_id.get())
        .bind(tally.first_received_at)
        .bind(tally.last_received_at)
        .bind(tally.deliveries)
        .bind(tally.revision)
        .bind(now)
        .execute(&mut **transaction)
        .await?;
    Ok(done.rows_affected() == 1)
}
