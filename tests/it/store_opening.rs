//! Opening, migrating and refusing databases, permissions of SQLite's files, and queries beside the
//! store.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qunfa::store::{
    JobFilter, Migrations, OpenStoreError, Page, Ping, PostgresStore, Recorder, SqliteStore, Store,
};
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::support::events::{self, arrival};
use crate::support::pooler::Pooler;
use crate::support::{Backend, Database, Event, eventually, fixture, on_both_stores};

async fn open(
    database: &Database,
    migrations: Migrations,
) -> Result<Arc<dyn Store>, OpenStoreError> {
    open_url(&database.url, migrations).await
}

async fn open_url(url: &str, migrations: Migrations) -> Result<Arc<dyn Store>, OpenStoreError> {
    Ok(match url.strip_prefix("sqlite://") {
        Some(path) => Arc::new(SqliteStore::open(Path::new(path), migrations).await?),
        None => Arc::new(PostgresStore::open(url, migrations).await?),
    })
}

async fn refusal(database: &Database, migrations: Migrations) -> OpenStoreError {
    match open(database, migrations).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

/// `msg_id`, `idx`, `url`, `audit_state`, `original_url`, `can_reprint`.
type ArticleRow<'a> = (
    i64,
    i64,
    Option<&'a str>,
    Option<i64>,
    Option<&'a str>,
    Option<bool>,
);

on_both_stores! {
    async fn a_database_that_was_never_migrated_is_refused_where_migrations_are_required(backend: Backend) {
        let database = backend.database().await;
        for migrations in [Migrations::Require, Migrations::Upgrade] {
            let error = refusal(&database, migrations).await;
            assert!(match (backend, migrations) {
                (Backend::Sqlite, _) => matches!(error, OpenStoreError::Missing(_)),
                (Backend::Postgres, Migrations::Upgrade) => matches!(error, OpenStoreError::Empty),
                (Backend::Postgres, _) => matches!(error, OpenStoreError::Outdated(1)),
            }, "{error:?}");
            assert!(error.to_string().contains("qunfa migrate") && !error.is_passing());
            assert!(database.is_untouched().await);
        }
        open(&database, Migrations::Apply).await.unwrap().close().await;
        for migrations in [Migrations::Require, Migrations::Upgrade] {
            open(&database, migrations).await.unwrap().close().await;
        }
    }

    async fn a_database_of_a_newer_version_is_refused(backend: Backend) {
        let database = backend.database().await;
        open(&database, Migrations::Apply).await.unwrap().close().await;
        database.execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
             values (9999, 'from the future', true, '', 0)",
        ).await;
        for migrations in [Migrations::Apply, Migrations::Require] {
            let error = refusal(&database, migrations).await;
            assert!(matches!(error, OpenStoreError::Newer(9999)), "{error:?}");
            assert!(!error.is_passing());
        }
    }

    async fn a_migration_that_was_altered_is_refused(backend: Backend) {
        let database = backend.database().await;
        open(&database, Migrations::Apply).await.unwrap().close().await;
        database.execute("update _sqlx_migrations set checksum = ''").await;
        let error = refusal(&database, Migrations::Apply).await;
        assert!(matches!(error, OpenStoreError::Migrate(_)) && !error.is_passing(), "{error:?}");
    }

    async fn opening_again_keeps_what_is_there(backend: Backend) {
        let database = backend.database().await;
        let store = open(&database, Migrations::Apply).await.unwrap();
        events::record(&*store, arrival("a", Event::new(1, 10).xml(), 1000)).await.unwrap();
        store.close().await;
        let store = open(&database, Migrations::Apply).await.unwrap();
        let page = Page { after: None, limit: 10 };
        assert_eq!(store.jobs(&JobFilter::default(), &page).await.unwrap().len(), 1);
    }

    async fn replicas_that_start_at_once_migrate_once(backend: Backend) {
        for _ in 0..5 {
            let database = backend.database().await;
            let openings: Vec<_> = (0..6).map(|_| {
                let url = database.url.clone();
                tokio::spawn(async move { open_url(&url, Migrations::Apply).await.map(drop) })
            }).collect();
            for opening in openings {
                opening.await.unwrap().unwrap();
            }
        }
    }

    async fn the_view_of_articles_gives_a_row_for_each(backend: Backend) {
        let database = backend.database().await;
        let store = open(&database, Migrations::Apply).await.unwrap();
        for file in ["documentation/documentation-current.xml", "events/articles.xml"] {
            events::record(&*store, arrival("a", fixture(file), 1000)).await.unwrap();
        }
        events::record(&*store, arrival("a", Event::new(1, 10).xml(), 1000)).await.unwrap();
        let expected: &[ArticleRow] = &[
            (1_000_001_625, 1, Some("Url"), Some(2), Some("Url_1"), Some(true)),
            (1_000_001_625, 2, None, Some(2), Some("Url_2"), Some(true)),
            (3_147_483_999, 1, Some("http://mp.weixin.qq.com/s/MadeUpShortToken00001"), None, None, None),
            (3_147_483_999, 2, Some("http://mp.weixin.qq.com/s?__biz=MzAwMDAwMDAwMA==&mid=2247483999&idx=2&sn=00000000000000000000000000000000#rd"), None, None, None),
        ];
        let sql = "select * from job_articles where account = 'a' order by msg_id, idx";
        macro_rules! check {
            ($connection:expr) => {{
                let rows = sqlx::query(sql).fetch_all(&mut $connection).await.unwrap();
                let found: Vec<_> = rows.iter().map(|row| (
                    row.get("msg_id"), row.get("idx"), row.get("url"), row.get("audit_state"), row.get("original_url"),
                    row.try_get_unchecked("can_reprint").unwrap(),
                )).collect();
                assert_eq!(found, expected);
                assert_eq!(rows[0].len(), 12);
            }};
        }
        if let Some(path) = database.url.strip_prefix("sqlite://") {
            check!(sqlx::SqliteConnection::connect(path).await.unwrap());
        } else {
            check!(sqlx::PgConnection::connect(&database.url).await.unwrap());
        }
    }
}

