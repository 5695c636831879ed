//! The only wiring: a checked configuration becomes a store, durable acceptance, and routes.

mod account_names;
mod api_runtime;
mod clock;
mod demo;
mod open_files;
mod private_files;
mod pruning;
mod reprocessing;
mod rolling_up;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::{IntGaugeVec, register_int_gauge_vec_with_registry};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Config, StoreUrl};
use crate::domain::AccountName;
use crate::feed::Feed;
use crate::ingest::{Ingest, SpoolSettings};
use crate::store::{
    Depth, Migrations, OpenStoreError, PostgresStore, Spool, SqliteStore, Store, StoreError,
};
use crate::web::{self, ApiSettings, Limits, Listener, Services, State, Surroundings};
use crate::wechat::{self, Account, Mode, Token};
use crate::{server, telemetry};

pub use account_names::{remembered_name, set_original_ids, unset_original_ids};
use api_runtime::ApiRuntime;
pub use clock::{ClockCheck, ClockError};
pub use demo::{DEMO, Demo};
pub use private_files::exposed_files;
pub use pruning::prune;
pub use reprocessing::{ReprocessSums, reprocess};

const SPOOL_FILE: &str = "spool.db";
const DAY: Duration = Duration::from_hours(24);
/// Connections to the metrics at a time.
const SCRAPERS: usize = 16;
/// How long the start waits for PostgreSQL to be met and migrated, before it goes on with the spool.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for the database to tell what is sealed.
const SEALED_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the stop waits for a database that does not answer.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

/// A receiver that is ready to serve.
pub struct App {
    state: State,
    api_runtime: ApiRuntime,
    /// Ends every stream, which would otherwise hold up the stop.
    stop_feed: CancellationToken,
    store: Arc<dyn Store>,
    ingest: Arc<Ingest>,
    max_connections: usize,
    /// By the section of the listener that they are on.
    open_connections: IntGaugeVec,
    /// The accounts whose `original_id` is configured, with it.
    original_ids: Vec<(AccountName, String)>,
    /// For how long raw deliveries are kept; none: for ever.
    retention: Option<Duration>,
}

/// Where an [`App`] serves.
pub struct Listeners {
    /// The public one: WeChat's side and, without `api`, all else.
    pub main: TcpListener,
    /// For the API and the page alone.
    pub api: Option<TcpListener>,
    /// For Prometheus, with its address.
    pub metrics: Option<(TcpListener, SocketAddr)>,
}

impl App {
    /// Opens the configured store and wires everything to it. If PostgreSQL is down, the spool stands in for it.
    ///
    /// # Errors
    /// When the database or the spool cannot be opened.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let (store, spool) = open_to_serve(config).await?;
        if spool.as_ref().is_none_or(|spool| !spool.is_away) {
            warn_of_sealed(&*store).await;
        }
        let registry = telemetry::registry();
        let accounts = config.accounts.iter();
        let keep_events = accounts
            .map(|account| (account.name.clone(), account.keep_events.clone()))
            .collect();
        let budget = config.store.budget;
        let ingest = Ingest::start(store.clone(), budget, spool, keep_events, &registry);
        let ingest = Arc::new(ingest);
        let limits = Limits {
            body: config.server.body_limit,
            timestamp_tolerance: config.server.timestamp_tolerance,
        };
        let api = ApiSettings {
            keys: config.api.keys.clone(),
            clients: config.api.clients.clone(),
            timezone: config.api.timezone.clone(),
            origins: config.api.cors_origins.clone(),
        };
        let open_connections = register_int_gauge_vec_with_registry!(
            "qunfa_open_connections",
            "Open connections, by the listener that they are on.",
            &["listener"],
            registry
        )?;
        let stop_feed = CancellationToken::new();
        let feed = Feed::start(store.clone(), ingest.recorded(), stop_feed.clone());
        let api_runtime = ApiRuntime::start().context("cannot start threads for the API")?;
        let services = Services {
            ingest: Arc::clone(&ingest),
            store: store.clone(),
            key_uses: store.clone(),
            feed,
            api_runtime: api_runtime.handle().clone(),
            database: database_name(&config.store.url),
            registry,
        };
        let public_url = config.server.public_url.as_ref();
        let surroundings = Surroundings {
            trusted_proxies: config.server.trusted_proxies.clone(),
            public_host: public_url.and_then(|url| url.host()).map(str::to_owned),
        };
        let original_ids = account_names::original_ids(config);
        let accounts = config.accounts.clone();
        let state = State::new(accounts, decoy()?, services, surroundings, limits, api);
        Ok(Self {
            state,
            api_runtime,
            stop_feed,
            store,
            ingest,
            max_connections: config.server.max_connections,
            open_connections,
            original_ids,
            retention: config.store.keep_raw_days.map(|days| DAY * days),
        })
    }

    /// Serves until `shutdown`, finishes what has begun, and closes the store.
    pub async fn serve(self, listeners: Listeners, shutdown: CancellationToken) {
        let connections = 1 + usize::from(listeners.api.is_some());
        open_files::raise_limit(connections * self.max_connections);
        if let Some(age) = self.retention {
            tokio::spawn(pruning::retain(self.store.clone(), age, shutdown.clone()));
        }
        tokio::spawn(account_names::follow_original_ids(
            self.store.clone(),
            self.original_ids,
            shutdown.clone(),
        ));
        tokio::spawn(pruning::forget_batches(
            self.store.clone(),
            shutdown.clone(),
        ));
        tokio::spawn(rolling_up::roll_up(self.store.clone(), shutdown.clone()));
        let serve = async |listener, router, max_connections, name: &str| {
            let open = self.open_connections.with_label_values(&[name]);
            server::serve(listener, router, max_connections, open, shutdown.clone()).await;
        };
        let listener = match &listeners.api {
            Some(_) => Listener::Callback,
            None => Listener::All,
        };
        let main = async {
            let router = web::router(self.state.clone(), listener);
            serve(listeners.main, router, self.max_connections, "server").await;
        };
        let api = async {
            if let Some(listener) = listeners.api {
                let router = web::router(self.state.clone(), Listener::Api);
                let open = self.open_connections.with_label_values(&["api"]);
                let serving = server::serve(
                    listener,
                    router,
                    self.max_connections,
                    open,
                    shutdown.clone(),
                );
                if let Err(error) = self.api_runtime.handle().spawn(serving).await {
                    error!(%error, "the API is no longer served");
                }
            }
        };
        let metrics = async {
            if let Some((listener, address)) = listeners.metrics {
                let router = web::metrics_router(self.state.clone(), address);
                serve(listener, router, SCRAPERS, "metrics").await;
            }
        };
        let streams = async {
            shutdown.cancelled().await;
            self.stop_feed.cancel();
        };
        tokio::join!(main, api, metrics, streams);
        self.ingest.stop().await;
        if tokio::time::timeout(CLOSING_PATIENCE, self.store.close())
            .await
            .is_err()
        {
            warn!("the database did not let go of its connections in time");
        }
        let counts = self.ingest.counts();
        info!(
            results = counts.results,
            duplicates = counts.duplicates,
            unparsed = counts.unparsed,
            sealed = counts.sealed,
            other_kept = counts.other_kept,
            spooled = counts.spooled,
            events = counts.events,
            messages = counts.messages,
            failed = counts.failed,
            refused = self.state.refused(),
            "stopped; pushes since the start"
        );
    }
}

