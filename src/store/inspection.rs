//! What a database says about itself, and taking away what was made to test it.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::domain::Time;

pub(super) const SQLITE: &str = "select sqlite_version() as version, \
     (select journal_mode from pragma_journal_mode) as journal_mode, \
     (select synchronous from pragma_synchronous) as synchronous";

pub(super) const POSTGRES: &str = "select current_setting('server_version') as version, \
     current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes, \
     current_setting('synchronous_commit') as synchronous_commit, clock_timestamp() as clock";

pub(super) const WITHDRAW: &str =
    "delete from jobs where account = $1 and msg_id = $2 and shown_sha256 = $3 and revision = 1";

pub(super) const WITHDRAW_SEALED: &str =
    "delete from other_deliveries where account = $1 and body_sha256 = $2 and state = 'sealed'";

/// What a database says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its product and version.
    pub version: String,
    /// The settings that durability rests on, as they are for our connections.
    pub settings: Vec<(&'static str, String)>,
    /// The time on its own clock; none where that is ours.
    pub clock: Option<Time>,
}

pub(super) fn of_sqlite(row: &SqliteRow) -> Result<Inspection, sqlx::Error> {
    let version: String = row.try_get("version")?;
    let synchronous: i64 = row.try_get("synchronous")?;
    let synchronous = match synchronous {
        0 => "off",
        1 => "normal",
        2 => "full",
        _ => "extra",
    };
    Ok(Inspection {
        version: format!("SQLite {version}"),
        settings: vec![
            ("journal_mode", row.try_get("journal_mode")?),
            ("synchronous", synchronous.to_owned()),
        ],
        clock: None,
    })
}

pub(super) fn of_postgres(row: &PgRow) -> Result<Inspection, sqlx::Error> {
    let version: String = row.try_get("version")?;
    let setting = |name| Ok::<_, sqlx::Error>((name, row.try_get(name)?));
    Ok(Inspection {
        version: format!("PostgreSQL {version}"),
        settings: vec![
            setting("fsync")?,
            setting("full_page_writes")?,
            setting("synchronous_commit")?,
        ],
        clock: Some(row.try_get("clock")?),
    })
}
