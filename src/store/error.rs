//! What can go wrong with a store.

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, busy, full or stopping: the same call may work later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The database answered something that it should not: a defect of ours or of the data.
    #[error("the database answered unexpectedly")]
    Unexpected(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::TypeNotFound { .. } => Self::Unexpected(error),
            sqlx::Error::Database(database)
                if database.is_check_violation() || database.is_unique_violation() =>
            {
                Self::Unexpected(error)
            }
            _ => Self::Unavailable(error),
        }
    }
}

/// A store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The file or server cannot be reached.
    #[error("the database cannot be opened")]
    Unreachable(#[source] sqlx::Error),
    /// The file or its directory cannot be made.
    #[error("the database file `{path}` cannot be made")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A newer qunfa has migrated this database.
    #[error(
        "the database was made by a newer qunfa (migration {0}): run that version, or one newer still"
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
    /// The database cannot hold Chinese text.
    #[error("the database's encoding is {0}: qunfa needs UTF8")]
    Encoding(String),
    /// A migration failed.
    #[error("the database cannot be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

impl OpenStoreError {
    /// Whether trying again in a moment may help.
    pub fn is_passing(&self) -> bool {
        use sqlx::migrate::MigrateError;
        match self {
            Self::Unreachable(error) => !is_settled(error),
            Self::Migrate(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) => true,
            _ => false,
        }
    }
}

/// Whether the server has answered, and will not answer otherwise: wrong user or password (class 28), no such database
/// (3D), no right to it (42).
fn is_settled(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| {
        ["28", "3D", "42"]
            .iter()
            .any(|class| code.starts_with(class))
    }) || matches!(error, sqlx::Error::Configuration(_))
}

impl From<sqlx::migrate::MigrateError> for OpenStoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Newer(version),
            other => Self::Migrate(other),
        }
    }
}
