//! Copies everything from one database into another of either kind.
//!
//! The source is read in one snapshot and the target written in one transaction, so a copy is
//! complete or does not exist. Every row is read back from the target and compared.

use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder, Sqlite, Transaction};

use crate::domain::{Article, Stats, Time};
use crate::store::dialect::{Dialect, PushValue, StoreRow};
use crate::store::read::{hour_totals, totals};
use crate::store::{JobFilter, StoreError};

/// Rows of a page. SQLite takes 32766 values in a statement.
const ROWS: i64 = 500;

const IS_EMPTY: &str =
    "select not exists (select 1 from jobs) and not exists (select 1 from other_deliveries)";

const CLEAR_NAMES: &str = "delete from account_names";

const SUMS: &str = "select \
     cast((select coalesce(sum(deliveries), 0) from jobs) as bigint) as deliveries, \
     cast((select coalesce(sum(revision), 0) from jobs) as bigint) as revisions, \
     (select count(*) from jobs where shown_body is not null) + (select count(*) from other_deliveries) as bodies";

const SET_IDS_ON_SQLITE: &str = "update delivery_ids set last = max(last, \
     coalesce((select max(shown_id) from jobs), 0), coalesce((select max(id) from other_deliveries), 0))";

const SET_IDS_ON_POSTGRES: &str = "select setval('delivery_ids', greatest(last_value, \
     (select max(shown_id) from jobs), (select max(id) from other_deliveries))) from delivery_ids";

/// An open transaction on one side of a copy. Without [`CopySide::commit`], nothing is kept.
pub struct CopySide(Side);

pub(in crate::store) enum Side {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// What two databases with the same content have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySums {
    /// Jobs by outcome, and the sums of their counts.
    pub stats: Stats,
    /// Copies received for them.
    pub deliveries: i64,
    /// Contents received for them.
    pub revisions: i64,
    /// Raw deliveries that are kept.
    pub bodies: i64,
}

