//! A database of its own for each test: a file for SQLite, a new database in the cluster for PostgreSQL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use qunfa::store::{Migrations, PostgresStore, SqliteStore, Store};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tempfile::TempDir;

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// One test's database; removed at the end.
pub(crate) struct Database {
    pub(crate) url: String,
    directory: TempDir,
}

impl Backend {
    /// A new, empty database.
    pub(crate) async fn database(self) -> Database {
        match self {
            Self::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}", directory.path().join("qunfa.db").display());
                Database { url, directory }
            }
            Self::Postgres => Database::on(&cluster_url()).await,
        }
    }
}

impl Database {
    /// A new, empty database in the cluster of that superuser's URL.
    #[allow(clippy::disallowed_methods, reason = "the name is made of numbers")]
    pub(crate) async fn on(cluster: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "qunfa_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let mut connection = PgConnection::connect(cluster).await.unwrap();
        connection
            .execute(sqlx::AssertSqlSafe(format!("create database {name}")))
            .await
            .unwrap();
        connection.close().await.unwrap();
        let mut url: url::Url = cluster.parse().unwrap();
        url.set_path(&name);
        Self {
            url: url.to_string(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Whether nothing was made in it: no file of SQLite's, no table in PostgreSQL.
    pub(crate) async fn is_untouched(&self) -> bool {
        if self.url.starts_with("sqlite://") {
            return std::fs::read_dir(self.directory())
                .unwrap()
                .next()
                .is_none();
        }
        let tables =
            "select 1 from pg_tables where schemaname not in ('pg_catalog', 'information_schema')";
        self.rows(tables).await.unwrap() == 0
    }

    /// A PostgreSQL database with the URL of the role `App`, which may connect to it and no more.
    pub(crate) async fn of_a_role_without_rights() -> Self {
        let mut database = Backend::Postgres.database().await;
        database
            .execute(
                "revoke create on schema public from public; \
                 do $$ begin create role \"App\" login; \
                 exception when duplicate_object or unique_violation then null; end $$",
            )
            .await;
        database.url = database.url.replace("postgres@", "App@");
        database
    }

    /// The same PostgreSQL database, for another replica.
    pub(crate) fn shared(&self) -> Self {
        Self {
            url: self.url.clone(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// The same PostgreSQL database by another URL: of another role, for instance.
    pub(crate) fn with_url(&self, url: &str) -> Self {
        let mut database = self.shared();
        url.clone_into(&mut database.url);
        database
    }

    /// The store on it, migrated.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        match self.url.strip_prefix("sqlite://") {
            Some(path) => Arc::new(
                SqliteStore::open(Path::new(path), Migrations::Apply)
                    .await
                    .unwrap(),
            ),
            None => Arc::new(
                PostgresStore::open(&self.url, Migrations::Apply)
                    .await
                    .unwrap(),
            ),
        }
    }

    /// Migrates as an older version did, up to that migration.
    pub(crate) async fn migrate_to(&self, last: u32) {
        let kind = if self.url.starts_with("sqlite:") {
            "sqlite"
        } else {
            "postgres"
        };
        let old = self.directory().join("old-migrations");
        std::fs::create_dir(&old).unwrap();
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        for entry in std::fs::read_dir(files.join(kind)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name[..4].parse::<u32>().unwrap() <= last {
                std::fs::copy(entry.path(), old.join(name)).unwrap();
            }
        }
        let migrator = sqlx::migrate::Migrator::new(&*old).await.unwrap();
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true);
            let mut connection = options.connect().await.unwrap();
            migrator
                .run_direct(None, &mut connection, false)
                .await
                .unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            migrator
                .run_direct(None, &mut connection, false)
                .await
                .unwrap();
        }
    }

    /// A directory of the test's own, removed with the database.
    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// How many rows a query finds in PostgreSQL.
    #[expect(
        clippy::disallowed_methods,
        reason = "the query stands in a file of ours"
    )]
    pub(crate) async fn rows(&self, sql: &str) -> Result<usize, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
        Ok(query.fetch_all(&mut connection).await?.len())
    }

    /// Runs SQL beside the store, as an operator would.
    pub(crate) async fn execute(&self, sql: &'static str) {
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            options.connect().await.unwrap().execute(sql).await.unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            connection.execute(sql).await.unwrap();
        }
    }
}

/// The cluster that `scripts/test` starts. Without it the PostgreSQL tests fail: they are never skipped.
pub(crate) fn cluster_url() -> String {
    std::env::var("TEST_POSTGRES_URL").expect(
        "the tests need PostgreSQL: run `scripts/test`, which starts one, or set TEST_POSTGRES_URL",
    )
}
