//! Recording a batch: in one statement, or in a transaction of several where it has a revision.

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, Postgres, Row};

use super::revise::revise;
use crate::domain::{AccountName, Delivery, Job, MsgId, NewDelivery, Time};
use crate::store::query::{self, job_columns, shown_columns};
use crate::store::row::{self, Showing, Standing, Updated};
use crate::store::rules::batch::{Bundle, Sorted};
use crate::store::rules::tally::Tally;
use crate::store::sealed;
use crate::store::{BatchId, BatchOutcome, StoreError};

/// `$1` to `$24`, as [`bind_contents`] binds them.
macro_rules! shown_contents {
    () => {
        "$1::text[], $2::bigint[], $3::text[], $4::text[], $5::integer[], $6::bigint[], $7::bigint[], $8::bigint[], \
         $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], \
         $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::bigint[], $20::text[], $21::text[], \
         $22::bytea[], $23::bytea[], $24::timestamptz[]"
    };
}
pub(super) use shown_contents;

/// Joins `jobs` and `new` by the primary key. Without `|| ''` the index by account looks as cheap while there are hardly any
/// jobs, and the plan from then, which is kept, reads all jobs of the account for each push once there are many.
macro_rules! same_job {
    () => {
        "jobs.msg_id = new.msg_id and jobs.account || '' = new.account"
    };
}
pub(super) use same_job;

/// Records one content for each job. `$25` is the id of the batch: where it is there already, nothing is done. With `$26`
/// it is all or nothing: unless each content is new or what its job shows, nothing is done. That is seen beforehand; if
/// another transaction adds a content to a job at this very moment, the statement fails.
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
         insert into jobs (",
    job_columns!(),
    ", shown_id, shown_event, shown_error, shown_body, shown_sha256, shown_received_at, shown_last_received_at, \
             shown_times, change) \
         select new.account, new.msg_id, new.outcome, new.status, new.code, new.total_count, new.filter_count, \
             new.sent_count, new.error_count, new.check_state, new.copyright_count, new.article_url_count, \
             new.articles::jsonb, new.to_user_name, new.from_user_name, new.finished_at, new.received_at, \
             new.last_received_at, new.recorded_at, new.times, 1, nextval('delivery_ids'), new.event, new.error, new.body, \
             new.sha256, new.received_at, new.last_received_at, new.times, (select next_change()) \
         from batch, unnest(",
    shown_contents!(),
    ") \
             as new (account, msg_id, outcome, status, code, total_count, filter_count, sent_count, error_count, \
                 check_state, copyright_count, article_url_count, articles, to_user_name, from_user_name, finished_at, \
                 received_at, last_received_at, times, event, error, body, sha256, recorded_at) \
         where batch.is_new and not batch.has_revision \
         on conflict (account, msg_id) do update set \
             deliveries = jobs.deliveries + excluded.deliveries, \
             shown_times = jobs.shown_times + excluded.shown_times, \
             first_received_at = case when jobs.revision = 1 \
                 then least(jobs.first_received_at, excluded.first_received_at) else jobs.first_received_at end, \
             last_received_at = greatest(jobs.last_received_at, excluded.last_received_at), \
             shown_received_at = case when jobs.revision = 1 \
                 then least(jobs.shown_received_at, excluded.shown_received_at) else jobs.shown_received_at end, \
             shown_last_received_at = greatest(jobs.shown_last_received_at, excluded.shown_last_received_at) \
         where jobs.shown_sha256 = excluded.shown_sha256 \
         returning account, msg_id, shown_times \
     ) \
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

const RECORD_OTHERS: &str = "insert into other_deliveries \
         (account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times) \
     select * from unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[], $5::text[], $6::bigint[], $7::text[], \
         $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::bigint[]) \
     on conflict (account, body_sha256, job) do update set \
         times = other_deliveries.times + excluded.times, \
         received_at = least(other_deliveries.received_at, excluded.received_at), \
         last_received_at = greatest(other_deliveries.last_received_at, excluded.last_received_at) \
     returning account, body_sha256, times";

/// The jobs that others have locked, of those asked for.
const LOCKED: &str = "with asked as materialized ( \
         select distinct account, msg_id from unnest($1::text[], $2::bigint[]) as asked (account, msg_id) \
     ), \
     free as materialized ( \
         select jobs.account, jobs.msg_id from jobs join asked using (account, msg_id) for update of jobs skip locked \
     ) \
     select account, msg_id from jobs join asked using (account, msg_id) except select account, msg_id from free";

const LOCK_JOB: &str = concat!(
    "select ",
    job_columns!(),
    ", ",
    shown_columns!(),
    " from jobs where account = $1 and msg_id = $2 for update"
);

const NEXT_CHANGE: &str = "select next_change()";

/// Records a batch: one without a revision in one statement, which is a transaction of its own.
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
                for bundle in sorted.contents.clone() {
                    if recorded.is_new(&bundle, true) {
                        sorted.note_new(&bundle);
                    }
                }
                return Ok(BatchOutcome::Recorded(sorted.into_recorded()));
            }
            Ok(_) => return find_out(connection, id).await,
            // What the database refuses is met again; what came in between is not.
            Err(StoreError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    record_in_steps(connection, batch, sorted, id).await
}