/// Not everything was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Reading failed.
    #[error("the source cannot be read")]
    Source(#[source] StoreError),
    /// Writing, or reading back what was written, failed.
    #[error("the target cannot be written")]
    Target(#[source] StoreError),
    /// What was read back is not what was written.
    #[error("the target has not kept a row of `{0}` as it was written")]
    Differs(&'static str),
}

/// A table; its first columns are its key.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Kind)],
    key: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Bigint,
    Time,
    Bytes,
    Articles,
}

/// A value of the kind of its column.
#[derive(Clone, PartialEq)]
enum Value {
    Text(Option<String>),
    Integer(Option<i32>),
    Bigint(Option<i64>),
    Time(Option<Time>),
    Bytes(Option<Vec<u8>>),
    Articles(Option<Json<Vec<Article>>>),
}

/// What is copied. The ids in `batches` are left out: they matter only while an answer is missing.
const TABLES: [Table; 3] = [
    Table {
        name: "jobs",
        columns: &[
            ("msg_id", Kind::Bigint),
            ("account", Kind::Text),
            ("outcome", Kind::Text),
            ("status", Kind::Text),
            ("code", Kind::Integer),
            ("total_count", Kind::Bigint),
            ("filter_count", Kind::Bigint),
            ("sent_count", Kind::Bigint),
            ("error_count", Kind::Bigint),
            ("check_state", Kind::Bigint),
            ("copyright_count", Kind::Bigint),
            ("article_url_count", Kind::Bigint),
            ("articles", Kind::Articles),
            ("to_user_name", Kind::Text),
            ("from_user_name", Kind::Text),
            ("finished_at", Kind::Time),
            ("first_received_at", Kind::Time),
            ("last_received_at", Kind::Time),
            ("updated_at", Kind::Time),
            ("deliveries", Kind::Bigint),
            ("revision", Kind::Bigint),
            ("shown_id", Kind::Bigint),
            ("shown_event", Kind::Text),
            ("shown_error", Kind::Text),
            ("shown_body", Kind::Bytes),
            ("shown_sha256", Kind::Bytes),
            ("shown_received_at", Kind::Time),
            ("shown_last_received_at", Kind::Time),
            ("shown_times", Kind::Bigint),
        ],
        key: 2,
    },
    Table {
        name: "other_deliveries",
        columns: &[
            ("id", Kind::Bigint),
            ("account", Kind::Text),
            ("body_sha256", Kind::Bytes),
            ("body", Kind::Bytes),
            ("state", Kind::Text),
            ("event", Kind::Text),
            ("msg_id", Kind::Bigint),
            ("error", Kind::Text),
            ("finished_at", Kind::Time),
            ("received_at", Kind::Time),
            ("last_received_at", Kind::Time),
            ("times", Kind::Bigint),
        ],
        key: 1,
    },
    Table {
        name: "account_names",
        columns: &[
            ("account", Kind::Text),
            ("name", Kind::Text),
            ("other_name", Kind::Text),
            ("other_received_at", Kind::Time),
        ],
        key: 1,
    },
];

/// Evaluates `$body` for the transaction of either side, whose type of database is `$database`.
macro_rules! on_side {
    ($side:expr, $transaction:ident => $body:expr) => {
        match &mut $side.0 {
            Side::Sqlite($transaction) => $body,
            Side::Postgres($transaction) => $body,
        }
    };
    ($side:expr, $transaction:ident, $database:ident => $body:expr) => {
        match &mut $side.0 {
            Side::Sqlite($transaction) => {
                type $database = Sqlite;
                $body
            }
            Side::Postgres($transaction) => {
                type $database = Postgres;
                $body
            }
        }
    };
}

/// Copies all rows; calls `progress` with the number of rows so far.
///
/// # Errors
/// [`CopyError`]; the target is then to be dropped.
pub async fn copy(
    source: &mut CopySide,
    target: &mut CopySide,
    mut progress: impl FnMut(u64),
) -> Result<(), CopyError> {
    // A server that was started on the target may have set names: those of the source replace them.
    let cleared = target.execute(&[CLEAR_NAMES]).await;
    cleared.map_err(CopyError::Target)?;
    let mut count = 0;
    for table in &TABLES {
        let mut after = None;
        loop {
            let rows = source.page(table, after.as_deref()).await;
            let rows = rows.map_err(CopyError::Source)?;
            let Some(last) = rows.last() else { break };
            let next = last[..table.key].to_vec();
            let inserted = target.insert(table, &rows).await;
            inserted.map_err(CopyError::Target)?;
            let kept = target.page(table, after.as_deref()).await;
            if kept.map_err(CopyError::Target)? != rows {
                return Err(CopyError::Differs(table.name));
            }
            after = Some(next);
            count += rows.len() as u64;
            progress(count);
        }
    }
    target.finish().await.map_err(CopyError::Target)
}

impl CopySide {
    pub(in crate::store) fn new(side: Side) -> Self {
        Self(side)
    }

    pub async fn is_empty(&mut self) -> Result<bool, StoreError> {
        on_side!(self, side => Ok(sqlx::query_scalar(IS_EMPTY).fetch_one(&mut **side).await?))
    }

    pub async fn sums(&mut self) -> Result<CopySums, StoreError> {
        on_side!(self, side, D => {
            let mut stats = totals::stats::<D>(&JobFilter::default());
            let stats = stats.build().fetch_one(&mut **side).await?;
            let sums = sqlx::query(SUMS).fetch_one(&mut **side).await?;
            Ok(CopySums {
                stats: totals::stats_of(&stats)?,
                deliveries: sums.value("deliveries")?,
                revisions: sums.value("revisions")?,
                bodies: sums.value("bodies")?,
            })
        })
    }

    /// Keeps what was written.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Side::Sqlite(side) => side.commit().await?,
            Side::Postgres(side) => side.commit().await?,
        }
        Ok(())
    }

    async fn page(
        &mut self,
        table: &Table,
        after: Option<&[Value]>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        on_side!(self, side, D => {
            let mut select = select::<D>(table, after);
            let rows = select.build().fetch_all(&mut **side).await?;
            let rows: Result<_, sqlx::Error> = rows.iter().map(|row| read(table, row)).collect();
            Ok(rows?)
        })
    }

    async fn insert(&mut self, table: &Table, rows: &[Vec<Value>]) -> Result<(), StoreError> {
        on_side!(self, side, D => {
            insert::<D>(table, rows).build().execute(&mut **side).await?;
        });
        Ok(())
    }

    /// Lets new ids follow the largest that was copied, and computes the totals of hours.
    async fn finish(&mut self) -> Result<(), StoreError> {
        let (ids, totals) = match &self.0 {
            Side::Sqlite(_) => (SET_IDS_ON_SQLITE, hour_totals::REBUILD_IN_SQLITE),
            Side::Postgres(_) => (SET_IDS_ON_POSTGRES, hour_totals::REBUILD_IN_POSTGRES),
        };
        self.execute(&[ids]).await?;
        self.execute(&totals).await
    }

    async fn execute(&mut self, statements: &[&'static str]) -> Result<(), StoreError> {
        on_side!(self, side => {
            for statement in statements {
                sqlx::query(*statement).execute(&mut **side).await?;
            }
        });
        Ok(())
    }
}

