//! Opening: checks and migrates the server, and sets timeouts for every connection.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::Mutex;

use super::PostgresStore;
use super::connections::Writers;
use super::reading::note_backend;
use crate::store::names::KnownNames;
use crate::store::upkeep::migrate;
use crate::store::{Migrations, OpenStoreError};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

const MAX_CONNECTIONS: u32 = 10;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Ends a migration whose server no longer answers.
const PREPARE_TIMEOUT: Duration = Duration::from_hours(1);

/// For the answer of a connection before it is lent, and after it was returned, perhaps by a call
/// that was cancelled. If it does not answer it is closed: when packets are dropped, as after a
/// failover, it would otherwise keep its place in the pool until TCP gives up, a quarter of an
/// hour.
const PING_TIMEOUT_BEFORE: Duration = Duration::from_millis(500);
const PING_TIMEOUT_AFTER: Duration = Duration::from_secs(2);

/// Whatever the default of the role or database is: a statement sees what was committed before it
/// began. Totals and the stream rely on that.
const READ_COMMITTED: &str =
    "select set_config('default_transaction_isolation', 'read committed', false)";

/// Queries end even if their callers are gone; a transaction whose end is lost on the way releases
/// its rows before TCP notices; and a commit is on disk when it returns, even if the server's own
/// setting is weaker. `is_known`: change numbers were lifted since the server started.
const SESSION: &str = "select set_config('statement_timeout', '5000', false), \
     set_config('idle_in_transaction_session_timeout', '5000', false), \
     set_config('synchronous_commit', case current_setting('synchronous_commit') \
         when 'off' then 'on' else current_setting('synchronous_commit') end, false), \
     set_config('default_transaction_isolation', 'read committed', false), \
     exists (select from server_starts where started_at = pg_postmaster_start_time()) as is_known";

/// Each query is planned for its own values, as a generic plan would read the whole list if few
/// rows match. Compiling takes longer than any query.
const READING: &str = "select pg_backend_pid(), set_config('plan_cache_mode', 'force_custom_plan', false), \
     set_config('jit', 'off', false)";

impl PostgresStore {
    /// A store on a server that is up.
    ///
    /// # Errors
    /// As [`PostgresStore::prepare`].
    pub async fn open(url: &str, migrations: Migrations) -> Result<Self, OpenStoreError> {
        let store = Self::new(url, migrations)?;
        store.prepare().await?;
        Ok(store)
    }

    /// A store that does not connect yet. The first call checks the server and migrates the schema,
    /// or [`PostgresStore::prepare`].
    ///
    /// # Errors
    /// [`OpenStoreError`] when the URL cannot be understood.
    pub fn new(url: &str, migrations: Migrations) -> Result<Self, OpenStoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(OpenStoreError::Unreachable)?
            .application_name("qunfa")
            .disable_statement_logging();
        let readers = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    begin_session(connection).await?;
                    let backend = sqlx::query_scalar(READING).fetch_one(connection).await?;
                    note_backend(backend);
                    Ok(())
                })
            })
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(is_alive(connection)))
            .after_release(|connection, _| Box::pin(answers_within(connection, PING_TIMEOUT_AFTER)))
            .connect_lazy_with(options.clone());
        Ok(Self {
            writers: Writers::new(options.clone()),
            names: KnownNames::default(),
            readers,
            options,
            migrations,
            is_prepared: AtomicBool::new(false),
            preparing: Mutex::new(None),
        })
    }

    /// Checks the server and migrates the schema. Several replicas may do so at once: an advisory
    /// lock lets one migrate while the others wait.
    ///
    /// # Errors
    /// [`OpenStoreError`] when the server is down, too old, not in UTF-8, or has another schema.
    pub async fn prepare(&self) -> Result<(), OpenStoreError> {
        if self.is_prepared.load(Relaxed) {
            return Ok(());
        }
        let mut preparing = self.preparing.lock().await;
        if self.is_prepared.load(Relaxed) {
            return Ok(());
        }
        // It continues if nobody waits for it: a migration may take longer than the timeout of any
        // caller.
        let task = preparing.get_or_insert_with(|| {
            let preparing = prepare(self.options.clone(), self.migrations);
            let in_time = tokio::time::timeout(PREPARE_TIMEOUT, preparing);
            tokio::spawn(async move { in_time.await.unwrap_or_else(|_| Err(gave_up())) })
        });
        let prepared = task.await.expect("nothing in it panics or aborts it");
        *preparing = None;
        self.is_prepared.store(prepared.is_ok(), Relaxed);
        prepared
    }
}

fn gave_up() -> OpenStoreError {
    OpenStoreError::Unreachable(sqlx::Error::PoolTimedOut)
}

async fn prepare(options: PgConnectOptions, migrations: Migrations) -> Result<(), OpenStoreError> {
    let meeting = async {
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(OpenStoreError::Unreachable)?;
        check_session(&options, &mut connection).await?;
        sqlx::query(READ_COMMITTED)
            .execute(&mut connection)
            .await
            .map_err(OpenStoreError::Unreachable)?;
        check_server(&mut connection).await?;
        Ok(connection)
    };
    let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, meeting)
        .await
        .unwrap_or_else(|_| Err(gave_up()))?;
    if let Err(error) = migrate::run(&MIGRATOR, &mut connection, migrations).await {
        check_rights(&mut connection, error).await?;
    }
    try_write_unless_locked(&mut connection)
        .await
        .map_err(OpenStoreError::Unreachable)?;
    connection
        .close()
        .await
        .map_err(OpenStoreError::Unreachable)
}

