//! Reading a kept delivery again: a transaction that files it anew and lets its jobs follow.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::filing::{count, demote, keep_other, lock_job, next_change, show};
use crate::domain::{AccountName, Delivery, DeliveryState, MsgId, Time};
use crate::store::rebuild::{JobBefore, TAKE_OTHER, filed_as, result_for};
use crate::store::row::{self, Showing, Standing, Updated};
use crate::store::tally::{Content, Tally};
use crate::store::{DeliveryKey, Reader, Reread, StoreError, query};

/// How often is tried again what another transaction has changed in the meantime.
const TRIES: usize = 10;

pub(super) async fn reread(
    connection: &mut PgConnection,
    key: &DeliveryKey,
    read: Reader,
    now: Time,
    dry_run: bool,
) -> Result<Option<Reread>, StoreError> {
    for _ in 0..TRIES {
        let mut transaction = connection.begin().await?;
        match try_once(&mut transaction, key, read, now).await {
            Err(StoreError::Contended) => transaction.rollback().await?,
            outcome if dry_run => {
                transaction.rollback().await?;
                return outcome;
            }
            outcome => {
                let reread = outcome?;
                transaction.commit().await?;
                return Ok(reread);
            }
        }
    }
    Err(StoreError::Contended)
}

/// # Errors
/// [`StoreError::Contended`] when another transaction was faster.
async fn try_once(
    connection: &mut PgConnection,
    key: &DeliveryKey,
    read: Reader,
    now: Time,
) -> Result<Option<Reread>, StoreError> {
    let Some((before, finished_at)) = find(connection, key).await? else {
        return Ok(None);
    };
    let reading = read(&before.body);
    if before.state == DeliveryState::Stored && reading.state() == DeliveryState::Unparsed {
        return Ok(Some(Reread::unchanged(before)));
    }
    let mut ids: Vec<MsgId> = Vec::new();
    ids.extend(before.msg_id.filter(|_| finished_at.is_some()));
    ids.extend(reading.result().map(|result| result.msg_id));
    ids.sort_unstable();
    ids.dedup();
    // In the order of their keys, as every transaction locks them.
    let mut jobs = Vec::new();
    for msg_id in ids {
        jobs.push((msg_id, lock_job(connection, &before.account, msg_id).await?));
    }
    match find(connection, key).await? {
        Some((again, _)) if again == before => {}
        _ => return Err(StoreError::Contended),
    }
    let after = filed_as(&before, &reading);
    let finishes_at = reading.result().map(|result| result.finished_at);
    let shows_the_same = jobs
        .iter()
        .filter_map(|(_, standing)| standing.as_ref())
        .filter(|standing| standing.shown.id == before.id)
        .all(|standing| Some(&standing.job.result) == reading.result());
    if after == before && finishes_at == finished_at && shows_the_same {
        return Ok(Some(Reread::unchanged(before)));
    }
    let mut jobs_before = Vec::new();
    for (msg_id, standing) in jobs {
        let before = match standing {
            Some(standing) => Some(take_apart(connection, standing).await?),
            None => None,
        };
        jobs_before.push((msg_id, before));
    }
    sqlx::query(query::DELETE_OTHER)
        .bind(before.id)
        .execute(&mut *connection)
        .await?;
    let after = keep_other(connection, &after, finishes_at).await?;
    let mut job_changed = false;
    for (msg_id, job_before) in jobs_before {
        job_changed |=
            rebuild(connection, (&before.account, msg_id), job_before, read, now).await?;
    }
    Ok(Some(Reread {
        before,
        after,
        job_changed,
    }))
}

/// A delivery, and its `CreateTime` where it is a job result that was understood.
async fn find(
    connection: &mut PgConnection,
    key: &DeliveryKey,
) -> Result<Option<(Delivery, Option<Time>)>, StoreError> {
    let row = sqlx::query(query::DELIVERY)
        .bind(key.id)
        .bind(key.received_at)
        .fetch_optional(connection)
        .await?;
    let found = row.map(|row| Ok((row::delivery(&row)?, row.try_get("finished_at")?)));
    Ok(found.transpose().map_err(|error: sqlx::Error| error)?)
}

/// Puts all contents of a job among the other deliveries.
async fn take_apart(
    connection: &mut PgConnection,
    standing: Standing,
) -> Result<JobBefore, StoreError> {
    let msg_id = standing.job.result.msg_id;
    let contents = contents(connection, &standing.job.account, msg_id).await?;
    demote(connection, &standing.job).await?;
    Ok(JobBefore::new(standing, &contents))
}

/// Makes a job from its contents; tells whether it changed.
async fn rebuild(
    connection: &mut PgConnection,
    (account, msg_id): (&AccountName, MsgId),
    before: Option<JobBefore>,
    read: Reader,
    now: Time,
) -> Result<bool, StoreError> {
    let mut contents = contents(connection, account, msg_id).await?;
    contents.extend(before.as_ref().and_then(|before| before.pruned));
    let Some(mut tally) = Tally::of(&contents) else {
        if before.is_none() {
            return Ok(false);
        }
        sqlx::query(query::DELETE_JOB)
            .bind(account.as_str())
            .bind(msg_id.get())
            .execute(connection)
            .await?;
        return Ok(true);
    };
    if let Some(before) = &before {
        before.add_pruned(&mut tally);
        if before.pruned.is_some_and(|pruned| pruned.id == tally.shown) {
            let changed = !tally.counts(&before.job);
            if changed {
                let updated = before.updated.next(now, next_change(connection).await?);
                count(connection, &before.job, &tally, updated).await?;
            }
            return Ok(changed);
        }
    }
    let row = sqlx::query(TAKE_OTHER)
        .bind(tally.shown)
        .fetch_one(&mut *connection)
        .await?;
    let shown = row::delivery(&row)?;
    let finished_at = row.try_get("finished_at")?;
    let reading = read(&shown.body);
    let Some(result) = result_for(msg_id, finished_at, &reading, before.as_ref()) else {
        return Err(StoreError::Contended);
    };
    let changed = before
        .as_ref()
        .is_none_or(|before| !tally.shows(&before.job, &result));
    let updated = match &before {
        Some(before) if !changed => before.updated,
        before => {
            let change = next_change(connection).await?;
            let at = before.as_ref().map_or(now, |before| before.updated.at);
            Updated { at, change }.next(now, change)
        }
    };
    let showing = Showing {
        result: &result,
        tally,
        updated,
        shown: &shown,
    };
    if show(connection, &showing, before.is_some()).await? {
        Ok(changed)
    } else {
        // It was not there, and now it is.
        Err(StoreError::Contended)
    }
}

async fn contents(
    connection: &mut PgConnection,
    account: &AccountName,
    msg_id: MsgId,
) -> Result<Vec<Content>, StoreError> {
    let rows = sqlx::query(query::OTHER_CONTENTS)
        .bind(account.as_str())
        .bind(msg_id.get())
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().map(row::content).collect::<Result<_, _>>()?)
}
