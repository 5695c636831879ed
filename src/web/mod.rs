//! The HTTP server: WeChat's callback, the JSON API, the page, health and metrics.

mod api;
mod callback;
mod client_address;
mod etag;
mod health;
mod host;
mod metrics;
mod page;
mod rate_limit;
mod request;
mod routes;
mod static_file;
mod warnings;

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::HeaderValue;
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::domain::{ApiClient, ApiKeyHash, Network, Zone};
use crate::feed::Feed;
use crate::ingest::Ingest;
use crate::store::{KeyUses, Queries};
use crate::wechat::Account;

use api::answering::Answering;
use api::auth::Clients;
use api::streams::Streams;
use callback::{Bodies, ReplayMemory};
use health::LastAnswer;
use metrics::Metrics;
pub use metrics::Scrape;
use rate_limit::{OF_KEYS, OF_PUSHES, Refusals};
pub use routes::{Group, Listener, Route, metrics_router, router, routes};
use warnings::Warnings;

/// What the handlers need.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    /// By name, as it stands in the path.
    accounts: HashMap<String, Account>,
    /// Stands in for an unknown account, so that refusing it takes the same work.
    decoy: Account,
    ingest: Arc<Ingest>,
    store: Arc<dyn Queries>,
    key_uses: Arc<dyn KeyUses>,
    feed: Feed,
    /// "sqlite" or "postgresql", for the health route.
    database: &'static str,
    trusted_proxies: Vec<Network>,
    /// The host of `server.public_url`, as it is in a URL.
    public_host: Option<String>,
    limits: Limits,
    clients: Clients,
    timezone: Zone,
    answering: Answering,
    bodies: Bodies,
    refusals: Refusals,
    failed_keys: Refusals,
    streams: Streams,
    origins: Vec<HeaderValue>,
    replay: ReplayMemory,
    last_answer: LastAnswer,
    warnings: Warnings,
    metrics: Metrics,
    scrapes: mpsc::Sender<Scrape>,
}

/// What the handlers use.
pub struct Services {
    /// Keeps what comes in.
    pub ingest: Arc<Ingest>,
    /// What is kept.
    pub store: Arc<dyn Queries>,
    /// When the API's clients last used their keys.
    pub key_uses: Arc<dyn KeyUses>,
    /// What changes there.
    pub feed: Feed,
    /// Where requests to the API are answered.
    pub api_runtime: Handle,
    /// "sqlite" or "postgresql", for the health route.
    pub database: &'static str,
    /// Where requests are counted.
    pub registry: Registry,
    /// Asks for fresh gauges.
    pub scrapes: mpsc::Sender<Scrape>,
}

/// Limits on what comes in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest body of a push, in bytes.
    pub body: usize,
    /// How far a timestamp may be from our clock in plain mode, in seconds.
    pub timestamp_tolerance: u64,
}

/// How requests reach this server from outside.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Proxies that say in `X-Forwarded-For` for whom they ask.
    pub trusted_proxies: Vec<Network>,
    /// The host of `server.public_url`, as it is in a URL.
    pub public_host: Option<String>,
}

/// The API, and who may read it: anybody, when there is no key at all.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Keys with full access.
    pub keys: Vec<ApiKeyHash>,
    /// Clients, each with a key of its own.
    pub clients: Vec<ApiClient>,
    /// The time zone of a timeline, unless the request names another.
    pub timezone: Zone,
    /// Whose pages may read it in a browser, as a browser writes them in `Origin`.
    pub origins: Vec<String>,
}

impl State {
    /// Puts together what the handlers need. `decoy` is an account that no one can know the token of.
    pub fn new(
        accounts: Vec<Account>,
        decoy: Account,
        services: Services,
        surroundings: Surroundings,
        limits: Limits,
        api: ApiSettings,
    ) -> Self {
        let Services {
            ingest,
            store,
            key_uses,
            feed,
            api_runtime,
            database,
            registry,
            scrapes,
        } = services;
        let answering = Answering::new(api_runtime, store.readers());
        let metrics = Metrics::new(&registry);
        let accounts = accounts
            .into_iter()
            .map(|account| (account.name.to_string(), account))
            .collect();
        Self(Arc::new(Shared {
            accounts,
            decoy,
            ingest,
            store,
            key_uses,
            feed,
            database,
            trusted_proxies: surroundings.trusted_proxies,
            public_host: surroundings.public_host,
            limits,
            clients: Clients::new(api.keys, api.clients),
            timezone: api.timezone,
            answering,
            bodies: Bodies::default(),
            refusals: Refusals::new(OF_PUSHES),
            failed_keys: Refusals::new(OF_KEYS),
            streams: Streams::default(),
            origins: origins(&api.origins),
            replay: ReplayMemory::default(),
            last_answer: LastAnswer::default(),
            warnings: Warnings::default(),
            metrics,
            scrapes,
        }))
    }

    /// Requests for callback URLs that were not taken, since the start.
    pub fn refused(&self) -> u64 {
        self.0.metrics.refused_count()
    }
}

/// The document of the API, OpenAPI 3.1, as JSON.
pub fn openapi() -> &'static str {
    &api::openapi::DOCUMENT
}

fn origins(origins: &[String]) -> Vec<HeaderValue> {
    let value = |origin: &String| HeaderValue::from_str(origin).ok();
    origins.iter().filter_map(value).collect()
}
