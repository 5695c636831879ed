//! HTTP in: WeChat's callback, the JSON API, the page, and health. All routes stand here.

mod access;
mod answering;
mod api;
mod auth;
mod bodies;
mod callback;
mod client_address;
mod clients;
mod conditional;
mod cursor;
mod departure;
pub mod export;
mod health;
mod host;
mod metrics;
mod page;
mod parameters;
mod problem;
mod refusals;
mod replay;
mod request;
mod static_file;
mod streams;
mod warnings;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, any, get};
use prometheus::Registry;
use tokio::runtime::Handle;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::predicate::{And, NotForContentType, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel, Predicate};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::domain::{ApiClient, ApiKeyHash, Network, Scope, Zone};
use crate::feed::Feed;
use crate::ingest::Ingest;
use crate::store::Store;
use crate::wechat::Account;

use answering::Answering;
use bodies::Bodies;
use clients::Clients;
use health::LastAnswer;
use metrics::Metrics;
use refusals::{OF_KEYS, OF_PUSHES, Refusals};
use replay::ReplayMemory;
use streams::Streams;
use warnings::Warnings;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// Features of a browser that the page never uses.
const FEATURES: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

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
}

/// What the handlers stand on.
pub struct Foundation {
    /// Keeps what comes in.
    pub ingest: Arc<Ingest>,
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// What changes there.
    pub feed: Feed,
    /// Where requests to the API are answered.
    pub api_runtime: Handle,
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
        foundation: Foundation,
        surroundings: Surroundings,
        limits: Limits,
        api: ApiSettings,
    ) -> Self {
        let Foundation {
            ingest,
            store,
            feed,
            api_runtime,
            database,
            registry,
        } = foundation;
        let answering = Answering::new(api_runtime, store.readers());
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

/// The document of the API, OpenAPI 3.1, as JSON.
pub fn openapi() -> &'static str {
    &api::DOCUMENT
}

/// Every route there is; a new one stands here, and says who may ask.
pub fn routes() -> Vec<Route> {
    use Part::{Api, Callback, Health, Open, Page};
    use Scope::{Export, Read};
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
        route("/api/v1/jobs", Api(Read), tagged(get(api::jobs))),
        route("/api/v1/jobs.csv", Api(Export), get(api::jobs_csv)),
        route("/api/v1/jobs.ndjson", Api(Export), get(api::jobs_ndjson)),
        route(
            "/api/v1/jobs/{account}/{msg_id}",
            Api(Read),
            tagged(get(api::job)),
        ),
        route(
            "/api/v1/jobs/{account}/{msg_id}/deliveries",
            Api(Read),
            tagged(get(api::job_deliveries)),
        ),
        route(
            "/api/v1/deliveries",
            Api(Read),
            tagged(get(api::deliveries)),
        ),
        route(
            "/api/v1/accounts",
            Api(Read),
            tagged(get(api::accounts::accounts)),
        ),
        route("/api/v1/stats", Api(Read), tagged(get(api::stats::totals))),
        route(
            "/api/v1/stats/timeline",
            Api(Read),
            tagged(get(api::stats::timeline)),
        ),
        route(
            "/api/v1/stats/reasons",
            Api(Read),
            tagged(get(api::stats::reasons)),
        ),
        route(
            "/api/v1/stats/accounts",
            Api(Read),
            tagged(get(api::stats::accounts)),
        ),
        route("/api/v1/stream", Api(Read), get(api::stream::stream)),
        route("/api/v1/reasons", Api(Read), get(api::reasons)),
        route("/openapi.json", Open, get(api::openapi_json)),
        route("/", Page, get(page::index)),
        route("/docs", Page, get(page::docs)),
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
    let (mut health, mut open, mut page) = (Router::new(), Router::new(), Router::new());
    for Route {
        path,
        part,
        methods,
    } in routes().into_iter().filter(|route| side.has(route.part))
    {
        match part {
            Part::Callback => wechat = wechat.route(path, methods),
            Part::Health => health = health.route(path, methods),
            Part::Open => open = open.route(path, methods),
            Part::Page => page = page.route(path, methods),
            Part::Api(scope) => {
                let guarded = methods.route_layer(from_fn_with_state(scope, access::require));
                api = api.route(path, guarded);
            }
        }
    }
    let wechat = wechat.layer(CatchPanicLayer::custom(callback::after_panic));
    if side == Side::Callback {
        return finish(wechat.merge(health), state);
    }
    let api = api
        .route("/api", any(api::not_found))
        .route("/api/", any(api::not_found))
        .route("/api/{*rest}", any(api::not_found))
        .method_not_allowed_fallback(api::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::after_panic))
        .layer(compression())
        .layer(from_fn_with_state(state.clone(), answering::answer))
        .layer(from_fn(departure::give_up))
        .layer(from_fn_with_state(state.clone(), auth::require_key))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ));
    let api = match &state.0.origins[..] {
        [] => api,
        origins => api.layer(cors(origins)),
    };

    let page = page.layer(from_fn(page::guard));
    let mut readable = api.merge(open).merge(page);
    if state.0.clients.is_open() {
        let guard = from_fn_with_state(state.clone(), host::require_ours);
        readable = readable.layer(guard);
    }
    // Pages of `api.cors_origins` ask with CORS, which the resource policy lets through.
    let readable = readable
        .layer(set(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        .layer(set(CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .layer(set(PERMISSIONS_POLICY, FEATURES));
    finish(wechat.merge(health).merge(readable), state)
}

/// What goes for every listener.
fn finish(router: Router<State>, state: State) -> Router {
    router
        .fallback(health::not_found)
        .layer(from_fn(host::require_one))
        .layer(set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(from_fn_with_state(state.clone(), request::trace))
        .layer(from_fn_with_state(state.clone(), client_address::find))
        .with_state(state)
}

/// The one route for Prometheus, on a listener of its own. On loopback, `Host` must be a name of this machine.
pub fn metrics_router(state: State, listener: SocketAddr) -> Router {
    let mut router = Router::new().route("/metrics", get(metrics::metrics));
    if host::is_local(listener) {
        let guard = from_fn_with_state(state.clone(), host::require_ours);
        router = router.layer(guard);
    }
    router.layer(from_fn(host::require_one)).with_state(state)
}

/// Adds an `ETag` to whole answers and compresses them; a client that has the same body already gets 304.
fn tagged(methods: MethodRouter<State>) -> MethodRouter<State> {
    methods.route_layer(from_fn(conditional::tag))
}

/// gzip for answers that are not compressed yet, such as exports. Not for server-sent events, which would wait in its buffer.
fn compression() -> CompressionLayer<And<SizeAbove, NotForContentType>> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(1024).and(NotForContentType::SSE))
}

/// Lets pages of these origins read the API in a browser. It asks for leave first, without a key.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::OPTIONS])
        .allow_headers([
            header::AUTHORIZATION,
            header::IF_NONE_MATCH,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            header::CONTENT_DISPOSITION,
            header::ETAG,
            header::RETRY_AFTER,
            request::REQUEST_ID,
        ])
        .max_age(Duration::from_mins(10))
}

fn origins(origins: &[String]) -> Vec<HeaderValue> {
    let value = |origin: &String| HeaderValue::from_str(origin).ok();
    origins.iter().filter_map(value).collect()
}

fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
