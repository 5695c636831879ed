//! When clients of the API have last used their keys.

use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::domain::Time;

/// Replicas note at about the same time; the latest stays.
pub(super) const NOTE: &str = "insert into client_uses (client, last_used_at) values ($1, $2) \
     on conflict (client) do update set last_used_at = excluded.last_used_at \
     where excluded.last_used_at > client_uses.last_used_at";

pub(super) const ALL: &str = "select client, last_used_at from client_uses";

/// A row of [`ALL`].
pub(super) fn client_use<R>(row: &R) -> Result<(String, Time), sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok((row.try_get("client")?, row.try_get("last_used_at")?))
}
