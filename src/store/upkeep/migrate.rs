//! Migrates the schema of a database, or checks that it is up to date.

use sqlx::migrate::{Migrate, MigrateError, Migrator};

use crate::store::OpenStoreError;

/// What opening a store does about migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrations {
    /// Create the database if it is missing, and apply missing migrations.
    Apply,
    /// Apply missing migrations to an existing database; do not create one.
    Upgrade,
    /// Fail unless all migrations are applied.
    Require,
}

const TABLE: &str = "_sqlx_migrations";

/// Applies or requires the migrations. A database with a migration that is unknown here is refused.
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
        // There is no such table: the database was never migrated.
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
