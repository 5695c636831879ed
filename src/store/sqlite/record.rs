//! The steps of a transaction that records a batch.

use std::collections::HashMap;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::types::Json;
use sqlx::{Row, Sqlite};

use crate::domain::{AccountName, Delivery, Job, MsgId, NewDelivery, Time};
use crate::store::query::{self, job_columns, shown_columns};
use crate::store::row::{self, Showing, Standing, Updated};
use crate::store::rules::batch::{Bundle, Revision, Sorted};
use crate::store::rules::tally::Tally;
use crate::store::{BatchId, BatchOutcome, StoreError};

/// One row's values; `revision` is 1.
macro_rules! row {
    () => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    };
}
macro_rules! four_rows {
    () => {
        concat!(row!(), ", ", row!(), ", ", row!(), ", ", row!())
    };
}
macro_rules! sixteen_rows {
    () => {
        concat!(
            four_rows!(),
            ", ",
            four_rows!(),
            ", ",
            four_rows!(),
            ", ",
            four_rows!()
        )
    };
}

/// Records contents that are new or copies of what their jobs show; any other is left alone.
macro_rules! record {
    ($rows:ident) => {
        concat!(
            "insert into jobs (",
            job_columns!(),
            ", shown_id, shown_event, shown_error, shown_body, shown_sha256, shown_received_at, \
                 shown_last_received_at, shown_times, change) values ",
            $rows!(),
            " on conflict (account, msg_id) do update set \
                 deliveries = deliveries + excluded.deliveries, \
                 shown_times = shown_times + excluded.shown_times, \
                 first_received_at = case when revision = 1 \
                     then min(first_received_at, excluded.first_received_at) else first_received_at end, \
                 last_received_at = max(last_received_at, excluded.last_received_at), \
                 shown_received_at = case when revision = 1 \
                     then min(shown_received_at, excluded.shown_received_at) else shown_received_at end, \
                 shown_last_received_at = max(shown_last_received_at, excluded.shown_last_received_at) \
             where shown_sha256 = excluded.shown_sha256 \
             returning account, msg_id, shown_times"
        )
    };
}

/// The statements that record so many at once. Each is a way to SQLite's thread and back, which takes longer than its work.
const RECORD: [(usize, &str); 3] = [
    (16, record!(sixteen_rows)),
    (4, record!(four_rows)),
    (1, record!(row)),
];

const ADMIT: &str = "insert into batches (id) values ($1) on conflict (id) do nothing";

const IS_CANCELLED: &str = "select is_cancelled from batches where id = $1";

/// Ids, and with them change numbers, are at least the microseconds since 1970. An older copy of the file that is put back
/// therefore continues beyond every number that was given out before.
pub(super) const TAKE_IDS: &str = "update delivery_ids \
     set last = max(last, cast(unixepoch('subsec') * 1000000 as integer)) + $1 returning last";

const JOB: &str = concat!(
    "select ",
    job_columns!(),
    ", ",
    shown_columns!(),
    " from jobs where account = $1 and msg_id = $2"
);

/// Records a batch.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    batch: &[NewDelivery],
    id: Option<BatchId>,
) -> Result<BatchOutcome, StoreError> {
    if let Some(id) = id
        && let Some(outcome) = admit(connection, id).await?
    {
        return Ok(outcome);
    }
    let mut sorted = Sorted::new(batch);
    let mut id = take_ids(connection, sorted.len()).await?;
    let contents = sorted.contents.clone();
    let mut rest = &contents[..];
    for (size, statement) in RECORD {
        while let Some((chunk, after)) = rest.split_at_checked(size) {
            let filed = record_contents(connection, statement, id, chunk).await?;
            for bundle in chunk {
                id += 1;
                match filed.get(&bundle.key()) {
                    Some(times) if *times == bundle.times => sorted.note_new(bundle),
                    Some(_) => {}
                    None => {
                        if revise(connection, id, bundle).await? {
                            sorted.note_revision(bundle);
                        }
                    }
                }
            }
            rest = after;
        }
    }
    for bundle in sorted.further.clone() {
        id += 1;
        if revise(connection, id, &bundle).await? {
            sorted.note_revision(&bundle);
        }
    }
    for bundle in sorted.others.clone() {
        id += 1;
        let delivery = Delivery {
            received_at: bundle.first_received_at,
            ..bundle.as_delivery(id)
        };
        let kept = keep_other(connection, &delivery, None).await?;
        if kept.times == bundle.times {
            sorted.note_new(&bundle);
        }
    }
    Ok(BatchOutcome::Recorded(sorted.into_recorded()))
}