/// Records a batch of any kind in a transaction of several statements.
async fn record_in_steps(
    connection: &mut PgConnection,
    batch: &[NewDelivery],
    mut sorted: Sorted<'_>,
    id: Option<BatchId>,
) -> Result<BatchOutcome, StoreError> {
    let mut transaction = connection.begin().await?;
    let recorded = record_contents(&mut transaction, &sorted.contents, id, false).await?;
    if !recorded.is_new {
        // Dropping it would end it only when the connection is used again.
        transaction.rollback().await?;
        return find_out(connection, id).await;
    }
    let mut round = sorted.contents.clone();
    let mut further = sorted.further.clone();
    let mut recorded = recorded;
    loop {
        let (done, revisions): (Vec<Bundle>, Vec<Bundle>) =
            round.into_iter().partition(|bundle| recorded.has(bundle));
        for bundle in done {
            if recorded.is_new(&bundle, false) {
                sorted.note_new(&bundle);
            }
        }
        for bundle in revise(&mut transaction, &revisions).await? {
            sorted.note_revision(&bundle);
        }
        (round, further) = first_of_each_job(further);
        if round.is_empty() {
            break;
        }
        recorded = record_contents(&mut transaction, &round, None, false).await?;
    }
    for bundle in record_others(&mut transaction, &sorted.others).await? {
        sorted.note_new(&bundle);
    }
    sealed::limit_on_postgres(&mut transaction, batch).await?;
    transaction.commit().await?;
    Ok(BatchOutcome::Recorded(sorted.into_recorded()))
}

/// Takes the first content of each job from what is sorted by job.
fn first_of_each_job(sorted: Vec<Bundle<'_>>) -> (Vec<Bundle<'_>>, Vec<Bundle<'_>>) {
    let (mut first, mut rest): (Vec<Bundle>, Vec<Bundle>) = (Vec::new(), Vec::new());
    for bundle in sorted {
        if first.last().map(Bundle::key) == Some(bundle.key()) {
            rest.push(bundle);
        } else {
            first.push(bundle);
        }
    }
    (first, rest)
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
struct RecordedJobs {
    /// Nothing was done, as a job shows another content.
    has_revision: bool,
    /// The batch was not recorded before.
    is_new: bool,
    /// (account, `msg_id`, copies of what shows now): of all that were recorded, or of those with more than one copy.
    jobs: Vec<(String, i64, i64)>,
}

impl RecordedJobs {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let accounts: Option<Vec<String>> = row.try_get("accounts")?;
        let msg_ids: Option<Vec<i64>> = row.try_get("msg_ids")?;
        let times: Option<Vec<i64>> = row.try_get("times")?;
        let ids = msg_ids.unwrap_or_default().into_iter();
        let mut jobs: Vec<_> = accounts
            .unwrap_or_default()
            .into_iter()
            .zip(ids)
            .zip(times.unwrap_or_default())
            .map(|((account, msg_id), times)| (account, msg_id, times))
            .collect();
        jobs.sort_unstable();
        Ok(Self {
            has_revision: row.try_get("has_revision")?,
            is_new: row.try_get("is_new")?,
            jobs,
        })
    }

    fn times(&self, bundle: &Bundle<'_>) -> Option<i64> {
        let found = self
            .jobs
            .binary_search_by_key(&bundle.key(), |(account, msg_id, _)| (account, *msg_id));
        found.ok().map(|place| self.jobs[place].2)
    }

    fn has(&self, bundle: &Bundle<'_>) -> bool {
        self.times(bundle).is_some()
    }

    /// Whether there are no more copies than the bundle brought; `otherwise` for one that is not listed.
    fn is_new(&self, bundle: &Bundle<'_>, otherwise: bool) -> bool {
        self.times(bundle)
            .map_or(otherwise, |times| times == bundle.times)
    }
}

