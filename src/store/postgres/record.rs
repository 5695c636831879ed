//! Recording a batch: in one statement or, if it has a revision, in a transaction of several.

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{Connection, FromRow, Postgres};

use crate::domain::NewDelivery;
use crate::store::rules::batch::{Bundle, Sorted};
use crate::store::rules::record::record_rest;
use crate::store::rules::statements::{count_copies, insert_jobs};
use crate::store::{BatchId, BatchOutcome, StoreError, sealed};

/// `$1` to `$24`, as [`bind_contents`] binds them.
macro_rules! contents {
    () => {
        "$1::text[], $2::bigint[], $3::text[], $4::text[], $5::integer[], $6::bigint[], $7::bigint[], $8::bigint[], \
         $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], \
         $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::bigint[], $20::text[], $21::text[], \
         $22::bytea[], $23::bytea[], $24::timestamptz[]"
    };
}

/// The names of [`contents!`].
macro_rules! names {
    () => {
        "account, msg_id, outcome, status, code, total_count, filter_count, sent_count, error_count, check_state, \
         copyright_count, article_url_count, articles, to_user_name, from_user_name, finished_at, received_at, \
         last_received_at, times, event, error, body, sha256, recorded_at"
    };
}

/// Joins `jobs` and `new` by the primary key. Without `|| ''` the index by account looks as cheap
/// while there are hardly any jobs, and the plan from then, which is kept, reads all jobs of the
/// account for each push once there are many.
macro_rules! same_job {
    () => {
        "jobs.msg_id = new.msg_id and jobs.account || '' = new.account"
    };
}

/// The first columns of a job.
macro_rules! values {
    () => {
        "new.account, new.msg_id, new.outcome, new.status, new.code, new.total_count, new.filter_count, new.sent_count, \
         new.error_count, new.check_state, new.copyright_count, new.article_url_count, new.articles::jsonb, \
         new.to_user_name, new.from_user_name, new.finished_at, "
    };
}

/// Its last columns.
macro_rules! shown_values {
    () => {
        ", nextval('delivery_ids'), new.event, new.error, new.body, new.sha256, new.received_at, new.last_received_at, \
         new.times, (select next_change()) "
    };
}

pub(super) use {contents, names, same_job, shown_values, values};

/// Records one content for each job. `$25` is the id of the batch: if it exists, nothing is done.
/// With `$26` it is all or nothing: unless each content is new or shown by its job, nothing is
/// done. That is checked beforehand; if another transaction adds a content to a job at this very
/// moment, the statement fails.
const RECORD: &str = concat!(
    "with checked as materialized ( \
         select $26 and exists (select from unnest($1::text[], $2::bigint[], $23::bytea[]) as new (account, msg_id, sha256) \
             where (select shown_sha256 from jobs where ",
    same_job!(),
    ") <> new.sha256) as has_revision \
     ), \
     admitted as ( \
         insert into batches (id) select $25 from checked where $25::bytea is not null and not has_revision \
         on conflict (id) do nothing returning id \
     ), \
     batch as materialized ( \
         select has_revision, $25::bytea is null or exists (select from admitted) as is_new from checked \
     ), \
     recorded as ( \
         ",
    insert_jobs!(),
    "select ",
    values!(),
    "new.received_at, new.last_received_at, new.recorded_at, new.times, 1",
    shown_values!(),
    "from batch, unnest(",
    contents!(),
    ") as new (",
    names!(),
    ") where batch.is_new and not batch.has_revision",
    count_copies!("least", "greatest"),
    ") \
     select (select has_revision from batch) as has_revision, (select is_new from batch) as is_new, \
         case when $26 and count(*) < cardinality($1) and (select is_new and not has_revision from batch) \
             then ('another transaction has added a content to a job of this batch; retried in several statements, not new are all but ' || count(*))::integer \
         end as failure, \
         array_agg(account) filter (where not $26 or shown_times > 1) as accounts, \
         array_agg(msg_id) filter (where not $26 or shown_times > 1) as msg_ids, \
         array_agg(shown_times) filter (where not $26 or shown_times > 1) as times \
     from recorded"
);

