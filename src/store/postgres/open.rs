//! Opening: the server is checked and migrated, and every connection gets deadlines.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::Mutex;

use super::PostgresStore;
use super::writers::Writers;
use crate::store::{Migrations, OpenStoreError, migrate};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

const MAX_CONNECTIONS: u32 = 10;
/// How long a call waits for a connection before it gives up.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server may take to let us in for the first time.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// After how long a server that does not answer any more in the middle of a migration is asked anew.
const PREPARE_PATIENCE: Duration = Duration::from_hours(1);

/// How long a connection may take to answer before it is lent, and after it came back, perhaps from a call that was given
/// up half-way. One that does not is closed: where packets get lost, as after a failover, it would otherwise hold its place
/// in the pool for as long as TCP tries, a quarter of an hour.
const PING_BEFORE: Duration = Duration::from_millis(500);
const PING_AFTER: Duration = Duration::from_secs(2);

/// For every connection: a query ends when its caller has long gone; a transaction whose end gets lost on the way lets go of
/// its rows before TCP notices; and a commit is on disk when it returns, even where the server's own setting is weaker.
const SESSION: &str = "select set_config('statement_timeout', '5000', false), \
     set_config('idle_in_transaction_session_timeout', '5000', false), \
     set_config('synchronous_commit', case current_setting('synchronous_commit') \
         when 'off' then 'on' else current_setting('synchronous_commit') end, false)";

/// For what is read: each query is planned for its own values, as one for all would read the whole list where few rows match;
/// and compiling takes longer than any of them.
const READING: &str = "select set_config('plan_cache_mode', 'force_custom_plan', false), set_config('jit', 'off', false)";

impl PostgresStore {
    /// A store on a server that is there.
    ///
    /// # Errors
    /// As [`PostgresStore::prepare`].
    pub async fn open(url: &str, migrations: Migrations) -> Result<Self, OpenStoreError> {
        let store = Self::new(url, migrations)?;
        store.prepare().await?;
        Ok(store)
    }

    /// A store that has not met its server yet. It is checked, and its schema brought up to date, before the first call
    /// gets through, or by [`PostgresStore::prepare`].
    ///
    /// # Errors
    /// [`OpenStoreError`] when the URL cannot be understood.
    pub fn new(url: &str, migrations: Migrations) -> Result<Self, OpenStoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(OpenStoreError::Unreachable)?
            .application_name("qunfa")
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::query(SESSION).execute(&mut *connection).await?;
                    sqlx::query(READING).execute(connection).await.map(drop)
                })
            })
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(answers_within(connection, PING_BEFORE)))
            .after_release(|connection, _| Box::pin(answers_within(connection, PING_AFTER)))
            .connect_lazy_with(options.clone());
        Ok(Self {
            writers: Writers::new(options.clone()),
            pool,
            options,
            migrations,
            is_prepared: AtomicBool::new(false),
            preparing: Mutex::new(None),
        })
    }

    /// Checks the server and brings the schema up to date. Several replicas may do so at once: an advisory lock lets one
    /// migrate while the others wait.
    ///
    /// # Errors
    /// [`OpenStoreError`] when the server is away, too old, not in UTF-8, or its schema is not ours.
    pub async fn prepare(&self) -> Result<(), OpenStoreError> {
        if self.is_prepared.load(Relaxed) {
            return Ok(());
        }
        let mut preparing = self.preparing.lock().await;
        if self.is_prepared.load(Relaxed) {
            return Ok(());
        }
        // It goes on when nobody waits for it any longer: a migration may take longer than any caller's patience.
        let task = preparing.get_or_insert_with(|| {
            let preparing = prepare(self.options.clone(), self.migrations);
            let in_time = tokio::time::timeout(PREPARE_PATIENCE, preparing);
            tokio::spawn(async move { in_time.await.unwrap_or_else(|_| Err(gave_up())) })
        });
        let prepared = task.await.expect("nothing in it panics or ends it");
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
        check_server(&mut connection).await?;
        Ok(connection)
    };
    let mut connection = tokio::time::timeout(CONNECT_PATIENCE, meeting)
        .await
        .unwrap_or_else(|_| Err(gave_up()))?;
    migrate::run(&MIGRATOR, &mut connection, migrations).await?;
    lift_change_numbers(&mut connection)
        .await
        .map_err(OpenStoreError::Unreachable)?;
    connection
        .close()
        .await
        .map_err(OpenStoreError::Unreachable)
}

/// On another server than the one where the jobs were written, as after restoring a dump, transactions have lower numbers.
pub(super) const LIFT_CHANGE_NUMBERS: &str = "update change_numbers set base = latest.change + 1 - next \
     from (select greatest((select max(change) from jobs), (select change from rolled_up)) as change) as latest, \
         (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next) as numbers \
     where base + next <= latest.change";

const LOCK_PATIENCE: &str = "set lock_timeout = '1s'";
/// The code for a lock that was not to be had in time.
const LOCKED: &str = "55P03";

async fn lift_change_numbers(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(LOCK_PATIENCE).execute(&mut *connection).await?;
    match sqlx::query(LIFT_CHANGE_NUMBERS).execute(connection).await {
        // By `copy`, which numbers nothing.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCKED) => Ok(()),
        lifted => lifted.map(drop),
    }
}

/// A connection outside of the pool.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::query(SESSION).execute(&mut connection).await?;
    Ok(connection)
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