fn select<D: Dialect>(table: &Table, after: Option<&[Value]>) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new("select ");
    push_names(&mut query, table.columns);
    query.push(" from ").push(table.name);
    let key = &table.columns[..table.key];
    if let Some(after) = after {
        query.push(" where (");
        push_names(&mut query, key);
        query.push(") > ");
        push_row(&mut query, after);
    }
    query.push(" order by ");
    push_names(&mut query, key);
    query.push(" limit ").push(ROWS);
    query
}

fn insert<D: Dialect>(table: &Table, rows: &[Vec<Value>]) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new("insert into ");
    query.push(table.name).push(" (");
    push_names(&mut query, table.columns);
    query.push(") values ");
    for (index, row) in rows.iter().enumerate() {
        query.push(if index == 0 { "" } else { ", " });
        push_row(&mut query, row);
    }
    query
}

fn push_names<D: Dialect>(query: &mut QueryBuilder<D>, columns: &[(&str, Kind)]) {
    for (index, (name, _)) in columns.iter().enumerate() {
        query.push(if index == 0 { "" } else { ", " }).push(name);
    }
}

/// `(…, …)`
fn push_row<D: Dialect>(query: &mut QueryBuilder<D>, row: &[Value]) {
    for (index, value) in row.iter().enumerate() {
        query.push(if index == 0 { "(" } else { ", " });
        match value {
            Value::Text(value) => query.push_value(value.as_deref()),
            Value::Integer(value) => query.push_value(*value),
            Value::Bigint(value) => query.push_value(*value),
            Value::Time(value) => query.push_value(*value),
            Value::Bytes(value) => query.push_value(value.as_deref()),
            Value::Articles(value) => query.push_value(value.as_ref()),
        };
    }
    query.push(")");
}

fn read(table: &Table, row: &impl StoreRow) -> Result<Vec<Value>, sqlx::Error> {
    let values = table.columns.iter().map(|(name, kind)| {
        Ok(match kind {
            Kind::Text => Value::Text(row.value(name)?),
            Kind::Integer => Value::Integer(row.value(name)?),
            Kind::Bigint => Value::Bigint(row.value(name)?),
            Kind::Time => Value::Time(row.value(name)?),
            Kind::Bytes => Value::Bytes(row.value(name)?),
            Kind::Articles => Value::Articles(row.value(name)?),
        })
    });
    values.collect()
}
