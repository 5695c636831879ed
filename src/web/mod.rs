//! HTTP in: WeChat's callback, the JSON API, and health. All routes stand here.

mod api;
mod auth;
mod bodies;
mod callback;
mod cursor;
mod health;
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
use axum::routing::{any, get};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::domain::{ApiKeyHash, Zone};
use crate::ingest::Ingest;
use crate::store::Store;
use crate::wechat::Account;

use bodies::Bodies;
use health::LastAnswer;
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
    /// "sqlite" or "postgresql", for the health route.
    database: &'static str,
    limits: Limits,
    api_keys: Vec<ApiKeyHash>,
    timezone: Zone,
    bodies: Bodies,
    refusals: Refusals,
    replay: ReplayMemory,
    last_answer: LastAnswer,
    warnings: Warnings,
}

/// Limits on what comes in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest body of a push, in bytes.
    pub body: usize,
    /// How far a timestamp may be from our clock in plain mode, in seconds.
    pub timestamp_tolerance: u64,
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct Api {
    /// Keys with full access; none leaves it open.
    pub keys: Vec<ApiKeyHash>,
    /// The time zone of a timeline, unless the request names another.
    pub timezone: Zone,
}

impl State {
    /// Puts together what the handlers need. `decoy` is an account that no one can know the token of.
    pub fn new(
        accounts: Vec<Account>,
        decoy: Account,
        ingest: Arc<Ingest>,
        store: Arc<dyn Store>,
        database: &'static str,
        limits: Limits,
        api: Api,
    ) -> Self {
        let accounts = accounts
            .into_iter()
            .map(|account| (account.name.to_string(), account))
            .collect();
        Self(Arc::new(Shared {
            accounts,
            decoy,
            ingest,
            store,
            database,
            limits,
            api_keys: api.keys,
            timezone: api.timezone,
            bodies: Bodies::default(),
            refusals: Refusals::default(),
            replay: ReplayMemory::default(),
            last_answer: LastAnswer::default(),
            warnings: Warnings::default(),
        }))
    }
}

/// Every route. Each request must carry the client's address, as [`ConnectInfo`](axum::extract::ConnectInfo).
pub fn router(state: State) -> Router {
    let wechat = Router::new()
        .route(
            "/wechat/{account}",
            get(callback::check_url)
                .post(callback::push)
                .head(callback::method_not_allowed)
                .fallback(callback::method_not_allowed),
        )
        .layer(CatchPanicLayer::custom(callback::after_panic));

    let api = Router::new()
        .route("/api/v1/jobs", get(api::jobs))
        .route("/api/v1/jobs/{account}/{msg_id}", get(api::job))
        .route(
            "/api/v1/jobs/{account}/{msg_id}/deliveries",
            get(api::job_deliveries),
        )
        .route("/api/v1/deliveries", get(api::deliveries))
        .route("/api/v1/stats", get(api::stats::totals))
        .route("/api/v1/stats/timeline", get(api::stats::timeline))
        .route("/api/v1/stats/reasons", get(api::stats::reasons))
        .route("/api/v1/stats/accounts", get(api::stats::accounts))
        .route("/api/v1/reasons", get(api::reasons))
        .route("/api", any(api::not_found))
        .route("/api/", any(api::not_found))
        .route("/api/{*rest}", any(api::not_found))
        .method_not_allowed_fallback(api::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::after_panic))
        .layer(from_fn_with_state(state.clone(), auth::require_key))
        .layer(set(header::CACHE_CONTROL, "no-store"));

    let health = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz));

    Router::new()
        .merge(wechat)
        .merge(api)
        .merge(health)
        .fallback(health::not_found)
        .layer(set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(from_fn(request::trace))
        .with_state(state)
}

fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
