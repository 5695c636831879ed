//! Wires a checked configuration to a store, durable acceptance, routes and the tasks beside them.

mod api_runtime;
mod clock;
mod demo;
mod open_files;
mod private_files;
mod store;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::{IntGaugeVec, register_int_gauge_vec_with_registry};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::feed::Feed;
use crate::ingest::Ingest;
use crate::store::{Store, within};
use crate::web::{self, ApiSettings, Limits, Listener, Scrape, Services, State, Surroundings};
use crate::wechat::{Account, Mode, Token};
use crate::{server, telemetry};

use api_runtime::ApiRuntime;
pub use clock::{ClockCheck, ClockError};
pub use demo::{DEMO, Demo};
pub use private_files::exposed_files;
pub use store::{STRANDED, migrations, open_existing, open_store, spool_path, stranded};
use tasks::MetricsTask;
pub use tasks::{
    ReprocessSums, prune, remembered_name, reprocess, set_original_ids, unset_original_ids,
};

const DAY: Duration = Duration::from_hours(24);
/// Connections for scrapes at a time.
const SCRAPERS: usize = 16;
/// How long start-up waits for the database to count sealed deliveries.
const SEALED_TIMEOUT: Duration = Duration::from_secs(2);
/// How long shutdown waits for a database that does not answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that is ready to start.
pub struct App {
    config: Config,
    state: State,
    api_runtime: ApiRuntime,
    /// Ends every stream, which would otherwise hold up the stop.
    stop_feed: CancellationToken,
    store: Arc<dyn Store>,
    ingest: Arc<Ingest>,
    open_connections: IntGaugeVec,
    metrics: MetricsTask,
    scrapes: mpsc::Receiver<Scrape>,
}

pub struct Listeners {
    /// The public one. Without `api` it serves everything but the metrics.
    pub main: TcpListener,
    pub api: Option<TcpListener>,
    /// For Prometheus, with its address.
    pub metrics: Option<(TcpListener, SocketAddr)>,
}

impl App {
    /// Opens the configured store and wires everything to it. If PostgreSQL is down, the spool
    /// stands in for it.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let (store, spool) = store::open_to_serve(&config).await?;
        if spool.as_ref().is_none_or(|spool| !spool.is_down) {
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
        let open_connections = register_int_gauge_vec_with_registry!(
            "qunfa_open_connections",
            "Open connections, by listener.",
            &["listener"],
            registry
        )?;
        let stop_feed = CancellationToken::new();
        let feed = Feed::start(store.clone(), ingest.recorded(), stop_feed.clone());
        let api_runtime = ApiRuntime::start().context("cannot start threads for the API")?;
        let (scrapes_sender, scrapes) = mpsc::channel(SCRAPERS);
        let services = Services {
            ingest: Arc::clone(&ingest),
            store: store.clone(),
            key_uses: store.clone(),
            feed,
            api_runtime: api_runtime.handle().clone(),
            database: store::database_name(&config.store.url),
            registry: registry.clone(),
            scrapes: scrapes_sender,
        };
        let state = state(&config, services)?;
        let metrics = MetricsTask {
            state: state.clone(),
            ingest: Arc::clone(&ingest),
            store: Arc::clone(&store),
            accounts: config
                .accounts
                .iter()
                .map(|account| account.name.clone())
                .collect(),
            registry,
        };
        Ok(Self {
            config,
            state,
            api_runtime,
            stop_feed,
            store,
            ingest,
            open_connections,
            metrics,
            scrapes,
        })
    }

    /// Serves until `shutdown`, finishes the requests under way, and closes the store.
    pub async fn serve(self, listeners: Listeners, shutdown: CancellationToken) {
        let max_connections = self.config.server.max_connections;
        let capped_listeners = 1 + usize::from(listeners.api.is_some());
        open_files::raise_limit(capped_listeners * max_connections);
        let store = || Arc::clone(&self.store);
        if let Some(days) = self.config.store.keep_raw_days {
            spawn(&shutdown, tasks::retain(store(), DAY * days));
        }
        let original_ids = tasks::original_ids(&self.config);
        spawn(&shutdown, tasks::follow_original_ids(store(), original_ids));
        spawn(&shutdown, tasks::forget_batches(store()));
        spawn(&shutdown, tasks::update_hour_totals(store()));
        spawn(&shutdown, self.metrics.run(self.scrapes));

        let serve = |listener, router, max_connections, name: &str| {
            let open = self.open_connections.with_label_values(&[name]);
            server::serve(listener, router, max_connections, open, shutdown.clone())
        };
        let listener = match &listeners.api {
            Some(_) => Listener::Callback,
            None => Listener::All,
        };
        let main = web::router(self.state.clone(), listener);
        let main = serve(listeners.main, main, max_connections, "server");
        let api = async {
            if let Some(listener) = listeners.api {
                let router = web::router(self.state.clone(), Listener::Api);
                let serving = serve(listener, router, max_connections, "api");
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
        let closing = tokio::time::timeout(CLOSE_TIMEOUT, self.store.close());
        if closing.await.is_err() {
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

fn state(config: &Config, services: Services) -> anyhow::Result<State> {
    let public_url = config.server.public_url.as_ref();
    let surroundings = Surroundings {
        trusted_proxies: config.server.trusted_proxies.clone(),
        public_host: public_url.and_then(|url| url.host()).map(str::to_owned),
    };
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
    let accounts = config.accounts.clone();
    Ok(State::new(
        accounts,
        decoy()?,
        services,
        surroundings,
        limits,
        api,
    ))
}

/// Runs a task until `shutdown`.
fn spawn(shutdown: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(task));
}

/// Logs which deliveries an earlier configuration did not open: nothing else would until the next
/// push.
async fn warn_of_sealed(store: &dyn Store) {
    let totals = within(SEALED_TIMEOUT, store.sealed()).await;
    for total in totals
        .unwrap_or_default()
        .iter()
        .filter(|total| total.deliveries > 0)
    {
        warn!(
            account = %total.account,
            deliveries = total.deliveries,
            dropped = total.dropped,
            "deliveries are sealed; once the configuration of their account is right, run `qunfa reprocess`"
        );
    }
}

/// An account with a random token: requests for accounts that do not exist are checked against it.
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
        // Bytes beyond a multiple of 62 are discarded, so that every character is equally likely.
        let usable = random.iter().filter(|byte| **byte < 248);
        let characters = usable.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(characters.take(32 - text.len()));
    }
    let token = Token::new(&text).context("a random token is 32 letters and digits")?;
    Ok((text, token))
}
