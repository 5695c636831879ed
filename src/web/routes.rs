//! The routes, the listeners that serve them, and what goes for every request.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State as FromState;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, any, get};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::predicate::{And, NotForContentType, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel, Predicate};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::warn;

use super::api::{
    self, accounts, answering, auth, deliveries, departure, export, jobs, openapi, problem, stats,
    stream,
};
use super::warnings::Subject;
use super::{State, callback, client_address, etag, health, host, metrics, page, request};
use crate::domain::Scope;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// Features of a browser that the page never uses.
const FEATURES: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// A route: its path, and who may ask.
pub struct Route {
    /// As axum writes it.
    pub path: &'static str,
    /// What it belongs to.
    pub group: Group,
    methods: MethodRouter<State>,
}

/// A part of the server, and who may ask there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
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
    use Group::{Api, Callback, Health, Open, Page};
    use Scope::{Export, Read};
    let route = |path, group, methods| Route {
        path,
        group,
        methods,
    };
    let callback = get(callback::check_url)
        .post(callback::push)
        .head(callback::method_not_allowed)
        .fallback(callback::method_not_allowed);
    vec![
        route("/wechat/{account}", Callback, callback),
        route("/api/v1/jobs", Api(Read), tagged(get(jobs::jobs))),
        route("/api/v1/jobs.csv", Api(Export), get(export::jobs_csv)),
        route("/api/v1/jobs.ndjson", Api(Export), get(export::jobs_ndjson)),
        route(
            "/api/v1/jobs/{account}/{msg_id}",
            Api(Read),
            tagged(get(jobs::job)),
        ),
        route(
            "/api/v1/jobs/{account}/{msg_id}/deliveries",
            Api(Read),
            tagged(get(jobs::job_deliveries)),
        ),
        route(
            "/api/v1/deliveries",
            Api(Read),
            tagged(get(deliveries::deliveries)),
        ),
        route(
            "/api/v1/accounts",
            Api(Read),
            tagged(get(accounts::accounts)),
        ),
        route("/api/v1/stats", Api(Read), tagged(get(stats::totals))),
        route(
            "/api/v1/stats/timeline",
            Api(Read),
            tagged(get(stats::timeline)),
        ),
        route(
            "/api/v1/stats/reasons",
            Api(Read),
            tagged(get(stats::reasons)),
        ),
        route(
            "/api/v1/stats/accounts",
            Api(Read),
            tagged(get(stats::accounts)),
        ),
        route("/api/v1/stream", Api(Read), get(stream::stream)),
        route("/api/v1/reasons", Api(Read), get(jobs::reasons)),
        route("/openapi.json", Open, get(openapi::openapi_json)),
        route("/", Page, get(page::index)),
        route("/docs", Page, get(page::docs)),
        route("/assets/{version}/{*path}", Page, get(page::asset)),
        route("/livez", Health, get(health::livez)),
        route("/readyz", Health, get(health::readyz)),
    ]
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Every route.
    All,
    /// WeChat's side, and health.
    Callback,
    /// The API, and health.
    Api,
}

impl Listener {
    fn serves(self, group: Group) -> bool {
        match (self, group) {
            (Self::All, _) | (_, Group::Health) => true,
            (Self::Callback, group) => group == Group::Callback,
            (Self::Api, group) => group != Group::Callback,
        }
    }
}

/// The router of a listener. Each request must carry the client's address, as
/// [`ConnectInfo`](axum::extract::ConnectInfo).
pub fn router(state: State, listener: Listener) -> Router {
    let (mut wechat, mut api) = (Router::new(), Router::new());
    let (mut health, mut open, mut page) = (Router::new(), Router::new(), Router::new());
    for Route {
        path,
        group,
        methods,
    } in routes()
        .into_iter()
        .filter(|route| listener.serves(route.group))
    {
        match group {
            Group::Callback => wechat = wechat.route(path, methods),
            Group::Health => health = health.route(path, methods),
            Group::Open => open = open.route(path, methods),
            Group::Page => page = page.route(path, methods),
            Group::Api(scope) => {
                let guarded = methods.route_layer(from_fn_with_state(scope, auth::require));
                api = api.route(path, guarded);
            }
        }
    }
    let wechat = wechat.layer(CatchPanicLayer::custom(callback::after_panic));
    if listener == Listener::Callback {
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
        .fallback(not_found)
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
    methods.route_layer(from_fn(etag::tag))
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

/// Outlistener of every route. A path near the callback's may be a slip in WeChat's console, where nobody sees it.
async fn not_found(FromState(state): FromState<State>, uri: Uri) -> (StatusCode, &'static str) {
    if uri.path().starts_with("/wechat") && state.0.warnings.is_due(Subject::Path, None) {
        warn!(
            "a request under /wechat is for no callback URL: those are /wechat/ACCOUNT, without a slash at the end"
        );
    }
    (StatusCode::NOT_FOUND, "not found")
}

fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