async fn record_contents(
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
    Ok(RecordedJobs::read(&row)?)
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

pub(super) fn column<T, V>(items: impl IntoIterator<Item = T>, value: impl Fn(T) -> V) -> Vec<V> {
    items.into_iter().map(value).collect()
}

/// Keeps what no job shows; those whose bytes are new, of what is sorted by account and bytes.
pub(super) async fn record_others<'b>(
    connection: &mut PgConnection,
    others: &[Bundle<'b>],
) -> Result<Vec<Bundle<'b>>, StoreError> {
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let deliveries = || others.iter().map(|bundle| bundle.delivery);
    let rows = sqlx::query(RECORD_OTHERS)
        .bind(column(deliveries(), |new| new.account.as_str()))
        .bind(column(deliveries(), |new| &new.body_sha256[..]))
        .bind(column(deliveries(), |new| &new.body[..]))
        .bind(column(deliveries(), |new| new.reading.state().as_str()))
        .bind(column(deliveries(), |new| new.reading.event()))
        .bind(column(deliveries(), |new| {
            new.reading.msg_id().map(MsgId::get)
        }))
        .bind(column(deliveries(), |new| new.reading.error()))
        .bind(column(others, |bundle| {
            bundle.result().map(|result| result.finished_at)
        }))
        .bind(column(others, |bundle| bundle.first_received_at))
        .bind(column(others, |bundle| bundle.last_received_at))
        .bind(column(others, |bundle| bundle.times))
        .fetch_all(connection)
        .await?;
    let mut new = Vec::new();
    for row in rows {
        let account: String = row.try_get("account")?;
        let sha256: Vec<u8> = row.try_get("body_sha256")?;
        let times: i64 = row.try_get("times")?;
        let found = others.binary_search_by_key(&(&account[..], &sha256[..]), |bundle| {
            (bundle.key().0, &bundle.delivery.body_sha256[..])
        });
        new.extend(
            found
                .ok()
                .map(|place| others[place])
                .filter(|bundle| bundle.times == times),
        );
    }
    Ok(new)
}

/// The number of the changes that this transaction makes.
pub(super) async fn next_change(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let change = sqlx::query_scalar(NEXT_CHANGE);
    Ok(change.fetch_one(connection).await?)
}

pub(super) async fn lock_job(
    connection: &mut PgConnection,
    account: &AccountName,
    msg_id: MsgId,
) -> Result<Option<Standing>, StoreError> {
    let row = sqlx::query(LOCK_JOB)
        .bind(account.as_str())
        .bind(msg_id.get())
        .fetch_optional(connection)
        .await?;
    Ok(row.as_ref().map(row::standing).transpose()?)
}

/// Makes a job or changes what it shows; false when it may not be there and is.
pub(super) async fn show(
    connection: &mut PgConnection,
    showing: &Showing<'_>,
    may_be_there: bool,
) -> Result<bool, StoreError> {
    let done = row::bind_showing(sqlx::query(query::SHOW), showing)
        .bind(may_be_there)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn demote(connection: &mut PgConnection, job: &Job) -> Result<(), StoreError> {
    sqlx::query(query::DEMOTE)
        .bind(job.account.as_str())
        .bind(job.result.msg_id.get())
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps a delivery that no job shows; as it stands then, its copies and those that were there put together.
pub(super) async fn keep_other(
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
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
