//! The HTTP server: WeChat's callback, the JSON API, the page, health and metrics.

mod api;
mod bounded_map;
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
use api::callers::Callers;
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
    /// By name.
    accounts: HashMap<String, Account>,
    /// Used for an unknown account, so that refusing it takes the same work.
    decoy: Account,
    ingest: Arc<Ingest>,
    store: Arc<dyn Queries>,
    key_uses: Arc<dyn KeyUses>,
    feed: Feed,
    /// "sqlite" or "postgresql", for the health route.
    database: &'static str,
    trusted_proxies: Vec<Network>,
    /// The host of `server.public_url`.
    public_host: Option<String>,
    limits: Limits,
    clients: Clients,
    timezone: Zone,
    answering: Answering,
    bodies: Bodies,
    refusals: Refusals,
    failed_keys: Refusals,
    callers: Callers,
    origins: Vec<HeaderValue>,
    replay: ReplayMemory,
    last_answer: LastAnswer,
    warnings: Warnings,
    metrics: Metrics,
    scrapes: mpsc::Sender<Scrape>,
}

/// What the handlers use.
pub struct Services {
    pub ingest: Arc<Ingest>,
    pub store: Arc<dyn Queries>,
    pub key_uses: Arc<dyn KeyUses>,
    pub feed: Feed,
    /// The runtime that answers the API.
    pub api_runtime: Handle,
    /// "sqlite" or "postgresql", for the health route.
    pub database: &'static str,
    pub registry: Registry,
    /// Asks for fresh gauges.
    pub scrapes: mpsc::Sender<Scrape>,
}

/// Limits on pushes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest body of a push, in bytes.
    pub body: usize,
    /// The largest difference between a timestamp and the clock in plain mode, in seconds.
    pub timestamp_tolerance: u64,
}

/// The network in front of the server.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
    /// The host of `server.public_url`.
    pub public_host: Option<String>,
}

/// The API, and who may read it: anybody, if there are neither keys nor clients.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Keys with full access.
    pub keys: Vec<ApiKeyHash>,
    pub clients: Vec<ApiClient>,
    /// The default time zone of a timeline.
    pub timezone: Zone,
    /// Origins whose pages may read it in a browser.
    pub origins: Vec<String>,
}

impl State {
    /// `decoy` is an account whose token nobody knows.
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
        let readers = store.readers();
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
            answering: Answering::new(api_runtime),
            bodies: Bodies::default(),
            refusals: Refusals::new(OF_PUSHES),
            failed_keys: Refusals::new(OF_KEYS),
            callers: Callers::new(readers),
            origins: origins(&api.origins),
            replay: ReplayMemory::default(),
            last_answer: LastAnswer::default(),
            warnings: Warnings::default(),
            metrics,
            scrapes,
        }))
    }

    /// Refused requests for callback URLs since the start.
    pub fn refused(&self) -> u64 {
        self.0.metrics.refused_count()
    }
}

/// The OpenAPI document, as JSON.
pub fn openapi() -> &'static str {
    &api::openapi::DOCUMENT
}

fn origins(origins: &[String]) -> Vec<HeaderValue> {
    let value = |origin: &String| HeaderValue::from_str(origin).ok();
    origins.iter().filter_map(value).collect()
}
