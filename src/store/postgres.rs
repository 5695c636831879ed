//! [`Store`] on PostgreSQL 13 and newer. Reads like its sibling [`super::sqlite`], query by query.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres, Row, Transaction};

use super::tally::{Standing, Tally};
use super::{
    DeliveryFilter, DeliveryKey, JobFilter, JobKey, Migrations, OpenStoreError, Page, Reader,
    Recorded, Reread, Store, StoreError, migrate, query, row,
};
use crate::domain::{
    AccountName, Delivery, DeliveryState, Job, MassSendFinished, MsgId, NewDelivery, Reading,
    Stats, Time,
};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

const MAX_CONNECTIONS: u32 = 10;
/// How long a call waits for a connection before it gives up.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection may take to answer before it is lent, and after it came back, perhaps from a call that was given
/// up half-way. One that does not is closed: where packets get lost, as after a failover, it would otherwise hold its place
/// in the pool for as long as TCP tries, a quarter of an hour.
const PING_BEFORE: Duration = Duration::from_millis(500);
const PING_AFTER: Duration = Duration::from_secs(2);

/// For every connection: a query ends when its caller has long gone, and a commit is on disk when it returns, even where
/// the server's own setting is weaker.
const SESSION: &str = "select set_config('statement_timeout', '5000', false), \
     set_config('synchronous_commit', case current_setting('synchronous_commit') \
         when 'off' then 'on' else current_setting('synchronous_commit') end, false)";

const KEEP: &str = "insert into deliveries \
         (account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 1) \
     on conflict (account, body_sha256) do update set \
         times = deliveries.times + 1, \
         last_received_at = greatest(deliveries.last_received_at, excluded.last_received_at) \
     returning *";

const FILE: &str = "update deliveries set \
         state = $2, event = $3, msg_id = $4, error = $5, finished_at = $6 \
     where id = $1 returning *";

const COUNT_COPY: &str = "update jobs set \
         deliveries = deliveries + 1, last_received_at = greatest(last_received_at, $3) \
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
         revision = $20, updated_at = greatest(updated_at, $21) \
     where account = $1 and msg_id = $2";

const SHOW_TALLY: &str = "update jobs set \
         first_received_at = $3, last_received_at = $4, deliveries = $5, revision = $6, \
         updated_at = greatest(updated_at, $7) \
     where account = $1 and msg_id = $2";

const LOCK_JOB: &str = "select * from jobs where account = $1 and msg_id = $2 for update";

const LOCK_DELIVERY: &str = "select * from deliveries where id = $1 for update";

/// Changes nothing; refused, like every write, by a replica and by whoever lacks the right.
const TRY_WRITE: &str = "update deliveries set times = times where false";

const DELETE_JOB: &str = "delete from jobs where account = $1 and msg_id = $2";

/// PostgreSQL, through a pool of connections.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Checks the server, brings the schema up to date and opens the pool. Several replicas may do so at once: an
    /// advisory lock lets one migrate while the others wait.
    ///
    /// # Errors
    /// [`OpenStoreError`] when the server is away, too old, not in UTF-8, or its schema is not ours.
    pub async fn open(url: &str, migrations: Migrations) -> Result<Self, OpenStoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(OpenStoreError::Unreachable)?
            .application_name("qunfa")
            .disable_statement_logging();
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(OpenStoreError::Unreachable)?;
        check_server(&mut connection).await?;
        migrate::run(&MIGRATOR, &mut connection, migrations).await?;
        connection
            .close()
            .await
            .map_err(OpenStoreError::Unreachable)?;

        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::query(SESSION).execute(connection).await.map(drop) })
            })
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(answers_within(connection, PING_BEFORE)))
            .after_release(|connection, _| Box::pin(answers_within(connection, PING_AFTER)))
            .connect_lazy_with(options);
        Ok(Self { pool })
    }
}

/// Whether the connection answers; an error closes it at once.
async fn answers_within(
    connection: &mut PgConnection,
    deadline: Duration,
) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(deadline, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

async fn check_server(connection: &mut PgConnection) -> Result<(), OpenStoreError> {
    let server = sqlx::query(
        "select current_setting('server_version_num')::int as number, \
             current_setting('server_version') as version, current_setting('server_encoding') as encoding",
    )
    .fetch_one(connection)
    .await
    .map_err(OpenStoreError::Unreachable)?;
    let number: i32 = server.get("number");
    let encoding: String = server.get("encoding");
    match encoding.as_str() {
        _ if number < 130_000 => Err(OpenStoreError::OldServer(server.get("version"))),
        "UTF8" => Ok(()),
        _ => Err(OpenStoreError::Encoding(encoding)),
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn record(&self, delivery: &NewDelivery) -> Result<Recorded, StoreError> {
        let mut transaction = self.pool.begin().await?;
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
        let rows = query::jobs::<Postgres>(filter, page)
            .build()
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(row::job).collect::<Result<_, _>>()?)
    }

    async fn job(&self, account: &AccountName, msg_id: MsgId) -> Result<Option<Job>, StoreError> {
        let row = sqlx::query(query::JOB)
            .bind(account.as_str())
            .bind(msg_id.get())
            .fetch_optional(&self.pool)
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
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = query::deliveries::<Postgres>(filter, page)
            .build()
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError> {
        let row = query::stats::<Postgres>(filter)
            .build()
            .fetch_one(&self.pool)
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
        let mut transaction = self.pool.begin().await?;
        let Some(row) = sqlx::query(LOCK_DELIVERY)
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

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query(TRY_WRITE).execute(&self.pool).await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

type Tx<'c> = Transaction<'c, Postgres>;

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
    loop {
        if write_job(transaction, INSERT_JOB, &kept.account, result, &tally, now).await? {
            return Ok(());
        }
        let job = lock_job(transaction, &kept.account, result.msg_id).await?;
        if job.is_some() {
            break;
        }
        // A rereading moved its last content away and deleted it while we waited for the lock: it is to be made after all.
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
    let before = lock_job(transaction, account, msg_id).await?;
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
            if write_job(transaction, INSERT_JOB, account, result, &tally, now).await? {
                return Ok(true);
            }
            // Another transaction has just made it, of other contents: once more, with all of them.
            Box::pin(rebuild(transaction, account, msg_id, read, now)).await
        }
        (None, None) => Ok(false),
    }
}

async fn lock_job(
    transaction: &mut Tx<'_>,
    account: &AccountName,
    msg_id: MsgId,
) -> Result<Option<Job>, StoreError> {
    let row = sqlx::query(LOCK_JOB)
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
