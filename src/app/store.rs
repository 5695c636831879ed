//! Opens the configured store and, with PostgreSQL, the spool.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use tracing::warn;

use crate::config::{Config, StoreUrl};
use crate::ingest::SpoolSettings;
use crate::store::{
    Depth, Migrations, OpenStoreError, PostgresStore, Spool, SqliteStore, Store, StoreError,
};
use crate::wechat;

const SPOOL_FILE: &str = "spool.db";
/// How long the start waits for PostgreSQL to be connected and migrated before it goes on with the
/// spool.
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub async fn open_store(
    url: &StoreUrl,
    migrations: Migrations,
) -> Result<Arc<dyn Store>, OpenStoreError> {
    Ok(match url {
        StoreUrl::Sqlite(path) => Arc::new(SqliteStore::open(path, migrations).await?),
        StoreUrl::Postgres(url) => {
            Arc::new(PostgresStore::open(url.expose_secret(), migrations).await?)
        }
    })
}

/// Opens the configured store for a command that needs an existing database: it creates neither a
/// file nor tables.
pub async fn open_existing(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let url = &config.store.url;
    let migrations = if config.store.migrate {
        Migrations::Upgrade
    } else {
        Migrations::Require
    };
    open_store(url, migrations)
        .await
        .map_err(|error| match error {
            OpenStoreError::Missing(_) => error.into(),
            _ => anyhow::Error::new(error).context(format!("cannot open {url}")),
        })
}

pub(super) async fn open_to_serve(
    config: &Config,
) -> anyhow::Result<(Arc<dyn Store>, Option<SpoolSettings>)> {
    let url = &config.store.url;
    let cannot_open = || format!("cannot open {url}");
    let migrations = migrations(config);
    let StoreUrl::Postgres(secret) = url else {
        let store = open_store(url, migrations)
            .await
            .with_context(cannot_open)?;
        warn_of_stranded(config).await;
        return Ok((store, None));
    };
    let path = spool_path(config);
    let spool = Spool::open(&path)
        .await
        .with_context(|| format!("cannot open the spool {}", path.display()))?;
    let store = PostgresStore::new(secret.expose_secret(), migrations).with_context(cannot_open)?;
    let prepared = tokio::time::timeout(START_TIMEOUT, store.prepare()).await;
    let is_down = match prepared {
        Ok(Ok(())) => false,
        Err(_) => {
            warn!("the database is not ready yet, perhaps migrating; starting on the spool");
            true
        }
        Ok(Err(error)) if error.is_passing() => {
            let cause = error.source().map(ToString::to_string);
            warn!(%error, cause, "the database is away; starting on the spool");
            true
        }
        Ok(Err(error)) => return Err(error).with_context(cannot_open),
    };
    let spool = SpoolSettings {
        spool,
        is_down,
        read: |body| wechat::read(body).reading,
    };
    Ok((Arc::new(store), Some(spool)))
}

/// The contents of a spool that is left from PostgreSQL after `store.url` was changed to SQLite;
/// `None` if it is empty.
pub async fn stranded(config: &Config) -> Result<Option<Depth>, StoreError> {
    let path = spool_path(config);
    if matches!(config.store.url, StoreUrl::Postgres(_)) || !path.exists() {
        return Ok(None);
    }
    let spool = Spool::open(&path).await?;
    let depth = spool.depth().await;
    spool.close().await;
    Ok(Some(depth?).filter(|depth| depth.waiting + depth.refused > 0))
}

/// What to do about a stranded spool.
pub const STRANDED: &str = "put the PostgreSQL `store.url` back and let `serve` move them there; `qunfa copy` then brings everything to SQLite";

async fn warn_of_stranded(config: &Config) {
    let path = spool_path(config);
    match stranded(config).await {
        Ok(None) => {}
        Ok(Some(depth)) => warn!(
            spool = %path.display(),
            waiting = depth.waiting,
            oldest = depth.oldest.map(tracing::field::display),
            refused = depth.refused,
            "the spool holds results for a PostgreSQL database, which this SQLite database does not have: {STRANDED}"
        ),
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            warn!(spool = %path.display(), %error, cause, "a spool is left of a PostgreSQL database, and cannot be read");
        }
    }
}

/// The path of the spool, which exists once `serve` has used PostgreSQL.
pub fn spool_path(config: &Config) -> PathBuf {
    config.data_dir.join(SPOOL_FILE)
}

pub fn migrations(config: &Config) -> Migrations {
    if config.store.migrate {
        Migrations::Apply
    } else {
        Migrations::Require
    }
}

pub(super) fn database_name(url: &StoreUrl) -> &'static str {
    match url {
        StoreUrl::Sqlite(_) => "sqlite",
        StoreUrl::Postgres(_) => "postgresql",
    }
}