/// Notes the id of a batch; what became of the batch, if the id is there already.
async fn admit(
    connection: &mut SqliteConnection,
    id: BatchId,
) -> Result<Option<BatchOutcome>, StoreError> {
    let done = sqlx::query(ADMIT)
        .bind(&id.0[..])
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(None);
    }
    let is_cancelled: bool = sqlx::query_scalar(IS_CANCELLED)
        .bind(&id.0[..])
        .fetch_one(connection)
        .await?;
    Ok(Some(if is_cancelled {
        BatchOutcome::Cancelled
    } else {
        BatchOutcome::RecordedBefore
    }))
}

/// Takes that many ids; the one before the first.
async fn take_ids(connection: &mut SqliteConnection, count: i64) -> Result<i64, StoreError> {
    let last: i64 = sqlx::query_scalar(TAKE_IDS)
        .bind(count)
        .fetch_one(connection)
        .await?;
    Ok(last - count)
}

/// The number of a change. What was changed last has the highest, as one alone writes.
pub(super) async fn next_change(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(take_ids(connection, 1).await? + 1)
}

/// (account, `msg_id`) → copies of what shows now, of those that were filed. Their ids come after `id`.
async fn record_contents<'b>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    mut id: i64,
    bundles: &[Bundle<'b>],
) -> Result<HashMap<(&'b str, i64), i64>, StoreError> {
    let mut query = sqlx::query(statement);
    for bundle in bundles {
        id += 1;
        query = bind_content(query, id, bundle);
    }
    let rows = query.fetch_all(connection).await?;
    let mut filed = HashMap::with_capacity(rows.len());
    // In any order.
    for row in rows {
        let key: (&str, i64) = (row.try_get("account")?, row.try_get("msg_id")?);
        let bundle = bundles.iter().find(|bundle| bundle.key() == key);
        let times: i64 = row.try_get("shown_times")?;
        filed.extend(bundle.map(|bundle| (bundle.key(), times)));
    }
    Ok(filed)
}

fn bind_content<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    id: i64,
    bundle: &Bundle<'_>,
) -> Query<'q, Sqlite, SqliteArguments> {
    let delivery = bundle.delivery;
    let Some(result) = bundle.result() else {
        unreachable!("contents are job results");
    };
    query
        .bind(delivery.account.as_str())
        .bind(result.msg_id.get())
        .bind(result.status.outcome.as_str())
        .bind(result.status.text.as_deref())
        .bind(result.status.code)
        .bind(result.counts.total)
        .bind(result.counts.filter)
        .bind(result.counts.sent)
        .bind(result.counts.error)
        .bind(result.check_state)
        .bind(result.copyright_count)
        .bind(result.article_url_count)
        .bind(Json(&result.articles))
        .bind(result.to_user_name.as_deref())
        .bind(result.from_user_name.as_deref())
        .bind(result.finished_at)
        .bind(bundle.first_received_at)
        .bind(bundle.last_received_at)
        .bind(bundle.recorded_at)
        .bind(bundle.times)
        .bind(id)
        .bind(delivery.reading.event())
        .bind(delivery.reading.error())
        .bind(&delivery.body[..])
        .bind(&delivery.body_sha256[..])
        .bind(bundle.first_received_at)
        .bind(bundle.last_received_at)
        .bind(bundle.times)
        .bind(id)
}

