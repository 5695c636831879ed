//! Errors of a store.

use std::time::Duration;

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is down, busy, full or stopping: the same call may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The database has never been opened, and cannot be.
    #[error("the database cannot be opened")]
    NotOpen(#[source] OpenStoreError),
    /// The call took too long; its outcome is unknown.
    #[error("the database did not answer in time")]
    TimedOut,
    /// Others keep changing the same rows: the same call may succeed later.
    #[error("others write to the same job at the same moment")]
    Contended,
    /// Another session holds a lock for too long, and nothing was recorded. Has the indexes of the
    /// deliveries of the batch whose jobs are locked, if they are known.
    #[error("another session holds a lock in the database")]
    Locked(Vec<usize>),
    /// The database refuses the content, and always will.
    #[error("the database refuses the content")]
    Refused(#[source] sqlx::Error),
    /// The database returned something unexpected: a bug, or corrupt data.
    #[error("the database answered unexpectedly")]
    Unexpected(#[source] sqlx::Error),
}

/// PostgreSQL's codes for a transaction that it rolled back so that others can continue.
const CONTENTION: [&str; 2] = ["40001", "40P01"];
/// PostgreSQL's code for a lock timeout.
const LOCKED: &str = "55P03";
/// PostgreSQL's code for a statement timeout.
const STATEMENT_TIMEOUT: &str = "57014";
/// PostgreSQL's classes of errors in the content: data exception, integrity constraint violation,
/// program limit exceeded.
const CONTENT: [&str; 3] = ["22", "23", "54"];
/// SQLite's codes for errors in the content: too big, constraint, mismatch.
const SQLITE_CONTENT: [i32; 3] = [18, 19, 20];

impl StoreError {
    /// Every [`kind`](Self::kind).
    pub const KINDS: [&str; 6] = [
        "unavailable",
        "not_open",
        "timed_out",
        "contended",
        "refused",
        "unexpected",
    ];

    /// The kind of error in a word.
    pub const fn kind(&self) -> &'static str {
        let [
            unavailable,
            not_open,
            timed_out,
            contended,
            refused,
            unexpected,
        ] = Self::KINDS;
        match self {
            Self::Unavailable(_) => unavailable,
            Self::NotOpen(_) => not_open,
            Self::TimedOut => timed_out,
            Self::Contended | Self::Locked(_) => contended,
            Self::Refused(_) => refused,
            Self::Unexpected(_) => unexpected,
        }
    }

    /// Whether the database is unavailable, so that the next call would fail as well.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::NotOpen(_) | Self::TimedOut
        )
    }

    /// Whether the content is to blame, so that a retry is pointless.
    pub fn lies_in_content(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unexpected(_))
    }
}

impl From<OpenStoreError> for StoreError {
    fn from(error: OpenStoreError) -> Self {
        Self::NotOpen(error)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. } => Self::Unexpected(error),
            sqlx::Error::Encode(_) => Self::Refused(error),
            sqlx::Error::Database(database)
                if database
                    .code()
                    .is_some_and(|code| CONTENTION.contains(&&*code)) =>
            {
                Self::Contended
            }
            sqlx::Error::Database(database) if database.code().as_deref() == Some(LOCKED) => {
                Self::Locked(Vec::new())
            }
            sqlx::Error::Database(database)
                if database.code().as_deref() == Some(STATEMENT_TIMEOUT) =>
            {
                Self::TimedOut
            }
            sqlx::Error::Database(database)
                if database.code().is_some_and(|code| is_content(&code)) =>
            {
                Self::Refused(error)
            }
            _ => Self::Unavailable(error),
        }
    }
}

fn is_content(code: &str) -> bool {
    // PostgreSQL's codes have five characters; SQLite's are numbers whose last eight bits are the
    // kind.
    match code.parse::<i32>() {
        Ok(number) if code.len() < 5 => SQLITE_CONTENT.contains(&(number & 0xff)),
        _ => CONTENT.iter().any(|class| code.starts_with(class)),
    }
}

/// A store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The file or server cannot be reached.
    #[error("the database cannot be opened")]
    Unreachable(#[source] sqlx::Error),
    #[error("the database file `{path}` cannot be created")]
    File {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    /// There is no such file, and it may not be created.
    #[error(
        "there is no database at `{0}`; is this the right directory? `--config` or `QUNFA_DATA_DIR` names another, \
         and `qunfa migrate` creates the database"
    )]
    Missing(std::path::PathBuf),
    /// The database has no tables of qunfa, and they may not be created.
    #[error(
        "there are no tables of qunfa in it; is this the right database? `--config` or `QUNFA_STORE__URL` names another, \
         and `qunfa migrate` creates the tables"
    )]
    Empty,
    /// A newer qunfa has migrated this database.
    #[error(
        "the database was made by a newer qunfa (migration {0}): run that version, or a newer one"
    )]
    Newer(i64),
    /// Migrations are missing and may not be applied.
    #[error(
        "the database lacks migration {0}: run `qunfa migrate`, or set `store.migrate` to true"
    )]
    Outdated(i64),
    /// PostgreSQL is older than 13.
    #[error("PostgreSQL {0} is too old: qunfa needs 13 or newer")]
    OldServer(String),
    /// The database cannot store Chinese text.
    #[error("the database's encoding is {0}: qunfa needs UTF8")]
    Encoding(String),
    /// The role lacks the right to create tables, which PostgreSQL 15 and newer do not grant by
    /// default.
    #[error(
        "the role {role} may not create tables in the schema {schema}: run `grant {rights} on schema {schema} to {role}` as \
         the owner of the database or as a superuser, or run `qunfa migrate` with a role that may"
    )]
    MayNotCreate {
        /// The role, quoted where necessary.
        role: String,
        /// The schema, quoted where necessary.
        schema: String,
        /// The rights that it lacks.
        rights: &'static str,
    },
    /// Statements of one connection are executed by several sessions of the server.
    #[error(
        "a connection pooler such as pgbouncer gives each transaction or statement another session of PostgreSQL: set \
         `pool_mode = session` there, or connect to PostgreSQL directly"
    )]
    NoSession,
    /// A migration failed.
    #[error("the database cannot be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

impl OpenStoreError {
    /// Whether a retry may succeed.
    pub fn is_passing(&self) -> bool {
        use sqlx::migrate::MigrateError;
        match self {
            Self::Unreachable(error)
            | Self::Migrate(
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
            ) => !is_settled(error),
            _ => false,
        }
    }
}

/// The classes of errors that a retry does not change: a missing feature, a value or row that is
/// refused, a wrong user or password, a missing database, schema, right or object.
const SETTLED: [&str; 7] = ["0A", "22", "23", "28", "3D", "3F", "42"];

/// Whether the server answered with an error that a retry does not change.
fn is_settled(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| SETTLED.iter().any(|class| code.starts_with(class)))
        || matches!(error, sqlx::Error::Configuration(_))
}

/// Bounds a call, which fails with [`StoreError::TimedOut`] after `timeout`.
pub async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or(Err(StoreError::TimedOut))
}

impl From<sqlx::migrate::MigrateError> for OpenStoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Newer(version),
            other => Self::Migrate(other),
        }
    }
}
