//! Bringing a database's schema up to date, or finding out that it is not.

use sqlx::migrate::{Migrate, MigrateError, Migrator};

use crate::store::OpenStoreError;

/// What to do about migrations when a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrations {
    /// Make the database where it is missing, and apply what it lacks.
    Apply,
    /// Apply what is missing to a database that qunfa made before; refuse to make one.
    Upgrade,
    /// Refuse to open unless all are there.
    Require,
}

const TABLE: &str = "_sqlx_migrations";

/// Applies or requires the migrations. A database that knows a migration which we do not know is refused.
pub(in crate::store) async fn run<C: Migrate>(
    migrator: &Migrator,
    connection: &mut C,
    migrations: Migrations,
) -> Result<(), OpenStoreError> {
    if migrations == Migrations::Apply {
        return Ok(migrator.run_direct(None, connection, false).await?);
    }
    let applied = match connection.list_applied_migrations(TABLE).await {
        Ok(applied) => applied,
        // The database answers that there is no such table: it was never migrated.
        Err(MigrateError::Execute(sqlx::Error::Database(_))) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if migrations == Migrations::Upgrade {
        return if applied.is_empty() {
            Err(OpenStoreError::Empty)
        } else {
            Ok(migrator.run_direct(None, connection, false).await?)
        };
    }
    let applied: Vec<i64> = applied.iter().map(|migration| migration.version).collect();
    if let Some(newer) = applied
        .iter()
        .find(|version| !migrator.version_exists(**version))
    {
        return Err(OpenStoreError::Newer(*newer));
    }
    match migrator
        .iter()
        .find(|migration| !applied.contains(&migration.version))
    {
        Some(missing) => Err(OpenStoreError::Outdated(missing.version)),
        None => Ok(()),
    }
}