/// Counts copies of a content that a job does not show, or adds that content to it; true when its bytes are new.
async fn revise(
    connection: &mut SqliteConnection,
    id: i64,
    bundle: &Bundle<'_>,
) -> Result<bool, StoreError> {
    // The content of an earlier bundle may be what its job shows by now.
    let [.., (_, statement)] = RECORD;
    let alone = std::slice::from_ref(bundle);
    let filed = record_contents(connection, statement, id - 1, alone).await?;
    if let Some(times) = filed.get(&bundle.key()) {
        return Ok(*times == bundle.times);
    }
    let Some(result) = bundle.result() else {
        return Ok(false);
    };
    let account = &bundle.delivery.account;
    let Some(stored) = load_job(connection, account, result.msg_id).await? else {
        return Err(sqlx::Error::RowNotFound.into());
    };
    let job = &stored.job;
    let counted = sqlx::query(query::COUNT_OTHER)
        .bind(job.account.as_str())
        .bind(&bundle.delivery.body_sha256[..])
        .bind(result.msg_id.get())
        .bind(bundle.times)
        .bind(bundle.last_received_at)
        .execute(&mut *connection)
        .await?;
    let revision = Revision::new(&stored, bundle, counted.rows_affected() == 1);
    let updated = Updated {
        at: revision.updated_at,
        change: if revision.is_new {
            id
        } else {
            stored.updated.change
        },
    };
    let delivery = bundle.as_delivery(id);
    if revision.is_shown {
        demote(connection, job).await?;
        let showing = Showing {
            result,
            tally: revision.tally,
            updated,
            shown: &delivery,
        };
        show(connection, &showing, true).await?;
    } else {
        if revision.is_new {
            keep_other(connection, &delivery, Some(result.finished_at)).await?;
        }
        count(connection, job, &revision.tally, updated).await?;
    }
    Ok(revision.is_new)
}

pub(super) async fn load_job(
    connection: &mut SqliteConnection,
    account: &AccountName,
    msg_id: MsgId,
) -> Result<Option<Standing>, StoreError> {
    let row = sqlx::query(JOB)
        .bind(account.as_str())
        .bind(msg_id.get())
        .fetch_optional(connection)
        .await?;
    Ok(row.as_ref().map(row::standing).transpose()?)
}

/// Makes a job or changes what it shows; false when it may not be there and is.
pub(super) async fn show(
    connection: &mut SqliteConnection,
    showing: &Showing<'_>,
    may_be_there: bool,
) -> Result<bool, StoreError> {
    let done = row::bind_showing(sqlx::query(query::SHOW), showing)
        .bind(may_be_there)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn demote(connection: &mut SqliteConnection, job: &Job) -> Result<(), StoreError> {
    sqlx::query(query::DEMOTE)
        .bind(job.account.as_str())
        .bind(job.result.msg_id.get())
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps a delivery that no job shows; as it stands then, its copies and those that were there put together.
pub(super) async fn keep_other(
    connection: &mut SqliteConnection,
    delivery: &Delivery,
    finished_at: Option<Time>,
) -> Result<Delivery, StoreError> {
    let row = sqlx::query(query::KEEP_OTHER)
        .bind(delivery.id)
        .bind(delivery.account.as_str())
        .bind(&delivery.body_sha256[..])
        .bind(&delivery.body[..])
        .bind(delivery.state.as_str())
        .bind(delivery.event.as_deref())
        .bind(delivery.msg_id.map(MsgId::get))
        .bind(delivery.error.as_deref())
        .bind(finished_at)
        .bind(delivery.received_at)
        .bind(delivery.last_received_at)
        .bind(delivery.times)
        .fetch_one(connection)
        .await?;
    Ok(row::delivery(&row)?)
}

pub(super) async fn count(
    connection: &mut SqliteConnection,
    job: &Job,
    tally: &Tally,
    updated: Updated,
) -> Result<(), StoreError> {
    sqlx::query(query::COUNT)
        .bind(job.account.as_str())
        .bind(job.result.msg_id.get())
        .bind(tally.first_received_at)
        .bind(tally.last_received_at)
        .bind(tally.deliveries)
        .bind(tally.revision)
        .bind(updated.at)
        .bind(updated.change)
        .execute(connection)
        .await?;
    Ok(())
}
