//! HTTP in: WeChat's callback, the JSON API, the page, and health. All routes stand here.

mod access;
mod api;
mod auth;
mod bodies;
mod callback;
mod clients;
mod cursor;
mod health;
mod metrics;
mod page;
mod parameters;
mod problem;
mod refusals;
mod replay;
mod request;
mod warnings;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, any, get};
use prometheus::Registry;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::domain::{ApiClient, ApiKeyHash, Scope, Zone};
use crate::feed::Feed;
use crate::ingest::Ingest;
use crate::store::Store;
use crate::wechat::Account;

use bodies::Bodies;
use clients::Clients;
use health::LastAnswer;
use metrics::Metrics;
use refusals::Refusals;
use replay::ReplayMemory;
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
    store: Arc<dyn Store>,
    feed: Feed,
    /// "sqlite" or "postgresql", for the health route.
    database: &'static str,
    limits: Limits,
    clients: Clients,
    timezone: Zone,
    bodies: Bodies,
    refusals: Refusals,
    replay: ReplayMemory,
    last_answer: LastAnswer,
    warnings: Warnings,
    metrics: Metrics,
}

/// What the handlers stand on.
pub struct Foundation {
    /// Keeps what comes in.
    pub ingest: Arc<Ingest>,
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// What changes there.
    pub feed: Feed,
    /// "sqlite" or "postgresql", for the health route.
    pub database: &'static str,
    /// Where requests are counted.
    pub registry: Registry,
}

/// Limits on what comes in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest body of a push, in bytes.
    pub body: usize,
    /// How far a timestamp may be from our clock in plain mode, in seconds.
    pub timestamp_tolerance: u64,
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
}

impl State {
    /// Puts together what the handlers need. `decoy` is an account that no one can know the token of.
    pub fn new(
        accounts: Vec<Account>,
        decoy: Account,
        foundation: Foundation,
        limits: Limits,
        api: ApiSettings,
    ) -> Self {
        let Foundation {
            ingest,
            store,
            feed,
            database,
            registry,
        } = foundation;
        let names = accounts.iter().map(|account| &account.name);
        let metrics = Metrics::new(names, &registry);
        let accounts = accounts
            .into_iter()
            .map(|account| (account.name.to_string(), account))
            .collect();
        Self(Arc::new(Shared {
            accounts,
            decoy,
            ingest,
            store,
            feed,
            database,
            limits,
            clients: Clients::new(api.keys, api.clients),
            timezone: api.timezone,
            bodies: Bodies::default(),
            refusals: Refusals::default(),
            replay: ReplayMemory::default(),
            last_answer: LastAnswer::default(),
            warnings: Warnings::default(),
            metrics,
        }))
    }

    /// Requests for callback URLs that were not taken, since the start.
    pub fn refused(&self) -> u64 {
        self.0.metrics.refused_count()
    }
}

/// A route: its path, and who may ask.
pub struct Route {
    /// As axum writes it.
    pub path: &'static str,
    /// What it belongs to.
    pub part: Part,
    methods: MethodRouter<State>,
}

/// A part of the server, and who may ask there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// WeChat's side: only what is signed is taken.
    Callback,
    /// Open to all, wherever this server listens, and nothing private in it.
    Health,
    /// Open to all where the API is, and nothing private in it.
    Open,
    /// The page: open to all, as it holds no data; what it shows it asks the API for.
    Page,
    /// The API: once a key is configured, for keys with this scope.
    Api(Scope),
}

/// Every route there is; a new one stands here, and says who may ask.
pub fn routes() -> Vec<Route> {
    use Part::{Api, Callback, Health, Page};
    use Scope::Read;
    let route = |path, part, methods| Route {
        path,
        part,
        methods,
    };
    let callback = get(callback::check_url)
        .post(callback::push)
        .head(callback::method_not_allowed)
        .fallback(callback::method_not_allowed);
    vec![
        route("/wechat/{account}", Callback, callback),
        route("/api/v1/jobs", Api(Read), get(api::jobs)),
        route("/api/v1/jobs/{account}/{msg_id}", Api(Read), get(api::job)),
        route(
            "/api/v1/jobs/{account}/{msg_id}/deliveries",
            Api(Read),
            get(api::job_deliveries),
        ),
        route("/api/v1/deliveries", Api(Read), get(api::deliveries)),
        route("/api/v1/stats", Api(Read), get(api::stats::totals)),
        route(
            "/api/v1/stats/timeline",
            Api(Read),
            get(api::stats::timeline),
        ),
        route("/api/v1/stats/reasons", Api(Read), get(api::stats::reasons)),
        route(
            "/api/v1/stats/accounts",
            Api(Read),
            get(api::stats::accounts),
        ),
        route("/api/v1/stream", Api(Read), get(api::stream::stream)),
        route("/api/v1/reasons", Api(Read), get(api::reasons)),
        route("/", Page, get(page::index)),
        route("/assets/{version}/{*path}", Page, get(page::asset)),
        route("/livez", Health, get(health::livez)),
        route("/readyz", Health, get(health::readyz)),
    ]
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Every route.
    Both,
    /// WeChat's side, and health.
    Callback,
    /// The API, and health.
    Api,
}

impl Side {
    fn has(self, part: Part) -> bool {
        match (self, part) {
            (Self::Both, _) | (_, Part::Health) => true,
            (Self::Callback, part) => part == Part::Callback,
            (Self::Api, part) => part != Part::Callback,
        }
    }
}

/// The router of a listener. Each request must carry the client's address, as
/// [`ConnectInfo`](axum::extract::ConnectInfo).
pub fn router(state: State, side: Side) -> Router {
    let (mut wechat, mut api) = (Router::new(), Router::new());
    let (mut open, mut page) = (Router::new(), Router::new());
    for Route {
        path,
        part,
        methods,
    } in routes().into_iter().filter(|route| side.has(route.part))
    {
        match part {
            Part::Callback => wechat = wechat.route(path, methods),
            Part::Health | Part::Open => open = open.route(path, methods),
            Part::Page => page = page.route(path, methods),
            Part::Api(scope) => {
                let guarded = methods.route_layer(from_fn_with_state(scope, access::require));
                api = api.route(path, guarded);
            }
        }
    }
    let wechat = wechat.layer(CatchPanicLayer::custom(callback::after_panic));
    if side == Side::Callback {
        return finish(wechat.merge(open), state);
    }
    let api = api
        .route("/api", any(api::not_found))
        .route("/api/", any(api::not_found))
        .route("/api/{*rest}", any(api::not_found))
        .method_not_allowed_fallback(api::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::after_panic))
        .layer(from_fn_with_state(state.clone(), auth::require_key))
        .layer(set(header::CACHE_CONTROL, "no-store"));

    let page = page
        .layer(CompressionLayer::new())
        .layer(from_fn(page::guard));
    finish(wechat.merge(api).merge(open).merge(page), state)
}

/// What goes for every listener.
fn finish(router: Router<State>, state: State) -> Router {
    router
        .fallback(health::not_found)
        .layer(set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(from_fn_with_state(state.clone(), request::trace))
        .with_state(state)
}

/// The one route for Prometheus, on a listener of its own.
pub fn metrics_router(state: State) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .with_state(state)
}

fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