const IS_CANCELLED: &str = "select is_cancelled from batches where id = $1";

/// The jobs that others have locked, of those asked for.
const LOCKED: &str = "with asked as materialized ( \
         select distinct account, msg_id from unnest($1::text[], $2::bigint[]) as asked (account, msg_id) \
     ), \
     free as materialized ( \
         select jobs.account, jobs.msg_id from jobs join asked using (account, msg_id) for update of jobs skip locked \
     ) \
     select account, msg_id from jobs join asked using (account, msg_id) except select account, msg_id from free";

/// Records a batch: without a revision in one statement, which is its own transaction.
pub(super) async fn record(
    connection: &mut PgConnection,
    batch: &[NewDelivery],
    id: Option<BatchId>,
) -> Result<BatchOutcome, StoreError> {
    let mut sorted = Sorted::new(batch);
    if sorted.is_plain() {
        match record_contents(connection, &sorted.contents, id, true).await {
            Ok(recorded) if recorded.has_revision => {}
            Ok(recorded) if recorded.is_new => {
                let copies = recorded.copies(&sorted.contents);
                for (bundle, copies) in sorted.contents.clone().iter().zip(copies) {
                    // Jobs with a single copy are not listed.
                    if copies.is_none_or(|copies| copies == bundle.times) {
                        sorted.note_new(bundle);
                    }
                }
                return Ok(BatchOutcome::Recorded(sorted.into_recorded()));
            }
            Ok(_) => return find_out(connection, id).await,
            // In several statements, content that the database refuses fails again, and a race does
            // not.
            Err(StoreError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let mut transaction = connection.begin().await?;
    let recorded = record_contents(&mut transaction, &sorted.contents, id, false).await?;
    if !recorded.is_new {
        // Dropping it would end it only when the connection is used again.
        transaction.rollback().await?;
        return find_out(connection, id).await;
    }
    let copies = recorded.copies(&sorted.contents);
    record_rest(&mut *transaction, &mut sorted, copies).await?;
    sealed::limit_on_postgres(&mut transaction, batch).await?;
    transaction.commit().await?;
    Ok(BatchOutcome::Recorded(sorted.into_recorded()))
}

/// The places in a batch of deliveries whose jobs others have locked.
pub(super) async fn locked(
    connection: &mut PgConnection,
    batch: &[NewDelivery],
) -> Result<Vec<usize>, StoreError> {
    let key = |delivery: &NewDelivery| {
        let result = delivery.reading.result()?;
        Some((delivery.account.to_string(), result.msg_id.get()))
    };
    let (accounts, ids): (Vec<_>, Vec<_>) = batch.iter().filter_map(key).unzip();
    let jobs: Vec<(String, i64)> = sqlx::query_as(LOCKED)
        .bind(accounts)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    let is_locked = |delivery| key(delivery).is_some_and(|key| jobs.contains(&key));
    let places = batch.iter().enumerate();
    Ok(places
        .filter(|(_, delivery)| is_locked(delivery))
        .map(|(place, _)| place)
        .collect())
}

/// Why a batch was not recorded though nothing failed.
async fn find_out(
    connection: &mut PgConnection,
    id: Option<BatchId>,
) -> Result<BatchOutcome, StoreError> {
    let is_cancelled: Option<bool> = sqlx::query_scalar(IS_CANCELLED)
        .bind(id.as_ref().map(|id| &id.0[..]))
        .fetch_optional(connection)
        .await?;
    match is_cancelled {
        Some(false) => Ok(BatchOutcome::RecordedBefore),
        Some(true) => Ok(BatchOutcome::Cancelled),
        // Forgotten at this very moment.
        None => Err(StoreError::Contended),
    }
}

/// What [`RECORD`] did.
#[derive(FromRow)]
pub(super) struct RecordedJobs {
    /// Nothing was done, as a job shows another content.
    has_revision: bool,
    /// The batch was not recorded before.
    is_new: bool,
    /// The jobs that were recorded, or those of them with more than one copy, and their copies of
    /// what they show.
    accounts: Option<Vec<String>>,
    msg_ids: Option<Vec<i64>>,
    times: Option<Vec<i64>>,
}

impl RecordedJobs {
    /// For each content, the number of copies that its job has, if it is listed.
    pub(super) fn copies(self, contents: &[Bundle<'_>]) -> Vec<Option<i64>> {
        let accounts = self.accounts.unwrap_or_default().into_iter();
        let copies = accounts
            .zip(self.msg_ids.unwrap_or_default())
            .zip(self.times.unwrap_or_default());
        let mut copies: Vec<_> = copies.collect();
        copies.sort_unstable();
        let find = |bundle: &Bundle<'_>| {
            let found = copies.binary_search_by(|((account, msg_id), _)| {
                (account.as_str(), *msg_id).cmp(&bundle.key())
            });
            found.ok().map(|place| copies[place].1)
        };
        contents.iter().map(find).collect()
    }
}

pub(super) async fn record_contents(
    connection: &mut PgConnection,
    bundles: &[Bundle<'_>],
    id: Option<BatchId>,
    all_or_nothing: bool,
) -> Result<RecordedJobs, StoreError> {
    let row = bind_contents(sqlx::query(RECORD), bundles)?
        .bind(id.as_ref().map(|id| &id.0[..]))
        .bind(all_or_nothing)
        .fetch_one(connection)
        .await?;
    Ok(RecordedJobs::from_row(&row)?)
}

/// Binds `$1` to `$24`: a column each.
pub(super) fn bind_contents<'q>(
    query: Query<'q, Postgres, PgArguments>,
    bundles: &[Bundle<'_>],
) -> Result<Query<'q, Postgres, PgArguments>, sqlx::Error> {
    let deliveries = || bundles.iter().map(|bundle| bundle.delivery);
    let results = || bundles.iter().filter_map(Bundle::result);
    let articles: Result<Vec<_>, _> = results()
        .map(|result| serde_json::to_string(&result.articles))
        .collect();
    Ok(query
        .bind(column(deliveries(), |new| new.account.as_str()))
        .bind(column(results(), |result| result.msg_id.get()))
        .bind(column(results(), |result| result.status.outcome.as_str()))
        .bind(column(results(), |result| result.status.text.as_deref()))
        .bind(column(results(), |result| result.status.code))
        .bind(column(results(), |result| result.counts.total))
        .bind(column(results(), |result| result.counts.filter))
        .bind(column(results(), |result| result.counts.sent))
        .bind(column(results(), |result| result.counts.error))
        .bind(column(results(), |result| result.check_state))
        .bind(column(results(), |result| result.copyright_count))
        .bind(column(results(), |result| result.article_url_count))
        .bind(articles.map_err(|error| sqlx::Error::Encode(error.into()))?)
        .bind(column(results(), |result| result.to_user_name.as_deref()))
        .bind(column(results(), |result| result.from_user_name.as_deref()))
        .bind(column(results(), |result| result.finished_at))
        .bind(column(bundles, |bundle| bundle.first_received_at))
        .bind(column(bundles, |bundle| bundle.last_received_at))
        .bind(column(bundles, |bundle| bundle.times))
        .bind(column(deliveries(), |new| new.reading.event()))
        .bind(column(deliveries(), |new| new.reading.error()))
        .bind(column(deliveries(), |new| &new.body[..]))
        .bind(column(deliveries(), |new| &new.body_sha256[..]))
        .bind(column(bundles, |bundle| bundle.recorded_at)))
}

pub(super) fn column<T, V>(
    items: impl IntoIterator<Item = T>,
    value: impl FnMut(T) -> V,
) -> Vec<V> {
    items.into_iter().map(value).collect()
}
