//! The routes, the listeners that serve them, and the middleware around them.

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
use utoipa::OpenApi;
use utoipa::openapi::{self, path::Operation};

use super::api::openapi as document;
use super::api::{
    self, accounts, answering, auth, deliveries, departure, export, jobs, problem, stats, stream,
};
use super::warnings::Subject;
use super::{State, callback, client_address, etag, health, host, metrics, page, request};
use crate::domain::Scope;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// Browser features that the page never uses.
const FEATURES: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// A route, and who may call it.
pub struct Route {
    /// In axum's notation, which is OpenAPI's as well.
    pub path: String,
    /// Who may call it.
    pub group: Group,
    methods: MethodRouter<State>,
    /// Its part of the OpenAPI document; empty for what is not part of the API.
    pub(super) document: openapi::OpenApi,
}

/// A group of routes with the same access rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// For WeChat: only signed requests are accepted.
    Callback,
    /// Open to all on every listener, and nothing private in it.
    Health,
    /// Open to all where the API is served, and nothing private in it.
    Open,
    /// The page: open to all, as it holds no data. It asks the API for what it shows.
    Page,
    /// The API: once a key is configured, for keys with this scope.
    Api(Scope),
}

/// A GET route with the path and the description that its handler has for the OpenAPI document.
macro_rules! documented {
    ($group:expr, $($handler:ident)::+) => {{
        #[derive(OpenApi)]
        #[openapi(paths($($handler)::+))]
        struct Document;
        Route::documented($group, get($($handler)::+), Document::openapi())
    }};
}

/// Every route, with who may call it.
pub fn routes() -> Vec<Route> {
    use Group::{Api, Callback, Health, Open, Page};
    use Scope::{Export, Read};
    let callback = get(callback::check_url)
        .post(callback::push)
        .head(callback::method_not_allowed)
        .fallback(callback::method_not_allowed);
    vec![
        Route::new(Callback, "/wechat/{account}", callback),
        documented!(Api(Read), jobs::jobs),
        documented!(Api(Read), jobs::job),
        documented!(Api(Read), jobs::job_deliveries),
        documented!(Api(Export), export::jobs_csv),
        documented!(Api(Export), export::jobs_ndjson),
        documented!(Api(Read), deliveries::deliveries),
        documented!(Api(Read), jobs::reasons),
        documented!(Api(Read), accounts::accounts),
        documented!(Api(Read), stats::totals),
        documented!(Api(Read), stats::timeline),
        documented!(Api(Read), stats::reasons),
        documented!(Api(Read), stats::accounts),
        documented!(Api(Read), stream::stream),
        documented!(Health, health::livez),
        documented!(Health, health::readyz),
        documented!(Open, document::openapi_json),
        Route::new(Page, "/", get(page::index)),
        Route::new(Page, "/docs", get(page::docs)),
        Route::new(Page, "/assets/{version}/{*path}", get(page::asset)),
    ]
}

impl Route {
    fn new(group: Group, path: &str, methods: MethodRouter<State>) -> Self {
        Self {
            path: path.to_owned(),
            group,
            methods,
            document: openapi::OpenApi::default(),
        }
    }

    fn documented(group: Group, methods: MethodRouter<State>, document: openapi::OpenApi) -> Self {
        let path = document.paths.paths.keys().next();
        let path = path.expect("a handler is documented with its path").clone();
        let mut route = Self {
            path,
            group,
            methods,
            document,
        };
        let is_tagged =
            |operation: &mut Operation| operation.responses.responses.contains_key("304");
        if matches!(group, Group::Api(_)) && route.operations().any(is_tagged) {
            route.methods = route.methods.route_layer(from_fn(etag::tag));
        }
        route
    }

    pub(super) fn operations(&mut self) -> impl Iterator<Item = &mut Operation> {
        let items = self.document.paths.paths.values_mut();
        items.filter_map(|item| item.get.as_mut())
    }
}

/// A listener, by the routes that it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Every route.
    All,
    /// The callback and health.
    Callback,
    /// The API, the page and health.
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
        ..
    } in routes()
        .into_iter()
        .filter(|route| listener.serves(route.group))
    {
        match group {
            Group::Callback => wechat = wechat.route(&path, methods),
            Group::Health => health = health.route(&path, methods),
            Group::Open => open = open.route(&path, methods),
            Group::Page => page = page.route(&path, methods),
            Group::Api(scope) => {
                let guarded = methods.route_layer(from_fn_with_state(scope, auth::require));
                api = api.route(&path, guarded);
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
        .layer(from_fn(departure::abandon))
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

/// Adds what all listeners have.
fn finish(router: Router<State>, state: State) -> Router {
    router
        .fallback(not_found)
        .layer(from_fn(host::require_one))
        .layer(set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(from_fn_with_state(state.clone(), request::trace))
        .layer(from_fn_with_state(state.clone(), client_address::find))
        .with_state(state)
}

/// The route for Prometheus, on its own listener. On loopback, `Host` must be a name of this
/// machine.
pub fn metrics_router(state: State, listener: SocketAddr) -> Router {
    let mut router = Router::new().route("/metrics", get(metrics::metrics));
    if host::is_local(listener) {
        let guard = from_fn_with_state(state.clone(), host::require_ours);
        router = router.layer(guard);
    }
    router.layer(from_fn(host::require_one)).with_state(state)
}

/// gzip for answers that are not compressed yet, such as exports. Server-sent events would wait in
/// its buffer.
fn compression() -> CompressionLayer<And<SizeAbove, NotForContentType>> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(1024).and(NotForContentType::SSE))
}

/// Lets pages of these origins read the API. The browser first sends a preflight request, without a
/// key.
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

/// Any other path. One near the callback's may be a mistake in WeChat's console, where nobody would
/// see it.
async fn not_found(FromState(state): FromState<State>, uri: Uri) -> (StatusCode, &'static str) {
    if uri.path().starts_with("/wechat") && state.0.warnings.is_due(Subject::Path, None) {
        warn!(
            "a request under /wechat is not for a callback URL, which is /wechat/ACCOUNT without a slash at the end"
        );
    }
    (StatusCode::NOT_FOUND, "not found")
}

fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
