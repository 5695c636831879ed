//! The steps of a transaction that files a delivery and its job.

use sqlx::{Postgres, Row, Transaction};

use crate::domain::{
    AccountName, Delivery, DeliveryState, Job, MassSendFinished, MsgId, NewDelivery, Reading, Time,
};
use crate::store::tally::{Standing, Tally};
use crate::store::{Reader, StoreError, query, row};

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

const DELETE_JOB: &str = "delete from jobs where account = $1 and msg_id = $2";

pub(super) type Tx<'c> = Transaction<'c, Postgres>;

/// Keeps the bytes, or counts one more copy of them.
pub(super) async fn keep(
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
pub(super) async fn file(
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
pub(super) async fn count_copy(
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
pub(super) async fn add_content(
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
pub(super) async fn rebuild(
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
