//! Adding contents to jobs that show another one: those of all jobs of a batch in a few statements.

use std::collections::{HashMap, HashSet};

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::record::{bind_contents, column, record_others, same_job, shown_contents};
use crate::store::StoreError;
use crate::store::query::{job_columns, shown_columns};
use crate::store::row::{self, Standing};
use crate::store::rules::batch::{Bundle, Revision};

const LOAD_JOBS: &str = concat!(
    "select ",
    job_columns!(),
    ", ",
    shown_columns!(),
    " from jobs where (msg_id, account || '') in \
         (select msg_id, account from unnest($1::text[], $2::bigint[]) as key (account, msg_id))"
);

/// Counts copies of contents that their jobs do not show.
const COUNT_OTHERS: &str = "update other_deliveries as other set times = other.times + copy.times, \
         last_received_at = greatest(other.last_received_at, copy.last_received_at) \
     from unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::timestamptz[]) \
         as copy (account, job, sha256, times, last_received_at) \
     where other.account = copy.account and other.body_sha256 = copy.sha256 and other.job = copy.job \
     returning other.account, other.job";

/// Lets jobs show other contents, and keeps those that they have shown.
const SHOW: &str = concat!(
    "with new as materialized (select * from unnest(",
    shown_contents!(),
    ", $25::timestamptz[], $26::timestamptz[], $27::timestamptz[], $28::bigint[], $29::bigint[]) \
         as new (account, msg_id, outcome, status, code, total_count, filter_count, sent_count, error_count, \
             check_state, copyright_count, article_url_count, articles, to_user_name, from_user_name, finished_at, \
             shown_received_at, shown_last_received_at, shown_times, event, error, body, sha256, recorded_at, \
             first_received_at, last_received_at, updated_at, deliveries, revision)), \
     demoted as ( \
         insert into other_deliveries (id, account, body_sha256, body, state, event, msg_id, error, finished_at, \
             received_at, last_received_at, times) \
         select shown_id, jobs.account, shown_sha256, shown_body, 'stored', jobs.shown_event, jobs.msg_id, \
             jobs.shown_error, jobs.finished_at, jobs.shown_received_at, jobs.shown_last_received_at, jobs.shown_times \
         from jobs join new on ",
    same_job!(),
    " where shown_body is not null \
         on conflict (account, body_sha256, job) do update set \
             times = other_deliveries.times + excluded.times, \
             received_at = least(other_deliveries.received_at, excluded.received_at), \
             last_received_at = greatest(other_deliveries.last_received_at, excluded.last_received_at) \
     ) \
     update jobs set \
         outcome = new.outcome, status = new.status, code = new.code, total_count = new.total_count, \
         filter_count = new.filter_count, sent_count = new.sent_count, error_count = new.error_count, \
         check_state = new.check_state, copyright_count = new.copyright_count, \
         article_url_count = new.article_url_count, articles = new.articles::jsonb, \
         to_user_name = new.to_user_name, from_user_name = new.from_user_name, finished_at = new.finished_at, \
         first_received_at = new.first_received_at, last_received_at = new.last_received_at, \
         updated_at = new.updated_at, deliveries = new.deliveries, revision = new.revision, \
         shown_id = nextval('delivery_ids'), shown_event = new.event, shown_error = new.error, shown_body = new.body, \
         shown_sha256 = new.sha256, shown_received_at = new.shown_received_at, \
         shown_last_received_at = new.shown_last_received_at, shown_times = new.shown_times, \
         change = (select next_change()) \
     from new where ",
    same_job!(),
);

/// Changes what jobs count, and not what they show.
const COUNT: &str = concat!(
    "update jobs set first_received_at = new.first_received_at, last_received_at = new.last_received_at, \
         updated_at = new.updated_at, deliveries = new.deliveries, revision = new.revision, \
         change = case when new.is_changed then (select next_change()) else jobs.change end \
     from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], \
             $7::bigint[], $8::bool[]) \
         as new (account, msg_id, first_received_at, last_received_at, updated_at, deliveries, revision, is_changed) \
     where ",
    same_job!(),
);

