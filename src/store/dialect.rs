//! What the two databases have in common, so that each query and each row is written once.

use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::{Database, Decode, Encode, Postgres, QueryBuilder, Row, Sqlite, Type};

use super::JobFilter;
use super::read::hour_totals::{self, Range};
use super::read::totals;
use crate::domain::Time;

/// A database, and what its SQL differs in.
pub(super) trait Dialect: Database {
    /// The columns of a `select` over jobs that [`totals::stats_of`] reads.
    const TOTALS: &'static str;

    /// `select` of the totals between each edge and the next, with their index as `number`.
    fn timeline(filter: &JobFilter, edges: &[Time]) -> QueryBuilder<Self>;

    /// `select` of the totals of each range, in one row or several, with its index as `number`.
    /// Reads `hour_totals`, and adds the jobs after change `rolled_up`.
    fn hour_totals(ranges: &[Range], rolled_up: i64) -> QueryBuilder<Self>;

    fn bind<'q, 'v>(
        query: Query<'q, Self, Self::Arguments>,
        value: impl Argument<'v>,
    ) -> Query<'q, Self, Self::Arguments>;

    fn push_bind<'v>(query: &mut QueryBuilder<Self>, value: impl Argument<'v>);
}

/// A value for a query of either database.
pub(super) trait Argument<'v>:
    Type<Postgres> + Type<Sqlite> + Encode<'v, Postgres> + Encode<'v, Sqlite>
{
}

impl<'v, T> Argument<'v> for T where
    T: Type<Postgres> + Type<Sqlite> + Encode<'v, Postgres> + Encode<'v, Sqlite>
{
}

/// A value in a row of either database.
pub(super) trait Column:
    Type<Postgres> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + for<'r> Decode<'r, Sqlite>
{
}

impl<T> Column for T where
    T: Type<Postgres> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + for<'r> Decode<'r, Sqlite>
{
}

/// A row of either database.
pub(super) trait StoreRow {
    fn value<T: Column>(&self, column: &str) -> Result<T, sqlx::Error>;

    /// The value of a text column as the type that it was written from.
    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, sqlx::Error> {
        let text: String = self.value(column)?;
        required(text.parse().ok(), column)
    }
}

/// The value of a column, unless qunfa never writes such a value.
pub(super) fn required<T>(value: Option<T>, column: &'static str) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "the value is not one that qunfa writes".into(),
    })
}

macro_rules! dialect {
    ($database:ty, $row:ty, $totals:expr, $timeline:path, $hour_totals:path) => {
        impl Dialect for $database {
            const TOTALS: &'static str = $totals;

            fn timeline(filter: &JobFilter, edges: &[Time]) -> QueryBuilder<Self> {
                $timeline(filter, edges)
            }

            fn hour_totals(ranges: &[Range], rolled_up: i64) -> QueryBuilder<Self> {
                $hour_totals(ranges, rolled_up)
            }

            fn bind<'q, 'v>(
                query: Query<'q, Self, Self::Arguments>,
                value: impl Argument<'v>,
            ) -> Query<'q, Self, Self::Arguments> {
                query.bind(value)
            }

            fn push_bind<'v>(query: &mut QueryBuilder<Self>, value: impl Argument<'v>) {
                query.push_bind(value);
            }
        }

        impl StoreRow for $row {
            fn value<T: Column>(&self, column: &str) -> Result<T, sqlx::Error> {
                self.try_get(column)
            }
        }
    };
}

dialect!(
    Postgres,
    PgRow,
    totals::IN_POSTGRES,
    totals::timeline_in_postgres,
    hour_totals::in_postgres
);
dialect!(
    Sqlite,
    SqliteRow,
    totals::IN_SQLITE,
    totals::timeline_in_sqlite,
    hour_totals::in_sqlite
);

/// [`Dialect::push_bind`] as a method.
pub(super) trait PushValue {
    fn push_value<'v>(&mut self, value: impl Argument<'v>) -> &mut Self;
}

impl<D: Dialect> PushValue for QueryBuilder<D> {
    fn push_value<'v>(&mut self, value: impl Argument<'v>) -> &mut Self {
        D::push_bind(self, value);
        self
    }
}

/// [`Dialect::bind`] as a method.
pub(super) trait BindValue {
    fn bind_value<'v>(self, value: impl Argument<'v>) -> Self;
}

impl<D: Dialect> BindValue for Query<'_, D, D::Arguments> {
    fn bind_value<'v>(self, value: impl Argument<'v>) -> Self {
        D::bind(self, value)
    }
}
