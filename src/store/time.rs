//! [`Time`] in the databases: `timestamptz` in PostgreSQL, milliseconds as an integer in SQLite.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Encode, Postgres, Sqlite, Type};

use crate::domain::Time;

/// PostgreSQL counts from 2000-01-01: that day in milliseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000;
/// The first millisecond of PostgreSQL's calendar, 24 November 4714 BC. No row is older, so earlier
/// bounds are the same.
const POSTGRES_FIRST: i64 = -210_866_803_200_000;

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let milliseconds = self.milliseconds().max(POSTGRES_FIRST);
        let microseconds = (milliseconds - POSTGRES_EPOCH) * 1000;
        Encode::<Postgres>::encode(microseconds, buffer)
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("a timestamp was sent as text, which prepared statements never do".into());
        }
        let microseconds: i64 = Decode::<Postgres>::decode(value)?;
        let milliseconds = microseconds.div_euclid(1000).checked_add(POSTGRES_EPOCH);
        milliseconds
            .and_then(Self::from_milliseconds)
            .ok_or_else(|| "the timestamp is out of range".into())
    }
}

impl Type<Sqlite> for Time {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(other: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(other)
    }
}

impl Encode<'_, Sqlite> for Time {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.milliseconds(), buffer)
    }
}

impl Decode<'_, Sqlite> for Time {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        let milliseconds: i64 = Decode::<Sqlite>::decode(value)?;
        Self::from_milliseconds(milliseconds).ok_or_else(|| "the time is out of range".into())
    }
}