#[tokio::test]
async fn sqlites_files_are_for_the_user_alone() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = tempfile::tempdir().unwrap();
    let new = directory.path().join("deep/data");
    let file = new.join("qunfa.db");
    let store = SqliteStore::open(&file, Migrations::Apply).await.unwrap();
    store
        .record(&[arrival("a", Event::new(1, 10).xml(), 1000)], None)
        .await
        .unwrap();
    assert_eq!(mode(&new), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&new).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and its index");
}

#[tokio::test]
async fn what_cannot_be_a_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(
        &file,
        "this is a text and no database, though it is long enough ".repeat(100),
    )
    .unwrap();
    for path in [
        file.clone(),
        file.join("below"),
        directory.path().to_owned(),
    ] {
        assert!(
            SqliteStore::open(&path, Migrations::Apply).await.is_err(),
            "{}",
            path.display()
        );
    }
    for url in ["postgres://postgres@127.0.0.1:1/x", "postgres://[/x"] {
        assert!(
            PostgresStore::open(url, Migrations::Apply).await.is_err(),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_migration_goes_on_when_nobody_waits_for_it_any_longer() {
    let database = Backend::Postgres.database().await;
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    // Of the same name, so that the migration waits to see what becomes of it.
    holder.execute("begin; create table jobs ()").await.unwrap();
    let store = PostgresStore::new(&database.url, Migrations::Apply).unwrap();
    for _ in 0..2 {
        let call = tokio::time::timeout(Duration::from_millis(300), store.ping());
        call.await.expect_err("it waits");
    }
    holder.execute("rollback").await.unwrap();
    eventually("it is migrated", async || {
        let tables = "select count(*) from pg_tables where tablename = 'jobs'";
        let tables: i64 = sqlx::query_scalar(tables)
            .fetch_one(&mut holder)
            .await
            .unwrap();
        tables == 1
    })
    .await;
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_is_told_which_right_it_lacks() {
    let database = Database::of_a_role_without_rights().await;
    let owner = database.url.replace("App@", "postgres@");
    for migrations in [Migrations::Apply, Migrations::Require] {
        let error = refusal(&database, migrations).await;
        let says = error.to_string();
        assert!(
            says.contains("`grant create on schema public to \"App\"`"),
            "{says}"
        );
        assert!(!error.is_passing());
    }
    // Once the owner has migrated, it needs no such right.
    open_url(&owner, Migrations::Apply)
        .await
        .unwrap()
        .close()
        .await;
    let owner = database.with_url(&owner);
    owner
        .execute(
            "grant all on all tables in schema public to \"App\"; \
             grant all on all sequences in schema public to \"App\"",
        )
        .await;
    for migrations in [Migrations::Apply, Migrations::Require] {
        let store = open(&database, migrations).await.unwrap();
        events::record(&*store, arrival("a", Event::new(1, 10).xml(), 1000))
            .await
            .unwrap();
        store.close().await;
    }
    owner
        .execute("revoke usage on schema public from public")
        .await;
    let error = refusal(&database, Migrations::Apply).await;
    let says = error.to_string();
    assert!(
        says.contains("`grant usage, create on schema public to \"App\"`"),
        "{says}"
    );
    owner
        .execute("grant usage on schema public to public; revoke update on jobs from \"App\"")
        .await;
    let error = refusal(&database, Migrations::Apply).await;
    assert!(!error.is_passing(), "{error:?}");
}

#[tokio::test]
async fn a_pooler_that_keeps_no_sessions_is_refused() {
    let database = Backend::Postgres.database().await;
    database.store().await.close().await;
    for pool_mode in ["transaction", "statement"] {
        let mut pooled = database.shared();
        let _pooler = Pooler::before(&mut pooled, pool_mode).await;
        let error = refusal(&pooled, Migrations::Apply).await;
        assert!(
            error.to_string().contains("`pool_mode = session`"),
            "{error:?}"
        );
        assert!(!error.is_passing());
    }
    let mut pooled = database.shared();
    let _pooler = Pooler::before(&mut pooled, "session").await;
    let store = open(&pooled, Migrations::Apply).await.unwrap();
    for msg_id in 1..=20 {
        events::record(&*store, arrival("a", Event::new(msg_id, 10).xml(), 1000))
            .await
            .unwrap();
    }
    let page = Page {
        after: None,
        limit: 100,
    };
    assert_eq!(
        store
            .jobs(&JobFilter::default(), &page)
            .await
            .unwrap()
            .len(),
        20
    );
}

/// Recording finds rows by their keys at a high estimated cost, so PostgreSQL would compile the
/// plan, which takes half a second.
#[tokio::test]
async fn no_plan_is_compiled_for_recording() {
    let database = Backend::Postgres.database().await;
    database.store().await.close().await;
    database
        .execute(
            "do $$ begin execute format('alter database %I set jit = on', current_database()); end $$; \
             create table seen (jit text); \
             create function see() returns trigger language plpgsql as \
                 $$ begin insert into seen values (current_setting('jit')); return null; end $$; \
             create trigger see after insert on jobs for each statement execute function see()",
        )
        .await;
    let store = database.store().await;
    for create_time in [10, 20] {
        let event = Event::new(1, create_time).xml();
        events::record(&*store, arrival("a", event, 1000))
            .await
            .unwrap();
    }
    assert!(database.rows("select from seen").await.unwrap() > 0);
    let compiled = "select from seen where jit <> 'off'";
    assert_eq!(database.rows(compiled).await.unwrap(), 0);
}