/// Changes nothing; refused, like every write, by a standby and without the right.
const TRY_WRITE: &str = "update jobs set deliveries = deliveries where false";

const LIFT_CHANGE_NUMBERS: &str = "select lift_change_numbers()";

/// If the server has restarted, or jobs have higher numbers than the next change will get.
const LIFT_CHANGE_NUMBERS_IF_NEEDED: &str = "select lift_change_numbers() from change_numbers \
     where not exists (select from server_starts where started_at = pg_postmaster_start_time()) \
         or base + pg_snapshot_xmax(pg_current_snapshot())::text::bigint \
             <= greatest((select max(change) from jobs), (select max(change) from rolled_up))";

const SET_LOCK_TIMEOUT: &str = "set lock_timeout = '1s'";
/// The code of a lock timeout.
const LOCKED: &str = "55P03";

/// Also finds missing rights.
async fn try_write_unless_locked(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(SET_LOCK_TIMEOUT)
        .execute(&mut *connection)
        .await?;
    match try_write(connection).await {
        // By `copy`, which numbers nothing.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCKED) => Ok(()),
        outcome => outcome,
    }
}

/// Before anything is recorded for the first time, or after an outage, when the server may be
/// another one.
pub(super) async fn try_write(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(TRY_WRITE).execute(&mut *connection).await?;
    sqlx::query(LIFT_CHANGE_NUMBERS_IF_NEEDED)
        .execute(connection)
        .await?;
    Ok(())
}

/// Opens a connection outside of the pool.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    begin_session(&mut connection).await?;
    Ok(connection)
}

/// It may be the first session on a server that crashed, or was a standby: then change numbers are
/// lifted first.
async fn begin_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let session = sqlx::query(SESSION).fetch_one(&mut *connection).await?;
    if !session.try_get("is_known")? {
        sqlx::query(LIFT_CHANGE_NUMBERS).execute(connection).await?;
    }
    Ok(())
}

/// Whether an idle connection answers; also notes its server process.
async fn is_alive(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let backend = sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection);
    match tokio::time::timeout(PING_TIMEOUT_BEFORE, backend).await {
        Ok(backend) => note_backend(backend?),
        Err(_) => return Err(sqlx::Error::PoolTimedOut),
    }
    Ok(true)
}

/// Whether the connection answers; an error closes it at once.
async fn answers_within(
    connection: &mut PgConnection,
    deadline: Duration,
) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(deadline, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Refuses a pooler that spreads one connection over several sessions of the server, or lets
/// connections share a session: settings and prepared statements get lost or mixed up. Uses the
/// simple protocol, which prepares nothing.
async fn check_session(
    options: &PgConnectOptions,
    connection: &mut PgConnection,
) -> Result<(), OpenStoreError> {
    let compare = async {
        let mut other = PgConnection::connect_with(options).await?;
        let session = session_of(connection).await?;
        if session_of(&mut other).await? == session {
            return Ok(false);
        }
        // A transaction takes the session that this connection had, if it is free.
        sqlx::raw_sql("begin").execute(&mut other).await?;
        session_of(&mut other).await?;
        let is_same = session_of(connection).await? == session;
        other.close().await?;
        Ok(is_same)
    };
    match compare.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpenStoreError::NoSession),
        Err(error) => Err(OpenStoreError::Unreachable(error)),
    }
}

/// The process of the server that answers.
async fn session_of(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql("select pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

const RIGHTS: &str = "select quote_ident(current_user) as role, quote_ident(current_schema()) as schema, \
     coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create";

/// Why migrations failed or are missing. A role that may not create tables can use a database that
/// is up to date.
async fn check_rights(
    connection: &mut PgConnection,
    error: OpenStoreError,
) -> Result<(), OpenStoreError> {
    let Ok(row) = sqlx::query(RIGHTS).fetch_one(&mut *connection).await else {
        return Err(error);
    };
    if row.get("may_create") {
        return Err(error);
    }
    match migrate::run(&MIGRATOR, connection, Migrations::Require).await {
        Err(OpenStoreError::Outdated(_)) => {}
        checked => return checked,
    }
    let schema: Option<String> = row.get("schema");
    let rights = if schema.is_some() {
        "create"
    } else {
        "usage, create"
    };
    Err(OpenStoreError::MayNotCreate {
        role: row.get("role"),
        schema: schema.unwrap_or_else(|| "public".to_owned()),
        rights,
    })
}

async fn check_server(connection: &mut PgConnection) -> Result<(), OpenStoreError> {
    let server = sqlx::query(
        "select current_setting('server_version_num')::int as number, \
             current_setting('server_version') as version, current_setting('server_encoding') as encoding",
    )
    .fetch_one(connection)
    .await
    .map_err(OpenStoreError::Unreachable)?;
    let number: i32 = server.get("number");
    let encoding: String = server.get("encoding");
    match encoding.as_str() {
        _ if number < 130_000 => Err(OpenStoreError::OldServer(server.get("version"))),
        "UTF8" => Ok(()),
        _ => Err(OpenStoreError::Encoding(encoding)),
    }
}