/// Adds contents to jobs that show another one, at most one to each; those whose bytes are new. The jobs are locked: the
/// statement that found out what they show has done so.
pub(super) async fn revise<'b>(
    connection: &mut PgConnection,
    bundles: &[Bundle<'b>],
) -> Result<Vec<Bundle<'b>>, StoreError> {
    if bundles.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = load_jobs(connection, bundles).await?;
    let copies = count_others(connection, bundles).await?;
    let (mut shown, mut others, mut counted) = (Vec::new(), Vec::new(), Vec::new());
    let mut new = Vec::new();
    for bundle in bundles {
        let (account, msg_id) = bundle.key();
        let key = (account.to_owned(), msg_id);
        let job = jobs
            .get(&key)
            .filter(|job| job.shown_sha256 != bundle.delivery.body_sha256)
            .ok_or(StoreError::Contended)?;
        let revision = Revision::new(job, bundle, copies.contains(&key));
        new.extend(revision.is_new.then_some(*bundle));
        if revision.is_shown {
            shown.push(revision);
        } else {
            others.extend(revision.is_new.then_some(*bundle));
            counted.push(revision);
        }
    }
    show(connection, &shown).await?;
    record_others(connection, &others).await?;
    count(connection, &counted).await?;
    Ok(new)
}

async fn load_jobs(
    connection: &mut PgConnection,
    bundles: &[Bundle<'_>],
) -> Result<HashMap<(String, i64), Standing>, StoreError> {
    let rows = sqlx::query(LOAD_JOBS)
        .bind(column(bundles, |bundle| bundle.key().0))
        .bind(column(bundles, |bundle| bundle.key().1))
        .fetch_all(connection)
        .await?;
    let jobs = rows.iter().map(|row| {
        let stored = row::standing(row)?;
        let key = (
            stored.job.account.to_string(),
            stored.job.result.msg_id.get(),
        );
        Ok((key, stored))
    });
    Ok(jobs.collect::<Result<_, sqlx::Error>>()?)
}

/// The jobs whose contents were there already.
async fn count_others(
    connection: &mut PgConnection,
    bundles: &[Bundle<'_>],
) -> Result<HashSet<(String, i64)>, StoreError> {
    let rows = sqlx::query(COUNT_OTHERS)
        .bind(column(bundles, |bundle| bundle.key().0))
        .bind(column(bundles, |bundle| bundle.key().1))
        .bind(column(bundles, |bundle| &bundle.delivery.body_sha256[..]))
        .bind(column(bundles, |bundle| bundle.times))
        .bind(column(bundles, |bundle| bundle.last_received_at))
        .fetch_all(connection)
        .await?;
    let keys = rows
        .iter()
        .map(|row| Ok((row.try_get("account")?, row.try_get("job")?)));
    Ok(keys.collect::<Result<_, sqlx::Error>>()?)
}

async fn show(
    connection: &mut PgConnection,
    revisions: &[Revision<'_, '_>],
) -> Result<(), StoreError> {
    if revisions.is_empty() {
        return Ok(());
    }
    let bundles = column(revisions, |revision| *revision.bundle);
    bind_contents(sqlx::query(SHOW), &bundles)?
        .bind(column(revisions, |one| one.tally.first_received_at))
        .bind(column(revisions, |one| one.tally.last_received_at))
        .bind(column(revisions, |one| one.updated_at))
        .bind(column(revisions, |one| one.tally.deliveries))
        .bind(column(revisions, |one| one.tally.revision))
        .execute(connection)
        .await?;
    Ok(())
}

async fn count(
    connection: &mut PgConnection,
    revisions: &[Revision<'_, '_>],
) -> Result<(), StoreError> {
    if revisions.is_empty() {
        return Ok(());
    }
    sqlx::query(COUNT)
        .bind(column(revisions, |one| one.bundle.key().0))
        .bind(column(revisions, |one| one.bundle.key().1))
        .bind(column(revisions, |one| one.tally.first_received_at))
        .bind(column(revisions, |one| one.tally.last_received_at))
        .bind(column(revisions, |one| one.updated_at))
        .bind(column(revisions, |one| one.tally.deliveries))
        .bind(column(revisions, |one| one.tally.revision))
        .bind(column(revisions, |one| one.is_new))
        .execute(connection)
        .await?;
    Ok(())
}