/// Opens a store.
///
/// # Errors
/// [`OpenStoreError`] when it cannot be opened.
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

/// Opens the configured store for a command that works on what is there: it makes neither a file nor tables.
///
/// # Errors
/// When there is no database, or it cannot be opened.
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

/// Opens the store and, for PostgreSQL, the spool.
async fn open_to_serve(config: &Config) -> anyhow::Result<(Arc<dyn Store>, Option<SpoolSettings>)> {
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
    let prepared = tokio::time::timeout(START_PATIENCE, store.prepare()).await;
    let is_away = match prepared {
        Ok(Ok(())) => false,
        Err(_) => {
            warn!("the database takes its time, be it for a migration; starting on the spool");
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
        is_away,
        read: |body| wechat::read(body).reading,
    };
    Ok((Arc::new(store), Some(spool)))
}

/// What is left in the spool of a PostgreSQL database after `store.url` was changed to SQLite, where there is such.
///
/// # Errors
/// [`StoreError`] when the spool cannot be read.
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

/// What to do about it.
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

/// Tells what an earlier configuration did not open, as nothing else would until the next push.
async fn warn_of_sealed(store: &dyn Store) {
    let Ok(Ok(totals)) = tokio::time::timeout(SEALED_TIMEOUT, store.sealed()).await else {
        return;
    };
    for total in totals.iter().filter(|total| total.deliveries > 0) {
        warn!(
            account = %total.account,
            deliveries = total.deliveries,
            dropped = total.dropped,
            "deliveries are sealed; once the configuration of their account is right, run `qunfa reprocess`"
        );
    }
}

/// Where the spool is, with PostgreSQL, once `serve` has made it.
pub fn spool_path(config: &Config) -> PathBuf {
    config.data_dir.join(SPOOL_FILE)
}

/// What `store.migrate` says.
pub fn migrations(config: &Config) -> Migrations {
    if config.store.migrate {
        Migrations::Apply
    } else {
        Migrations::Require
    }
}

fn database_name(url: &StoreUrl) -> &'static str {
    match url {
        StoreUrl::Sqlite(_) => "sqlite",
        StoreUrl::Postgres(_) => "postgresql",
    }
}

/// An account whose token nobody knows: requests for accounts that do not exist are checked against it.
fn decoy() -> anyhow::Result<Account> {
    Ok(Account {
        name: "decoy".parse().expect("it is an account name"),
        mode: Mode::Plain,
        token: random_token()?.1,
        previous_token: None,
        original_id: None,
        keep_events: Vec::new(),
    })
}

/// 32 random letters and digits, as text and as a token.
fn random_token() -> anyhow::Result<(String, Token)> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(32);
    while text.len() < 32 {
        let mut random = [0; 64];
        getrandom::fill(&mut random).context("the system gave no random bytes")?;
        // Bytes beyond a multiple of 62 are thrown away, so that every character is equally likely.
        let usable = random.iter().filter(|byte| **byte < 248);
        let characters = usable.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(characters.take(32 - text.len()));
    }
    let token = Token::new(&text).context("a random token is 32 letters and digits")?;
    Ok((text, token))
}
